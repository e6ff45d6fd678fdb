r"""The computations of the derivation notebook: Appendix A on exact densities of a line, each
function with its equation number.

    (4), (10)    kl, kl_of_student
    (11)-(13)    finite_differences
    (14)-(26)    BentStudent.velocities, QuadratureGrid.divergence
    (33)-(36)    score_form; with another divergence, alpha_divergence

All values are fp64, so that an identity holds up to quadrature. `workbench.lab.derivation_noise`
continues at noise level t.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from workbench.core.mixture import GaussianMixture

PARAMETERS = ("m", "a", "b", "c", "d")


@dataclass(frozen=True)
class QuadratureGrid:
    """Points [N, D], fp64, and the volume of their `cell`: a sum integrates a smooth function that
    vanishes at the edges up to rounding.
    """

    points: Tensor
    cell: float

    @classmethod
    def line(cls, low: float, high: float, count: int) -> QuadratureGrid:
        """`count` even points of the interval [low, high]."""
        axis = torch.linspace(low, high, count, dtype=torch.float64)
        return cls(axis[:, None], (high - low) / (count - 1))

    @classmethod
    def square(cls, half: float, count: int) -> QuadratureGrid:
        """`count` x `count` even points of the square [-half, half]^2."""
        axis = torch.linspace(-half, half, count, dtype=torch.float64)
        return cls(torch.cartesian_prod(axis, axis), (2 * half / (count - 1)) ** 2)

    @property
    def x(self) -> Tensor:
        """The coordinate [N] of a line."""
        return self.points[:, 0]

    def integral(self, values: Tensor) -> Tensor:
        """The integral of values [N, ...] over the grid."""
        return values.sum(0) * self.cell

    def divergence(self, flow: Tensor) -> Tensor:
        """The derivative d flow / dx [N, ...] on a line, by central differences of second order."""
        return torch.gradient(flow, spacing=self.cell, dim=0, edge_order=2)[0]


@dataclass(frozen=True)
class BentStudent:
    """The one-step student G(z) = m + a z + b tanh(c (z - d)) of z ~ N(0, 1), increasing: a > 0
    and b c >= 0.

    theta [5], fp64: (m, a, b, c, d). With large b c it maps a Gaussian to two humps, the left one
    with the share P(z < d).
    """

    theta: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        """The images x [N] of z [N]."""
        m, a, b, c, d = self.theta
        return m + a * z + b * torch.tanh(c * (z - d))

    def slope(self, z: Tensor) -> Tensor:
        """dG/dz [N] > 0."""
        _, a, b, c, d = self.theta
        return a + b * c * (1 - torch.tanh(c * (z - d)) ** 2)

    def jacobian(self, z: Tensor) -> Tensor:
        """dG/dtheta [N, 5], the J of Eq. (14)."""
        _, _, b, c, d = self.theta
        bend = torch.tanh(c * (z - d))
        steep = b * (1 - bend**2)
        return torch.stack([torch.ones_like(z), z, bend, steep * (z - d), -steep * c], -1)

    def inverse(self, x: Tensor) -> Tensor:
        """The z [N] with G(z) = x, by halving an interval of width 2 |b| / a."""
        m, a, b, _, _ = self.theta.detach()
        low, high = (x - m - b.abs()) / a, (x - m + b.abs()) / a
        for _ in range(60):
            middle = (low + high) / 2
            above = self(middle) > x
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return (low + high) / 2

    def log_density_at(self, z: Tensor) -> Tensor:
        """The values log p_theta(G(z)) [N] = log N(z) - log dG/dz: the change of variables, without
        an inverse.
        """
        return log_normal(z, 0.0, 1.0) - self.slope(z).log()

    def log_density(self, x: Tensor) -> Tensor:
        """The values log p_theta(x) [N]."""
        return self.log_density_at(self.inverse(x))

    def score_at(self, z: Tensor) -> Tensor:
        """s_theta(G(z)) [N] = (d/dz log p_theta(G(z))) / (dG/dz). Eq. (31)."""
        return slope_of(self.log_density_at, z) / self.slope(z)

    def velocities(self, x: Tensor) -> Tensor:
        """u_k(x) = E[dG/dtheta_k | G = x] [N, 5]: one z leads to x, so the mean is its Jacobian.
        Eqs. (14), (26).
        """
        return self.jacobian(self.inverse(x))


def log_normal(x: Tensor, mean: Tensor | float, std: Tensor | float) -> Tensor:
    """The log-density log N(x; mean, std^2) of a scalar x, elementwise."""
    std = torch.as_tensor(std, dtype=x.dtype)
    return -0.5 * ((x - mean) / std) ** 2 - std.log() - 0.5 * math.log(2 * math.pi)


def slope_of(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The derivative of an elementwise function at x [N], by autograd."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)[0]


def log_density(mixture: GaussianMixture, points: Tensor, t: float = 0.0) -> Tensor:
    """The values log p_t [N] of a mixture at points [N, D], or [N] on a line."""
    points = points[:, None] if points.ndim == 1 else points
    return mixture.log_density(points, torch.full((len(points),), t, dtype=points.dtype))


def score(mixture: GaussianMixture, points: Tensor, t: float = 0.0) -> Tensor:
    """The gradient of log p_t, shaped like points, in their precision and at t = 0 too, where
    `Prediction.score` is fp32 and infinite.
    """
    return slope_of(lambda at: log_density(mixture, at, t), points)


def kl(log_p: Tensor, log_q: Tensor, grid: QuadratureGrid) -> Tensor:
    """KL(p || q) from log-densities [N] on a grid. Eqs. (4), (10)."""
    return grid.integral(log_p.exp() * (log_p - log_q))


def kl_of_student(theta: Tensor, teacher: GaussianMixture, noise: QuadratureGrid) -> Tensor:
    """`kl` as a mean over z: E_z[log p_theta(G(z)) - log q(G(z))], theta [5], `noise` a line
    of z. Eq. (4).
    """
    student, z = BentStudent(theta), noise.x
    gap = student.log_density_at(z) - log_density(teacher, student(z))
    return noise.integral(log_normal(z, 0.0, 1.0).exp() * gap)


def alpha_divergence(log_p: Tensor, log_q: Tensor, grid: QuadratureGrid, beta: float) -> Tensor:
    """D_beta = (1 - int q^beta p^(1 - beta)) / (beta (1 - beta)), with the limits KL(p || q) at 0
    and KL(q || p) at 1.

    Minka's alpha-divergence (MSR-TR-2005-173); its gradient is (36) weighted with (q / p)^beta
    (f-distill, arXiv 2502.15681).
    """
    if beta == 0:
        return kl(log_p, log_q, grid)
    if beta == 1:
        return kl(log_q, log_p, grid)
    overlap = (beta * log_q + (1 - beta) * log_p).logsumexp(0) + math.log(grid.cell)
    return -torch.expm1(overlap) / (beta * (1 - beta))


def finite_differences(
    function: Callable[[Tensor], Tensor], theta: Tensor, step: float = 1e-4
) -> Tensor:
    """The derivatives d function / d theta_k [P, ...] for theta [P], by central differences."""
    moves = step * torch.eye(len(theta), dtype=theta.dtype)
    return torch.stack(
        [(function(theta + move) - function(theta - move)) / (2 * step) for move in moves]
    )


def score_form(
    student: BentStudent, teacher: GaussianMixture, z: Tensor, beta: float = 0.0
) -> Tensor:
    """The summands [N, 5] of (36): (dG/dtheta)^T (s_theta - s_teacher) at x = G(z); their mean
    over z is dL/dtheta.

    beta weights them with (q / p)^beta, for `alpha_divergence`; 0 is DMD.
    """
    x = student(z)
    gap = student.score_at(z) - score(teacher, x)
    log_ratio = log_density(teacher, x) - student.log_density_at(z)
    return student.jacobian(z) * (gap * (beta * log_ratio).exp())[:, None]


def minimised(loss: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """The local minimum [P] of `loss` that L-BFGS reaches from `start` [P], fp64."""

    def value_and_gradient(theta: np.ndarray) -> tuple[float, np.ndarray]:
        at = torch.from_numpy(theta).requires_grad_()
        value = loss(at)
        return float(value.detach()), torch.autograd.grad(value, at)[0].numpy()

    found = minimize(
        value_and_gradient,
        start.numpy(),
        jac=True,
        method="L-BFGS-B",
        options=dict(gtol=1e-9, ftol=1e-14, maxiter=300),
    )
    return torch.from_numpy(found.x)


def gaussian_branch(
    log_q: Tensor, grid: QuadratureGrid, betas: list[float], mean: float, std: float
) -> list[tuple[float, float, float]]:
    """(mean, std, D_beta) of the Gaussian at a local minimum of D_beta, followed along `betas`
    from the given start.
    """

    def loss(theta: Tensor, beta: float) -> Tensor:
        return alpha_divergence(log_normal(grid.x, theta[0], theta[1].exp()), log_q, grid, beta)

    at, branch = torch.tensor([mean, math.log(std)], dtype=torch.float64), []
    for beta in betas:
        at = minimised(lambda theta, beta=beta: loss(theta, beta), at)
        branch.append((float(at[0]), float(at[1].exp()), float(loss(at, beta))))
    return branch
