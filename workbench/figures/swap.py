"""The swap matrix: the first steps by one model, the rest by another; their images, and diversity and correctness over the switch."""

from __future__ import annotations

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots
from torch import Tensor

from workbench.figures.theme import FAINT, TEMPLATE, colours, data_uri, mosaic, placed, title_of
from workbench.metrics.diversity import Interval

CELL, WIDTH, LEFT = 150, 1180, 190
Row = tuple[str, str, list[tuple[int, Tensor, Interval, float | None]]]  # first, then, [(step, images, diversity, share that is right)]


def swap_matrix(rows: list[Row], levels: list[float], prompt: str) -> go.Figure:
    """Rows are pairs, columns how many of the common steps the first model takes; in each cell all seeds, and below it the numbers.

    `levels` are the noise levels of the switches. Cells that are not there yet stay empty."""
    columns = len(levels)
    cell = min(CELL, (WIDTH - LEFT - 12) / columns - 12)
    inner, tall = WIDTH - LEFT - 12, (cell + 40) * len(rows)
    figure = go.Figure(layout=dict(
        template=TEMPLATE, title=f"Swap test: the first steps by one model, the rest by another. “{prompt}”", width=WIDTH,
        height=tall + 104, margin=dict(l=LEFT, r=12, t=88, b=12), showlegend=False, dragmode=False,
        xaxis=dict(domain=[0, (cell + 12) * columns / inner], range=[0, columns], side="top", showgrid=False, zeroline=False, ticks="",
                   fixedrange=True, tickvals=[n + cell / (cell + 12) / 2 for n in range(columns)],
                   ticktext=[f"{n} step{'s' * (n != 1)} first<br>switch at t = {level:.2f}" for n, level in enumerate(levels)]),
        yaxis=dict(range=[len(rows), 0], showgrid=False, zeroline=False, ticks="", fixedrange=True,
                   tickvals=[n + cell / (cell + 40) / 2 for n in range(len(rows))],
                   ticktext=[f"<b>{title_of(a)}</b>,<br>then <b>{title_of(b)}</b>" for a, b, _ in rows])))
    wide, high = cell / (cell + 12), cell / (cell + 40)
    figure.layout.images = [placed(_sheet(images), step, row, wide, high) for row, (_, _, cells) in enumerate(rows)
                            for step, images, _, _ in cells]
    figure.layout.annotations = [
        dict(x=step + wide / 2, y=row + high, text=_caption(found, correct), showarrow=False, yanchor="top", font=dict(size=11, color=FAINT))
        for row, (_, _, cells) in enumerate(rows) for step, _, found, correct in cells]
    figure.add_trace(go.Scatter(x=[0], y=[0], mode="markers", marker=dict(opacity=0), hoverinfo="skip"))  # images alone draw no axes
    return figure


def swap_curves(rows: list[Row], feature: str) -> go.Figure:
    """Eq. (9) over the number of first steps, with intervals over seeds, a panel a pair both ways; and the share that is right."""
    pairs = list(dict.fromkeys(tuple(sorted(row[:2])) for row in rows))
    known = any(correct is not None for _, _, cells in rows for *_, correct in cells)
    figure = make_subplots(1 + known, len(pairs), shared_yaxes=True, shared_xaxes=True, horizontal_spacing=0.03, vertical_spacing=0.08,
                           subplot_titles=[f"{title_of(a)} and {title_of(b)}" for a, b in pairs])
    figure.update_layout(template=TEMPLATE, title="Which model's early steps keep diversity", height=320 + 200 * known, margin=dict(t=84))
    tints, shown = colours(list(dict.fromkeys(name for row in rows for name in row[:2]))), set()
    for first, then, cells in rows:
        column = 1 + pairs.index(tuple(sorted((first, then))))
        steps, values = [step for step, *_ in cells], [found for _, _, found, _ in cells]
        style = dict(mode="lines+markers", line=dict(color=tints[first], width=2), name=f"{title_of(first)} first", legendgroup=first)
        figure.add_trace(go.Scatter(
            x=steps, y=[v.mean for v in values], error_y=dict(type="data", array=[v.high - v.mean for v in values],
                                                              arrayminus=[v.mean - v.low for v in values], width=3, thickness=1),
            showlegend=first not in shown, hovertemplate=f"{title_of(first)} %{{x}} steps, then {title_of(then)}: %{{y:.3f}}<extra></extra>",
            **style), 1, column)
        shown.add(first)
        if known:
            figure.add_trace(go.Scatter(x=steps, y=[correct for *_, correct in cells], showlegend=False, **style), 2, column)
    figure.update_yaxes(rangemode="tozero", row=1)
    figure.update_yaxes(title=f"Div on {feature}", row=1, col=1)
    figure.update_xaxes(title="steps by the first model", dtick=1, row=1 + known)
    if known:
        figure.update_yaxes(range=[-0.04, 1.04], tickformat=".0%", row=2)
        figure.update_yaxes(title="right", row=2, col=1)
    return figure


def _sheet(images: Tensor) -> str:
    """All seeds in a square of pictures."""
    across = next(n for n in range(1, len(images) + 1) if n * n >= len(images))
    missing = across * -(-len(images) // across) - len(images)
    whole = torch.cat([images, torch.ones(missing, *images.shape[1:])])
    return data_uri(mosaic(whole.unflatten(0, (-1, across)), min(images.shape[-1], 3 * CELL // across)))


def _caption(found: Interval, correct: float | None) -> str:
    right = f" · {correct:.0%} right" if correct is not None else ""
    return f"Div {found.mean:.3f}{right}"
