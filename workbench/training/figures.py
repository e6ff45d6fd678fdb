"""A training in progress: losses, gradient norms by update and by the student's step, and the
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
LINE_POINTS = 400  # at most, per line; longer ones are thinned evenly


def training_figure(
    rows: dict[str, list[dict]],
    terms: dict[str, list[str]],
    steps: int,
    teacher: float | None = None,
) -> go.Figure:
    """The curves of each run in `rows`, the rows of its metrics.jsonl (`Run.metrics`), with the
    `terms` of its student's loss and the number of the student's `steps`; `teacher` is the
    teacher's diversity on the same panel. The traces are the same from the first round on, so that
    a live figure can be updated in place.
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
    for name, run in rows.items():
        _add_run(figure, name, tints[name], run, terms[name], steps)
    ends = [0, max((row["round"] for run in rows.values() for row in run), default=1)]
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


def _add_run(
    figure: go.Figure, name: str, colour: str, rows: list[dict], terms: list[str], steps: int
) -> None:
    """The traces of one run."""
    student, fake, gradients = (_of(rows, kind) for kind in ("student", "fake", "gradients"))
    readings = comparable_readings(rows)

    def line(row: int, column: int, rows: list[dict], values: list, what: str, **style) -> None:
        figure.add_trace(_line(name, colour, rows, values, what, **style), row, column)

    for term in terms:
        losses = [row["losses"].get(term) for row in student]
        line(1, 1, student, losses, term, dash=DASHES.get(term, "dot"))
    line(1, 2, fake, [row["losses"]["denoising"] for row in fake], "denoising")
    line(2, 1, student, [row["grad_norm"] for row in student], "student", legend=True)
    line(2, 1, fake, [row["grad_norm"] for row in fake], "fake", dash="dot")
    last = gradients[-1]["norms"] if gradients else {}
    for term in terms:
        figure.add_trace(
            go.Bar(
                x=[f"{n}" for n in range(1, steps + 1)],
                y=last.get(term, [None] * steps),
                name=term,
                showlegend=False,
                marker=dict(color=colour, opacity=1.0 if term == "dmd" else 0.45),
                hovertemplate=f"{title_of(name)}, {term}, step %{{x}}: %{{y:.3f}}<extra></extra>",
            ),
            2,
            2,
        )
    line(2, 3, readings, [row["diversity"] for row in readings], "diversity", marks=True)


def _gauge(
    rows: dict[str, list[dict]], tints: dict[str, str], teacher: float | None
) -> go.Indicator:
    """The last reading of the last run that has one, against the teacher's."""
    readings = {name: comparable_readings(run) for name, run in rows.items()}
    name = next((name for name in reversed(readings) if readings[name]), None)
    value = readings[name][-1]["diversity"] if name else None
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


def comparable_readings(rows: list[dict]) -> list[dict]:
    """A run's readings of the diversity that are measured like its last one: 0.2 and before read
    the panel on smaller inputs, which gives larger numbers.
    """
    readings = _of(rows, "reading")
    return [row for row in readings if row.get("feature") == readings[-1].get("feature")]


def _of(rows: list[dict], kind: str) -> list[dict]:
    return [row for row in rows if row["kind"] == kind]


def _line(
    name: str,
    colour: str,
    rows: list[dict],
    values: list[float | None],
    what: str,
    dash: str = "solid",
    legend: bool = False,
    marks: bool = False,
) -> go.Scatter:
    every = -(-len(rows) // LINE_POINTS) or 1
    return go.Scatter(
        x=[row["round"] for row in rows[::every]],
        y=[_rounded(value) for value in values[::every]],
        mode="lines+markers" if marks else "lines",
        name=title_of(name),
        legendgroup=name,
        showlegend=legend,
        line=dict(color=colour, dash=dash, width=1.6),
        hovertemplate=f"{title_of(name)}, {what}, round %{{x}}: %{{y:.4f}}<extra></extra>",
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
