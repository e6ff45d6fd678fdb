r"""Branching: how much diversity is left after step k, and so how much each step decides.

P parents are sampled up to step k; from there B branches each continue with their own noise. For
features f of the finished images

    within  = mean over parents of 1/2 mean_{b != b'} |f_pb - f_pb'|^2
              the variance that the later steps can still change
    cross   = 1/2 mean over p != p' of |f_pb - f_p'b'|^2
              the variance between parents, later steps included
    between = cross - within
              the variance that the first k steps have decided
    ICC     = between / cross
              the intraclass correlation: 0 nothing is decided, 1 everything

These are the mean squares of a one-way random-effects analysis of variance (within = MSW, between
= (MSB - MSW) / B, ICC(1) of Shrout and Fleiss 1979), summed over the features' dimensions. For
features of unit length 1/2 |f - f'|^2 = 1 - cos, so within and cross are Eq. (9) over the branches
of a parent, and over parents. `between` may be a little below 0, like any such estimate.

An ODE sampler draws no noise after step k, so its belief x0_k is noised again to the level of step
k + 1: x = alpha x0_k + sigma noise, instead of the noise that the ODE carries
(`workbench.stages.recording.branched`).

Sources: branching from a level to see what it decides is Sclocchi et al. 2024 (arXiv 2402.16991)
and Li and Chen 2024 (2403.01633).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.metrics.diversity import Interval, jackknife_interval


@dataclass(frozen=True)
class Split:
    """Three numbers of the formulas above, each with its interval over parents (nan ends for fewer
    than three parents, and for parents that are all alike).
    """

    within: Interval
    cross: Interval
    icc: Interval


def variance_split(features: Tensor, level: float = 0.95) -> Split:
    """The split of features [P, B, D] of P parents with B branches, in fp64; the ICC is nan if
    all features are equal.

    Raises ValueError for fewer than two parents or branches, and for features that are not finite.
    """
    if features.ndim != 3 or min(features.shape[:2]) < 2 or not torch.isfinite(features).all():
        raise ValueError(
            "branching needs finite features [P, B, D] of two or more parents and branches, not "
            f"{list(features.shape)}"
        )
    f = features.double()
    means = f.mean(1)
    within = (f - f.mean(1, keepdim=True)).square().sum((1, 2)) / (f.shape[1] - 1)
    point = _numbers(means, within, f.shape[1])
    if len(f) < 3:
        return Split(*(Interval(value, math.nan, math.nan) for value in point.tolist()))
    rest = [torch.arange(len(f)) != omitted for omitted in range(len(f))]
    without = torch.stack([_numbers(means[kept], within[kept], f.shape[1]) for kept in rest])
    ranges = (0.0, math.inf), (0.0, math.inf), (-math.inf, 1.0)
    return Split(
        *(
            jackknife_interval(float(value), column, level, within)
            for value, column, within in zip(point, without.T, ranges)
        )
    )


def _numbers(means: Tensor, within: Tensor, branches: int) -> Tensor:
    """[3] within, cross and ICC from the parents' means [P, D] and their variances [P]."""
    mean = within.mean()
    between = (means - means.mean(0)).square().sum() / (len(means) - 1) - mean / branches
    return torch.stack([mean, between + mean, between / (between + mean)])
