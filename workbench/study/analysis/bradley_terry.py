"""Three or more methods on one scale: the model of Bradley and Terry, P(a is preferred to b) = 1 /
(1 + exp(score_b - score_a)).

Scores are centred on 0, the mean of the methods. A tie counts as half a win each way. choix does
the fit. What is estimated is the scores that fit the win rates over all people and prompts, pair
by pair as often as this study asked for them; they are not those of one average person, which lie
further apart.

The intervals are for other people and other prompts of the same kind. The scores move by d_g when
the votes of cluster g are left out (one step of Newton's method), which gives the jackknife's
variance (G - 1) / G sum d_g^2 by participants, by prompts and by cells, the votes of one
participant on one prompt. They are combined as participants + prompts - cells (Cameron, Gelbach
and Miller 2011), and Student's t is taken at Satterthwaite's degrees of freedom
(`clustering.two_way`).

If a method or a group of methods won or lost everything against the rest, the likelihood has no
maximum: some scores are infinite, and no interval has ends. Half a win each way is then added to
every compared pair, which keeps the scores finite, for their order only, and the result says so
(`regularised`). What such votes do say is in the pairs' one-sided bounds (`statistics`).

`benchmarks/interval_coverage.py` measures how often the intervals cover. Not here: whether the
model fits. It cannot represent a circle (a beats b beats c beats a), so the win rates of the pairs
are reported beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import choix
import numpy as np
from scipy import stats
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from workbench.study.analysis.clustering import (
    NONE,
    ClusteredInterval,
    codes,
    two_way,
)
from workbench.study.analysis.statistics import real_trials
from workbench.study.ballots import Ballot, Choice
from workbench.study.errors import StudyError


@dataclass(frozen=True)
class Strengths:
    """The methods' scores by one criterion, strongest first, and the differences of all ordered
    pairs. `regularised`: the likelihood has no maximum, and no interval has ends.
    """

    criterion: str
    scores: dict[str, ClusteredInterval]
    differences: dict[tuple[str, str], ClusteredInterval]
    regularised: bool

    def preferred(self, method: str, to: str) -> ClusteredInterval:
        """The model's probability that `method` is preferred to the other."""
        return ClusteredInterval(*map(float, expit(self.differences[method, to])))


class Comparisons(NamedTuple):
    """Votes as arrays [V]: the numbers of the two methods, the share of the win that the first has
    (1, 0, or 1/2 for a tie), and the numbers of participant and prompt.
    """

    first: np.ndarray
    second: np.ndarray
    share: np.ndarray
    participants: np.ndarray
    prompts: np.ndarray


class Scale(NamedTuple):
    """Centred scores [M], half the width of their intervals [M] and of those of their differences
    [M, M], nan if there is none; whether half wins had to be added.
    """

    scores: np.ndarray
    half: np.ndarray
    apart: np.ndarray
    regularised: bool


def strengths(ballots: Iterable[Ballot], level: float = 0.95) -> list[Strengths]:
    """One per criterion with a real vote, in alphabetical order. Ends are nan if the likelihood
    has no maximum, for a single participant or prompt, and without any spread of the votes.

    Raises StudyError if the methods fall into groups that were never compared with each other.
    """
    votes = [ballot for ballot in real_trials(ballots) if ballot.choice != Choice.SKIP]
    return [
        _strengths(criterion, [vote for vote in votes if vote.criterion == criterion], level)
        for criterion in sorted({vote.criterion for vote in votes})
    ]


def scores(wins: np.ndarray) -> tuple[np.ndarray, bool]:
    """[M] centred scores from wins [M, M] (wins[a, b]: how often a beat b; halves allowed), and
    whether half wins had to be added.

    Raises StudyError unless a chain of comparisons connects all methods.
    """
    compared = wins + wins.T > 0
    if connected_components(compared)[0] > 1:
        raise StudyError(
            "the methods fall into groups that were never compared with each other, so they have "
            "no common scale; compare them in more pairs, or use the pairs' win rates"
        )
    regularised = bool(connected_components(wins > 0, connection="strong")[0] > 1)
    fitted = choix.ilsr_pairwise_dense(wins + compared / 2 if regularised else wins, max_iter=1000)
    return fitted - fitted.mean(), regularised


