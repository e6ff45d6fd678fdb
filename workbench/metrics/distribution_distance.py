"""How far apart two sets of images are, from features [N, D] of any network: KID, CMMD and the
Frechet distance of FID.

    MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y)      x, x' of one set, y, y' of the other
    KID     k(x, y) = (x . y / D + 1)^3                unbiased: pairs of different prompts only
    CMMD    k(x, y) = exp(-|x - y|^2 / (2 sigma^2))    sigma = 10, unit features, times 1000
    FID     |m_x - m_y|^2                              m the means, S the covariances
            + tr(S_x + S_y - 2 (S_x S_y)^(1/2))

Names belong to networks: FID and KID were defined on Inception-v3's pooled features, CMMD on the
image embedding of CLIP ViT-L/14-336 (`clip-336`); other features give other numbers by the same
formulas, to be compared at equal features only. None of them sees prompts. All sums are
fp64, on the device of the features; kernels are read a block of rows at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.metrics.diversity import Interval, jackknife_interval

CMMD_SIGMA, CMMD_SCALE = 10.0, 1000.0
FID_NEEDS = 10_000
BLOCK = 1 << 24  # kernel values held at once: 128 MiB

Kernel = Callable[[Tensor, Tensor], Tensor]


class FrechetDistance(NamedTuple):
    """A Frechet distance and a warning, empty if both sets are large enough."""

    value: float
    note: str


def kid_by_prompt(x: Tensor, y: Tensor, level: float = 0.95) -> Interval:
    """The Kernel Inception Distance of the images x [P, S, D] and y [P, R, D] of the same P
    prompts, and its interval over prompts.

    The images of a prompt are not independent draws of all images, so only pairs from two
    different prompts are read: the U-statistic of prompts, unbiased at every P, S and R. (All pairs
    read alike would be biased downwards: y meets its own prompt more often than x does.) The ends
    are the jackknife's, leaving out one prompt at a time, with Student's t at P - 1 degrees of
    freedom; nan for 2 prompts and for equal sets.

    Raises ValueError for other shapes, fewer than 2 prompts, and features that are not finite. No
    scaling; others print it times 100 or 1000.
    Source: Binkowski et al. 2018, arXiv 1801.01401; Gretton et al. 2012, JMLR 13, Eq. (4).
    """
    if x.ndim != 3 or y.ndim != 3 or len(x) != len(y) or len(x) < 2:
        raise ValueError(
            "KID by prompt needs features [P, S, D] and [P, R, D] of the same prompts, 2 or more, "
            f"not {list(x.shape)} and {list(y.shape)}"
        )
    prompts, shapes = len(x), (x.shape, y.shape)
    x, y = (
        part.unflatten(0, shape[:2])
        for part, shape in zip(_pair(x.flatten(0, 1), y.flatten(0, 1)), shapes)
    )
    few = max(BLOCK // (x.shape[1] * y.shape[0] * y.shape[1]), 1)
    sums = torch.zeros(
        prompts, dtype=torch.float64, device=x.device
    )  # of each prompt with all others
    for start in range(0, prompts, few):
        rows = slice(start, start + few)
        cross = _prompt_means(x[rows], y)
        pairs = _prompt_means(x[rows], x) + _prompt_means(y[rows], y) - cross
        own = torch.arange(len(cross), device=x.device)
        pairs[own, start + own] = 0
        cross[own, start + own] = 0
        sums[rows] += pairs.sum(1)
        sums -= cross.sum(0)
    value = float(sums.sum() / (prompts * (prompts - 1)))
    if prompts == 2:
        return Interval(value, math.nan, math.nan)
    without = (sums.sum() - 2 * sums) / ((prompts - 1) * (prompts - 2))
    kernel = float((x.square().sum(-1).mean() / x.shape[-1] + 1) ** 3)  # what is rounded
    interval = jackknife_interval(value / kernel, without / kernel, level)
    return Interval(*(kernel * part for part in interval))


def _prompt_means(x: Tensor, y: Tensor) -> Tensor:
    """[B, P] mean cubic kernel of the images of each prompt in x [B, S, D] and in y [P, R, D]."""
    return (
        _cubic(x.flatten(0, 1), y.flatten(0, 1))
        .unflatten(1, y.shape[:2])
        .mean(2)
        .unflatten(0, x.shape[:2])
        .mean(1)
    )


def cmmd(x: Tensor, y: Tensor) -> float:
    """CMMD >= 0 of features x [N, D] and y [M, D], which are scaled to unit length here.

    It is MMD^2 as in the official code: the V-statistic, which includes an image's pair with itself
    and is biased upwards by about 1000 (1 - mean k) (1 / N + 1 / M), so compare at equal N only.
    Every k is within 2 % of 1 here (|x - y|^2 <= 4, sigma = 10), so k - 1 is summed.

    Raises ValueError for other shapes, and for features that are zero or not finite.
    Source: Jayasumana et al. 2024, arXiv 2401.09603, and its code in google-research/cmmd.
    """
    x, y = (F.normalize(f, dim=1) for f in _pair(x, y))
    if not (x.any(1).all() and y.any(1).all()):
        raise ValueError("a feature is zero, so it has no direction; look for empty images")
    means = [_row_sums(_gaussian, a, b).mean() / len(b) for a, b in ((x, x), (y, y), (x, y))]
    return CMMD_SCALE * max(float(means[0] + means[1] - 2 * means[2]), 0.0)


def fid(x: Tensor, y: Tensor) -> FrechetDistance:
    """The Frechet distance >= 0 of the Gaussians with the means and covariances (1 / (N - 1)) of
    features x [N, D] and y [M, D].

    Biased upwards, more for fewer images and differently for every model, so a note is returned for
    fewer than 10,000 images or no more images than dimensions; KID and CMMD are made for fewer.
    With S = A' A for the centred features A, the trace of (S_x S_y)^(1/2) is the sum of the
    singular values of A_x A_y': exact even if a covariance does not have full rank, unlike roots
    of matrices.

    Raises ValueError for other shapes and for features that are not finite.
    Source: Heusel et al. 2017, arXiv 1706.08500; Chong & Forsyth 2020, arXiv 1911.07023 (the bias).
    """
    x, y = _pair(x, y)
    roots = [torch.linalg.qr((f - f.mean(0)) / math.sqrt(len(f) - 1), mode="r").R for f in (x, y)]
    traces = (
        sum(root.square().sum() for root in roots)
        - 2 * torch.linalg.svdvals(roots[0] @ roots[1].mT).sum()
    )
    value = float((x.mean(0) - y.mean(0)).square().sum() + traces)
    return FrechetDistance(max(value, 0.0), _fid_note(min(len(x), len(y)), x.shape[1]))


def _fid_note(images: int, dimensions: int) -> str:
    if images >= FID_NEEDS and images > dimensions:
        return ""
    few = (
        f"fewer than {FID_NEEDS:,}"
        if images < FID_NEEDS
        else f"no more than the {dimensions:,} dimensions"
    )
    return f"biased: {images:,} images are {few}; prefer KID or CMMD"


def _cubic(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.mT / x.shape[1] + 1) ** 3


def _gaussian(x: Tensor, y: Tensor) -> Tensor:
    """The kernel less 1, k - 1, for x, y of unit length, where |x - y|^2 = 2 - 2 x . y."""
    return torch.expm1((x @ y.mT - 1) / CMMD_SIGMA**2)


def _row_sums(kernel: Kernel, x: Tensor, y: Tensor) -> Tensor:
    """[N] sums of the kernel of each x [N, D] with all y [M, D]."""
    return torch.cat([kernel(part, y).sum(1) for part in x.split(max(BLOCK // len(y), 1))])


def _pair(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both sets in fp64."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(
            "a distance needs features [N, D] and [M, D] of 2 or more images, not "
            f"{list(x.shape)} and {list(y.shape)}"
        )
    if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise ValueError("a feature is not finite; look for NaN or empty images")
    return x.detach().double(), y.detach().double()
