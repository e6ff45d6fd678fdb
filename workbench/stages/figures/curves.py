"""The curves over noise level t, teacher against students: commitment, diversity left after
branching, band power, and the factors of scenes.

All share one x axis, falling from noise (t = 1) to data; a belief is drawn at the level at which
the model formed it.
"""

from __future__ import annotations

import math

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.io.tables import interval_text
from workbench.io.theme import TEMPLATE, colours, faded, title_of
from workbench.metrics.diversity import Interval
from workbench.stages.bands import BandPower, band_names
from workbench.stages.branching import Split
from workbench.stages.commitment import Commitment, fixed_by, fixed_curve
from workbench.stages.trajectory import Trajectory

LEVEL = "noise level t"


def commitment_curves(
    trajectories: dict[str, Trajectory], full: dict[str, Commitment], low: dict[str, Commitment]
) -> go.Figure:
    """Left: the distance of each belief to its own final image (solid) and to other seeds'
    (dashed), low-passed. Right: the share that is fixed, with intervals over seeds; dotted: on the
    full pictures. Below: the steps by which half and nine tenths are fixed.
    """
    figure = make_subplots(
        1,
        2,
        horizontal_spacing=0.08,
        column_widths=[0.42, 0.58],
        subplot_titles=(
            "RMS distance to its own final image; dashed: to others'",
            "Share of the final structure that is fixed",
        ),
    )
    figure.update_layout(
        _layout("Commitment"), height=440, margin=dict(b=48 + 18 * len(trajectories))
    )
    tints, captions = colours(list(trajectories)), []
    for name, trajectory in trajectories.items():
        times, line = trajectory.times[:-1].tolist(), dict(color=tints[name], width=2)
        for distance, dash, what in (
            (low[name].own, "solid", "own"),
            (low[name].others, "dash", "others'"),
        ):
            figure.add_trace(
                go.Scatter(
                    x=times,
                    y=distance.mean(1).sqrt().tolist(),
                    mode="lines",
                    line=line | dict(dash=dash),
                    legendgroup=name,
                    showlegend=False,
                    hovertemplate=f"{title_of(name)}, {what}: %{{y:.3f}}<extra></extra>",
                ),
                1,
                1,
            )
        _band(
            figure, times, fixed_curve(low[name]), tints[name], title_of(name), len(trajectory), 2
        )
        figure.add_trace(
            go.Scatter(
                x=times,
                y=full[name].fixed.tolist(),
                mode="lines",
                line=line | dict(dash="dot", width=1.3),
                legendgroup=name,
                showlegend=False,
                hovertemplate=f"{title_of(name)}, full picture: %{{y:.0%}}<extra></extra>",
            ),
            1,
            2,
        )
        captions.append(
            f"<b>{title_of(name)}</b>: "
            + "; ".join(_fixed_by(trajectory, low[name], share) for share in (0.5, 0.9))
        )
    figure.add_annotation(
        text="<br>".join(captions),
        x=0,
        y=0,
        xref="paper",
        yref="paper",
        xanchor="left",
        yanchor="top",
        yshift=-48,
        align="left",
        showarrow=False,
        font=dict(size=12),
    )
    figure.update_xaxes(title=LEVEL, range=[1.02, -0.02])
    figure.update_yaxes(rangemode="tozero", col=1)
    figure.update_yaxes(range=[-0.1, 1.04], tickformat=".0%", col=2)
    return figure


def _fixed_by(trajectory: Trajectory, low_passed: Commitment, share: float) -> str:
    step, low, high = fixed_by(low_passed, share)
    return (
        f"{share:.0%} fixed by step {interval_text(step, low, high, 0)} of {len(trajectory)} (t = "
        f"{float(trajectory.times[step - 1]):.2f})"
    )


def branching_curves(
    branches: dict[str, list[tuple[float, Split]]], whole: set[str], feature: str
) -> go.Figure:
    """Diversity left after a level, within parents, and next to it the intraclass correlation;
    from (t, split) of each model. The lines of `whole` models continue to t = 0, where no diversity
    is left and everything is decided.
    """
    figure = make_subplots(
        1,
        2,
        subplot_titles=(
            f"Diversity still left, Eq. (9) on {feature}",
            "Already decided (intraclass correlation)",
        ),
        horizontal_spacing=0.08,
    )
    figure.update_layout(_layout("What fresh noise after a level can still change"))
    tints = colours(list(branches))
    for name, points in branches.items():
        times = [t for t, _ in points] + [0.0] * (name in whole)
        for column, read, end in ((1, lambda s: s.within, 0.0), (2, lambda s: s.icc, 1.0)):
            intervals = [read(split) for _, split in points] + [
                Interval(end, math.nan, math.nan)
            ] * (name in whole)
            _band(
                figure,
                times,
                intervals,
                tints[name],
                title_of(name),
                len(points),
                column,
                legend=column == 1,
            )
    figure.update_xaxes(title=LEVEL, range=[1.02, -0.02])
    figure.update_yaxes(range=[-0.25, 1.04], col=2)
    return figure


