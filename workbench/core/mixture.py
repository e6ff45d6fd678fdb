r"""A Gaussian mixture as an exact denoiser: density, score, x0, eps and velocity in closed form at
every noise level.

    p_t(x) = sum_k w_k N(x; alpha_t m_k, (alpha_t^2 v_k + sigma_t^2) I)
    E[x0 | x_t] = sum_k r_k(x_t) ( m_k + g_k (x_t - alpha_t m_k) )
    g_k = alpha_t v_k / (alpha_t^2 v_k + sigma_t^2)

with responsibilities r_k. It is the teacher of the derivation notebook and the referee of the
gradient tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from workbench.core.denoiser import Condition
from workbench.core.prediction import X0, Prediction
from workbench.core.schedules import FlowSchedule, NoiseSchedule


@dataclass(frozen=True)
class GaussianMixture:
    """weights [K] (positive, any sum), means [K, D], variances [K]; points are [B, D]. Gradients
    flow through the fields.
    """

    weights: Tensor
    means: Tensor
    variances: Tensor
    schedule: NoiseSchedule = field(default_factory=lambda: FlowSchedule(1.0))

    def __post_init__(self):
        if (
            self.means.ndim != 2
            or len(self.weights) != len(self.means)
            or len(self.variances) != len(self.means)
        ):
            raise ValueError(
                f"a mixture of K components needs weights [K], means [K, D] and variances [K]; got "
                f"{list(self.weights.shape)}, {list(self.means.shape)}, "
                f"{list(self.variances.shape)}"
            )

    def _joint(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The terms log w_k N(x; ...) [B, K], offsets x - alpha m_k [B, K, D], alpha and total
        variances [B, K].
        """
        alpha, sigma = (v.to(x.dtype)[:, None] for v in self.schedule.alpha_sigma(t))
        total = alpha**2 * self.variances + sigma**2
        offset = x[:, None] - alpha[..., None] * self.means
        log_weights = (self.weights / self.weights.sum()).log()
        density = (
            -0.5 * offset.square().sum(-1) / total - 0.5 * x.shape[1] * (2 * math.pi * total).log()
        )
        return log_weights + density, offset, alpha, total

    def log_density(self, x: Tensor, t: Tensor) -> Tensor:
        """The log density log p_t(x).

        Args:
            x: Points [B, D].
            t: Times [B] in [0, 1].

        Returns:
            [B].
        """
        return self._joint(x, t)[0].logsumexp(-1)

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition | None = None) -> Prediction:
        """The exact posterior mean E[x0 | x_t], as a `Prediction` of kind X0."""
        joint, offset, alpha, total = self._joint(x_t, t)
        means = self.means + (alpha * self.variances / total)[..., None] * offset
        x0 = (joint.softmax(-1)[..., None] * means).sum(1)
        return Prediction(x0, x_t, t, X0, self.schedule)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Points of p_0.

        Args:
            count: B.
            generator: On the means' device.

        Returns:
            [B, D], of the means' precision.
        """
        which = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], generator=generator, dtype=self.means.dtype)
        return self.means[which] + self.variances[which, None].sqrt() * noise
