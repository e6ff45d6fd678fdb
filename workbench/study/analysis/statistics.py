"""Preferences: for each pair of methods and criterion the votes, the win rate, and how far it
generalises to other people and prompts.

Only real trials count: golds and repeats are about the participants (`conduct`). In a pair,
`first` is the method whose name comes first in the alphabet, and every rate is the share that
`first` won; `PairResult.of(method)` reverses it if necessary.

Both conventions for ties are always given, because a tie is an answer and neither way of splitting
it is right:

    half       (wins + ties / 2) / (wins + losses + ties), the headline: no vote is discarded
    decided    wins / (wins + losses)

The intervals are clustered by participant and prompt (`clustering`), so they apply to other people
and other prompts of the same kind. Wilson's interval for independent votes is given only because
others report it: it covers in far too few studies. Not here: agreement between
people (`agreement`), three or more methods on one scale (`bradley_terry`).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from scipy.stats import binomtest

from workbench.study.analysis.clustering import (
    ClusteredInterval,
    OneSided,
    Rate,
    crossed_rate,
    unanimous_bounds,
)
from workbench.study.ballots import Ballot, Choice, TrialKind
from workbench.study.errors import StudyError


class SignTest(NamedTuple):
    """How many prompts have more votes for the first method, for the second, for neither; the
    exact two-sided p, nan if no prompt decides.
    """

    first: int
    second: int
    even: int
    p: float


@dataclass(frozen=True)
class PairResult:
    """The real trials of two methods by one criterion. Rates are shares of `first`; only
    participants and prompts with a vote count.
    """

    criterion: str
    first: str
    second: str
    first_wins: int
    second_wins: int
    ties: int
    skips: int
    participants: int
    prompts: int
    half: Rate
    decided: Rate
    # of `decided`, as if votes were independent: too narrow, for reference only
    wilson: ClusteredInterval
    majorities: SignTest
    # of the method that won every vote of two or more people and prompts: its least rate
    unanimous: OneSided | None = None

    def of(self, method: str) -> PairResult:
        """The same result with `method` first. Raises StudyError if it is neither method."""
        if method not in (self.first, self.second):
            raise StudyError(f"the pair {self.first}, {self.second} does not include {method}")
        if method == self.first:
            return self
        sign = self.majorities
        return replace(
            self,
            first=self.second,
            second=self.first,
            first_wins=self.second_wins,
            second_wins=self.first_wins,
            half=_reversed(self.half),
            decided=_reversed(self.decided),
            wilson=_reversed(self.wilson),
            majorities=sign._replace(first=sign.second, second=sign.first),
        )


def win_rates(ballots: Iterable[Ballot], level: float = 0.95) -> list[PairResult]:
    """A result per criterion and pair with a real trial, in alphabetical order.

    Ends and p are nan for a single participant or prompt and if all votes are equal; a pair that
    was only skipped has nan rates. Raises StudyError for ballots that cannot come from one study
    (`real_trials`).
    """
    cells: dict[tuple[str, tuple[str, str]], list[Ballot]] = defaultdict(list)
    for ballot in real_trials(ballots):
        cells[ballot.criterion, ballot.pair].append(ballot)
    return [
        _result(criterion, pair, cells[criterion, pair], level) for criterion, pair in sorted(cells)
    ]


def sign_test(votes: Sequence[Ballot], first: str) -> SignTest:
    """The exact binomial test that as many prompts have a majority for `first` as against it, over
    votes of one pair and criterion.

    Ties and skips do not count; prompts with equally many votes on both sides are left out and
    counted as even. It treats these people as fixed: on simulated nulls the 5 % test rejects in 5
    to 8 % of studies with effects of sd .5 (participants) and .8 (prompts), in 20 % with 1 and .5.
    So it cannot replace the clustered p if people differ much.
    """
    margins: Counter[str] = Counter()
    for vote in votes:
        margins[vote.prompt] += 0 if vote.winner is None else 1 if vote.winner == first else -1
    ahead, behind = (
        sum(margin > 0 for margin in margins.values()),
        sum(margin < 0 for margin in margins.values()),
    )
    p = float(binomtest(ahead, ahead + behind).pvalue) if ahead + behind else math.nan
    return SignTest(ahead, behind, len(margins) - ahead - behind, p)


def wilson_interval(wins: int, of: int, level: float = 0.95) -> ClusteredInterval:
    """Wilson's interval for a share of independent trials; nan without trials."""
    if not of:
        return ClusteredInterval(math.nan, math.nan, math.nan)
    ends = binomtest(wins, of).proportion_ci(level, method="wilson")
    return ClusteredInterval(wins / of, float(ends.low), float(ends.high))


def real_trials(ballots: Iterable[Ballot]) -> list[Ballot]:
    """The votes of real trials. Raises StudyError for a method compared with itself, and for two
    votes of one participant on one trial and criterion.
    """
    real = [ballot for ballot in ballots if ballot.kind == TrialKind.REAL]
    seen: set[tuple[str, str, str]] = set()
    for ballot in real:
        key = (ballot.participant, ballot.trial, ballot.criterion)
        if ballot.left == ballot.right:
            raise StudyError(
                f"trial {ballot.trial} compares {ballot.left} with itself; leave it out"
            )
        if key in seen:
            raise StudyError(
                f"trial {ballot.trial} has two votes by {ballot.criterion}; leave out the "
                "superseded one"
            )
        seen.add(key)
    return real


def _result(
    criterion: str, pair: tuple[str, str], ballots: Sequence[Ballot], level: float
) -> PairResult:
    first, second = pair
    votes = [ballot for ballot in ballots if ballot.choice != Choice.SKIP]
    decided = [vote for vote in votes if vote.winner is not None]
    won = sum(vote.winner == first for vote in decided)
    return PairResult(
        criterion,
        first,
        second,
        won,
        len(decided) - won,
        len(votes) - len(decided),
        len(ballots) - len(votes),
        len({vote.participant for vote in votes}),
        len({vote.prompt for vote in votes}),
        half=_rate(votes, first, level),
        decided=_rate(decided, first, level),
        wilson=wilson_interval(won, len(decided), level),
        majorities=sign_test(votes, first),
        unanimous=_unanimous(votes, level),
    )


def _unanimous(votes: Sequence[Ballot], level: float) -> OneSided | None:
    winners, people = {vote.winner for vote in votes}, [vote.participant for vote in votes]
    prompts = [vote.prompt for vote in votes]
    if len(winners) != 1 or None in winners or 1 in (len(set(people)), len(set(prompts))):
        return None
    return unanimous_bounds(people, prompts, level)


def _rate(votes: Sequence[Ballot], first: str, level: float) -> Rate:
    values = [0.5 if vote.winner is None else float(vote.winner == first) for vote in votes]
    return crossed_rate(
        values, [vote.participant for vote in votes], [vote.prompt for vote in votes], level
    )


def _reversed(share: Rate | ClusteredInterval) -> Rate | ClusteredInterval:
    return share._replace(value=1 - share.value, low=1 - share.high, high=1 - share.low)
