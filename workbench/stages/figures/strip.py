"""The strip: each model's belief x0 of the image, by seed and step, at equal noise level.

Columns are the steps of the model with most steps; another model's step is in the column of its
noise level, and its belief holds until its next step. Above the strip are the pictures of one
column, all seeds of all models; slider and play move it.
"""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go
import torch
from torch import Tensor

from workbench.io.theme import FAINT, INK, LINE, NAMED, TEMPLATE, data_uri, mosaic, placed, title_of
from workbench.stages.trajectory import Trajectory, TrajectoryImages, downsampled

# pixels: the figure's width, and the spaces around its parts
_WIDTH, _LEFT, _RIGHT, _HEAD, _FOOT, _BETWEEN, _GAP = 1180, 116, 12, 76, 52, 84, 14
_ROW, _LARGE = 44, 120  # the largest width of a cell of the strip, and of a picture above


@dataclass(frozen=True)
class _Panel:
    """The rows of one model, with the column of each of its steps."""

    name: str
    trajectory: Trajectory
    pictures: TrajectoryImages
    columns: list[int]
    fixed: Tensor  # [N, S]


def strip(
    trajectories: dict[str, Trajectory],
    pictures: dict[str, TrajectoryImages],
    fixed: dict[str, Tensor],
) -> go.Figure:
    """The figure. `fixed` [N, S] is each seed's commitment, for the hover texts. Raises ValueError
    if there is no trajectory.
    """
    if not trajectories:
        raise ValueError("there is no trajectory to show: record one")
    longest = max(trajectories.values(), key=len)
    levels = longest.times[:-1]
    panels = [
        _Panel(name, one, pictures[name], _columns(one, levels), fixed[name])
        for name, one in trajectories.items()
    ]
    seeds, count = longest.seeds, len(levels)
    inner = _WIDTH - _LEFT - _RIGHT
    large, row = min(_LARGE, inner / len(seeds)), min(_ROW, inner / count)
    bottoms = [_base(panels, n, seeds, row) for n in range(len(panels) + 1)]
    top, bottom = large * len(panels), row * (bottoms[-1])
    tall = top + _BETWEEN + bottom
    figure = go.Figure(
        layout=dict(
            template=TEMPLATE,
            width=_WIDTH,
            height=_HEAD + tall + _FOOT,
            margin=dict(l=_LEFT, r=_RIGHT, t=_HEAD, b=_FOOT),
            showlegend=False,
            hovermode="closest",
            dragmode=False,
            title=f"What each model believes, x0: “{longest.prompt}”",
            xaxis=dict(
                domain=[0, large * len(seeds) / inner],
                anchor="y",
                range=[-0.5, len(seeds) - 0.5],
                tickvals=list(range(len(seeds))),
                side="top",
                ticktext=[f"seed {seed}" for seed in seeds],
                showgrid=False,
                zeroline=False,
                fixedrange=True,
                ticks="",
            ),
            yaxis=dict(
                domain=[1 - top / tall, 1],
                range=[len(panels) - 0.5, -0.5],
                tickvals=list(range(len(panels))),
                fixedrange=True,
                ticktext=[f"<b>{title_of(panel.name)}</b>" for panel in panels],
                showgrid=False,
                zeroline=False,
                ticks="",
            ),
            xaxis2=dict(
                domain=[0, row * count / inner],
                anchor="y2",
                range=[-0.5, count - 0.5],
                showgrid=False,
                zeroline=False,
                fixedrange=True,
                tickvals=_ticks(count),
                ticktext=[f"{levels[n]:.2f}" for n in _ticks(count)],
                title=f"noise level t of the step (steps of {title_of(longest.model)})",
            ),
            yaxis2=dict(
                domain=[0, bottom / tall],
                range=[bottoms[-1] - 0.5, -0.5],
                showgrid=False,
                zeroline=False,
                fixedrange=True,
                ticks="",
                tickvals=[base + len(seeds) / 2 - 0.5 for base in bottoms[:-1]],
                ticktext=[
                    f"<b>{title_of(panel.name)}</b><br>{len(panel.trajectory)} steps"
                    for panel in panels
                ],
            ),
        )
    )
    images = [image for panel, base in zip(panels, bottoms) for image in _cells(panel, base, count)]
    figure.add_traces([_hover_strip(panel, base, row) for panel, base in zip(panels, bottoms)])
    end = bottoms[-1] - _GAP / row - 0.5
    figure.add_traces([_cursor(0, end), _hover_large(panels, 0, levels, large)])
    figure.layout.images = [*images, _large(panels, levels, 0)]
    figure.frames = [
        go.Frame(
            name=str(n),
            data=[_cursor(n, end), _hover_large(panels, n, levels, large)],
            traces=[len(panels), len(panels) + 1],
            layout=dict(images=[*[{} for _ in images], _large(panels, levels, n)]),
        )
        for n in range(count)
    ]
    _add_controls(figure, levels, row / inner, 1 - top / tall)
    return figure


def _columns(one: Trajectory, levels: Tensor) -> list[int]:
    """The column of each step of a pass: the first one at or below its noise level."""
    return [min(int((levels > float(t) + 1e-4).sum()), len(levels) - 1) for t in one.times[:-1]]


def _base(panels: list[_Panel], n: int, seeds: tuple, row: float) -> float:
    """The row at which panel `n` begins."""
    return n * (len(seeds) + _GAP / row)


