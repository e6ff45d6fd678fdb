"""Paths: all trajectories of a prompt on one plane, and the length of each step.

The plane is spanned by the two largest principal components of all points of all paths together, so
that models can be compared in it. A curve in such a plane says little by itself: the paths of most
diffusion models bend alike there (arXiv 2506.10177). Read which paths run together, and where they
part.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 2**16  # numbers of a point that are held in fp64 at a time


@dataclass(frozen=True)
class Plane:
    """Coordinates [K_m, S, 2] of each path, and each axis's share of the total variance."""

    paths: list[Tensor]
    explained: tuple[float, float]


def project(paths: list[Tensor]) -> Plane:
    """The common plane of paths [K_m, S, ...], K_m points of S seeds each. An axis's largest
    coordinate is positive.

    Raises ValueError for fewer than three points.
    """
    counts = [path.shape[:2] for path in paths]
    flat = [path.flatten(2).flatten(0, 1) for path in paths]
    total = sum(map(len, flat))
    if total < 3:
        raise ValueError("a plane needs three points or more")
    products = torch.zeros(total, total, dtype=torch.float64)
    # points are few and long: their products are a small matrix
    for first in range(0, flat[0].shape[1], CHUNK):
        chunk = torch.cat([rows[:, first : first + CHUNK] for rows in flat]).double()
        chunk -= chunk.mean(0)
        products += chunk @ chunk.T
    values, vectors = torch.linalg.eigh(products)
    values, vectors = values.flip(0)[:2].clamp(min=0), vectors.flip(1)[:, :2]
    points = vectors * values.sqrt()
    points = points * points.gather(0, points.abs().argmax(0, keepdim=True)).sign()
    split = points.split([steps * seeds for steps, seeds in counts])
    return Plane(
        [path.unflatten(0, count) for path, count in zip(split, counts)],
        tuple((values / products.trace().clamp(min=1e-30)).tolist()),
    )


def displacement(path: Tensor) -> Tensor:
    """[K - 1, S] root mean square change of each step of a path [K, S, ...]."""
    return torch.stack(
        [
            (after.float() - before.float()).flatten(1).square().mean(1).sqrt()
            for before, after in itertools.pairwise(path)
        ]
    )
