"""The tables of a study's report, and all its numbers as lines of a file. Pure functions of an
analysis and its ballots.

Not here: the numbers (`analysis`), the sentences and the files (`report`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator

from workbench.io.notation import model_title
from workbench.io.tables import Table, interval_text
from workbench.study.analysis.clustering import ClusteredInterval, Rate
from workbench.study.analysis.conduct import SideBias, side_bias
from workbench.study.analysis.findings import Analysis, Findings
from workbench.study.analysis.statistics import PairResult
from workbench.study.ballots import Ballot
from workbench.study.design import StudyDesign
from workbench.study.figures import method_titles, ordered_results, reference_of

BLANK = (
    "Blank: not determined by these votes. An interval and its p need two participants, two "
    "prompts, and votes that are not all equal."
)
EVERYONE, KEPT = "everyone", "without the excluded"


def study_tables(
    design: StudyDesign, found: Analysis, ballots: Iterable[Ballot], reference: str = ""
) -> list[Table]:
    """Results, scores and agreement, each without the excluded and of everyone; sides and repeats
    of both. Empty tables are left out.
    """
    ballots, reference = list(ballots), reference_of(design, reference)
    tables = [
        table_of(design, findings, reference, f", {of}" if found.excluded else "")
        for table_of in (_results, _other_tests, _scores, _agreement)
        for of, findings in _sets(found)
    ]
    tables += [_sides(design, found, ballots), _repeats(found)]
    return [
        dataclasses.replace(
            table,
            notes=(*table.notes, BLANK) if any("" in row for row in table.rows) else table.notes,
        )
        for table in tables
        if table.rows
    ]


def study_numbers(
    design: StudyDesign, found: Analysis, ballots: list[Ballot], reference: str
) -> Iterator[tuple]:
    """Lines after a header: rates are shares of `method`; lines without methods are about one
    participant, or about all that are named.
    """
    yield "participants", "criterion", "method", "against", "number", "value", "low", "high", "p"
    reference = reference_of(design, reference)
    for of, findings in _sets(found):
        for one in ordered_results(design, findings.pairs, reference):
            for numbers in _pair_numbers(one):
                yield of, one.criterion, one.first, one.second, *numbers
        for one in findings.agreement:
            yield of, one.criterion, *one.pair, "Krippendorff's alpha", *one.alpha, ""
        for scale in findings.strengths:
            for method, score in scale.scores.items():
                yield of, scale.criterion, method, "", "Bradley-Terry score", *score, ""
        again, of_all = "repeats answered as before", (of, "", "", "")
        yield *of_all, again, *findings.repeats.share
        yield *of_all, f"{again}, by chance", findings.repeats.chance, "", "", ""
    for of, criterion, bias in _side_biases(design, found, ballots):
        yield of, criterion, "", "", "left side preferred", *bias.share
    for person, golds in found.golds.items():
        for name, value in (
            ("golds failed", golds.failed),
            ("golds answered", golds.answered),
            ("median seconds", found.seconds.get(person, "")),
            ("excluded", int(person in found.excluded)),
        ):
            yield person, "", "", "", name, value, "", "", ""


def _pair_numbers(result: PairResult) -> Iterator[tuple]:
    """(name, value, low, high, p) of one pair and criterion."""
    sign = result.majorities
    yield "participants", result.participants, "", "", ""
    yield "prompts", result.prompts, "", "", ""
    for name, value in _counts(result).items():
        yield name, value, "", "", ""
    yield "win rate, ties as half", *result.half
    yield "win rate, ties left out", *result.decided
    yield "win rate, as if votes were independent", *result.wilson, ""
    if result.unanimous:
        for name, least in (
            ("whatever votes share", result.unanimous.certain),
            ("as if votes were independent", result.unanimous.independent),
        ):
            end = (least, "") if result.first_wins else ("", 1 - least)
            yield f"win rate, one-sided, {name}", result.half.value, *end, ""
    yield "prompts for", sign.first, "", "", sign.p
    yield "prompts even", sign.even, "", "", ""
    yield "prompts against", sign.second, "", "", ""


def votes_of(result: PairResult) -> int:
    """The number of votes, ties included."""
    return result.first_wins + result.ties + result.second_wins


def _results(design: StudyDesign, findings: Findings, reference: str, of: str) -> Table:
    titles, rows = method_titles(design.methods, model_title), []
    for one in ordered_results(design, findings.pairs, reference):
        rows.append(
            (
                one.criterion,
                f"{titles[one.first]} over {titles[one.second]}",
                *map(str, (one.participants, one.prompts)),
                *map(str, _counts(one).values()),
                _percent(one.half),
                _p(one.half.p),
                _percent(one.decided),
                _p(one.decided.p),
            )
        )
    heads = (
        *_plain(("criterion", "pair", "participants", "prompts")),
        *(("answers", head) for head in ("votes", "wins", "ties", "losses", "skips")),
        ("ties as half", "won, %"),
        ("ties as half", "p"),
        ("ties left out", "won, %"),
        ("ties left out", "p"),
    )
    note = (
        "Shares are of the method named first, with 95 % intervals clustered by participant "
        "and prompt."
    )
    notes = [
        f"By {one.criterion}, {unanimity(one, titles)}."
        for one in ordered_results(design, findings.pairs, reference)
        if one.unanimous
    ]
    return Table(
        "results", f"Results by pair and criterion{of}", heads, tuple(rows), (note, *notes)
    )


def unanimity(result: PairResult, titles: dict[str, str]) -> str:
    """What a pair's votes say that were all won by one method: one-sided bounds of its rate."""
    won, lost = (result.first, result.second)[:: 1 if result.first_wins else -1]
    least = result.unanimous
    return (
        f"{titles[won]} won every vote against {titles[lost]}: P({titles[won]} is preferred) >= "
        f"{_below(least.independent)} if the votes were independent, >= {_below(least.certain)} "
        "whatever votes of one participant or prompt share (one-sided, 95 %; no upper end)"
    )


