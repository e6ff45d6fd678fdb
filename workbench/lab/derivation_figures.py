"""The figures of the derivation notebook: densities, both sides of an identity, local minima, paths
and weights.

Every function takes lists or 1-D tensors and keeps a thinned fp32 copy, so that a figure stays
small in a notebook.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots
from torch import Tensor

from workbench.io.theme import FAINT, INK, NAMED, TEMPLATE, faded

_TEACHER, _STUDENT, _THIRD = NAMED["teacher"], NAMED["dp-dmd"], NAMED["dmd"]
SCALE = (_STUDENT, "#7c3aed", "#c026d3", "#ea580c", "#ca8a04")  # from reverse KL to forward KL
_POINTS = 180  # per line
SHOWN = [-5.5, 5.5]  # the range of x
# the legend of the right panel
BELOW = dict(orientation="h", x=1, xanchor="right", y=0, yref="container", yanchor="bottom")


def kl_figure(x: Tensor, log_p: Tensor, log_q: Tensor) -> go.Figure:
    """Student p and teacher q, and the integrand p log(p / q) whose signed area is the KL
    divergence. Eq. (10).
    """
    figure = _panels(["densities", "integrand of (10): p log(p / q)"])
    _line(figure, x, log_p.exp(), "student p", _STUDENT, 1, fill=True)
    _line(figure, x, log_q.exp(), "teacher q", _TEACHER, 1, fill=True)
    _line(figure, x, log_p.exp() * (log_p - log_q), "p log(p / q)", _THIRD, 2, fill=True)
    return figure.update_xaxes(title="x", range=SHOWN)


def continuity_figure(x: Tensor, change: Tensor, flow: Tensor, names: Sequence[str]) -> go.Figure:
    """A panel per parameter: dp / dtheta_k by finite differences (wide, pale), and -d(p u_k)
    / dx (dashed). Eq. (26).
    """
    figure = _panels(list(names), shared_yaxes=True)
    for column in range(len(names)):
        _line(
            figure,
            x,
            change[:, column],
            "dp / dθ by finite differences",
            _STUDENT,
            column + 1,
            legend=column == 0,
            width=6,
            pale=0.35,
        )
        _line(
            figure,
            x,
            flow[:, column],
            "−d(p u) / dx",
            INK,
            column + 1,
            legend=column == 0,
            width=1.6,
            dash="dash",
        )
    return figure.update_xaxes(title="x", range=SHOWN, tickvals=[-3, 0, 3]).update_layout(
        height=360
    )


def noise_figure(
    times: Sequence[float],
    on: dict[float, list[float]],
    near_times: Sequence[float],
    near: dict[float, list[float]],
) -> go.Figure:
    """dKL_t / dm against the noise level, a line per width of the modes: a student on one mode,
    and one next to it.
    """
    figure = _panels(
        ["student on the left mode: dKL_t / dm", "student next to it: dKL_t / dm at small t"]
    )
    for tint, (width, values) in zip((SCALE[0], SCALE[2], SCALE[3]), on.items()):
        _line(figure, times, values, f"modes of width {width:g}", tint, 1)
        _line(figure, near_times, near[width], f"modes of width {width:g}", tint, 2, legend=False)
    figure.update_yaxes(type="log", exponentformat="power", dtick=1, row=1, col=2)
    return figure.update_xaxes(title="noise level t")


def family_figure(
    x: Tensor,
    log_q: Tensor,
    fits: dict[float, tuple[float, float, float]],
    branches: dict[str, tuple[Sequence[float], list[tuple[float, float, float]]]],
) -> go.Figure:
    """Left: the teacher and the best Gaussian per beta of `fits` (mean, std, ...). Right: the mean
    of every local minimum, by beta.
    """
    figure = _panels(["the best Gaussian for D_β", "means of the local minima"])
    _line(figure, x, log_q.exp(), "teacher", _TEACHER, 1, fill=True)
    # lines that agree lie on each other
    for tint, thick, (beta, (mean, std, _)) in zip(SCALE, (7, 4, 1.4, 4.5, 1.6), fits.items()):
        _line(
            figure,
            x,
            torch.distributions.Normal(mean, std).log_prob(x).exp(),
            f"β = {beta:g}",
            tint,
            1,
            width=thick,
        )
    for (name, (betas, branch)), tint, size in zip(
        branches.items(), ("#0f766e", _THIRD, INK), (11, 7, 3)
    ):
        figure.add_trace(
            go.Scatter(
                x=_short(betas),
                y=_short([mean for mean, _, _ in branch]),
                mode="markers",
                name=name,
                marker=dict(color=tint, size=size),
                customdata=np.array([fit[1:] for fit in branch], dtype=np.float32),
                legend="legend2",
                hovertemplate=f"{name}, β %{{x}}: mean %{{y:.2f}}, std %{{customdata[0]:.2f}}, D "
                f"%{{customdata[1]:.3f}}<extra></extra>",
            ),
            1,
            2,
        )
    figure.update_xaxes(title="x", range=SHOWN, col=1).update_xaxes(
        title="β: reverse KL at 0, forward KL at 1", col=2
    )
    figure.update_layout(height=440, margin=dict(b=90), legend2=BELOW)
    return figure.update_yaxes(title="mean", col=2)


def endings_figure(x: Tensor, log_q: Tensor, endings: dict[str, Tensor]) -> go.Figure:
    """The teacher, and the log-density at which one student ended from several starts, a panel per
    start.
    """
    figure = _panels(list(endings), shared_yaxes=True)
    for column, (_name, log_p) in enumerate(endings.items(), 1):
        _line(figure, x, log_q.exp(), "teacher", _TEACHER, column, legend=column == 1, fill=True)
        _line(figure, x, log_p.exp(), "student", _STUDENT, column, legend=column == 1)
    return figure.update_xaxes(title="x", range=SHOWN).update_layout(height=360)


def chord_figure(
    path: Tensor,
    anchors: dict[int, Tensor],
    means: Tensor,
    times: Sequence[float],
    curves: dict[str, list[float]],
    marks: dict[str, float],
) -> go.Figure:
    """Left: a teacher's path [T + 1, 2] with the chord through each anchor z_K, extended to its x0.
    Right: `curves` over t_K, and vertical `marks`.
    """
    figure = _panels(
        ["one path and its chords, extended to t = 0", "the target x1 − v_target, by anchor"]
    )
    figure.add_trace(
        go.Scatter(
            x=_short(means[:, 0]),
            y=_short(means[:, 1]),
            mode="markers",
            name="modes",
            marker=dict(color=faded(_TEACHER, 0.3), size=26),
        ),
        1,
        1,
    )
    for tint, (k, x0) in zip((SCALE[3], SCALE[2], SCALE[1]), anchors.items()):
        figure.add_trace(
            go.Scatter(
                x=_short([path[0, 0], x0[0]]),
                y=_short([path[0, 1], x0[1]]),
                mode="lines+markers",
                name=f"K = {k}",
                line=dict(color=tint, width=1.6, dash="dash"),
                marker=dict(size=[0, 9]),
            ),
            1,
            1,
        )
        figure.add_trace(
            go.Scatter(
                x=_short(path[k : k + 1, 0]),
                y=_short(path[k : k + 1, 1]),
                mode="markers",
                showlegend=False,
                marker=dict(color=tint, size=11, symbol="circle-open", line_width=2),
                hovertemplate=f"z after {k} steps<extra></extra>",
            ),
            1,
            1,
        )
    figure.add_trace(
        go.Scatter(
            x=_short(path[:, 0]),
            y=_short(path[:, 1]),
            mode="lines+markers",
            name="teacher's path",
            line=dict(color=INK, width=2),
            marker=dict(size=4),
        ),
        1,
        1,
    )
    for (name, values), tint in zip(curves.items(), ("#be123c", "#0f766e", "#0369a1")):
        figure.add_trace(
            go.Scatter(
                x=_short(times),
                y=_short(values),
                mode="lines+markers",
                name=name,
                line=dict(color=tint, width=2),
                marker=dict(size=4),
                legend="legend2",
            ),
            1,
            2,
        )
    for height, (name, at) in zip((1.17, 1.08), marks.items()):
        figure.add_vline(at, line=dict(color=FAINT, dash="dot", width=1.2), row=1, col=2)
        figure.add_annotation(
            x=at,
            y=height,
            text=name,
            showarrow=False,
            xanchor="left",
            xshift=3,
            bgcolor="#ffffff",
            font=dict(size=11, color=FAINT),
            row=1,
            col=2,
        )
    figure.update_xaxes(title="x", scaleanchor="y", col=1).update_xaxes(
        title="time t_K of the anchor", range=[1.02, -0.02], col=2
    )
    return figure.update_yaxes(range=[-0.05, 1.22], col=2).update_layout(
        height=460, margin=dict(b=90), legend2=BELOW
    )


def weights_figure(
    times: Sequence[float], weights: dict[str, tuple[list[float], list[float], list[float]]]
) -> go.Figure:
    """The weight of a sample's x0_fake − x0_real by noise level: median over samples, with the
    range of the middle 80 %.
    """
    figure = go.Figure(layout=dict(template=TEMPLATE, height=380))
    for tint, (name, (low, middle, high)) in zip(
        (FAINT, _STUDENT, _THIRD, "#0f766e"), weights.items()
    ):
        figure.add_trace(
            go.Scatter(
                x=_short(list(times) + list(times)[::-1]),
                y=_short(high + low[::-1]),
                fill="toself",
                mode="none",
                fillcolor=faded(tint, 0.16),
                hoverinfo="skip",
                showlegend=False,
            )
        )
        figure.add_trace(
            go.Scatter(
                x=_short(times),
                y=_short(middle),
                mode="lines",
                name=name,
                line=dict(color=tint, width=2.2),
            )
        )
    figure.update_yaxes(
        type="log", title="weight of a sample", exponentformat="power", dtick=1
    ).update_layout(margin=dict(l=84))
    return figure.update_xaxes(title="noise level t")


def _panels(titles: Sequence[str], **options) -> go.Figure:
    figure = make_subplots(
        1,
        len(titles),
        subplot_titles=titles,
        horizontal_spacing=0.09 if len(titles) == 2 else 0.04,
        **options,
    )
    return figure.update_annotations(font_size=13).update_layout(
        template=TEMPLATE, height=380, margin=dict(t=84)
    )


def _line(
    figure: go.Figure,
    x,
    y,
    name: str,
    colour: str,
    column: int,
    fill: bool = False,
    legend: bool = True,
    width: float = 2.2,
    dash: str = "solid",
    pale: float = 1.0,
) -> None:
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    x, y = x[(x >= SHOWN[0]) & (x <= SHOWN[1])], y[(x >= SHOWN[0]) & (x <= SHOWN[1])]
    step = max(1, round(len(x) / _POINTS))
    figure.add_trace(
        go.Scatter(
            x=_short(x[::step]),
            y=_short(y[::step]),
            mode="lines",
            name=name,
            showlegend=legend,
            legendgroup=name,
            line=dict(color=faded(colour, pale), width=width, dash=dash),
            fill="tozeroy" if fill else None,
            fillcolor=faded(colour, 0.12),
        ),
        1,
        column,
    )


def _short(values) -> np.ndarray:
    """fp32, which plotly writes as base64: half a list's size, and not one line per number in a
    notebook's file.
    """
    return np.array([float(value) for value in values], dtype=np.float32)
