"""A training as it goes on: losses, gradient norms by update and by the student's step, and the
diversity of the run's panel.
"""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.io.theme import FAINT, NAMED, TEMPLATE, colours, title_of

DASHES = {
    "dmd": "solid",
    "diversity": "dash",
    "lpips": "dash",
    "adversarial": "dot",
    "denoising": "solid",
}
POINTS = 400  # of a line; of a longer one every so many


def training_figure(
    rows: dict[str, list[dict]],
    terms: dict[str, list[str]],
    steps: int,
    teacher: float | None = None,
) -> go.Figure:
    """Of each run the rows of its metrics.jsonl (`Run.metrics`), with the `terms` of its student's
    loss and the number of the student's `steps`; `teacher` is the teacher's diversity on the same
    panel. The traces are the same ones from the first round on, so that a live figure can be
    filled again in place.
    """
    figure = make_subplots(
        2,
        3,
        column_widths=[0.36, 0.36, 0.28],
        horizontal_spacing=0.09,
        vertical_spacing=0.2,
        specs=[[{}, {}, {"type": "domain"}], [{}, {}, {}]],
        subplot_titles=(
            "student: loss of each term",
            "fake network: denoising loss",
            "",
            "gradient norm by update",
            "gradient norm by student step",
            "diversity of the panel (dashed: teacher)",
        ),
    )
    figure.update_annotations(font_size=12)
    figure.update_layout(
        template=TEMPLATE, height=520, margin=dict(t=70, r=24), bargap=0.3, barmode="group"
    )
    tints = colours(list(rows))
    for name, found in rows.items():
        student, fake, readings, reaches = (
            _of(found, kind) for kind in ("student", "fake", "reading", "gradients")
        )
        for term in terms[name]:
            figure.add_trace(
                _line(
                    name,
                    tints[name],
                    student,
                    lambda row: row["losses"].get(term),
                    term,
                    DASHES.get(term, "dot"),
                ),
                1,
                1,
            )
        figure.add_trace(
            _line(name, tints[name], fake, lambda row: row["losses"]["denoising"], "denoising"),
            1,
            2,
        )
        figure.add_trace(
            _line(name, tints[name], student, lambda row: row["grad_norm"], "student", legend=True),
            2,
            1,
        )
        figure.add_trace(
            _line(name, tints[name], fake, lambda row: row["grad_norm"], "fake", "dot"), 2, 1
        )
        last = reaches[-1]["norms"] if reaches else {}
        for term in terms[name]:
            figure.add_trace(
                go.Bar(
                    x=[f"{n}" for n in range(1, steps + 1)],
                    y=last.get(term, [None] * steps),
                    name=term,
                    showlegend=False,
                    marker=dict(color=tints[name], opacity=1.0 if term == "dmd" else 0.45),
                    hovertemplate=f"{title_of(name)}, {term}, step %{{x}}: "
                    f"%{{y:.3f}}<extra></extra>",
                ),
                2,
                2,
            )
        figure.add_trace(
            _line(
                name, tints[name], readings, lambda row: row["diversity"], "diversity", marks=True
            ),
            2,
            3,
        )
    ends = [0, max((row["round"] for found in rows.values() for row in found), default=1)]
    figure.add_trace(
        go.Scatter(
            x=ends,
            y=[teacher, teacher],
            mode="lines",
            name="teacher",
            showlegend=False,
            hoverinfo="name",
            line=dict(color=FAINT, dash="dash", width=1.4),
        ),
        2,
        3,
    )
    figure.add_trace(_gauge(rows, tints, teacher), 1, 3)
    figure.update_yaxes(rangemode="tozero")
    figure.update_yaxes(
        type="log", rangemode="normal", row=1, col=1, exponentformat="power", nticks=4
    )
    figure.update_xaxes(title="round", row=2, col=1)
    figure.update_xaxes(title="step", type="category", row=2, col=2)
    figure.update_xaxes(title="round", row=2, col=3)
    return figure


def _gauge(
    rows: dict[str, list[dict]], tints: dict[str, str], teacher: float | None
) -> go.Indicator:
    """The last reading of the run that was read last, against the teacher's."""
    read = {
        name: _of(found, "reading")[-1] for name, found in rows.items() if _of(found, "reading")
    }
    name = list(read)[-1] if read else None
    value = read[name]["diversity"] if name else None
    top = 1.25 * (teacher or value or 0.4)
    return go.Indicator(
        mode="gauge+number",
        value=value,
        number=dict(valueformat=".3f", font_size=22),
        title=dict(
            text=f"diversity now: {title_of(name)}" if name else "diversity now", font_size=12
        ),
        gauge=dict(
            axis=dict(range=[0, top], nticks=5),
            bar=dict(color=tints.get(name, FAINT)),
            threshold=dict(
                value=teacher or 0, line=dict(color=NAMED["teacher"], width=3), thickness=0.9
            ),
        ),
    )


def _of(rows: list[dict], kind: str) -> list[dict]:
    return [row for row in rows if row["kind"] == kind]


def _line(
    name: str,
    colour: str,
    rows: list[dict],
    read,
    what: str,
    dash: str = "solid",
    legend: bool = False,
    marks: bool = False,
) -> go.Scatter:
    thinned = rows[:: -(-len(rows) // POINTS) or 1]
    return go.Scatter(
        x=[row["round"] for row in thinned],
        y=[_rounded(read(row)) for row in thinned],
        mode="lines+markers" if marks else "lines",
        name=title_of(name),
        legendgroup=name,
        showlegend=legend,
        line=dict(color=colour, dash=dash, width=1.6),
        hovertemplate=f"{title_of(name)}, {what}, round %{{x}}: %{{y:.4f}}<extra></extra>",
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
