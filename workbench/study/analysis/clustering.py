"""The mean of votes that share participants and prompts, with an interval that accounts for it.

Two votes of one person are alike, and so are two votes on one prompt, so n votes say less than n
independent ones. For the mean m of values v_i in [0, 1] the two-way variance of Cameron, Gelbach
and Miller (2011) adds the variances by participant and by prompt and subtracts what both count,
with g / (g - 1) for each number g of clusters:

    V   = V_participant + V_prompt - V_(participant and prompt)
    V_c = g / (g - 1) sum over clusters (sum of v_i - m inside)^2 / n^2

By chance it can be too small, with few clusters and weak effects, so the variance used is never
less than either one-way variance. Intervals and tests are on the logit scale, where ends stay
between 0 and 1, with Student's t and (smaller number of clusters) - 1 degrees of freedom.

Other estimates (Bradley-Terry scores) use `two_way`, which subtracts more boldly and counts degrees
of freedom less cautiously. Where all votes are equal there is no variance to see and no interval;
if all were won, `unanimous_bounds` is what can be said.

`benchmarks/interval_coverage.py` measures how often the intervals cover: this caution costs some
width with few people and weak effects, and intervals that treat the votes as independent cover in
far too few studies.

Not here: the values that are averaged (`statistics`, `conduct`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.special import expit, logit
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.sandwich_covariance import cov_cluster, cov_cluster_2groups

NONE = 1e-12  # a variance due to rounding only


class ClusteredInterval(NamedTuple):
    """An estimate and the ends of its confidence interval; the ends are nan if the sample does not
    determine them.
    """

    value: float
    low: float
    high: float


class OneSided(NamedTuple):
    """The least that a rate can be, if votes are independent, and whatever they share."""

    independent: float
    certain: float


class Rate(NamedTuple):
    """A mean of values in [0, 1], the ends of its interval, and the two-sided p for a mean of 1/2;
    nan if the sample does not determine them.
    """

    value: float
    low: float
    high: float
    p: float


def crossed_rate(
    values: Sequence[float],
    participants: Sequence[Hashable],
    prompts: Sequence[Hashable],
    level: float = 0.95,
) -> Rate:
    """The mean of `values` [n] in [0, 1] with an interval clustered by participant and prompt, as
    above.

    Ends and p are nan for a single participant or prompt, and if all values are equal.
    Everything is nan without values.
    """
    people, texts = codes(participants), codes(prompts)
    fewest = min(_count(people), _count(texts))
    if fewest < 2:
        return _undetermined(values)
    both, by_participant, by_prompt = cov_cluster_2groups(
        OLS(np.asarray(values, float), np.ones(len(values))).fit(), people, texts
    )
    return _rate(values, combined(both, by_participant, by_prompt).item(), fewest - 1, level)


def clustered_rate(
    values: Sequence[float], participants: Sequence[Hashable], level: float = 0.95
) -> Rate:
    """`crossed_rate`, clustered by participant only, for questions about people, not prompts."""
    group = codes(participants)
    if _count(group) < 2:
        return _undetermined(values)
    variance = cov_cluster(OLS(np.asarray(values, float), np.ones(len(values))).fit(), group)
    return _rate(values, variance.item(), _count(group) - 1, level)


def two_way(
    by_participant: np.ndarray,
    by_prompt: np.ndarray,
    by_cell: np.ndarray,
    clusters: Sequence[int],
) -> tuple[np.ndarray, np.ndarray]:
    """The two-way variance and its degrees of freedom (any shape), from the variances by
    participant, by prompt and by both, and the numbers of these clusters.

    It is never less than the variance of votes that only share a cell, whose degrees of freedom it
    then has; else they are Satterthwaite's, those of a sum of three estimates, but no fewer than
    the smaller number of clusters less 1.
    """
    people, prompts, cells = (count - 1 for count in clusters)
    both = by_participant + by_prompt - by_cell
    variance = np.maximum(both, by_cell)
    spread = by_participant**2 / people + by_prompt**2 / prompts + by_cell**2 / cells
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.where(both > by_cell, variance**2 / spread, cells)
    return variance, np.fmax(freedom, min(people, prompts))


def unanimous_bounds(
    participants: Sequence[Hashable], prompts: Sequence[Hashable], level: float = 0.95
) -> OneSided:
    """How small the rate of votes that were all won can be, one-sided, from their participants and
    prompts [n].

    All n votes are won with probability rate^n if they are independent, so the rate is at least
    (1 - level)^(1 / n). Votes of one person or prompt are alike, but votes of different people on
    different prompts are independent: with k of them, a largest matching, (1 - level)^(1 / k)
    holds whatever the others share.
    """
    met = csr_array((np.ones(len(prompts)), (codes(participants), codes(prompts))))
    matched = int((maximum_bipartite_matching(met) >= 0).sum())
    return OneSided(*(float((1 - level) ** (1 / count)) for count in (len(prompts), matched)))


def combined(both: ArrayLike, by_participant: ArrayLike, by_prompt: ArrayLike) -> np.ndarray:
    """The variance to use: the two-way variance, or a one-way variance if that is larger (any
    shape).
    """
    return np.maximum(both, np.maximum(by_participant, by_prompt))


def t_statistic(mean: ArrayLike, variance: ArrayLike) -> np.ndarray:
    """Student's t for means in (0, 1) against 1/2, on the logit scale (any shape); nan without
    variance.
    """
    mean, variance = np.asarray(mean), np.asarray(variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(
            variance > NONE, logit(mean) * mean * (1 - mean) / np.sqrt(variance), np.nan
        )


def _rate(values: Sequence[float], variance: float, freedom: int, level: float) -> Rate:
    mean = float(np.mean(values))
    if variance <= NONE or not 0 < mean < 1:
        return _undetermined(values)
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * math.sqrt(variance) / (mean * (1 - mean))
    low, high = expit(logit(mean) + np.array([-half, half]))
    return Rate(
        mean,
        float(low),
        float(high),
        float(2 * stats.t.sf(abs(t_statistic(mean, variance)), freedom)),
    )


def _undetermined(values: Sequence[float]) -> Rate:
    return Rate(float(np.mean(values)) if len(values) else math.nan, math.nan, math.nan, math.nan)


def codes(names: Sequence[Hashable]) -> np.ndarray:
    """[n] int, equal for equal names."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=int)


def _count(codes: np.ndarray) -> int:
    return int(codes.max()) + 1 if len(codes) else 0
