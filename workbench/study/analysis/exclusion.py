"""Exclusion of participants by the rule frozen in the design: failed golds, answers that came too
fast, and always the same side.

A rule is meaningful only if it was fixed before anyone saw the votes, and a report needs the
results both with and without the excluded (`findings`). Whom the default rule excludes is simulated
by `people`. Not here: other conduct (`conduct`), the part of the rule that the assignment applies
immediately (`records.failed_out`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import comb
from statistics import median
from typing import NamedTuple

from workbench.study.ballots import Ballot, Choice, TrialKind


@dataclass(frozen=True)
class Golds:
    """One participant's gold trials."""

    failed: int
    answered: int
    skipped: int


def gold_results(ballots: Iterable[Ballot]) -> dict[str, Golds]:
    """Every participant's golds, by name. A gold trial is failed if one of its answers (also a tie)
    is not the expected one, and answered if it was answered by any criterion with an expected
    answer; a trial that was only skipped is neither. Criteria without one do not count.
    """
    trials: dict[str, dict[str, list[Ballot]]] = {ballot.participant: {} for ballot in ballots}
    for ballot in ballots:
        if ballot.kind == TrialKind.GOLD and ballot.expected is not None:
            trials[ballot.participant].setdefault(ballot.trial, []).append(ballot)
    return {
        participant: _golds(list(trials[participant].values())) for participant in sorted(trials)
    }


class Rule(NamedTuple):
    """Who is excluded; None switches a part off. Studies of earlier versions have only the first
    two, and the median.
    """

    max_gold_failures: int  # more failed golds than this
    min_seconds: float | None = None  # answers in less than this are too fast
    max_fast: float | None = None  # a larger share of them; None: the median answer is too fast
    # two-sided p of so many answers on one side, if both were equally likely, is less than this
    min_side_p: float | None = None


GOLD, TIME, SIDES = "gold questions", "time", "sides"  # parts of a rule


def excluded(
    ballots: Sequence[Ballot],
    max_gold_failures: int,
    min_seconds: float | None = None,
    max_fast: float | None = None,
    min_side_p: float | None = None,
) -> dict[str, tuple[str, ...]]:
    """The excluded participants by name, with the reasons, by the parts of `Rule`. Nobody is
    excluded for having no golds or answers.
    """
    rule = Rule(max_gold_failures, min_seconds, max_fast, min_side_p)
    return {name: tuple(found.values()) for name, found in breaches(ballots, rule).items()}


def breaches(ballots: Sequence[Ballot], rule: Rule) -> dict[str, dict[str, str]]:
    """For each excluded participant the broken parts of the rule (GOLD, TIME, SIDES), with the
    reason.
    """
    own: dict[str, list[Ballot]] = defaultdict(list)
    for ballot in ballots:
        own[ballot.participant].append(ballot)
    found = {}
    for participant, golds in gold_results(ballots).items():
        reasons = {
            GOLD: _gold_reason(golds, rule),
            TIME: _time_reason(seconds_of(own[participant]), rule),
            SIDES: _side_reason(own[participant], rule),
        }
        if broken := {part: reason for part, reason in reasons.items() if reason}:
            found[participant] = broken
    return found


def chance_of_passing(gold: int, max_gold_failures: int) -> float:
    """The probability that someone who tosses a coin passes the gold questions."""
    return sum(comb(gold, k) for k in range(min(max_gold_failures, gold) + 1)) / 2**gold


def _gold_reason(golds: Golds, rule: Rule) -> str:
    if golds.failed <= rule.max_gold_failures:
        return ""
    return (
        f"failed {golds.failed} of {golds.answered} gold trials, more than {rule.max_gold_failures}"
    )


def _time_reason(seconds: Sequence[float], rule: Rule) -> str:
    if rule.min_seconds is None or not seconds:
        return ""
    if rule.max_fast is None:
        middle = median(seconds)
        if middle >= rule.min_seconds:
            return ""
        return f"median answer in {middle:.1f} s, under {rule.min_seconds:g} s"
    fast = sum(value < rule.min_seconds for value in seconds)
    if fast <= rule.max_fast * len(seconds):
        return ""
    return (
        f"{fast} of {len(seconds)} answers in under {rule.min_seconds:g} s, more than "
        f"{100 * rule.max_fast:g} %"
    )


def _side_reason(ballots: Sequence[Ballot], rule: Rule) -> str:
    if rule.min_side_p is None:
        return ""
    left, right, p = one_sidedness(ballots)
    if p >= rule.min_side_p:
        return ""
    side = "left" if left > right else "right"
    return f"chose the {side} side {max(left, right)} of {left + right} times"


def one_sidedness(ballots: Iterable[Ballot]) -> tuple[int, int, float]:
    """How often one participant chose left and right, by the most one-sided criterion, and the
    two-sided p of that if both were equally likely, times the number of criteria (at most 1).

    Sides are balanced for each participant, so a preference makes a person less one-sided, not
    more. Trials of all kinds count; ties and skips do not.
    """
    counts: dict[str, Counter[Choice]] = defaultdict(Counter)
    for ballot in ballots:
        if ballot.winner is not None:
            counts[ballot.criterion][ballot.choice] += 1
    sides = [(count[Choice.LEFT], count[Choice.RIGHT]) for count in counts.values()]
    found = [(left, right, _binomial_p(min(left, right), left + right)) for left, right in sides]
    left, right, p = min(found, key=lambda one: one[2], default=(0, 0, 1.0))
    return left, right, min(1.0, p * max(len(found), 1))


def _binomial_p(rarer: int, of: int) -> float:
    """The two-sided p that one of two equally likely outcomes has at most `rarer` of `of`."""
    return min(1.0, 2 * sum(comb(of, k) for k in range(rarer + 1)) / 2**of)


def seconds_of(ballots: Iterable[Ballot]) -> list[float]:
    """The seconds of one participant's answered trials, by position: until the last answer."""
    trials: dict[str, float] = {}
    for ballot in sorted(ballots, key=lambda one: one.position):
        if ballot.choice != Choice.SKIP:
            trials[ballot.trial] = max(ballot.seconds, trials.get(ballot.trial, 0.0))
    return list(trials.values())


def median_seconds(ballots: Iterable[Ballot]) -> dict[str, float]:
    """Every participant's median seconds from the appearance of the pictures to the last answer of
    a trial, by name, without skips.
    """
    own: dict[str, list[Ballot]] = defaultdict(list)
    for ballot in ballots:
        own[ballot.participant].append(ballot)
    found = {participant: seconds_of(own[participant]) for participant in sorted(own)}
    return {participant: median(seconds) for participant, seconds in found.items() if seconds}


def _golds(trials: list[list[Ballot]]) -> Golds:
    answers = [[vote for vote in trial if vote.choice != Choice.SKIP] for trial in trials]
    answered = [votes for votes in answers if votes]
    failed = sum(any(vote.choice != vote.expected for vote in votes) for votes in answered)
    return Golds(failed, len(answered), len(trials) - len(answered))
