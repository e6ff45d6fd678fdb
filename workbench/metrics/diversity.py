"""Diversity over seeds: Eq. (9), the Vendi score, and their intervals.

    Div(c) = 1 - 2 / (S (S - 1)) sum_{i<j} cos(f_i, f_j)                                     Eq. (9)

For normalised f the sum over pairs is (|sum_i f_i|^2 - S) / 2, so no pair is ever formed. Div is a
U-statistic: its expected value does not depend on S, and it is 0 for identical images and near 1
for unrelated ones (with few seeds a little above 1 is possible). Any feature may be given; compare
only values of the same feature.

Two kinds of chance, two intervals: `mean_interval` over prompts (a benchmark's mean),
`seed_interval` over the seeds of one prompt. All sums are in fp64. How often they cover the truth
is measured by `benchmarks/interval_coverage.py`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import stats
from scipy.special import expit, logit
from torch import Tensor

CACHED = 2**15  # numbers
RANGE = (0.0, 2.0)  # of Eq. (9)
NONE = 1e-12  # a spread, or a diversity, that is due to rounding only


class Interval(NamedTuple):
    """An estimate and the ends of its confidence interval, which are nan where the sample has no
    spread to tell them from: never low > high, never a width of zero.
    """

    mean: float
    low: float
    high: float


def diversity(features: Tensor) -> Tensor:
    """[P] fp64 diversity of each prompt by Eq. (9), from features [P, S, D] of S seeds (any
    leading dimensions). Images that are equal up to rounding have exactly 0.

    Raises ValueError for S < 2 (the released script returns 1 there) and for features that are not
    finite or are zero.
    """
    _check(features, at_least=2)
    *prompts, seeds, width = features.shape
    rows = features.detach().reshape(-1, seeds, width)
    few = max(
        CACHED // (seeds * width), 1
    )  # a few prompts at a time stay in the processor's cache: four times faster
    pairs = torch.cat([_pair_sum(part.double()) for part in rows.split(few)])
    return _from_pairs(pairs, seeds).reshape(prompts)


def vendi(features: Tensor) -> Tensor:
    """[] fp64 Vendi score in [1, S] of features [S, D] (any leading dimensions): the effective
    number of distinct images.

    exp of the entropy of the eigenvalues of K / S, K the cosine kernel. Grows with S: compare at
    equal S only. Source: Friedman & Dieng 2022, arXiv 2210.02410, order q = 1.
    """
    f = _normalised(features, at_least=1)
    eigenvalues = torch.linalg.eigvalsh(f @ f.mT / f.shape[-2]).clamp(min=0)
    return torch.special.entr(eigenvalues).sum(-1).exp()


def mean_interval(
    values: ArrayLike,
    level: float = 0.95,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """The mean over prompts of `values` [P] and its interval by Student's t (`t_interval`), for
    values in the range `within`. Prompts are what varies.

    Ends are nan for one prompt, and for values that are equal up to rounding. Raises ValueError
    for no values or values that are not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not len(sample) or not np.isfinite(sample).all():
        raise ValueError(
            f"expected finite values [P] of one or more prompts, not shape {list(sample.shape)}"
        )
    mean, error = float(sample.mean()), math.nan
    if len(sample) > 1:
        error = float(sample.std(ddof=1)) / math.sqrt(len(sample))
    return t_interval(mean, error, len(sample) - 1, level, within)