def scale(votes: Comparisons, methods: int, level: float = 0.95) -> Scale:
    """The scores of `methods` methods from their votes, with intervals as above.

    Raises StudyError as `scores` does.
    """
    wins = np.zeros((methods, methods))
    np.add.at(wins, (votes.first, votes.second), votes.share)
    np.add.at(wins, (votes.second, votes.first), 1 - votes.share)
    found, regularised = scores(wins)
    half = np.full((methods, methods + 1), np.nan)
    fewest = min(len(set(votes.participants)), len(set(votes.prompts)))
    if not regularised and fewest > 1:
        half = _half_widths(votes, found, level)
    return Scale(found, half[:, 0], half[:, 1:], regularised)


def _half_widths(votes: Comparisons, found: np.ndarray, level: float) -> np.ndarray:
    """[M, 1 + M] half the widths of the intervals of each score, and of its difference to each."""
    cells = codes(list(zip(votes.participants.tolist(), votes.prompts.tolist())))
    moves = [_moves(votes, found, group) for group in (votes.participants, votes.prompts, cells)]
    variances = []
    for moved in moves:
        apart = moved[:, :, None] - moved[:, None, :]
        each = np.concatenate([moved[:, :, None], apart], 2)
        variances.append((each**2).sum(0) * (len(moved) - 1) / len(moved))
    variance, freedom = two_way(*variances, clusters=[len(moved) for moved in moves])
    variance[~(variance > NONE)] = np.nan
    return stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(variance)


def _moves(votes: Comparisons, found: np.ndarray, group: np.ndarray) -> np.ndarray:
    """[G, M] how far the centred scores move when the votes of each group are left out: one step
    of Newton's method. nan if the other groups do not determine them.
    """
    methods, rows = len(found), np.arange(len(group))
    sides = np.zeros((len(group), methods))
    sides[rows, votes.first], sides[rows, votes.second] = 1, -1
    expected = expit(sides @ found)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))

    def summed(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values[order], starts)

    gradient = summed(sides * (votes.share - expected)[:, None])
    weighted = sides * (expected * (1 - expected))[:, None]
    information = summed(weighted[:, :, None] * sides[:, None, :])
    # 1 / M everywhere makes it regular, and keeps the scores centred
    rest = information.sum(0) - information + 1 / methods
    lost = np.linalg.eigvalsh(rest)[:, 0] <= 1e-9
    rest[lost] = np.eye(methods)
    moved = np.linalg.solve(rest, gradient[:, :, None])[:, :, 0]
    moved[lost] = np.nan
    return moved


def _strengths(criterion: str, votes: Sequence[Ballot], level: float) -> Strengths:
    methods = sorted({method for vote in votes for method in vote.pair})
    found = scale(_comparisons(votes, methods), len(methods), level)
    order = np.argsort(-found.scores, kind="stable").tolist()
    value, half, apart = found.scores.tolist(), found.half.tolist(), found.apart.tolist()
    return Strengths(
        criterion,
        {methods[i]: _interval(value[i], half[i]) for i in order},
        {
            (methods[i], methods[j]): _interval(value[i] - value[j], apart[i][j])
            for i in order
            for j in order
            if i != j
        },
        found.regularised,
    )


def _interval(value: float, half: float) -> ClusteredInterval:
    return ClusteredInterval(value, value - half, value + half)


def _comparisons(votes: Sequence[Ballot], methods: Sequence[str]) -> Comparisons:
    share = {Choice.LEFT: 1.0, Choice.RIGHT: 0.0, Choice.TIE: 0.5}
    return Comparisons(
        np.array([methods.index(vote.left) for vote in votes]),
        np.array([methods.index(vote.right) for vote in votes]),
        np.array([share[vote.choice] for vote in votes]),
        codes([vote.participant for vote in votes]),
        codes([vote.prompt for vote in votes]),
    )
