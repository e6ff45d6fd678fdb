r"""Commitment: from which step on the model's belief x0 is the image that the sample ends up as.

Of step k and seed i, with x0_k,i the decoded belief and F_i the decoded end of the pass:

    own_k,i    = mean (x0_k,i - F_i)^2                         distance to the seed's own final image
    others_k,i = mean over j != i of mean (x0_k,i - F_j)^2     the control: other seeds' finals
    fixed_k    = 1 - sum_i own_k,i / sum_i others_k,i          0: no nearer to its own end than to any other; 1: there

A belief F_mean + a (F_i - F_mean), right but blurred by a in [0, 1], has fixed = 2 a / (1 + a^2) when the F_i are independent: blur
lowers it, although nothing is undecided. So it is read on a low-passed version too, 8 x 8 means, that is up to 4 cycles an image.

Source: the control is ours; the observation is Figure A and Appendix B of the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.metrics.diversity import Interval

CELLS = 8  # of the low-passed version, a side


@dataclass(frozen=True)
class Commitment:
    """Distances [N, U] of N steps and U units: the seeds of one prompt, or prompts, each the mean over its seeds."""

    own: Tensor
    others: Tensor

    @property
    def by_unit(self) -> Tensor:
        """[N, U] `fixed` of each unit alone; nan where all finals are equal."""
        return 1 - self.own / self.others

    @property
    def fixed(self) -> Tensor:
        """[N] the share of the final structure that is there at each step, by the formula above; at most 1."""
        return 1 - self.own.sum(1) / self.others.sum(1)


def commitment(beliefs: Tensor, finals: Tensor) -> Commitment:
    """Mean squared distances of beliefs [N, S, ...] to finals [S, ...], in fp64. Raises ValueError for fewer than two seeds."""
    steps, seeds = beliefs.shape[:2]
    if seeds < 2 or finals.shape != beliefs.shape[1:]:
        raise ValueError(f"commitment compares beliefs [N, S, ...] with finals [S, ...] of two or more seeds, not "
                         f"{list(beliefs.shape)} with {list(finals.shape)}")
    flat = finals.flatten(1).double()
    distance = torch.stack([torch.cdist(step.flatten(1).double(), flat, compute_mode="donot_use_mm_for_euclid_dist").square()
                            for step in beliefs]) / flat.shape[1]  # [N, S, S]
    own = distance.diagonal(dim1=1, dim2=2)
    return Commitment(own, (distance.sum(2) - own) / (seeds - 1))


def low_passed(images: Tensor, cells: int = CELLS) -> Tensor:
    """Means [..., cells, cells] of images [..., H, W]."""
    return F.adaptive_avg_pool2d(images.flatten(0, -4), cells).unflatten(0, images.shape[:-3])


def over_prompts(parts: list[Commitment]) -> Commitment:
    """Several prompts as one, each prompt a unit; they need the same steps."""
    return Commitment(*(torch.stack([getattr(part, name).mean(1) for part in parts], 1) for name in ("own", "others")))


def first_step(share: Tensor, level: float) -> int:
    """The first step, counting from 1, from which `share` [N] stays at `level` or above; N + 1 when it never does."""
    below = (share < level).nonzero()
    return int(below[-1]) + 2 if len(below) else 1


def fixed_by(seen: Commitment, share: float, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """The step by which `share` of the final structure is fixed, with its percentile bootstrap interval over the units."""
    drawn = [first_step(line, share) for line in _resampled(seen, resamples, seed)]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return Interval(first_step(seen.fixed, share), int(low), int(high))


def fixed_curve(seen: Commitment, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> list[Interval]:
    """`fixed` of each step with its percentile bootstrap interval over the units."""
    low, high = np.quantile(_resampled(seen, resamples, seed).numpy(), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [Interval(*map(float, step)) for step in zip(seen.fixed, low, high)]


def _resampled(seen: Commitment, resamples: int, seed: int) -> Tensor:
    """[resamples, N] `fixed` of units drawn again with replacement."""
    units = seen.own.shape[1]
    rows = torch.from_numpy(np.random.default_rng(seed).integers(units, size=(resamples, units)))
    own, others = (part[:, rows].sum(2).T for part in (seen.own, seen.others))
    return 1 - own / others
