"""A user study's votes: preferences in the form of the paper's Figure B; win rates with intervals,
prompts, scores, participants.

Pure functions of an analysis. All figures but that of the participants leave out those whom the
study's rule excludes; the tables have both. There is no figure of results without votes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from html import escape

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.io.theme import INK, NAMED, TEMPLATE, title_of
from workbench.study.analysis.bradley_terry import Strengths
from workbench.study.analysis.clustering import ClusteredInterval
from workbench.study.analysis.findings import Analysis
from workbench.study.analysis.statistics import PairResult
from workbench.study.ballots import Ballot, Choice, TrialKind
from workbench.study.design import StudyDesign
from workbench.study.errors import StudyError

PER_ROW = 2
WON, TIED, LOST = NAMED["dp-dmd"], "#cbd2dc", "#f0a878"
# pixels: above and below the panels, per line in a panel, between two rows of panels
TOP, BOTTOM, LINE_HEIGHT, BETWEEN = 96, 56, 40, 84


def study_figures(
    design: StudyDesign, found: Analysis, ballots: Iterable[Ballot], reference: str = ""
) -> dict[str, go.Figure]:
    """preferences, rates, prompts, scores (three or more methods) and participants, as far as there
    are votes for them.

    `reference` is the method compared with the others (`reference_of`).
    """
    reference, titles = reference_of(design, reference), method_titles(design.methods, title_of)
    results = [
        result
        for result in ordered_results(design, found.kept.pairs, reference)
        if not math.isnan(result.half.value)
    ]
    without = f", without {len(found.excluded)} excluded" if found.excluded else ""
    figures = {}
    if any(result.first == reference for result in results):
        figures["preferences"] = _preferences(design, results, reference, titles, without)
    if results:
        figures["rates"] = _rates(design, results, titles, without)
        figures["prompts"] = _majorities(design, results, titles, without)
    if found.kept.strengths:
        figures["scores"] = _scores(design, found.kept.strengths, titles, without)
    if found.golds:
        figures["participants"] = _participants(found, ballots)
    return figures


def reference_of(design: StudyDesign, requested: str = "") -> str:
    """The requested method; by default "dp-dmd", or the last method that is in a pair. Raises
    StudyError for an unknown one.
    """
    if requested and requested not in design.methods:
        raise StudyError(
            f"{requested!r} is not a method of this study; the reference must be one of "
            f"{', '.join(design.methods)}"
        )
    paired = {method for pair in design.pairs for method in pair}
    return requested or next(
        method for method in ("dp-dmd", *reversed(design.methods)) if method in paired
    )


def ordered_results(
    design: StudyDesign, results: Iterable[PairResult], reference: str
) -> list[PairResult]:
    """Results in the order of the design's criteria and pairs, those of the reference first, with
    the reference named first.
    """
    by = {
        (result.criterion, frozenset((result.first, result.second))): result for result in results
    }
    pairs = sorted(design.pairs, key=lambda pair: reference not in pair)
    return [
        by[key].of(reference if reference in pair else pair[0])
        for criterion in design.criteria
        for pair in pairs
        if (key := (criterion.name, frozenset(pair))) in by
    ]


def method_titles(methods: Sequence[str], written: Callable[[str], str]) -> dict[str, str]:
    """Each method's name as `written` shows it; unchanged if two would look the same."""
    titles = {method: written(method) for method in methods}
    return (
        titles
        if len(set(titles.values())) == len(titles)
        else {method: method for method in methods}
    )


def _preferences(
    design: StudyDesign,
    results: list[PairResult],
    reference: str,
    titles: dict[str, str],
    without: str,
) -> go.Figure:
    own = [result for result in results if result.first == reference]
    lines = {result.second: _text(titles[result.second]) for result in own}
    name = _text(titles[reference])
    figure = _panels(design, f"{name} against every other method: votes{without}", lines)
    shares = [
        (result.criterion, result.second, (result.first_wins, result.ties, result.second_wins))
        for result in own
    ]
    return _stacked(
        figure, design, shares, lines, (f"{name} preferred", "tie", "other preferred"), "votes"
    )


def _majorities(
    design: StudyDesign, results: list[PairResult], titles: dict[str, str], without: str
) -> go.Figure:
    lines = _pair_lines(results, titles)
    figure = _panels(design, f"Prompts by majority of votes{without}", lines)
    signs = [(result, result.majorities) for result in results]
    shares = [
        (result.criterion, _pair(result), (sign.first, sign.even, sign.second))
        for result, sign in signs
    ]
    return _stacked(
        figure, design, shares, lines, ("for the first", "even", "for the second"), "prompts"
    )


