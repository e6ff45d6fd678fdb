"""The objectives, as five values one after another: the terms that a student update minimises,
and where its graph is cut.

A `Term` is a weight and a function of the `StudentPass` (or, for the fake network's additional
loss, of the `FakePass`); an `Objective` is terms and `detach_after`. The pure tensor functions
carry the equations (`dmd`, `diversity`, `score_matching`, `perceptual`, `adversarial`); terms only
gather tensors. A new method is a new value, never a subclass; `workbench.core.methods` names them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.core.denoiser import Condition, Denoiser
from workbench.core.objectives.adversarial import critic_loss, generator_loss
from workbench.core.objectives.diversity import denoised_target, diversity_loss, secant_target
from workbench.core.objectives.dmd import dmd_gradient, surrogate
from workbench.core.objectives.perceptual import Distance, perceptual_loss
from workbench.core.sampler import Rollout, sampled
from workbench.core.schedules import perturb

AnchorRule = Callable[[Denoiser, Tensor, Condition | None, Tensor, int], Tensor]
ANCHORS: dict[str, AnchorRule] = {"secant": secant_target, "denoised": denoised_target}
# (x_t [B, ...], t [B], condition) -> [B], by the adversarial head
Logit = Callable[[Tensor, Tensor, Condition | None], Tensor]


@dataclass(frozen=True)
class StudentPass:
    """The input of a student update's terms: initial noise x1 [B, ...], its roll-out, the two
    critics, and the draws for Eq. (5), times t [B] and noise [B, ...].

    `pixels` decodes latents to images about in [-1, 1], with gradients; `logit` raises ValueError
    for an objective without a head.
    """

    x1: Tensor
    condition: Condition | None
    rollout: Rollout
    teacher: Denoiser
    fake: Denoiser
    teacher_times: Tensor
    t: Tensor
    noise: Tensor
    pixels: Callable[[Tensor], Tensor]
    logit: Logit


@dataclass(frozen=True)
class FakePass:
    """The input of a fake update's additional terms: student samples x [B, ...] from x1 [B, ...],
    and the draws that noise them, times t [B] and noise [B, ...].
    """

    x1: Tensor
    x: Tensor
    condition: Condition | None
    teacher: Denoiser
    teacher_times: Tensor
    t: Tensor
    noise: Tensor
    logit: Logit


@dataclass(frozen=True)
class Term:
    """`weight` x `loss`(pass); the distiller logs the unweighted loss under `name`."""

    name: str
    weight: float
    loss: Callable[..., Tensor]


@dataclass(frozen=True)
class Objective:
    """The student's loss, the step whose output is detached (0: none), and the fake network's terms
    in addition to its denoising loss. An objective with `critic_terms` has an adversarial head on
    the fake network's features.
    """

    terms: tuple[Term, ...]
    detach_after: int = 0
    critic_terms: tuple[Term, ...] = ()


def dmd(normaliser: str = "released") -> Objective:
    """Eq. (8) with lambda = 0 and no stop: plain DMD, the gradient through all N steps."""
    return Objective((_distribution_matching(normaliser),))


def dmd_lpips(distance: Distance, weight: float = 0.25, normaliser: str = "released") -> Objective:
    """DMD and `weight` x the perceptual distance to the teacher's multi-step image from the same
    noise.
    """
    return Objective((_distribution_matching(normaliser), _perceptual(distance, weight)))


def dmd_gan(
    weight: float = 5e-3, critic_weight: float = 1e-2, normaliser: str = "released"
) -> Objective:
    """DMD and `weight` x the non-saturating loss against a head that the fake network's updates
    train (`critic_weight`).
    """
    return Objective(
        (_distribution_matching(normaliser), Term("adversarial", weight, _generator)),
        critic_terms=(Term("critic", critic_weight, _critic),),
    )


def dp_dmd(
    lam: float = 0.05, k: int = 5, anchor: str = "secant", normaliser: str = "released"
) -> Objective:
    """Eq. (8): DMD on steps 2..N, and lambda times Eq. (7) on step 1. `k` teacher steps lead to the
    anchor.
    """
    return Objective(
        (_distribution_matching(normaliser), _diversity(lam, k, anchor)), detach_after=1
    )


def dp_dmd_no_stop(
    lam: float = 0.05, k: int = 5, anchor: str = "secant", normaliser: str = "released"
) -> Objective:
    """Figure 5's ablation: Eq. (8) with DMD's gradient reaching step 1 too."""
    return Objective((_distribution_matching(normaliser), _diversity(lam, k, anchor)))


def _distribution_matching(normaliser: str) -> Term:
    def loss(batch: StudentPass) -> Tensor:
        x = batch.rollout.x
        with torch.no_grad():
            x_t = perturb(batch.teacher.schedule, x, batch.noise, batch.t)
            real, fake = (
                critic(x_t, batch.t, batch.condition) for critic in (batch.teacher, batch.fake)
            )
        return surrogate(x, dmd_gradient(x, real, fake, normaliser))

    return Term("dmd", 1.0, loss)


def _diversity(lam: float, k: int, anchor: str) -> Term:
    def loss(batch: StudentPass) -> Tensor:
        target = ANCHORS[anchor](batch.teacher, batch.x1, batch.condition, batch.teacher_times, k)
        return diversity_loss(batch.rollout.first, target)

    return Term("diversity", lam, loss)


def _perceptual(distance: Distance, weight: float) -> Term:
    def loss(batch: StudentPass) -> Tensor:
        teacher = sampled(batch.teacher, batch.x1, batch.condition, batch.teacher_times)
        with torch.no_grad():
            target = batch.pixels(teacher)
        return perceptual_loss(distance, batch.pixels(batch.rollout.x), target)

    return Term("perceptual", weight, loss)


def _generator(batch: StudentPass) -> Tensor:
    x_t = perturb(batch.teacher.schedule, batch.rollout.x, batch.noise, batch.t)
    return generator_loss(batch.logit(x_t, batch.t, batch.condition))


def _critic(batch: FakePass) -> Tensor:
    real = sampled(batch.teacher, batch.x1, batch.condition, batch.teacher_times)
    student, teacher = (
        batch.logit(
            perturb(batch.teacher.schedule, x, batch.noise, batch.t), batch.t, batch.condition
        )
        for x in (batch.x.detach(), real)
    )
    return critic_loss(student, teacher)
