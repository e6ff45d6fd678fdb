"""Planning a study: how its power grows, and the p of a test that treats votes as independent."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from workbench.io.theme import FAINT, NAMED, OTHERS, TEMPLATE
from workbench.study.analysis.power import Power


def power_curves(results: Sequence[Power], title: str) -> go.Figure:
    """A line per true win rate over the number of prompts, with the simulation's 95 % interval."""
    figure = go.Figure(layout=dict(template=TEMPLATE, title=title, height=400))
    for rate, colour in zip(dict.fromkeys(one.rate for one in results), OTHERS):
        line = sorted((one for one in results if one.rate == rate), key=lambda one: one.prompts)
        figure.add_trace(
            go.Scatter(
                x=[one.prompts for one in line],
                y=[one.power for one in line],
                mode="lines+markers",
                name=f"true rate {rate:g}",
                line=dict(color=colour),
                error_y=dict(
                    array=[one.high - one.power for one in line],
                    arrayminus=[one.power - one.low for one in line],
                    thickness=1,
                    width=3,
                ),
            )
        )
    figure.add_hline(0.8, line=dict(color=FAINT, dash="dash", width=1.2))
    figure.update_xaxes(title="prompts", tickvals=sorted({one.prompts for one in results}))
    figure.update_yaxes(title="share of studies that detect it", range=[0, 1.02], tickformat=".0%")
    return figure


def p_histogram(values: dict[str, Sequence[float]], title: str) -> go.Figure:
    """The p of many studies without a difference, by test: flat if the test keeps its level."""
    figure = go.Figure(
        layout=dict(template=TEMPLATE, title=title, height=360, barmode="overlay", bargap=0.04)
    )
    for (name, found), colour in zip(values.items(), (NAMED["dmd"], NAMED["dp-dmd"])):
        figure.add_trace(
            go.Histogram(
                x=[round(value, 4) for value in found],
                name=name,
                xbins=dict(start=0, end=1, size=0.05),
                marker_color=colour,
                opacity=0.6,
                histnorm="probability",
            )
        )
    figure.add_hline(0.05, line=dict(color=FAINT, dash="dash", width=1.2))
    figure.update_xaxes(title="p", range=[0, 1])
    figure.update_yaxes(title="share of studies", tickformat=".0%")
    return figure
