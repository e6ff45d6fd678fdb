"""An evaluation's numbers: each with its interval, diversity against everything else, and prompt
by prompt against the teacher.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.io.notation import TEACHER
from workbench.io.tables import interval_text
from workbench.io.theme import LINE, TEMPLATE, colours, title_of

if TYPE_CHECKING:
    from workbench.evaluation.numbers import Column, Number
    from workbench.evaluation.results import ModelResult

PER_ROW = 4


def columns_of(results: list[ModelResult]) -> list[Column]:
    """Every column that some model has a number in, without parts of other numbers."""
    return [
        column
        for column in dict.fromkeys(column for result in results for column in result.numbers)
        if not column.part
    ]


def number_dots(results: list[ModelResult]) -> go.Figure:
    """A panel per number, in it a dot with its 95 % interval per model."""
    columns = columns_of(results)
    rows, tints = math.ceil(len(columns) / PER_ROW), colours([result.model for result in results])
    figure = make_subplots(
        rows,
        PER_ROW,
        subplot_titles=[column.title for column in columns],
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=min(0.3, 70 / (60 + 70 * rows + 24 * rows * len(results))),
    )
    figure.update_annotations(font_size=12)
    figure.update_layout(
        template=TEMPLATE,
        title="Each number with its 95 % interval",
        showlegend=False,
        height=100 + rows * (70 + 24 * len(results)),
        margin=dict(l=130, t=84),
    )
    for index, column in enumerate(columns):
        for result in results:
            if column in result.numbers:
                figure.add_trace(
                    _dot(result.model, column, result.numbers[column], tints[result.model]),
                    index // PER_ROW + 1,
                    index % PER_ROW + 1,
                )
    figure.update_yaxes(
        categoryorder="array",
        categoryarray=[title_of(result.model) for result in reversed(results)],
    )
    figure.update_xaxes(nticks=5)
    return figure


def _dot(model: str, column: Column, number: Number, colour: str) -> go.Scatter:
    mean, low, high = number.interval
    return go.Scatter(
        x=[mean],
        y=[title_of(model)],
        mode="markers",
        marker=dict(color=colour, size=9),
        error_x=dict(array=[_up(mean, high)], arrayminus=[_up(low, mean)], thickness=1.6, width=4),
        hovertemplate=f"{title_of(model)}: "
        f"{interval_text(*number.interval, column.digits)}<br>{number.prompts} "
        "prompts, "
        f"{column.protocol}<extra></extra>",
    )


def planes(results: list[ModelResult]) -> dict[str, go.Figure]:
    """Diversity on the x axis, numbers of quality on the y axes: one figure of such panels, if
    there are any.
    """
    columns = columns_of(results)
    across = next((column for column in columns if column.name.startswith("diversity")), None)
    up = [
        column
        for column in columns
        if column.name in ("correct", "vq-r1", "maniqa", "image-reward", "pickscore", "clipscore")
    ]
    if across is None or not up:
        return {}
    figure = make_subplots(
        1, len(up), subplot_titles=[column.title for column in up], horizontal_spacing=0.08
    )
    tints = colours([result.model for result in results])
    figure.update_layout(
        template=TEMPLATE,
        title="Diversity and quality: up and to the right is better",
        height=420,
        margin=dict(t=84),
    )
    for panel, column in enumerate(up, 1):
        for result in results:
            if column in result.numbers and across in result.numbers:
                figure.add_trace(
                    _point(
                        result.model,
                        result.numbers[across],
                        result.numbers[column],
                        tints[result.model],
                        panel == 1,
                    ),
                    1,
                    panel,
                )
    figure.update_xaxes(title=across.title)
    return {"planes": figure}


def _point(model: str, x: Number, y: Number, colour: str, legend: bool) -> go.Scatter:
    bars = [
        dict(array=[_up(mean, high)], arrayminus=[_up(low, mean)], thickness=1.2, width=3)
        for mean, low, high in (x.interval, y.interval)
    ]
    return go.Scatter(
        x=[x.interval.mean],
        y=[y.interval.mean],
        mode="markers",
        name=title_of(model),
        legendgroup=model,
        showlegend=legend,
        marker=dict(color=colour, size=10),
        error_x=bars[0],
        error_y=bars[1],
        hovertemplate=f"{title_of(model)}: %{{x:.3f}}, %{{y:.3f}}<extra></extra>",
    )


def prompt_scatter(results: list[ModelResult]) -> dict[str, go.Figure]:
    """Diversity prompt by prompt: the teacher's on the x axis, a student's on the y axis; below
    the diagonal it was lost. Needs the teacher.
    """
    teacher = next((result for result in results if result.model == TEACHER), None)
    column = next(
        (
            column
            for column in (teacher.numbers if teacher else ())
            if column.name.startswith("diversity")
        ),
        None,
    )
    if column is None:
        return {}
    tints = colours([result.model for result in results])
    figure = go.Figure(
        layout=dict(
            template=TEMPLATE,
            title=f"{column.title}, prompt by prompt",
            height=460,
            xaxis_title="teacher",
            yaxis_title="student",
        )
    )
    end = max(teacher.numbers[column].by_prompt.values())
    for result in results:
        if column in result.numbers and result is not teacher:
            across, up = teacher.numbers[column].by_prompt, result.numbers[column].by_prompt
            both = [text for text in across if text in up]
            end = max(end, *up.values())
            figure.add_trace(
                go.Scatter(
                    x=[across[text] for text in both],
                    y=[up[text] for text in both],
                    mode="markers",
                    name=title_of(result.model),
                    text=both,
                    opacity=0.8,
                    marker=dict(color=tints[result.model], size=7),
                    hovertemplate="%{text}<br>teacher %{x:.3f}, student %{y:.3f}<extra></extra>",
                )
            )
    if not figure.data:
        return {}
    figure.add_shape(
        type="line", x0=0, y0=0, x1=end, y1=end, line=dict(color=LINE, width=1.5), layer="below"
    )
    return {"prompts": figure}


def _up(low: float, high: float) -> float:
    return 0.0 if math.isnan(low) or math.isnan(high) else high - low
