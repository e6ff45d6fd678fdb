"""The methods, as five values under one another: what a student update minimises and where its graph is cut.

A `Term` is a weight and a function of the `StudentPass`; an `Objective` is terms and `detach_after`. The pure tensor functions
carry the equations (`dmd`, `diversity`, `score_matching`); terms only gather tensors. A new method is a new value, never a subclass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.denoiser import Condition, Denoiser
from workbench.objectives.diversity import denoised_target, diversity_loss, secant_target
from workbench.objectives.dmd import dmd_gradient, surrogate
from workbench.sampler import Rollout
from workbench.schedules import perturb

AnchorRule = Callable[[Denoiser, Tensor, Condition | None, Tensor, int], Tensor]
ANCHORS: dict[str, AnchorRule] = {"secant": secant_target, "denoised": denoised_target}


@dataclass(frozen=True)
class StudentPass:
    """What the terms of one student update may look at: B samples, their roll-out, the two critics and the draws for (5)."""

    x1: Tensor
    condition: Condition | None
    rollout: Rollout
    teacher: Denoiser
    fake: Denoiser
    teacher_times: Tensor
    t: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Term:
    """`weight` x `loss`(pass); the distiller logs the unweighted loss under `name`."""

    name: str
    weight: float
    loss: Callable[[StudentPass], Tensor]


@dataclass(frozen=True)
class Objective:
    """The student's loss, and the step behind which no later term's gradient passes (0: none)."""

    terms: tuple[Term, ...]
    detach_after: int = 0


def dmd(normaliser: str = "released") -> Objective:
    """(8) with lambda = 0 and no stop: plain DMD, the gradient through all N steps."""
    return Objective((_distribution_matching(normaliser),))


def dp_dmd(lam: float = 0.05, k: int = 5, anchor: str = "secant", normaliser: str = "released") -> Objective:
    """(8): DMD on steps 2..N, and lambda times (7) on step 1. `k` teacher steps lead to the anchor."""
    return Objective((_distribution_matching(normaliser), _diversity(lam, k, anchor)), detach_after=1)


def dp_dmd_no_stop(lam: float = 0.05, k: int = 5, anchor: str = "secant", normaliser: str = "released") -> Objective:
    """Figure 5's ablation: (8) with DMD's gradient reaching step 1 too."""
    return Objective((_distribution_matching(normaliser), _diversity(lam, k, anchor)))


def _distribution_matching(normaliser: str) -> Term:
    def loss(seen: StudentPass) -> Tensor:
        x = seen.rollout.x
        with torch.no_grad():
            x_t = perturb(seen.teacher.schedule, x, seen.noise, seen.t)
            real, fake = (critic(x_t, seen.t, seen.condition) for critic in (seen.teacher, seen.fake))
        return surrogate(x, dmd_gradient(x, real, fake, normaliser))

    return Term("dmd", 1.0, loss)


def _diversity(lam: float, k: int, anchor: str) -> Term:
    def loss(seen: StudentPass) -> Tensor:
        target = ANCHORS[anchor](seen.teacher, seen.x1, seen.condition, seen.teacher_times, k)
        return diversity_loss(seen.rollout.first, target)

    return Term("diversity", lam, loss)
