"""Whether the participants agree: Krippendorff's alpha, nominal, with missing answers.

For units u with m_u >= 2 answers, of which n_uc are c, the coincidences are

    o_ck = sum_u n_uc (n_uk - [c = k]) / (m_u - 1),    n_c = sum_k o_ck,    n = sum_c n_c
    alpha = 1 - (n - 1) (sum over c != k of o_ck) / (sum over c != k of n_c n_k)

1 is agreement, 0 the agreement expected by chance, below 0 systematic disagreement; undefined
(nan) if only one answer was ever given. A low alpha of preferences is not a fault in itself:
people may differ, and two equal methods give 0.

A unit is one prompt of one pair; its answers are the METHODS preferred, or a tie. Pairs are kept
apart: answers about other pairs would inflate the disagreement expected by chance, and alpha with
it. Source: Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011. Not here: alpha for
ordered answers.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from workbench.study.analysis.clustering import (
    NONE,
    ClusteredInterval,
    codes,
    combined,
)
from workbench.study.analysis.statistics import real_trials
from workbench.study.ballots import Ballot, Choice


@dataclass(frozen=True)
class Agreement:
    """Alpha of one pair by one criterion, over units that two or more participants answered."""

    criterion: str
    pair: tuple[str, str]
    units: int
    answers: int
    alpha: ClusteredInterval


def agreements(ballots: Iterable[Ballot], level: float = 0.95) -> list[Agreement]:
    """One per criterion and pair with a real trial, in alphabetical order; alpha is nan if no
    prompt has two answers.

    Skips are missing answers. The interval is that of `nominal_alpha`, for other people and other
    prompts of the same kind.
    """
    answers: dict[tuple[str, tuple[str, str]], dict[str, list[tuple[str, str | None]]]] = (
        defaultdict(lambda: defaultdict(list))
    )
    for ballot in real_trials(ballots):
        unit = answers[ballot.criterion, ballot.pair][ballot.prompt]
        if ballot.choice != Choice.SKIP:
            unit.append((ballot.participant, ballot.winner))
    results = []
    for criterion, pair in sorted(answers):
        units = [unit for unit in answers[criterion, pair].values() if len(unit) > 1]
        people, winners = ([[answer[part] for answer in unit] for unit in units] for part in (0, 1))
        alpha = nominal_alpha(winners, level, people)
        results.append(Agreement(criterion, pair, len(units), sum(map(len, units)), alpha))
    return results


def nominal_alpha(
    units: Sequence[Sequence[Hashable]],
    level: float = 0.95,
    people: Sequence[Sequence[Hashable]] | None = None,
) -> ClusteredInterval:
    """Alpha of the answers to each unit (without missing ones; units with fewer than two do not
    count) and its jackknife interval, cut at 1.

    With `people`, who gave each answer, units and people are clusters: the variances of alpha
    without each unit, each person and each answer in turn are combined as those of a win rate
    (`clustering`), with Student's t and (smaller number of clusters) - 1 degrees of freedom.
    Without, only the units vary. The ends are nan for a single unit or person, for units that are
    all alike, and if only one kind of answer remains without one of them; everything is nan if
    only one kind was given.
    """
    coincidences = _coincidences(units)
    count, total = len(coincidences), coincidences.sum(0)
    value = float(_alpha(total))
    if count < 2:
        return ClusteredInterval(value, math.nan, math.nan)
    variance = _jackknife(_alpha(total - coincidences))
    if people is not None:
        person, less = _changes(units, people)
        groups = int(person.max()) + 1
        of_person = np.zeros((groups, *total.shape))
        np.add.at(of_person, person, less)
        by_person, by_answer = (_jackknife(_alpha(total + part)) for part in (of_person, less))
        variance = float(combined(variance + by_person - by_answer, by_person, variance))
        count = min(count, groups)
    if not variance > NONE:
        return ClusteredInterval(value, math.nan, math.nan)
    half = float(stats.t.ppf((1 + level) / 2, count - 1)) * math.sqrt(variance)
    return ClusteredInterval(value, value - half, min(value + half, 1.0))


def _jackknife(without: np.ndarray) -> float:
    """The jackknife variance from values without each of n parts [n]."""
    return float(((without - without.mean()) ** 2).sum()) * (len(without) - 1) / len(without)


def _changes(
    units: Sequence[Sequence[Hashable]], people: Sequence[Sequence[Hashable]]
) -> tuple[np.ndarray, np.ndarray]:
    """[V] the person of each answer that counts, and [V, C, C] how the coincidences change without
    it.
    """
    n = _counts(units)
    kinds, counted = _kinds(units), [index for index, unit in enumerate(units) if len(unit) > 1]
    row = np.repeat(np.arange(len(counted)), [len(units[index]) for index in counted])
    kind = np.array([kinds.index(answer) for index in counted for answer in units[index]])
    less = n[row] - np.eye(len(kinds))[kind]
    person = codes([who for index in counted for who in people[index]])
    return person, _paired(less) - _paired(n)[row]


def _coincidences(units: Sequence[Sequence[Hashable]]) -> np.ndarray:
    """[U, C, C] fp64: what each unit of two or more answers adds to o_ck."""
    return _paired(_counts(units))


def _paired(n: np.ndarray) -> np.ndarray:
    """[U, C, C] the coincidences of units with counts n [U, C]; none for a single answer."""
    pairs = n[:, :, None] * n[:, None, :] - n[:, :, None] * np.eye(n.shape[1])
    return pairs / np.maximum(n.sum(1) - 1, 1)[:, None, None]


def _counts(units: Sequence[Sequence[Hashable]]) -> np.ndarray:
    """[U, C] how often each kind of answer was given to each unit of two or more answers."""
    counted, kinds = [Counter(unit) for unit in units if len(unit) > 1], _kinds(units)
    return np.array([[unit[kind] for kind in kinds] for unit in counted], dtype=float).reshape(
        len(counted), len(kinds)
    )


def _kinds(units: Sequence[Sequence[Hashable]]) -> list[Hashable]:
    return list(dict.fromkeys(answer for unit in units if len(unit) > 1 for answer in unit))


def _alpha(o: np.ndarray) -> np.ndarray:
    """[...] alpha of coincidences [..., C, C]."""
    each = o.sum(-1)
    total = each.sum(-1)
    observed = total - np.trace(o, axis1=-2, axis2=-1)
    expected = total**2 - (each**2).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected > NONE, 1 - (total - 1) * observed / expected, np.nan)
