"""Who is excluded by the rule that the design froze: golds that a participant failed, and how fast
the answers came.

A rule means something only if it was written down before the votes were seen, and results belong
in a report with and without the excluded (`analysis`). Not here: other ways of answering
(`conduct`), the part of the rule that the assignment heeds at once (`records.failed_out`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from workbench.study.ballots import Ballot, Choice, TrialKind


@dataclass(frozen=True)
class Golds:
    """One participant's gold trials."""

    failed: int
    answered: int
    skipped: int


def gold_results(ballots: Iterable[Ballot]) -> dict[str, Golds]:
    """Every participant's golds, by name. A gold trial is failed if one of its answers is not the
    expected one (a tie too), answered if it was answered by any criterion that expects something;
    one that was only skipped is neither. Criteria that expect nothing do not count.
    """
    trials: dict[str, dict[str, list[Ballot]]] = {ballot.participant: {} for ballot in ballots}
    for ballot in ballots:
        if ballot.kind == TrialKind.GOLD and ballot.expected is not None:
            trials[ballot.participant].setdefault(ballot.trial, []).append(ballot)
    return {
        participant: _golds(list(trials[participant].values())) for participant in sorted(trials)
    }


def excluded(
    ballots: Sequence[Ballot], max_gold_failures: int, min_seconds: float | None = None
) -> dict[str, tuple[str, ...]]:
    """The participants whom the rule excludes, by name, and why: more than `max_gold_failures`
    failed golds, or a median answer in less than `min_seconds` (None: no such rule). Someone
    without golds or answers is not excluded for them.
    """
    seconds, found = median_seconds(ballots), {}
    for participant, golds in gold_results(ballots).items():
        reasons = []
        if golds.failed > max_gold_failures:
            reasons.append(
                f"failed {golds.failed} of {golds.answered} gold trials, more than "
                f"{max_gold_failures}"
            )
        if min_seconds is not None and seconds.get(participant, min_seconds) < min_seconds:
            reasons.append(
                f"median answer in {seconds[participant]:.1f} s, under {min_seconds:g} s"
            )
        if reasons:
            found[participant] = tuple(reasons)
    return found


def median_seconds(ballots: Iterable[Ballot]) -> dict[str, float]:
    """Every participant's median seconds from the pictures to the last answer of a trial, by name,
    skipped answers left out.
    """
    trials: dict[str, dict[str, float]] = defaultdict(dict)
    for ballot in ballots:
        if ballot.choice != Choice.SKIP:
            own = trials[ballot.participant]
            own[ballot.trial] = max(ballot.seconds, own.get(ballot.trial, 0.0))
    return {participant: median(trials[participant].values()) for participant in sorted(trials)}


def _golds(trials: list[list[Ballot]]) -> Golds:
    answers = [[vote for vote in trial if vote.choice != Choice.SKIP] for trial in trials]
    answered = [votes for votes in answers if votes]
    failed = sum(any(vote.choice != vote.expected for vote in votes) for votes in answered)
    return Golds(failed, len(answered), len(trials) - len(answered))
