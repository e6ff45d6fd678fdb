"""The figures of an ablation: the plane of diversity and quality with its frontier, the ladder of a
setting, and the map of the fake network's lag.
"""

from __future__ import annotations

import statistics

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.io.theme import FAINT, INK, LINE, NAMED, TEMPLATE, faded

Point = tuple[float, float]  # diversity, quality
_DMD, _OURS = NAMED["dmd"], NAMED["dp-dmd"]


def plane(points: dict[str, list[Point]], teacher: Point, quality: str, title: str) -> go.Figure:
    """Each setting at the mean of its training seeds (one point each), with lines over their
    range; the steps join the settings that no other beats in both: the frontier. `quality` is the
    title of the vertical axis.
    """
    # runs that two settings share are one point
    first = {tuple(seeds): label for label, seeds in reversed(points.items())}
    means = {
        label: mean_of(seeds) for label, seeds in points.items() if first[tuple(seeds)] == label
    }
    figure = go.Figure(layout=dict(template=TEMPLATE, title=title, height=430, showlegend=False))
    edge = frontier(list(means.values()))
    figure.add_trace(
        go.Scatter(
            x=[x for x, _ in edge],
            y=[y for _, y in edge],
            mode="lines",
            hoverinfo="skip",
            line=dict(color=FAINT, dash="dot", width=1.4, shape="vh"),
        )
    )
    for n, (label, (x, y)) in enumerate(means.items()):
        colour = _DMD if label.startswith("DMD") else _OURS
        across, up = ([value[axis] for value in points[label]] for axis in (0, 1))
        figure.add_trace(
            go.Scatter(
                x=[x],
                y=[y],
                mode="markers+text",
                text=[label],
                textposition=("top center", "bottom center")[n % 2],
                textfont=dict(size=11, color=colour),
                marker=dict(color=colour, size=9),
                error_x=_range(across, x, colour),
                error_y=_range(up, y, colour),
                hovertemplate=f"{label}: %{{x:.3f}}, %{{y:.2f}} ({len(across)} training "
                "seeds)<extra></extra>",
            )
        )
    figure.add_trace(
        go.Scatter(
            x=[teacher[0]],
            y=[teacher[1]],
            mode="markers+text",
            text=["teacher"],
            textposition="top center",
            marker=dict(symbol="star", size=13, color=NAMED["teacher"]),
            hovertemplate="teacher: %{x:.3f}, %{y:.2f}<extra></extra>",
        )
    )
    figure.update_xaxes(title="diversity, Eq. (9)")
    figure.update_yaxes(title=quality)
    return figure


def frontier(points: list[Point]) -> list[Point]:
    """The points that no other reaches in both coordinates, by rising first coordinate."""
    best, kept = float("-inf"), []
    for x, y in sorted(points, reverse=True):
        if y > best:
            best = y
            kept.append((x, y))
    return kept[::-1]


def mean_of(points: list[Point]) -> Point:
    """The mean of both coordinates."""
    return statistics.mean(x for x, _ in points), statistics.mean(y for _, y in points)


def _range(values: list[float], mean: float, colour: str) -> dict:
    return dict(
        array=[max(values) - mean],
        arrayminus=[mean - min(values)],
        thickness=1.2,
        width=3,
        color=faded(colour, 0.5),
    )


def ladder(
    settings: list[float],
    readings: dict[str, list[list[float]]],
    references: dict[str, dict[str, float]],
    name: str,
    title: str,
    log: bool = False,
) -> go.Figure:
    """A panel per reading over a setting called `name`: a line through the means, a dot per
    training seed (a gap if there is none); dashed the `references` by reading, e.g. the teacher and
    DMD.
    """
    figure = make_subplots(1, len(readings), subplot_titles=list(readings), horizontal_spacing=0.14)
    figure.update_layout(
        template=TEMPLATE, title=title, height=340, showlegend=False, margin=dict(t=84, r=60)
    )
    for column, (reading, scores) in enumerate(readings.items(), 1):
        means = [statistics.mean(values) if values else None for values in scores]
        figure.add_trace(
            go.Scatter(x=settings, y=means, mode="lines", line=dict(color=_OURS, width=2)),
            1,
            column,
        )
        figure.add_trace(
            go.Scatter(
                x=[x for x, values in zip(settings, scores) for _ in values],
                y=[value for values in scores for value in values],
                mode="markers",
                marker=dict(color=_OURS, size=7),
                hovertemplate=f"{name} = %{{x}}: %{{y:.3f}}<extra></extra>",
            ),
            1,
            column,
        )
        for label, value in references[reading].items():
            figure.add_hline(
                value,
                line=dict(color=_DMD if label.startswith("DMD") else FAINT, dash="dash", width=1.2),
                row=1,
                col=column,
                annotation_text=label,
                annotation_position="right",
                annotation_font_size=11,
            )
    figure.update_xaxes(
        title=name,
        type="log" if log else "linear",
        tickvals=settings,
        ticktext=[f"{x:g}" for x in settings],
    )
    return figure


def lag_map(
    rows: list[int],
    columns: list[float],
    diversity: list[list[float]],
    quality: list[list[float]],
    title: str,
) -> go.Figure:
    """The share of the teacher's diversity that DMD keeps, by fake updates per round (rows) and the
    student's rate over the fake network's (columns); each cell also holds the share of correct
    images.
    """
    figure = go.Figure(
        go.Heatmap(
            x=[f"{ratio:g}" for ratio in columns],
            y=[str(row) for row in rows],
            z=diversity,
            zmin=0.4,
            zmax=1.1,
            xgap=3,
            ygap=3,
            colorscale=[[0, _DMD], [0.5, "#fbe3d6"], [1, "#8b84e6"]],
            colorbar=dict(title="share kept", tickformat=".0%"),
            text=[
                [f"{kept:.0%}<br>correct {right:.2f}" for kept, right in zip(*pair)]
                for pair in zip(diversity, quality)
            ],
            texttemplate="%{text}",
            textfont=dict(size=13, color=INK),
            hovertemplate="%{y} fake updates, rate %{x}: %{text}<extra></extra>",
        )
    )
    figure.update_layout(template=TEMPLATE, title=title, height=380)
    figure.update_xaxes(
        title="student's learning rate over the fake network's",
        type="category",
        showgrid=False,
        linecolor=LINE,
    )
    figure.update_yaxes(
        title="fake updates per round", type="category", showgrid=False, linecolor=LINE
    )
    return figure
