r"""Commitment: the step from which the model's belief x0 is the sample's final image.

For step k and seed i, with x0_k,i the decoded belief and F_i the decoded end of the pass:

    own_k,i    = mean (x0_k,i - F_i)^2                       distance to the seed's own final image
    others_k,i = mean over j != i of mean (x0_k,i - F_j)^2   the control: other seeds' finals
    fixed_k    = 1 - sum_i own_k,i / sum_i others_k,i        0: no nearer to its own end than to any
                                                             other; 1: equal to it

A belief F_mean + a (F_i - F_mean), right but blurred by a in [0, 1], has fixed = 2 a / (1 + a^2) if
the F_i are independent: blur lowers it, although nothing is undecided. So it is also read on a
low-passed version, 8 x 8 means, that is up to 4 cycles per image.

Source: the control is ours; the observation is Figure A and Appendix B of the paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.metrics.diversity import NONE, Interval, jackknife_interval

CELLS = 8  # per side of the low-passed version


@dataclass(frozen=True)
class Commitment:
    """Mean squared distances [N, S, S] of the beliefs of N steps to final images: from seed i's
    belief to seed j's image.
    """

    distance: Tensor

    @property
    def own(self) -> Tensor:
        """[N, S] the distance to the seed's own final image."""
        return self.distance.diagonal(dim1=1, dim2=2)

    @property
    def others(self) -> Tensor:
        """[N, S] the mean distance to the other seeds' finals."""
        return (self.distance.sum(2) - self.own) / (self.distance.shape[1] - 1)

    @property
    def by_seed(self) -> Tensor:
        """[N, S] `fixed` of each seed alone; nan if all finals are equal."""
        return 1 - self.own / self.others

    @property
    def fixed(self) -> Tensor:
        """[N] the share of the final structure that is fixed at each step, by the formula above; at
        most 1.
        """
        return 1 - self.own.sum(1) / self.others.sum(1)


def commitment(beliefs: Iterable[Tensor], finals: Tensor) -> Commitment:
    """The distances of beliefs [S, ...], one step after the other, to finals [S, ...], in fp64.
    Raises ValueError for fewer than two seeds.
    """
    if len(finals) < 2:
        raise ValueError("commitment compares two or more seeds")
    flat = finals.flatten(1).double()
    return Commitment(
        torch.stack(
            [
                torch.cdist(
                    step.flatten(1).double(), flat, compute_mode="donot_use_mm_for_euclid_dist"
                ).square()
                for step in beliefs
            ]
        )
        / flat.shape[1]
    )


def low_passed(images: Tensor, cells: int = CELLS) -> Tensor:
    """Means [..., cells, cells] of images [..., H, W]."""
    return F.adaptive_avg_pool2d(images.flatten(0, -4), cells).unflatten(0, images.shape[:-3])


def first_step(share: Tensor, level: float) -> int:
    """The first step, counting from 1, from which `share` [N] stays at `level` or above; N + 1 if
    it never does.
    """
    below = (share < level).nonzero()
    return int(below[-1]) + 2 if len(below) else 1


def fixed_by(measured: Commitment, share: float, level: float = 0.95) -> Interval:
    """The step by which `share` of the final structure is fixed, with its percentile bootstrap
    interval over the seeds: whole steps, both ends included. Ends are nan for seeds that are all
    alike.
    """
    step, lines = first_step(measured.fixed, share), _resampled(measured)
    if not float((lines.max(0).values - lines.min(0).values).max()) > NONE:
        return Interval(step, math.nan, math.nan)
    drawn = [first_step(line, share) for line in lines]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return Interval(step, int(low), int(high))


def fixed_curve(measured: Commitment, level: float = 0.95) -> list[Interval]:
    """`fixed` of each step with its jackknife interval over the seeds, cut at 1; ends are nan for
    two seeds, and where all are alike, as at the last step, whose belief is the final image.
    """
    seeds, own = measured.distance.shape[1], measured.own
    if seeds == 2:
        return [Interval(share, math.nan, math.nan) for share in measured.fixed.tolist()]
    between = measured.distance - torch.diag_embed(own)
    kept = between.sum((1, 2))[:, None] - between.sum(1) - between.sum(2)  # without each seed
    without = 1 - (own.sum(1, keepdim=True) - own) / (kept / (seeds - 2))
    curve = [
        jackknife_interval(share, row, level)
        for share, row in zip(measured.fixed.tolist(), without)
    ]
    return [one._replace(high=min(one.high, 1.0)) for one in curve]


def _resampled(measured: Commitment, resamples: int = 2000, seed: int = 0) -> Tensor:
    """[resamples, N] `fixed` of seeds drawn with replacement. The control takes the finals of the
    drawn seeds too, but never a copy of the seed's own.
    """
    seeds = measured.distance.shape[1]
    drawn = np.random.default_rng(seed).multinomial(seeds, [1 / seeds] * seeds, size=resamples)
    drawn = drawn[drawn.max(1) < seeds]  # one seed alone has no control
    weights = torch.from_numpy(drawn).double()
    between = measured.distance - torch.diag_embed(measured.own)
    others = torch.einsum("rs,nsj,rj->rn", weights / (seeds - weights), between, weights)
    return 1 - weights @ measured.own.T / others