def _ticks(count: int) -> list[int]:
    return list(range(0, count, max(1, count // 10)))


def _held(panel: _Panel, levels: Tensor, column: int) -> int:
    """The step, from 0, whose belief a model holds at a column."""
    return max(sum(own <= column for own in panel.columns) - 1, 0)


def _cells(panel: _Panel, base: float, count: int) -> list[dict]:
    """The pictures of a panel: one sheet for adjacent steps, else one per step."""
    seeds, side = len(panel.trajectory.seeds), _ROW
    if panel.columns == list(range(count)):
        sheet = mosaic(
            torch.stack([downsampled(step, side) for step in panel.pictures.beliefs], 1), side
        )
        return [placed(data_uri(sheet), -0.5, base - 0.5, count, seeds, "2")]
    return [
        placed(
            data_uri(mosaic(panel.pictures[step][:, None], side)),
            column - 0.5,
            base - 0.5,
            1,
            seeds,
            "2",
        )
        for step, column in enumerate(panel.columns)
    ]


def _large(panels: list[_Panel], levels: Tensor, column: int) -> dict:
    rows = torch.stack(
        [downsampled(panel.pictures[_held(panel, levels, column)], _LARGE) for panel in panels]
    )
    return placed(data_uri(mosaic(rows, rows.shape[-1])), -0.5, -0.5, rows.shape[1], len(panels))


def _hover_data(panel: _Panel, step: int, seed: int) -> list:
    alpha, sigma = panel.trajectory.alpha_sigma[step].tolist()
    return [
        title_of(panel.name),
        panel.trajectory.seeds[seed],
        step + 1,
        len(panel.trajectory),
        f"{float(panel.trajectory.times[step]):.3f}",
        f"{alpha:.3f}",
        f"{sigma:.3f}",
        f"{float(panel.fixed[step, seed]):.0%}",
    ]


HOVER = (
    "<b>%{customdata[0]}</b>, seed %{customdata[1]}, step %{customdata[2]} of "
    "%{customdata[3]}<br>t %{customdata[4]}, alpha "
    "%{customdata[5]}, sigma %{customdata[6]}<br>committed to its final image: "
    "%{customdata[7]}<extra></extra>"
)


def _hover_strip(panel: _Panel, base: float, row: float) -> go.Scatter:
    """Invisible points in the middle of each cell, which carry the hover texts."""
    at = [
        (column, base + seed, step, seed)
        for step, column in enumerate(panel.columns)
        for seed in range(len(panel.trajectory.seeds))
    ]
    return go.Scatter(
        x=[a[0] for a in at],
        y=[a[1] for a in at],
        xaxis="x2",
        yaxis="y2",
        mode="markers",
        hovertemplate=HOVER,
        marker=dict(size=row, symbol="square", color="rgba(0,0,0,0)"),
        customdata=[_hover_data(panel, a[2], a[3]) for a in at],
    )


def _hover_large(panels: list[_Panel], column: int, levels: Tensor, large: float) -> go.Scatter:
    at = [
        (row, seed, _held(panel, levels, column))
        for row, panel in enumerate(panels)
        for seed in range(len(panel.trajectory.seeds))
    ]
    return go.Scatter(
        x=[a[1] for a in at],
        y=[a[0] for a in at],
        mode="markers",
        hovertemplate=HOVER,
        marker=dict(size=large, symbol="square", color="rgba(0,0,0,0)"),
        customdata=[_hover_data(panels[a[0]], a[2], a[1]) for a in at],
    )


def _cursor(column: int, bottom: float) -> go.Scatter:
    """A frame around the column that is shown large."""
    left, right, top = column - 0.5, column + 0.5, -0.5
    return go.Scatter(
        x=[left, right, right, left, left],
        y=[top, top, bottom, bottom, top],
        xaxis="x2",
        yaxis="y2",
        mode="lines",
        line=dict(color=NAMED["dp-dmd"], width=2),
        hoverinfo="skip",
    )


def _add_controls(figure: go.Figure, levels: Tensor, column: float, y: float) -> None:
    """Slider and play below the large pictures, at `y`; `column` is the width of a column, so that
    the handle is above its column.
    """
    still = dict(
        mode="immediate", frame=dict(duration=0, redraw=False), transition=dict(duration=0)
    )
    playing = dict(
        fromcurrent=True,
        mode="immediate",
        frame=dict(duration=250, redraw=False),
        transition=dict(duration=0),
    )
    figure.layout.sliders = [
        dict(
            x=column / 2,
            len=column * (len(levels) - 1),
            y=y,
            yanchor="top",
            pad=dict(t=6, b=0, l=0, r=0),
            ticklen=0,
            minorticklen=0,
            bgcolor=LINE,
            bordercolor=LINE,
            font=dict(color="rgba(0,0,0,0)", size=1),
            currentvalue=dict(
                prefix="shown above: t = ", xanchor="left", font=dict(color=INK, size=13)
            ),
            steps=[
                dict(label=f"{level:.3f}", method="animate", args=[[str(n)], still])
                for n, level in enumerate(levels.tolist())
            ],
        )
    ]
    figure.layout.updatemenus = [
        dict(
            type="buttons",
            direction="left",
            x=0,
            y=y,
            xanchor="right",
            yanchor="top",
            pad=dict(t=18, r=10),
            showactive=False,
            bgcolor="#ffffff",
            bordercolor=LINE,
            font=dict(size=11, color=FAINT),
            buttons=[
                dict(label="▶", method="animate", args=[None, playing]),
                dict(label="❚❚", method="animate", args=[[None], still]),
            ],
        )
    ]