def band_curves(
    trajectories: dict[str, Trajectory], bands: dict[str, BandPower], side: int
) -> go.Figure:
    """Band power of x0 relative to the final image's, with its interval over seeds; a panel per
    octave of pictures `side` pixels wide.
    """
    names, tints = band_names(side), colours(list(trajectories))
    figure = make_subplots(
        1,
        len(names),
        subplot_titles=[f"{name} cycles" for name in names],
        shared_yaxes=True,
        horizontal_spacing=0.02,
    )
    figure.update_layout(_layout("Power of x0 by frequency band, against the final image's"))
    for name, trajectory in trajectories.items():
        for column in range(len(names)):
            intervals = [bands[name].interval(step, column) for step in range(len(trajectory))]
            _band(
                figure,
                trajectory.times[:-1].tolist(),
                intervals,
                tints[name],
                title_of(name),
                len(trajectory),
                column + 1,
                legend=column == 0,
            )
    figure.update_xaxes(range=[1.04, -0.04], title=LEVEL, tickvals=[1, 0.5, 0])
    figure.update_yaxes(rangemode="tozero")
    return figure


def factor_curves(trajectories: dict[str, Trajectory], factors: dict[str, dict]) -> go.Figure:
    """On scenes: the share of seeds whose factor has its final value, a panel per factor."""
    names, tints = list(next(iter(factors.values()))), colours(list(trajectories))
    figure = make_subplots(
        1, len(names), subplot_titles=names, shared_yaxes=True, horizontal_spacing=0.02
    )
    figure.update_layout(_layout("When each factor has its final value, share of seeds"))
    for name, trajectory in trajectories.items():
        for column, factor in enumerate(names, 1):
            figure.add_trace(
                go.Scatter(
                    x=trajectory.times[:-1].tolist(),
                    y=factors[name][factor].mean(1).tolist(),
                    mode="lines+markers",
                    name=title_of(name),
                    legendgroup=name,
                    showlegend=column == 1,
                    line=dict(color=tints[name], width=1.8, shape="hv"),
                    marker=dict(size=_marker(len(trajectory))),
                    hovertemplate=f"{title_of(name)}, t %{{x:.3f}}: %{{y:.0%}}<extra></extra>",
                ),
                1,
                column,
            )
    figure.update_xaxes(range=[1.04, -0.04], title=LEVEL, tickvals=[1, 0.5, 0])
    figure.update_yaxes(range=[-0.04, 1.04], tickformat=".0%")
    return figure


def _layout(title: str) -> dict:
    return dict(template=TEMPLATE, title=title, height=360, margin=dict(t=84))


def _marker(steps: int) -> int:
    return 8 if steps <= 8 else 4


def _band(
    figure: go.Figure,
    times: list[float],
    intervals: list[Interval],
    colour: str,
    name: str,
    steps: int,
    column: int,
    legend: bool = True,
) -> None:
    """A line with its interval as a ribbon, which has no width where there is no interval."""
    known = [Interval(i.mean, i.mean, i.mean) if math.isnan(i.low) else i for i in intervals]
    ribbon = go.Scatter(
        x=times + times[::-1],
        y=[i.high for i in known] + [i.low for i in known[::-1]],
        fill="toself",
        mode="none",
        fillcolor=faded(colour, 0.14),
        hoverinfo="skip",
        showlegend=False,
        legendgroup=name,
    )
    line = go.Scatter(
        x=times,
        y=[i.mean for i in intervals],
        mode="lines+markers",
        name=name,
        legendgroup=name,
        showlegend=legend,
        line=dict(color=colour, width=2),
        marker=dict(size=_marker(steps)),
        customdata=[interval_text(*i) for i in intervals],
        hovertemplate=f"{name}, t %{{x:.3f}}: %{{customdata}}<extra></extra>",
    )
    figure.add_traces([ribbon, line], rows=1, cols=column)
