"""Which gradient reaches which step: each method's terms by the student's steps, and the gradient
stop.
"""

from __future__ import annotations

import math

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.core.methods import method_title
from workbench.io.theme import FAINT, INK, NAMED, TEMPLATE
from workbench.stages.gradients import GradientNorms

TERM_TITLES = {"dmd": "DMD", "diversity": "diversity"}


def reach_matrix(reaches: dict[str, GradientNorms], title: str) -> go.Figure:
    """A panel per method: the norm of each term's weighted gradient at each step, mean over batches
    (their range on hover); a line where the gradient of later steps stops; below, the cosine
    between two terms where both arrive.
    """
    figure = make_subplots(
        1,
        len(reaches),
        subplot_titles=[method_title(method) for method in reaches],
        horizontal_spacing=0.06,
    )
    figure.update_layout(template=TEMPLATE, title=title, height=300, margin=dict(l=90, t=84, b=84))
    top = (
        max(float(norms.max()) for reach in reaches.values() for norms in reach.norms.values())
        or 1.0
    )
    for column, reach in enumerate(reaches.values(), 1):
        terms = list(reach.norms)[::-1]  # a heatmap's first row is its lowest
        steps = list(range(1, 1 + len(next(iter(reach.norms.values()))[0])))
        mean = [reach.norms[term].mean(0).tolist() for term in terms]
        figure.add_trace(
            go.Heatmap(
                x=steps,
                y=[TERM_TITLES.get(term, term) for term in terms],
                z=[[_shade(value, top) for value in row] for row in mean],
                zmin=0,
                zmax=1,
                colorscale=[[0, "#f4f5f8"], [1, NAMED["dp-dmd"]]],
                showscale=False,
                xgap=3,
                ygap=3,
                texttemplate="%{text}",
                text=[[_cell(reach, term, step) for step in range(len(steps))] for term in terms],
                hoverinfo="text",
                hovertext=[
                    [_hover(reach, term, step) for step in range(len(steps))] for term in terms
                ],
                textfont=dict(size=13),
            ),
            1,
            column,
        )
        if reach.detach_after:
            figure.add_vline(
                reach.detach_after + 0.5, line=dict(color="#be123c", width=3), row=1, col=column
            )
            figure.add_annotation(
                x=reach.detach_after + 0.5,
                y=1,
                yref="y domain" if column == 1 else f"y{column} domain",
                text="stop",
                xanchor="left",
                yanchor="top",
                showarrow=False,
                font=dict(color="#be123c", size=11),
                row=1,
                col=column,
            )
        figure.update_xaxes(
            title="student step" + _agreement(reach), dtick=1, showgrid=False, row=1, col=column
        )
        figure.update_yaxes(showgrid=False, ticks="", row=1, col=column)
    return figure


def _shade(value: float, top: float) -> float:
    """From 0 to 1 over three orders of magnitude; 0 for a gradient that does not arrive."""
    return max(0.0, 1 + math.log10(value / top) / 3) * 0.75 + 0.05 if value > 0 else 0.0


def _cell(reach: GradientNorms, term: str, step: int) -> str:
    values = reach.norms[term][:, step]
    if float(values.max()) == 0:
        return "0"
    return f"{float(values.mean()):.2g}"


def _hover(reach: GradientNorms, term: str, step: int) -> str:
    values = reach.norms[term][:, step]
    if float(values.max()) == 0:
        return f"{TERM_TITLES.get(term, term)} does not reach step {step + 1}"
    return (
        f"norm of {TERM_TITLES.get(term, term)}'s gradient at step {step + 1}: "
        f"{float(values.mean()):.3g}, over {len(values)} batches "
        f"{float(values.min()):.3g} to {float(values.max()):.3g}"
    )


def _agreement(reach: GradientNorms) -> str:
    """The cosine of two terms at the steps that both reach."""
    lines = []
    for (one, other), values in reach.cosines.items():
        mean = values.nanmean(0)
        pair = f"{TERM_TITLES.get(one, one)} and {TERM_TITLES.get(other, other)}"
        lines += [
            f"step {step + 1}: cosine of {pair} {float(mean[step]):+.2f}"
            for step in range(len(mean))
            if not math.isnan(mean[step])
        ]
    colour, text = (INK, "; ".join(lines)) if lines else (FAINT, " ")
    return f"<br><span style='font-size:11px;color:{colour}'>{text}</span>"
