"""Exclusion of participants by the rule frozen in the design: failed golds, and answers that came
too fast.

A rule is meaningful only if it was fixed before anyone saw the votes, and a report needs the
results both with and without the excluded (`findings`). Not here: other conduct (`conduct`), the
part of the rule that the assignment applies immediately (`records.failed_out`).
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


def excluded(
    ballots: Sequence[Ballot], max_gold_failures: int, min_seconds: float | None = None
) -> dict[str, tuple[str, ...]]:
    """The excluded participants by name, with the reasons: more than `max_gold_failures` failed
    golds, or a median answer in less than `min_seconds` (None: no limit). Nobody is excluded for
    having no golds or answers.
    """
    seconds, out = median_seconds(ballots), {}
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
            out[participant] = tuple(reasons)
    return out


def median_seconds(ballots: Iterable[Ballot]) -> dict[str, float]:
    """Every participant's median seconds from the appearance of the pictures to the last answer of
    a trial, by name, without skips.
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
