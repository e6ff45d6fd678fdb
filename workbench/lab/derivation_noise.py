r"""The computations of the derivation notebook at noise level t, with the workbench's own gradient,
anchors and roll-out.

    (5)               diffused_kl, pull, surrogate_gradients; weighted_kl is its mean over t
    (6)               mean_velocity, anchor_curves
    (8)               step_gradients
    the normaliser    Reweighted

Students are N(mean, std^2 I), whose fake is exact at every t. Exact values are fp64, values from
`Prediction` are fp32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.core.mixture import GaussianMixture
from workbench.core.objectives.dmd import NORMALISERS, dmd_gradient, surrogate
from workbench.core.sampler import Stage
from workbench.core.schedules import NoiseSchedule, perturb
from workbench.lab.derivation import QuadratureGrid, kl, log_density, score


def isotropic(mean: Tensor, std: Tensor | float, schedule: NoiseSchedule) -> GaussianMixture:
    """N(mean, std^2 I) as a mixture of one, mean [D]: the exact fake of a student mean + std z."""
    return GaussianMixture(
        mean.new_ones(1),
        mean[None],
        torch.as_tensor(std, dtype=mean.dtype).reshape(1) ** 2,
        schedule,
    )


def diffused_kl(theta: Tensor, teacher: GaussianMixture, t: float, grid: QuadratureGrid) -> Tensor:
    """KL(p_t || q_t) at noise level t of the student N(m, s^2 I), theta = (m, s) [D + 1], and the
    teacher; by quadrature.
    """
    student = isotropic(theta[:-1], theta[-1], teacher.schedule)
    return kl(log_density(student, grid.points, t), log_density(teacher, grid.points, t), grid)


def weighted_kl(
    at: Tensor,
    teacher: GaussianMixture,
    weight: Callable[[float], float],
    levels: int,
    grid: QuadratureGrid,
) -> Tensor:
    """The mean over `levels` even noise levels of weight(t) KL(p_t || q_t), at = (mean, log std)
    of a Gaussian student on a line.
    """
    theta, times = torch.stack([at[0], at[1].exp()]), [(n + 0.5) / levels for n in range(levels)]
    return sum(weight(t) * diffused_kl(theta, teacher, t, grid) for t in times) / levels


def pull(
    mean: float, std: float, teacher: GaussianMixture, t: float, grid: QuadratureGrid
) -> float:
    """The derivative d KL(p_t || q_t) / d mean for the student N(mean, std^2) on a line:
    alpha_t E[s_fake(x_t) - s_real(x_t)]. Eq. (5) at one t.
    """
    student = isotropic(torch.tensor([mean], dtype=torch.float64), std, teacher.schedule)
    gap = score(student, grid.x, t) - score(teacher, grid.x, t)
    alpha, _ = teacher.schedule.alpha_sigma(torch.tensor(t))
    return float(alpha * grid.integral(log_density(student, grid.x, t).exp() * gap))


def surrogate_gradients(
    theta: Tensor,
    teacher: GaussianMixture,
    t: float,
    batches: int,
    size: int,
    generator: torch.Generator,
) -> Tensor:
    """Training's gradient, one per batch [batches, D + 1]: the gradient of `surrogate` with
    `dmd_gradient` unnormalised and an exact fake, times alpha^2 / sigma^2. Its mean is the
    gradient of `diffused_kl`. Eq. (5).
    """
    gradients, theta = [], theta.float()
    fake = isotropic(theta[:-1], theta[-1], teacher.schedule)
    alpha, sigma = teacher.schedule.alpha_sigma(torch.tensor(t))
    for _ in range(batches):
        at, times = theta.clone().requires_grad_(), torch.full((size,), t)
        z, noise = (torch.randn(size, len(theta) - 1, generator=generator) for _ in range(2))
        x = at[:-1] + at[-1] * z
        x_t = perturb(teacher.schedule, x.detach(), noise, times)
        loss = surrogate(x, dmd_gradient(x, teacher(x_t, times), fake(x_t, times), "none"))
        # surrogate divides by numel, an expectation over samples by their number
        dimensions = x.numel() / size
        gradients.append(torch.autograd.grad(loss, at)[0] * dimensions * alpha**2 / sigma**2)
    return torch.stack(gradients)


def mean_velocity(stages: list[Stage]) -> Tensor:
    """sum_k (t_k - t_(k+1)) v_k / (t_0 - t_K) [B, D]: the time-weighted mean of the velocities
    along a walk.
    """
    moved = sum((stage.t - stage.s) * stage.prediction.velocity for stage in stages)
    return moved / (stages[0].t - stages[-1].s)


def anchor_curves(targets: list[Tensor], last: Tensor, modes: Tensor) -> dict[str, list[float]]:
    """For the targets [B, D] of each anchor: their error to the teacher's end points `last` and
    their spread over seeds, both RMS in units of the spread of `last`, and the share of seeds
    whose target is nearest to the mode [M, D] of its end point.
    """

    def rms(x: Tensor) -> float:
        return float(x.square().sum(1).mean().sqrt())

    def nearest(x: Tensor) -> Tensor:
        return torch.cdist(x, modes).argmin(1)

    unit = rms(last - last.mean(0))
    return {
        "error": [rms(x - last) / unit for x in targets],
        "spread over seeds": [rms(x - x.mean(0)) / unit for x in targets],
        "nearest to the right mode": [
            float((nearest(x) == nearest(last)).float().mean()) for x in targets
        ],
    }


@dataclass(frozen=True)
class Reweighted:
    """Samples' gradients [B, D] in x0 space under each rule of `weights` [B], for a student mean +
    std z, z [B, D]: the normalisers, and "KL_t", alpha^2 / sigma^2, under which (5) is the plain
    mean of the KL gradients at every level.
    """

    z: Tensor
    gradients: dict[str, Tensor]
    weights: dict[str, Tensor]

    @classmethod
    def of(
        cls,
        teacher: GaussianMixture,
        mean: Tensor,
        std: float,
        t: Tensor,
        generator: torch.Generator,
    ) -> Reweighted:
        """One sample at each t [B], with an exact fake."""
        z, noise = (torch.randn(len(t), len(mean), generator=generator) for _ in range(2))
        x, fake = mean + std * z, isotropic(mean, std, teacher.schedule)
        x_t = perturb(teacher.schedule, x, noise, t)
        real, fake = teacher(x_t, t), fake(x_t, t)
        alpha, sigma = teacher.schedule.alpha_sigma(t)
        weights = {name: 1 / rule(x, real) for name, rule in NORMALISERS.items()} | {
            "KL_t": (alpha / sigma) ** 2
        }
        gradients = {name: dmd_gradient(x, real, fake, name) for name in NORMALISERS}
        return cls(z, gradients | {"KL_t": gradients["none"] * weights["KL_t"][:, None]}, weights)

    def turned(self, name: str) -> float:
        """Degrees between the parameter gradients of a batch under this rule and under "none"."""
        return angle(
            affine_gradient(self.gradients["none"], self.z),
            affine_gradient(self.gradients[name], self.z),
        )

    def chance(self) -> float:
        """The same between two halves of the batch, both under "none"."""
        return angle(
            *(affine_gradient(self.gradients["none"][half::2], self.z[half::2]) for half in (0, 1))
        )


def angle(one: Tensor, other: Tensor) -> float:
    """Degrees between two vectors [P]."""
    return math.degrees(math.acos(min(1.0, float(F.cosine_similarity(one, other, dim=0)))))


def affine_gradient(gradient: Tensor, z: Tensor) -> Tensor:
    """The gradient [D + D^2] in (b, A) of a student x = A z + b, from its samples' gradients and
    their z [B, D]; a mean over B.
    """
    return torch.cat([gradient.mean(0), (gradient.T @ z / len(z)).flatten()])


def step_gradients(stages: list[Stage], loss: Tensor) -> list[float]:
    """The norm of the loss's gradient in each step's raw output; exactly 0 if no path of the graph
    leads there. Eq. (8).
    """
    gradients = torch.autograd.grad(
        loss, [stage.prediction.raw for stage in stages], allow_unused=True, retain_graph=True
    )
    return [0.0 if one is None else float(one.norm()) for one in gradients]
