"""Can these votes be believed? How the participants answered, by person and together, whom the
study's rule excludes, and what the results are with and without them.

Pure functions of a design, its ballots and their analysis. Not here: the rule (`exclusion`), what
people were told while they voted (`notices`).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median

from workbench.io.notation import model_title
from workbench.io.tables import Table
from workbench.study.analysis.conduct import repeat_consistency
from workbench.study.analysis.exclusion import (
    GOLD,
    SIDES,
    TIME,
    Golds,
    breaches,
    chance_of_passing,
    one_sidedness,
    seconds_of,
)
from workbench.study.analysis.findings import Analysis
from workbench.study.analysis.notices import FAST, notice
from workbench.study.analysis.statistics import PairResult
from workbench.study.ballots import Ballot, Choice, TrialKind
from workbench.study.design import StudyDesign
from workbench.study.figures import method_titles, ordered_results, reference_of

TITLE = "Can these votes be believed?"


@dataclass(frozen=True)
class Conduct:
    """How one participant answered: counts of trials, sides by the most one-sided criterion, and
    repeats that were answered for the same method (over all criteria).
    """

    name: str
    votes: int
    skips: int
    left: int
    right: int
    repeats_alike: int
    repeats: int
    seconds: tuple[float, ...]
    fast: int
    golds: Golds
    told: str  # notices.FAST, SIDE or ""
    broken: dict[str, str]  # parts of the rule that were broken, with the reason


def conducts(design: StudyDesign, found: Analysis, ballots: Iterable[Ballot]) -> list[Conduct]:
    """One for each participant who gave an answer, in the order of `found.golds`."""
    own: dict[str, list[Ballot]] = defaultdict(list)
    for ballot in ballots:
        own[ballot.participant].append(ballot)
    everyone = [ballot for votes in own.values() for ballot in votes]
    broken = breaches(everyone, design.rule)
    return [
        _conduct(design, name, own[name], golds, broken.get(name, {}))
        for name, golds in found.golds.items()
    ]


def belief_sentences(
    design: StudyDesign, found: Analysis, ballots: Iterable[Ballot], reference: str = ""
) -> list[str]:
    """What speaks for and against the votes, a statement per line; none without votes."""
    people = conducts(design, found, ballots)
    if not people:
        return []
    return [
        _exclusions(people),
        _strength(design),
        _golds_together(people),
        _sides_together(found),
        *_repeats_together(found),
        _times_together(design, people),
        _told_together(design, people),
        *_with_and_without(design, found, reference),
    ]


def belief_table(design: StudyDesign, found: Analysis, ballots: Iterable[Ballot]) -> Table:
    """A line per participant, and one for all."""
    people = conducts(design, found, ballots)
    rows: list[tuple[str, ...]] = [
        (
            one.name,
            *map(str, (one.votes, one.skips)),
            _share(one.left, one.left + one.right),
            f"{one.repeats_alike} of {one.repeats}" if one.repeats else "",
            f"{median(one.seconds):.1f}" if one.seconds else "",
            _share(one.fast, len(one.seconds)),
            *map(str, (one.golds.failed, one.golds.answered)),
            one.told,
            "; ".join(one.broken.values()) or "no",
        )
        for one in people
    ]
    if len(people) > 1:
        rows.append(_together(found, people))
    heads = (
        ("", "participant"),
        ("real trials", "votes"),
        ("real trials", "skips"),
        ("", "left, %"),
        ("", "repeats alike"),
        ("answers", "median seconds"),
        ("answers", "too fast, %"),
        ("gold trials", "failed"),
        ("gold trials", "answered"),
        ("", "told"),
        ("", "excluded"),
    )
    notes = (
        "Left: of the answers that chose a side, by the criterion for which that is least balanced "
        "(together: of all criteria). Repeats alike: answers for the same method, of all criteria. "
        "Told: once while voting, that answers came very fast or were often the same side.",
    )
    return Table("participants", "Participants", heads, tuple(rows), notes if rows else ())


def belief_numbers(
    design: StudyDesign, found: Analysis, ballots: Iterable[Ballot]
) -> Iterator[tuple]:
    """Lines of results.csv about single participants."""
    for one in conducts(design, found, ballots):
        sides = one.left + one.right
        for name, value in (
            ("share of left", one.left / sides if sides else ""),
            ("repeats answered as before", one.repeats_alike),
            ("repeats answered", one.repeats),
            ("share of answers that came too fast", _ratio(one.fast, len(one.seconds))),
            ("told while voting", one.told),
        ):
            yield one.name, "", "", "", name, value, "", "", ""


def _conduct(
    design: StudyDesign, name: str, own: list[Ballot], golds: Golds, broken: dict[str, str]
) -> Conduct:
    trials = {
        (ballot.trial, ballot.choice == Choice.SKIP)
        for ballot in own
        if ballot.kind == TrialKind.REAL
    }
    skips = sum(skipped for _, skipped in trials)
    left, right, _ = one_sidedness(own)
    again, seconds, told = repeat_consistency(own), seconds_of(own), notice(own, design.rule)
    return Conduct(
        name,
        len(trials) - skips,
        skips,
        left,
        right,
        again.same,
        again.repeats,
        tuple(seconds),
        sum(value < (design.min_seconds or 0) for value in seconds),
        golds,
        told[1] if told else "",
        broken,
    )


def _exclusions(people: list[Conduct]) -> str:
    out = [one for one in people if one.broken]
    if not out:
        return f"The rule of the study excludes none of {_count(len(people), 'participant')}."
    parts = Counter(part for one in out for part in one.broken)
    by = ", ".join(
        f"{parts[part]} by {what}"
        for part, what in (
            (GOLD, "failed gold questions"),
            (TIME, "answers that came too fast"),
            (SIDES, "always choosing the same side"),
        )
        if parts[part]
    )
    several = " (some by more than one)" if parts.total() > len(out) else ""
    return (
        f"The rule of the study excludes {len(out)} of {_count(len(people), 'participant')}: "
        f"{by}{several}."
    )


def _strength(design: StudyDesign) -> str:
    if not design.gold:
        return (
            "There are no gold questions, so nothing here tells those who answer at random from "
            "honest people."
        )
    passing = chance_of_passing(design.gold, design.max_gold_failures)
    return (
        f"{_count(design.gold, 'gold question')}, of which {design.max_gold_failures} may be "
        f"failed, find {100 * (1 - passing):.0f} % of those who answer all at random."
    )


def _golds_together(people: list[Conduct]) -> str:
    failed, answered = (
        sum(getattr(one.golds, name) for one in people) for name in ("failed", "answered")
    )
    if not answered:
        return "No gold question was answered."
    return (
        f"{failed} of {_count(answered, 'answered gold question')} were failed "
        f"({100 * failed / answered:.0f} %; by a coin 50 %)."
    )


def _sides_together(found: Analysis) -> str:
    bias = found.everyone.side_bias
    if math.isnan(bias.share.value):
        return "No side was chosen."
    interval = _interval(bias.share.low, bias.share.high)
    chosen = bias.left + bias.right
    return f"Left was chosen in {100 * bias.share.value:.0f} % of {chosen} sides chosen{interval}."


def _repeats_together(found: Analysis) -> list[str]:
    again = found.everyone.repeats
    if not again.repeats:
        return []
    interval = _interval(again.share.low, again.share.high)
    return [
        f"{again.same} of {again.repeats} repeats were answered as before "
        f"({100 * again.share.value:.0f} %{interval.replace(' (', ', ').rstrip(')')}; by chance "
        f"{100 * again.chance:.0f} %)."
    ]


def _times_together(design: StudyDesign, people: list[Conduct]) -> str:
    middles = sorted(median(one.seconds) for one in people if one.seconds)
    if not middles:
        return "No trial was answered."
    fast, answers = sum(one.fast for one in people), sum(len(one.seconds) for one in people)
    limit = (
        f"; {fast} of {answers} took less than {design.min_seconds:g} s"
        if design.min_seconds is not None
        else ""
    )
    return (
        f"An answer took {median(middles):.1f} s in the median; the participants' medians are "
        f"{middles[0]:.1f} to {middles[-1]:.1f} s{limit}."
    )


def _told_together(design: StudyDesign, people: list[Conduct]) -> str:
    if design.min_seconds is None and design.min_side_p is None:
        return "Nobody is told while voting that answers look careless: the design switches it off."
    told = Counter(one.told for one in people if one.told)
    if not told:
        return "Nobody had to be told while voting that answers came very fast or on one side."
    fast = told[FAST]
    return (
        f"While voting, {_count(told.total(), 'participant')} were told once that answers came "
        f"very fast ({fast}) or were many times the same side ({told.total() - fast})."
    )


def _with_and_without(design: StudyDesign, found: Analysis, reference: str) -> list[str]:
    if not found.excluded:
        return []
    titles, reference = method_titles(design.methods, model_title), reference_of(design, reference)
    kept = {
        (one.criterion, one.first, one.second): one
        for one in ordered_results(design, found.kept.pairs, reference)
    }
    lines = []
    for one in ordered_results(design, found.everyone.pairs, reference):
        if math.isnan(one.half.value):
            continue
        without = kept.get((one.criterion, one.first, one.second))
        decides = "" if _verdict(without) == _verdict(one) else ": the exclusion decides this"
        lines.append(
            f"By {one.criterion}, {titles[one.first]} won {_rate(without)} against "
            f"{titles[one.second]} without the excluded, and {_rate(one)} with everyone{decides}."
        )
    return lines


def _rate(one: PairResult | None) -> str:
    if one is None or math.isnan(one.half.value):
        return "no votes"
    return f"{100 * one.half.value:.1f} %{_interval(one.half.low, one.half.high, 1)}"


def _verdict(one: PairResult | None) -> int:
    """1 above half, -1 below, 0 if that is open."""
    return 0 if one is None else int(one.half.low > 0.5) - int(one.half.high < 0.5)


def _together(found: Analysis, people: list[Conduct]) -> tuple[str, ...]:
    bias, again = found.everyone.side_bias, found.everyone.repeats
    seconds = [median(one.seconds) for one in people if one.seconds]
    return (
        "together",
        str(sum(one.votes for one in people)),
        str(sum(one.skips for one in people)),
        _share(bias.left, bias.left + bias.right),
        f"{again.same} of {again.repeats}" if again.repeats else "",
        f"{median(seconds):.1f}" if seconds else "",
        _share(sum(one.fast for one in people), sum(len(one.seconds) for one in people)),
        str(sum(one.golds.failed for one in people)),
        str(sum(one.golds.answered for one in people)),
        str(sum(bool(one.told) for one in people)),
        str(sum(bool(one.broken) for one in people)),
    )


def _interval(low: float, high: float, digits: int = 0) -> str:
    if math.isnan(low) or math.isnan(high):
        return ""
    return f" (95 % interval {100 * low:.{digits}f} to {100 * high:.{digits}f} %)"


def _share(part: int, of: int) -> str:
    return f"{100 * part / of:.0f}" if of else ""


def _ratio(part: int, of: int) -> float | str:
    return part / of if of else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