def _stacked(
    figure: go.Figure,
    design: StudyDesign,
    shares: list[tuple],
    lines: dict,
    names: tuple[str, str, str],
    of: str,
) -> go.Figure:
    """Bars from 0 to 100 % in three parts with their counts. `shares` are (criterion, line,
    counts).
    """
    order = list(lines)
    for panel, criterion in enumerate(design.criteria):
        own = [
            (order.index(line), counts) for name, line, counts in shares if name == criterion.name
        ]
        for part, (name, colour) in enumerate(zip(names, (WON, TIED, LOST))):
            counts = [parts[part] for _, parts in own]
            bar = go.Bar(
                x=[100 * parts[part] / sum(parts) for _, parts in own],
                y=[place for place, _ in own],
                orientation="h",
                width=0.62,
                name=name,
                legendgroup=name,
                showlegend=panel == 0,
                marker_color=colour,
                customdata=counts,
                text=[str(count or "") for count in counts],
                textfont_color="#ffffff" if colour == WON else INK,
                textposition="inside",
                insidetextanchor="middle",
                textangle=0,
                constraintext="none",
                hovertemplate=f"%{{fullData.name}}: %{{customdata}} {of}, %{{x:.1f}} "
                "%<extra></extra>",
            )
            figure.add_trace(bar, *_place(panel))
    figure.update_layout(barmode="stack")
    figure.update_xaxes(range=[0, 100], ticksuffix=" %", title=f"share of {of}", showgrid=False)
    return figure


def _rates(
    design: StudyDesign, results: list[PairResult], titles: dict[str, str], without: str
) -> go.Figure:
    lines = _pair_lines(results, titles)
    figure = _panels(design, f"Win rates of the method named first, 95 % intervals{without}", lines)
    for panel, criterion in enumerate(design.criteria):
        own = [result for result in results if result.criterion == criterion.name]
        for name, shift, symbol in (
            ("ties as half", -0.14, "circle"),
            ("ties left out", 0.14, "circle-open"),
        ):
            rates = [result.half if symbol == "circle" else result.decided for result in own]
            percent = [ClusteredInterval(*(100 * part for part in rate[:3])) for rate in rates]
            places = [list(lines).index(_pair(result)) + shift for result in own]
            dots = _dots(
                percent,
                places,
                " %",
                name=name,
                legendgroup=name,
                showlegend=panel == 0,
                marker=dict(color=WON, size=9, symbol=symbol),
            )
            figure.add_trace(dots, *_place(panel))
    figure.add_vline(
        50, line=dict(color=INK, width=1, dash="dot"), opacity=0.6, row="all", col="all"
    )
    figure.update_xaxes(range=[0, 100], ticksuffix=" %", title="share of votes won")
    return figure


def _scores(
    design: StudyDesign, strengths: list[Strengths], titles: dict[str, str], without: str
) -> go.Figure:
    lines = {
        method: _text(titles[method])
        for method in design.methods
        if any(method in scale.scores for scale in strengths)
    }
    figure = _panels(design, f"Bradley-Terry scores, 95 % intervals{without}", lines)
    panels = [criterion.name for criterion in design.criteria]
    for scale in strengths:
        places = [list(lines).index(method) for method in scale.scores]
        dots = _dots(
            list(scale.scores.values()),
            places,
            "",
            showlegend=False,
            marker=dict(color=WON, size=9),
        )
        figure.add_trace(dots, *_place(panels.index(scale.criterion)))
    figure.add_vline(
        0, line=dict(color=INK, width=1, dash="dot"), opacity=0.6, row="all", col="all"
    )
    return figure.update_xaxes(title="score (logit); 0 is the methods' mean")