def _below(bound: float) -> str:
    """A lower bound to three digits, never rounded up."""
    return f"{math.floor(1000 * bound) / 1000:.3f}"


def _other_tests(design: StudyDesign, findings: Findings, reference: str, of: str) -> Table:
    titles, rows = method_titles(design.methods, model_title), []
    for one in ordered_results(design, findings.pairs, reference):
        sign = one.majorities
        rows.append(
            (
                one.criterion,
                f"{titles[one.first]} over {titles[one.second]}",
                str(sign.first),
                str(sign.even),
                str(sign.second),
                _p(sign.p),
                _percent(one.wilson),
            )
        )
    heads = (
        *_plain(("criterion", "pair")),
        *(("sign test over prompts", head) for head in ("for", "even", "against", "p")),
        ("as if votes were independent", "won, %"),
    )
    note = (
        "For, and won: the method named first. As if votes were independent: Wilson's "
        "interval without ties; too narrow."
    )
    return Table(
        "other-tests",
        f"The same votes by prompt, and as if they were independent{of}",
        heads,
        tuple(rows),
        (note,),
    )


def _agreement(design: StudyDesign, findings: Findings, reference: str, of: str) -> Table:
    titles, rows = method_titles(design.methods, model_title), []
    by = {(one.criterion, frozenset(one.pair)): one for one in findings.agreement}
    for result in ordered_results(design, findings.pairs, reference):
        one, pair = (
            by[result.criterion, frozenset((result.first, result.second))],
            f"{titles[result.first]} and {titles[result.second]}",
        )
        rows.append(
            (one.criterion, pair, str(one.units), str(one.answers), interval_text(*one.alpha))
        )
    heads = ("criterion", "pair", "prompts with two or more answers", "their answers", "alpha")
    return Table(
        "agreement",
        f"Krippendorff's alpha: whether participants agree{of}",
        _plain(heads),
        tuple(rows),
    )


def _scores(design: StudyDesign, findings: Findings, reference: str, of: str) -> Table:
    titles = method_titles(design.methods, model_title)
    rows = tuple(
        (
            scale.criterion,
            titles[method],
            interval_text(*score, 2),
            "–"
            if method == reference or reference not in scale.scores
            else _percent(scale.preferred(method, reference)),
        )
        for scale in findings.strengths
        for method, score in scale.scores.items()
    )
    one_sided = " and ".join(scale.criterion for scale in findings.strengths if scale.regularised)
    note = (
        f"By {one_sided}, some methods won or lost everything, so the best scores are infinite: "
        "half a win each way was added to every pair, and no score has an interval. What these "
        "votes do say stands below the results by pair."
    )
    heads = ("criterion", "method", "score", f"preferred to {titles[reference]}, %")
    return Table(
        "scores",
        f"Bradley-Terry scores (logit; 0 is the methods' mean){of}",
        _plain(heads),
        rows,
        (note,) if one_sided else (),
    )


def _sides(design: StudyDesign, found: Analysis, ballots: list[Ballot]) -> Table:
    rows = tuple(
        (
            of,
            criterion or "all",
            str(bias.left),
            str(bias.right),
            _percent(bias.share),
            _p(bias.share.p),
        )
        for of, criterion, bias in _side_biases(design, found, ballots)
    )
    heads = ("participants", "criterion", "left", "right", "left, %", "p")
    return Table(
        "sides",
        "Side bias: how often the left side was preferred",
        _plain(heads),
        rows if ballots else (),
    )


def _side_biases(
    design: StudyDesign, found: Analysis, ballots: list[Ballot]
) -> Iterator[tuple[str, str, SideBias]]:
    """(participants, criterion, bias), first for all criteria (""), then for each."""
    for of, findings in _sets(found):
        own = (
            ballots
            if of == EVERYONE
            else [ballot for ballot in ballots if ballot.participant not in found.excluded]
        )
        yield of, "", findings.side_bias
        for criterion in design.criteria:
            yield (
                of,
                criterion.name,
                side_bias(ballot for ballot in own if ballot.criterion == criterion.name),
            )


def _repeats(found: Analysis) -> Table:
    rows = []
    for of, one in ((of, findings.repeats) for of, findings in _sets(found)):
        if one.repeats or one.left_out:
            chance = f"{100 * one.chance:.1f}" if one.repeats else ""
            rows.append(
                (
                    of,
                    str(one.same),
                    str(one.repeats),
                    str(one.left_out),
                    _percent(one.share),
                    chance,
                )
            )
    heads = ("participants", "same answer", "repeats", "left out", "same, %", "by chance, %")
    note = "Left out: skipped either time. Chance: sides by a coin, ties as often."
    return Table("repeats", "Repeats: answered as before", _plain(heads), tuple(rows), (note,))


def _sets(found: Analysis) -> list[tuple[str, Findings]]:
    return (
        [(KEPT, found.kept), (EVERYONE, found.everyone)]
        if found.excluded
        else [(EVERYONE, found.everyone)]
    )


def _counts(result: PairResult) -> dict[str, int]:
    return {
        "votes": votes_of(result),
        "wins": result.first_wins,
        "ties": result.ties,
        "losses": result.second_wins,
        "skips": result.skips,
    }


def _plain(heads: Iterable[str]) -> tuple[tuple[str, str], ...]:
    return tuple(("", head) for head in heads)


def _percent(share: Rate | ClusteredInterval) -> str:
    return interval_text(*(100 * part for part in share[:3]), 1)


def _p(p: float) -> str:
    return "" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