def seed_interval(features: Tensor, level: float = 0.95) -> Interval:
    """Eq. (9) of ONE prompt and its interval over seeds, from features [S, D]; ends are nan for S
    = 2.

    It is the jackknife's, cut at 0. The seeds are the sample, not the pairs: pairs share images,
    and a bootstrap of images would count an image beside its own copy as a pair. What no seed
    shows, no interval can see: if a mode is rare, too few intervals cover.

    Raises ValueError as `diversity` does. Source: Arvesen 1969 (the jackknife of U-statistics).
    """
    f = _normalised(features, at_least=2)
    if f.ndim != 2:
        raise ValueError(
            f"seed_interval reads the features [S, D] of one prompt, not {list(f.shape)}"
        )
    seeds, pairs = len(f), _pair_sum(f)
    value = float(_from_pairs(pairs, seeds))
    if seeds == 2:
        return Interval(value, math.nan, math.nan)
    others = f @ f.sum(0) - 1  # [S] sum of the cosines to every other seed
    without = _from_pairs(pairs - others, seeds - 1)
    interval = jackknife_interval(value, without, level)
    return interval._replace(
        low=interval.low if math.isnan(interval.low) else max(interval.low, 0.0)
    )


def jackknife_interval(
    value: float,
    without: Tensor,
    level: float = 0.95,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """An estimate from n units and its interval, from its values `without` [n] each of them in
    turn: their jackknife variance (n - 1) / n sum (d_i - mean d)^2 and Student's t with n - 1
    degrees of freedom, for values in the range `within` (`t_interval`).

    Ends are nan if leaving out a unit changes nothing, and if it leaves no value.
    """
    variance = float((without - without.mean()).square().sum()) * (len(without) - 1) / len(without)
    return t_interval(value, math.sqrt(variance), len(without) - 1, level, within)


def t_interval(
    value: float,
    error: float,
    freedom: float,
    level: float = 0.95,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """A value and its interval by Student's t from its standard error. Ends are nan for an error
    of nan or of rounding only.

    Values in a range `within` are taken on its logit scale, with a lower end only on its log
    scale, so that the interval stays in the range and leans to the side where there is room: of
    skewed values it covers more often. A value at an end of the range is taken as it is, and its
    interval cut there; so is one of two samples on a log scale, whose upper end would be thousands
    of times the value.
    """
    if not NONE * max(1.0, abs(value)) < error < math.inf:
        return Interval(value, math.nan, math.nan)
    half, (low, high) = float(stats.t.ppf((1 + level) / 2, freedom)) * error, within
    if not low < value < high or math.isinf(low) or (math.isinf(high) and freedom < 2):
        return Interval(
            value, min(value, max(value - half, low)), max(value, min(value + half, high))
        )
    if math.isinf(high):
        ends = low + (value - low) * np.exp(np.array([-half, half]) / (value - low))
    else:
        share = (value - low) / (high - low)
        reach = half / (high - low) / (share * (1 - share))
        ends = low + (high - low) * expit(logit(share) + np.array([-reach, reach]))
    return Interval(value, *map(float, ends))


def _from_pairs(pairs: Tensor, seeds: int) -> Tensor:
    """Eq. (9) from sums over pairs; exactly 0 for what rounding leaves of it."""
    values = 1 - pairs / math.comb(seeds, 2)
    return torch.where(values < NONE, 0.0, values)


def _pair_sum(f: Tensor) -> Tensor:
    """[...] sum over i < j of cos(f_i, f_j), for f [..., S, D]."""
    unit_sum = _lengths(f).reciprocal().mT @ f  # of all seeds
    return (unit_sum.square().sum((-2, -1)) - f.shape[-2]) / 2


def _check(features: Tensor, at_least: int) -> None:
    if features.ndim < 2 or features.shape[-2] < at_least:
        raise ValueError(
            f"diversity needs features [..., S, D] of {at_least} or more seeds, not shape "
            f"{list(features.shape)}"
        )


def _normalised(features: Tensor, at_least: int) -> Tensor:
    """Features [..., S, D] in fp64 at unit length."""
    _check(features, at_least)
    f = features.detach().double()
    return f / _lengths(f)


def _lengths(f: Tensor) -> Tensor:
    """[..., S, 1]."""
    length = f.norm(dim=-1, keepdim=True)
    if not (torch.isfinite(length) & (length > 0)).all():
        raise ValueError(
            "a feature is zero or not finite, so it has no direction; look for NaN or empty images"
        )
    return length
