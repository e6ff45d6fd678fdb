r"""On scenes: the step at which each factor of the picture reaches its final value, read by the
exact detector.

A factor of a seed is settled from the first step from which it stays as in the final image, for
every object:

    shape, colour                   the same name
    position, size, background      within a quarter of the world's own spread for this caption
                                    (`data_spread`), so that factors of different units compare

Objects are matched to those of the final image by the least sum of squared distances; while their
number differs, no object's factor is settled. A background is its colour at the four corners.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import linear_sum_assignment

from workbench.metrics.factors import data_spread
from workbench.scenes.detector import DetectedObject, Seen
from workbench.scenes.grammar import Request

SETTLED_FACTORS = ("background", "position", "size", "colour", "shape")
WITHIN = 0.25  # of the world's spread


def settled(
    beliefs: list[list[Seen]], finals: list[Seen], request: Request
) -> dict[str, np.ndarray]:
    """Whether each factor is settled, [N, S] bool by factor, from the detections in the beliefs of
    N steps of S seeds and in their final images.
    """
    spread = data_spread(request, max(len(finals), 2))
    alike = {name: np.zeros((len(beliefs), len(finals)), bool) for name in SETTLED_FACTORS}
    for k, step in enumerate(beliefs):
        for i, (now, final) in enumerate(zip(step, finals)):
            for name, same in _alike(now, final, spread).items():
                alike[name][k, i] = same
    return {name: np.logical_and.accumulate(same[::-1])[::-1] for name, same in alike.items()}


def settled_at(one: np.ndarray) -> np.ndarray:
    """[S] the first settled step, counting from 1, of a factor's [N, S]; N + 1 if there is none."""
    return len(one) + 1 - one.sum(0)


def _alike(now: Seen, final: Seen, spread: dict[str, float]) -> dict[str, bool]:
    same = {"background": _near((now.corners - final.corners).ravel() / 2, spread["background"])}
    if len(now.objects) != len(final.objects) or not final.objects:
        return same
    pairs = _pairs(now.objects, final.objects)
    return same | {
        "position": all(_near((a.x - b.x, a.y - b.y), spread["position"]) for a, b in pairs),
        "size": all(_near(math.log(a.radius / b.radius), spread["radius"]) for a, b in pairs),
        "colour": all(a.colour == b.colour for a, b in pairs),
        "shape": all(a.shape == b.shape for a, b in pairs),
    }


def _near(difference, spread: float) -> bool:
    return float(np.linalg.norm(difference)) <= WITHIN * spread


def _pairs(
    now: tuple[DetectedObject, ...], final: tuple[DetectedObject, ...]
) -> list[tuple[DetectedObject, DetectedObject]]:
    cost = [[(a.x - b.x) ** 2 + (a.y - b.y) ** 2 for b in final] for a in now]
    return [(now[i], final[j]) for i, j in zip(*linear_sum_assignment(cost))]
