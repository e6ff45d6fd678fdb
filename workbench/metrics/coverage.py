"""How much of a reference set is kept: precision, recall, density and coverage of samples X
against a reference Y.

    B(y)       = the points closer to y than its k-th nearest neighbour in Y
    precision  = share of the x in some B(y)
    recall     = share of the y in some B(x), with radii from X
    density    = mean over x of the number of B(y) around x, / k
    coverage   = share of the B(y) that hold some x

Precision and density ask whether samples look like the reference, recall and coverage whether all
of the reference is reached. Coverage is the one for modes lost in distillation: recall's balls are
of the samples and grow if these are few and far apart. Distances are Euclidean, of features [N, D]
as given: normalise them first if only directions count. All four depend on N, M, k and the
feature.

Samples must be independent of the reference. A student that starts from the teacher's own noise
lands close to the teacher's image of the same seed, and covers more than the teacher itself would
from other seeds: take the reference from other seeds.

Source: Kynkäänniemi et al. 2019, arXiv 1904.06991 (precision, recall); Naeem et al. 2020, arXiv
2002.09797 (density, coverage), whose code also says strictly nearer.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 1 << 23  # distances held at once: 64 MiB


class Coverage(NamedTuple):
    """The four values, and the coverage that the reference's own distribution would have: read
    `coverage` beside `expected_coverage`, and `density` beside 1.
    """

    precision: float  # in [0, 1]
    recall: float  # in [0, 1]
    density: float  # >= 0, above 1 if samples crowd in the densest parts
    coverage: float  # in [0, 1]
    expected_coverage: float


def coverage(samples: Tensor, reference: Tensor, k: int = 5) -> Coverage:
    """The four values of samples [M, D] against a reference [N, D].

    Identical sets have 1 at all four, unless more than k points coincide: a ball of radius 0
    holds nothing. Raises ValueError for k >= N or k >= M (a point is not its own neighbour), other
    shapes, and features that are not finite. Cost: the distances of all pairs in fp64, a block of
    rows at a time, and not by a matrix product, whose rounding would part equal points.
    """
    samples, reference = (_checked(features, k) for features in (samples, reference))
    if samples.shape[1] != reference.shape[1]:
        raise ValueError(
            f"samples and reference need the same features, not {samples.shape[1]} and "
            f"{reference.shape[1]} of them"
        )
    reach, own_reach = (_neighbour_distances(features, k) for features in (reference, samples))
    around = []  # how many balls of the reference hold each sample
    held = torch.zeros_like(reach, dtype=torch.bool)  # which of them hold any
    met = torch.zeros_like(held)  # which of the reference lie in a ball of the samples
    for rows, part_reach in zip(
        _blocks(samples, reference), _blocks(own_reach, reference), strict=True
    ):
        distance = _distances(rows, reference)
        inside = distance < reach
        around.append(inside.sum(1))
        held |= inside.any(0)
        met |= (distance < part_reach[:, None]).any(0)
    counts = torch.cat(around).double()
    return Coverage(
        precision=_share(counts > 0),
        recall=_share(met),
        density=float(counts.mean()) / k,
        coverage=_share(held),
        expected_coverage=expected_coverage(len(reference), len(samples), k),
    )


def coverage_by_prompt(samples: Tensor, reference: Tensor, k: int = 3) -> list[Coverage]:
    """The four values of each prompt's samples [P, S, D] against that prompt's reference [P, R,
    D], to be averaged over prompts: does the student keep what the teacher shows for this prompt?

    With S = R = 9 the teacher's own distribution has coverage 0.918 at k = 3, and nine copies of
    one of its images 0.333; no other k separates the two as far (1: 0.529 and 0.111, 5: 0.991 and
    0.556). Its expected density is 1 at any size; precision and recall have no expected value that
    holds for every distribution, so compare them with the same teacher's from a second set of
    seeds. Raises ValueError as `coverage` does, and for other shapes.
    """
    if (
        samples.ndim != 3
        or reference.ndim != 3
        or len(samples) != len(reference)
        or not len(samples)
    ):
        raise ValueError(
            "coverage by prompt needs features [P, S, D] and [P, R, D] of the same prompts, "
            f"not {list(samples.shape)} and {list(reference.shape)}"
        )
    return [
        coverage(of_prompt, its_reference, k)
        for of_prompt, its_reference in zip(samples, reference)
    ]


def expected_coverage(n: int, m: int, k: int) -> float:
    """The coverage expected of m samples of the distribution that the n references come from,
    whatever that is: 1 - prod_{i=1..k} (n - i) / (n + m - i).

    Around each y, the other n - 1 references and m samples come in random order, and B(y) is empty
    when the first k are references. Expected density is 1 in the same way. Source: Naeem et al.
    2020. Raises ValueError unless 1 <= k < n and m >= 1.
    """
    if not 1 <= k < n or m < 1:
        raise ValueError(
            f"expected coverage needs 1 <= k < n and m >= 1, not n = {n}, m = {m}, k = {k}"
        )
    return 1 - math.prod((n - i) / (n + m - i) for i in range(1, k + 1))


def _share(flags: Tensor) -> float:
    return float(flags.double().mean())


def _neighbour_distances(features: Tensor, k: int) -> Tensor:
    """[N] distance of each feature to its k-th nearest neighbour among the others."""
    nearest = [
        _distances(part, features).kthvalue(k + 1, dim=1).values
        for part in _blocks(features, features)
    ]  # the first is itself
    return torch.cat(nearest)


def _blocks(rows: Tensor, columns: Tensor) -> tuple[Tensor, ...]:
    return rows.split(max(BLOCK // len(columns), 1))


def _distances(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _checked(features: Tensor, k: int) -> Tensor:
    """In fp64."""
    if features.ndim != 2 or not 1 <= k < len(features):
        raise ValueError(
            f"coverage needs features [N, D] of more than k = {k} >= 1 images, not "
            f"{list(features.shape)}"
        )
    if not torch.isfinite(features).all():
        raise ValueError("a feature is not finite; look for NaN or empty images")
    return features.detach().double()
