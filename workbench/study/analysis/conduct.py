"""How the participants answered, whatever they preferred: side bias and repeats.

Not here: golds, times and who is excluded for them (`exclusion`), who was preferred (`statistics`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from workbench.study.analysis.clustering import Rate, clustered_rate
from workbench.study.analysis.statistics import real_trials
from workbench.study.ballots import Ballot, Choice, TrialKind
from workbench.study.errors import StudyError


@dataclass(frozen=True)
class SideBias:
    """The share of `left` among the decided votes of real trials, clustered by participant; p of
    left and right being as likely.
    """

    left: int
    right: int
    share: Rate


@dataclass(frozen=True)
class Consistency:
    """How often a repeat was answered as the trial it repeats: same method, or a tie both times."""

    same: int
    repeats: int  # with an answer to both
    left_out: int  # skipped now or then, or not answered then
    share: Rate  # clustered by participant
    chance: float  # what answering at random would give


def side_bias(ballots: Iterable[Ballot], level: float = 0.95) -> SideBias:
    """Whether left is chosen more often than right. Sides are balanced for each participant and
    pair, so preference cancels.

    All criteria together, unless the ballots given are of one. On 42 settings of 1,000 simulated
    studies without bias the 5 % test rejects in 3 to 6 %.
    """
    decided = [vote for vote in real_trials(ballots) if vote.winner is not None]
    left = [float(vote.choice == Choice.LEFT) for vote in decided]
    count = int(sum(left))
    return SideBias(
        count,
        len(left) - count,
        clustered_rate(left, [vote.participant for vote in decided], level),
    )


def repeat_consistency(ballots: Iterable[Ballot], level: float = 0.95) -> Consistency:
    """The share of repeats answered for the same METHOD as before (sides are exchanged), all
    criteria together.

    A tie is the same as a tie only. `chance` is that of someone who chooses sides by a coin and
    ties as often as these people do, in a share t of these answers: (1 - t)^2 / 2 + t^2; who
    always answers one side is at 0. Where one method wins nearly always, repeats agree for that
    alone. The p of `share` is against 1/2, which is chance only without ties. On 42 settings of
    1,000 simulated studies 95 % intervals cover in 94 to 97 %. Raises StudyError for a repeat of a
    trial of another pair.
    """
    ballots = list(ballots)
    before = {
        (vote.participant, vote.trial, vote.criterion): vote
        for vote in ballots
        if vote.kind == TrialKind.REAL
    }
    both, left_out = [], 0
    for again in (ballot for ballot in ballots if ballot.kind == TrialKind.REPEAT):
        first = before.get((again.participant, again.repeats, again.criterion))
        if first is not None and first.pair != again.pair:
            raise StudyError(
                f"trial {again.trial} of {' and '.join(again.pair)} cannot repeat trial "
                f"{again.repeats} of {' and '.join(first.pair)}"
            )
        if first is None or Choice.SKIP in (first.choice, again.choice):
            left_out += 1
        else:
            both.append((first, again))
    same = [float(first.winner == again.winner) for first, again in both]
    ties = (
        sum((first.winner is None) + (again.winner is None) for first, again in both)
        / (2 * len(both))
        if both
        else 0.0
    )
    return Consistency(
        int(sum(same)),
        len(both),
        left_out,
        clustered_rate(same, [again.participant for _, again in both], level),
        chance=(1 - ties) ** 2 / 2 + ties**2,
    )
