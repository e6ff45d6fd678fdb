r"""A network's output at (x_t, t), readable as x0, eps, velocity or score, converted on demand in
fp32.

A `Kind` is linear in the raw output, with coefficients of a = alpha and s = sigma:

    x0 = p x_t + q raw,   eps = r x_t + u raw

    kind       raw       p            q             r            u
    VELOCITY   eps - x0  1 / (a + s)  -s / (a + s)  1 / (a + s)  a / (a + s)
    EPS        eps       1 / a        -s / a        0            1
    X0         x0        0            1             1 / s        -a / s

For a flow alpha + sigma = 1, so x0 = x_t - sigma v and eps = x_t + (1 - sigma) v. The raw output
is kept: the difference of two predictions at one point is q (raw_a - raw_b), exact, where
subtracting two x0 in low precision would cancel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.core.schedules import NoiseSchedule, broadcast

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Kind:
    """A parameterisation: the coefficients of x0 and eps in (x_t, raw), and the raw target for
    (x0, eps).
    """

    name: str
    x0: Callable[[Tensor, Tensor], Pair]
    eps: Callable[[Tensor, Tensor], Pair]
    target: Callable[[Tensor, Tensor], Tensor]


VELOCITY = Kind(
    "velocity",
    lambda a, s: (1 / (a + s), -s / (a + s)),
    lambda a, s: (1 / (a + s), a / (a + s)),
    lambda x0, eps: eps - x0,
)
EPS = Kind(
    "eps",
    lambda a, s: (1 / a, -s / a),
    lambda a, s: (torch.zeros_like(a), torch.ones_like(a)),
    lambda x0, eps: eps,
)
X0 = Kind(
    "x0",
    lambda a, s: (torch.zeros_like(a), torch.ones_like(a)),
    lambda a, s: (1 / s, -a / s),
    lambda x0, eps: x0,
)


@dataclass(frozen=True)
class Prediction:
    """One network output. `raw` and `x_t` are [B, ...], `t` is [B]; every conversion is [B, ...] in
    fp32.
    """

    raw: Tensor
    x_t: Tensor
    t: Tensor
    kind: Kind
    schedule: NoiseSchedule

    @property
    def x0(self) -> Tensor:
        """The predicted clean sample."""
        return self._convert(self.kind.x0)

    @property
    def eps(self) -> Tensor:
        """The predicted noise."""
        return self._convert(self.kind.eps)

    @property
    def velocity(self) -> Tensor:
        """The predicted eps - x0."""
        return self.raw.float() if self.kind is VELOCITY else self.eps - self.x0

    @property
    def score(self) -> Tensor:
        """The gradient of log p_t at x_t, -eps / sigma_t; infinite at t = 0."""
        return -self.eps / self._alpha_sigma()[1]

    def x0_minus(self, other: Prediction) -> Tensor:
        """This x0 minus that of another prediction, without cancellation when the kinds agree.

        Args:
            other: A prediction at the same x_t [B, ...] and t [B].

        Returns:
            [B, ...], fp32.
        """
        if self.kind is not other.kind:
            return self.x0 - other.x0
        _, q = self.kind.x0(*self._alpha_sigma())
        return q * (self.raw.float() - other.raw.float())

    def move(self, s: Tensor) -> Tensor:
        """x_s on the line of constant x0 and eps: one step of the probability-flow ODE.

        x_s - x_t = d_alpha x0 + d_sigma eps = d_sigma velocity + (d_alpha + d_sigma) x0, whose
        last factor is 0 for a flow: the Euler step there, DDIM without noise elsewhere.

        Args:
            s: The times [B] to step to, in [0, 1].

        Returns:
            x_s [B, ...], fp32.
        """
        alpha_t, sigma_t = self._alpha_sigma()
        alpha_s, sigma_s = (broadcast(v, self.raw) for v in self.schedule.alpha_sigma(s))
        turn = (alpha_s - alpha_t) + (sigma_s - sigma_t)
        moved = self.x_t.float() + (sigma_s - sigma_t) * self.velocity
        return moved + turn * self.x0 if turn.abs().max() > 1e-6 else moved

    def _alpha_sigma(self) -> Pair:
        alpha, sigma = self.schedule.alpha_sigma(self.t)
        return broadcast(alpha, self.raw), broadcast(sigma, self.raw)

    def _convert(self, coefficients: Callable[[Tensor, Tensor], Pair]) -> Tensor:
        of_x, of_raw = coefficients(*self._alpha_sigma())
        return of_x * self.x_t.float() + of_raw * self.raw.float()