def _participants(found: Analysis, ballots: Iterable[Ballot]) -> go.Figure:
    people, golds = list(found.golds), found.golds.values()
    votes = Counter(
        (ballot.participant, ballot.kind) for ballot in ballots if ballot.choice != Choice.SKIP
    )
    names, places = ["votes", "gold trials", "median seconds of a trial"], list(range(len(people)))
    figure = make_subplots(1, 3, subplot_titles=names, shared_yaxes=True, horizontal_spacing=0.05)
    for name, colour, column, values in (
        ("real", WON, 1, [votes[person, TrialKind.REAL] for person in people]),
        ("repeat", "#a5a0e8", 1, [votes[person, TrialKind.REPEAT] for person in people]),
        ("gold, right", "#0f766e", 2, [gold.answered - gold.failed for gold in golds]),
        ("gold, failed", LOST, 2, [gold.failed for gold in golds]),
    ):
        figure.add_trace(
            go.Bar(
                x=values,
                y=places,
                orientation="h",
                name=name,
                marker_color=colour,
                customdata=people,
                hovertemplate=f"%{{customdata}}: %{{x}} {name}<extra></extra>",
            ),
            1,
            column,
        )
    seconds = [found.seconds.get(person) for person in people]
    figure.add_trace(
        go.Scatter(
            x=seconds,
            y=places,
            mode="markers",
            marker=dict(color=INK, size=7),
            showlegend=False,
            customdata=people,
            hovertemplate="%{customdata}: %{x:.1f} s<extra></extra>",
        ),
        1,
        3,
    )
    _framed(
        figure, "Participants" + (" (✕ excluded)" if found.excluded else ""), 1, 20 * len(people)
    )
    figure.update_layout(barmode="stack")
    labels = [_text(person) + (" ✕" if person in found.excluded else "") for person in people]
    _lined(figure, labels, tickfont_size=10)
    figure.update_xaxes(dtick=math.ceil(max(gold.answered for gold in golds) / 5) or 1, col=2)
    return figure.update_xaxes(rangemode="tozero", nticks=6)


def _place(panel: int) -> tuple[int, int]:
    """Row and column, from 1."""
    return panel // PER_ROW + 1, panel % PER_ROW + 1


def _pair(result: PairResult) -> tuple[str, str]:
    return result.first, result.second


def _pair_lines(results: list[PairResult], titles: dict[str, str]) -> dict[tuple[str, str], str]:
    return {
        _pair(result): f"{_text(titles[result.first])} over {_text(titles[result.second])}"
        for result in results
    }


def _panels(design: StudyDesign, title: str, lines: dict) -> go.Figure:
    """An empty panel per criterion, with `lines` on the left, from top to bottom at 0, 1, ..."""
    names, height = (
        [_text(criterion.name) for criterion in design.criteria],
        LINE_HEIGHT * len(lines),
    )
    rows, columns = math.ceil(len(names) / PER_ROW), min(len(names), PER_ROW)
    figure = make_subplots(
        rows,
        columns,
        subplot_titles=names,
        shared_yaxes=True,
        horizontal_spacing=0.08,
        vertical_spacing=BETWEEN / (rows * height + (rows - 1) * BETWEEN) if rows > 1 else 0,
    )
    _framed(figure, title, rows, height)
    _lined(figure, list(lines.values()))
    return figure


def _framed(figure: go.Figure, title: str, rows: int, height: int) -> None:
    figure.update_annotations(font_size=13, yshift=2)
    whole = TOP + rows * height + (rows - 1) * BETWEEN + BOTTOM
    figure.update_layout(
        template=TEMPLATE,
        title=dict(text=title, xref="container", pad_l=12),
        height=whole,
        margin=dict(t=TOP, b=BOTTOM, r=36),
        legend=dict(y=1 - 36 / whole, x=0, xanchor="left", xref="container", traceorder="normal"),
    )


def _lined(figure: go.Figure, labels: list[str], **settings) -> None:
    figure.update_yaxes(
        tickvals=list(range(len(labels))),
        ticktext=labels,
        range=[len(labels) - 0.5, -0.5],
        showgrid=False,
        zeroline=False,
        ticks="",
        automargin=True,
        **settings,
    )


def _dots(
    values: Sequence[ClusteredInterval], places: Sequence[float], unit: str, **settings
) -> go.Scatter:
    ends = [
        "no interval yet" if math.isnan(low) else f"95 % interval {low:.2f} to {high:.2f}{unit}"
        for _, low, high in values
    ]
    up, down = (
        [0.0 if math.isnan(length) else length for length in lengths]
        for lengths in (
            [high - value for value, _, high in values],
            [value - low for value, low, _ in values],
        )
    )
    return go.Scatter(
        x=[value for value, _, _ in values],
        y=list(places),
        mode="markers",
        customdata=ends,
        hovertemplate=f"%{{x:.2f}}{unit}<br>%{{customdata}}<extra></extra>",
        error_x=dict(array=up, arrayminus=down, thickness=1.6, width=4),
        **settings,
    )


def _text(name: str) -> str:
    """A name without tags, which plotly would interpret."""
    return escape(name, quote=False)
