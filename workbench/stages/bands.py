r"""Frequency bands: in which order coarse and fine structure enter the belief x0.

The power of an image's band [a, b) is the sum of the squared coefficients of its orthonormal
cosine transform (DCT-II) with a <= sqrt(u^2 + v^2) / 2 < b cycles per image, per pixel: all bands
and the squared mean add up to the mean square (Parseval). The cosine transform continues an image
by its mirror image; a Fourier transform would see a step at the edges and leak it into every band.
Bands are octaves: below 2 cycles per image, 2 to 4, 4 to 8, ... up to the corner of the spectrum.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy.fft import dctn
from torch import Tensor

from workbench.metrics.diversity import Interval, jackknife_interval


def band_edges(side: int) -> tuple[float, ...]:
    """The ends of the octaves of an image `side` pixels wide, in cycles per image: 0, 2, 4, ...,
    infinity.
    """
    return (0.0, *(2.0**power for power in range(1, max(int(math.log2(side)) - 1, 1))), math.inf)


def band_names(side: int) -> list[str]:
    """The octaves in words: "below 2", "2 to 4", ..., "16 and above"."""
    edges = band_edges(side)
    return [
        f"below {high:g}"
        if low == 0
        else f"{low:g} and above"
        if high == math.inf
        else f"{low:g} to {high:g}"
        for low, high in itertools.pairwise(edges)
    ]


def band_power(images: Tensor) -> Tensor:
    """[..., bands] fp64 power of square images [..., C, H, W]: the mean over the channels, without
    the image's mean.

    Raises ValueError for images that are not square.
    """
    side = images.shape[-1]
    if images.ndim < 3 or images.shape[-2] != side:
        raise ValueError(
            f"bands are read from square images [..., C, H, W], not {list(images.shape)}"
        )
    values = images.detach().double().cpu().numpy()
    power = np.square(dctn(values, axes=(-2, -1), norm="ortho")).mean(-3) / side**2
    return torch.stack([torch.as_tensor(power[..., mask].sum(-1)) for mask in _masks(side)], -1)


@dataclass(frozen=True)
class BandPower:
    """Power of beliefs [N, S, bands] and of final images [S, bands]."""

    beliefs: Tensor
    finals: Tensor

    @property
    def relative(self) -> Tensor:
        """[N, bands] power relative to the final images', each summed over the seeds; 1: equal."""
        return self.beliefs.sum(1) / self.finals.sum(0)

    def interval(self, step: int, band: int, level: float = 0.95) -> Interval:
        """One number of `relative` with its jackknife interval over the seeds (of two or more)."""
        here, final = self.beliefs[step, :, band], self.finals[:, band]
        without = (here.sum() - here) / (final.sum() - final)
        return jackknife_interval(float(self.relative[step, band]), without, level)


def relative_power(beliefs: Iterable[Tensor], finals: Tensor) -> BandPower:
    """Band power of beliefs [S, C, H, W], one step after the other, and of finals [S, C, H, W]."""
    return BandPower(torch.stack([band_power(step) for step in beliefs]), band_power(finals))


@cache
def _masks(side: int) -> list[np.ndarray]:
    u = np.arange(side) / 2
    radius, edges = np.hypot(u[:, None], u[None]), band_edges(side)
    return [
        (radius >= low) & (radius < high) & (radius > 0) for low, high in itertools.pairwise(edges)
    ]
