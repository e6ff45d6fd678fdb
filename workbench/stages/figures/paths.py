"""The paths of all seeds and models on one plane, and the length of their steps."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots
from torch import Tensor

from workbench.io.theme import TEMPLATE, colours, title_of
from workbench.stages.paths import Plane
from workbench.stages.trajectory import Trajectory


def path_curves(
    trajectories: dict[str, Trajectory], plane: Plane, moved: dict[str, Tensor]
) -> go.Figure:
    """Left: the beliefs x0 of each seed, from a small dot (first step) to a large one, on the
    plane of `project`. Right: the root mean square change of the state in each step, `moved` [N,
    S], per unit of t, mean over seeds.
    """
    figure = make_subplots(
        1,
        2,
        column_widths=[0.6, 0.4],
        horizontal_spacing=0.09,
        subplot_titles=(
            "Beliefs x0 on their common plane",
            "Speed of the state, RMS change per unit of t",
        ),
    )
    figure.update_layout(template=TEMPLATE, title="Paths", height=480, margin=dict(t=84))
    tints = colours(list(trajectories))
    for (name, trajectory), points in zip(trajectories.items(), plane.paths):
        steps, seeds = points.shape[:2]
        for seed in range(seeds):
            figure.add_trace(
                go.Scatter(
                    x=points[:, seed, 0].tolist(),
                    y=points[:, seed, 1].tolist(),
                    mode="lines+markers",
                    name=title_of(name),
                    legendgroup=name,
                    showlegend=seed == 0,
                    line=dict(color=tints[name], width=1.4),
                    opacity=0.8,
                    marker=dict(
                        size=[3 + 6 * (step + 1 == steps) for step in range(steps)],
                        color=tints[name],
                    ),
                    customdata=[
                        [trajectory.seeds[seed], step + 1, float(trajectory.times[step])]
                        for step in range(steps)
                    ],
                    hovertemplate=f"{title_of(name)}, seed %{{customdata[0]}}, step "
                    f"%{{customdata[1]}}, t %{{customdata[2]:.3f}}"
                    "<extra></extra>",
                ),
                1,
                1,
            )
        span = (trajectory.times[:-1] - trajectory.times[1:]).clamp(min=1e-6)
        figure.add_trace(
            go.Scatter(
                x=((trajectory.times[:-1] + trajectory.times[1:]) / 2).tolist(),
                y=(moved[name].mean(1) / span).tolist(),
                mode="lines+markers",
                legendgroup=name,
                showlegend=False,
                line=dict(color=tints[name], width=2),
                marker=dict(size=5),
                hovertemplate=f"{title_of(name)}, t %{{x:.3f}}: %{{y:.2f}}<extra></extra>",
            ),
            1,
            2,
        )
    first, second = plane.explained
    figure.update_xaxes(title=f"first component, {first:.0%} of the variance", row=1, col=1)
    figure.update_yaxes(title=f"second, {second:.0%}", row=1, col=1)
    figure.update_xaxes(title="noise level t", range=[1.02, -0.02], row=1, col=2)
    figure.update_yaxes(rangemode="tozero", row=1, col=2)
    return figure
