"""The swap matrix: the first steps by one model, the rest by another; their images, and diversity
and correctness over the switch.
"""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots
from torch import Tensor

from workbench.io.theme import FAINT, TEMPLATE, colours, data_uri, mosaic, placed, title_of
from workbench.metrics.diversity import Interval

# pixels: a cell, the figure, and the spaces next to and below cells
_CELL, _WIDTH, _LEFT, _GAP, _NUMBERS = 150, 1180, 190, 12, 52


@dataclass(frozen=True)
class SwapRow:
    """A pair of models and its cells: (step, noise level of the switch, images [S, 3, H, W],
    diversity, share of correct images).
    """

    first: str
    then: str
    cells: list[tuple[int, float, Tensor, Interval, float | None]]


def swap_matrix(rows: list[SwapRow], prompt: str) -> go.Figure:
    """Rows are pairs, columns the number of common steps that the first model takes; in each cell
    all seeds, and below it the numbers. Missing cells stay empty.
    """
    columns = 1 + max(cell[0] for row in rows for cell in row.cells)
    side = min(_CELL, (_WIDTH - _LEFT - _GAP) / columns - _GAP)
    wide, high = side / (side + _GAP), side / (side + _NUMBERS)
    figure = go.Figure(
        layout=dict(
            template=TEMPLATE,
            title=f"Swap test: the first steps by one model, the rest by another. “{prompt}”",
            width=_WIDTH,
            height=(side + _NUMBERS) * len(rows) + 88,
            margin=dict(l=_LEFT, r=_GAP, t=76, b=12),
            showlegend=False,
            dragmode=False,
            xaxis=dict(
                domain=[0, (side + _GAP) * columns / (_WIDTH - _LEFT - _GAP)],
                range=[0, columns],
                side="top",
                showgrid=False,
                zeroline=False,
                ticks="",
                fixedrange=True,
                tickvals=[n + wide / 2 for n in range(columns)],
                ticktext=[f"{n} step{'s' * (n != 1)} first" for n in range(columns)],
            ),
            yaxis=dict(
                range=[len(rows), 0],
                showgrid=False,
                zeroline=False,
                ticks="",
                fixedrange=True,
                tickvals=[n + high / 2 for n in range(len(rows))],
                ticktext=[
                    f"<b>{title_of(row.first)}</b>,<br>then <b>{title_of(row.then)}</b>"
                    for row in rows
                ],
            ),
        )
    )
    cells = [(n, *cell) for n, row in enumerate(rows) for cell in row.cells]
    figure.layout.images = [
        placed(_sheet(images), step, n, wide, high) for n, step, _, images, _, _ in cells
    ]
    figure.layout.annotations = [
        dict(
            x=step + wide / 2,
            y=n + high,
            text=_caption(level, diversity, correct),
            showarrow=False,
            yanchor="top",
            font=dict(size=11, color=FAINT),
        )
        for n, step, level, _, diversity, correct in cells
    ]
    figure.add_trace(
        go.Scatter(x=[0], y=[0], mode="markers", marker=dict(opacity=0), hoverinfo="skip")
    )  # images alone draw no axes
    return figure


def swap_curves(rows: list[SwapRow], feature: str) -> go.Figure:
    """Eq. (9) over the number of first steps, with intervals over seeds, a panel per pair both
    ways; and the share of correct images.
    """
    pairs = list(dict.fromkeys(tuple(sorted((row.first, row.then))) for row in rows))
    has_correct = any(correct is not None for row in rows for *_, correct in row.cells)
    figure = make_subplots(
        1 + has_correct,
        len(pairs),
        shared_yaxes=True,
        shared_xaxes=True,
        horizontal_spacing=min(0.03, 0.5 / len(pairs)),
        vertical_spacing=0.08,
        subplot_titles=[f"{title_of(a)} and {title_of(b)}" for a, b in pairs],
    )
    figure.update_annotations(font_size=14 if len(pairs) < 4 else 10)
    figure.update_layout(
        template=TEMPLATE,
        title="Which model's early steps keep diversity",
        height=320 + 200 * has_correct,
        margin=dict(t=84),
    )
    tints = colours(list(dict.fromkeys(name for row in rows for name in (row.first, row.then))))
    shown = set()
    for row in rows:
        first, then = row.first, row.then
        column = 1 + pairs.index(tuple(sorted((first, then))))
        steps, values = [step for step, *_ in row.cells], [value for *_, value, _ in row.cells]
        style = dict(
            mode="lines+markers",
            line=dict(color=tints[first], width=2),
            name=f"{title_of(first)} first",
            legendgroup=first,
        )
        figure.add_trace(
            go.Scatter(
                x=steps,
                y=[v.mean for v in values],
                error_y=dict(
                    type="data",
                    array=[v.high - v.mean for v in values],
                    arrayminus=[v.mean - v.low for v in values],
                    width=3,
                    thickness=1,
                ),
                showlegend=first not in shown,
                hovertemplate=f"{title_of(first)} %{{x}} steps, then {title_of(then)}: "
                f"%{{y:.3f}}<extra></extra>",
                **style,
            ),
            1,
            column,
        )
        shown.add(first)
        if has_correct:
            figure.add_trace(
                go.Scatter(
                    x=steps, y=[correct for *_, correct in row.cells], showlegend=False, **style
                ),
                2,
                column,
            )
    figure.update_yaxes(rangemode="tozero", row=1)
    figure.update_yaxes(title=f"Div on {feature}", row=1, col=1)
    figure.update_xaxes(title="steps by the first model", dtick=1, row=1 + has_correct)
    if has_correct:
        figure.update_yaxes(range=[-0.04, 1.04], tickformat=".0%", row=2)
        figure.update_yaxes(title="correct", row=2, col=1)
    return figure


def _sheet(images: Tensor) -> str:
    """All seeds in a square of pictures."""
    across = next(n for n in range(1, len(images) + 1) if n * n >= len(images))
    missing = across * -(-len(images) // across) - len(images)
    whole = torch.cat([images, torch.ones(missing, *images.shape[1:])])
    return data_uri(
        mosaic(whole.unflatten(0, (-1, across)), min(images.shape[-1], 3 * _CELL // across))
    )


def _caption(level: float, diversity: Interval, correct: float | None) -> str:
    share = f" · {correct:.0%} correct" if correct is not None else ""
    return f"switch at t = {level:.2f}<br>Div {diversity.mean:.3f}{share}"
