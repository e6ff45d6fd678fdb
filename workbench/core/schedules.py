r"""Noise schedules: x_t = alpha_t x0 + sigma_t noise, with our t in [0, 1] (0 is data, 1 is noise)
for every family.

    FlowSchedule   alpha = 1 - t, sigma = t                        (1); flow teachers such as SD3.5-M
    VPSchedule     alpha = sqrt(abar), sigma = sqrt(1 - abar)      eps teachers such as SDXL

Only a backend sees integer timesteps. A schedule also draws training times and lists sampling
times; `GRIDS` names two ways to place N of them:

    even       t = 1, (N-1)/N, ..., 1/N, 0 before the shift: every step does the same share
    diffusers  what FlowMatchEulerDiscreteScheduler(shift).set_timesteps(N) does: from sigma_max to sigma_min INCLUSIVE, shifted a
               second time. At N = 4 and shift 3 that is 1, 0.858, 0.602, 0.0089, 0, so the fourth evaluation changes next to
               nothing. Kept for parity with the released script and weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

GRIDS = ("even", "diffusers")


class NoiseSchedule(Protocol):
    """t -> (alpha_t, sigma_t), training times and sampling times."""

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t and sigma_t in fp32, of the shape of t in [0, 1]."""

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        """[count] training times in (0, 1], uniform over the teacher's 1000 training levels."""

    def sampling_times(self, steps: int, grid: str = "even") -> Tensor:
        """[steps + 1] falling times from 1 to 0; `grid` is one of `GRIDS`."""


def broadcast(values: Tensor, like: Tensor) -> Tensor:
    """`values` [B] (or []) with trailing axes, to multiply `like` [B, ...]."""
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


def perturb(schedule: NoiseSchedule, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t = alpha_t x0 + sigma_t noise, fp32; x0 and noise [B, ...], t [B]. Eq. (1)."""
    alpha, sigma = schedule.alpha_sigma(t)
    return broadcast(alpha, x0) * x0.float() + broadcast(sigma, x0) * noise.float()


def _check_grid(steps: int, grid: str) -> None:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    if grid not in GRIDS:
        raise ValueError(f"unknown sampling grid {grid!r}; one of {', '.join(GRIDS)}")


@dataclass(frozen=True)
class FlowSchedule:
    """The linear path; `shift` s moves times to s t / (1 + (s - 1) t). SD3.5-M at 1024 px uses 3,
    scenes 1.
    """

    shift: float = 3.0
    levels: int = 1000

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        t = t.float()
        return 1 - t, t

    def shifted(self, t: Tensor) -> Tensor:
        return self.shift * t / (1 + (self.shift - 1) * t)

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        index = torch.randint(1, self.levels + 1, (count,), generator=generator)
        return self.shifted(index / self.levels)

    def sampling_times(self, steps: int, grid: str = "even") -> Tensor:
        _check_grid(steps, grid)
        if grid == "even":
            return self.shifted(torch.linspace(1, 0, steps + 1, dtype=torch.float64)).float()
        last = self.shifted(torch.tensor(1 / self.levels, dtype=torch.float64)).item()
        times = self.shifted(torch.linspace(1, last, steps, dtype=torch.float64))
        return torch.cat([times, times.new_zeros(1)]).float()


@dataclass(frozen=True)
class VPSchedule:
    """Variance preserving, from a diffusers table alphas_cumprod [n]; t = (index + 1) / n, and t =
    0 is clean data.

    Between two indices the ratio sigma / alpha is interpolated linearly, as diffusers' Euler
    scheduler does.
    """

    alphas_cumprod: tuple[float, ...]

    @classmethod
    def scaled_linear(
        cls, start: float = 0.00085, end: float = 0.012, levels: int = 1000
    ) -> VPSchedule:
        """The table of Stable Diffusion and SDXL."""
        betas = torch.linspace(start**0.5, end**0.5, levels, dtype=torch.float64) ** 2
        return cls(tuple(torch.cumprod(1 - betas, 0).tolist()))

    @property
    def levels(self) -> int:
        return len(self.alphas_cumprod)

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        abar = torch.tensor((1.0, *self.alphas_cumprod), dtype=torch.float64)
        ratio = ((1 - abar) / abar).sqrt()
        place = (
            t.cpu().double().clamp(0, 1) * self.levels
        )  # on the CPU: Apple's GPUs have no float64
        below = place.floor().long().clamp(max=self.levels - 1)
        ratio = torch.lerp(ratio[below], ratio[below + 1], place - below)
        alpha = (1 + ratio**2).rsqrt()
        return alpha.float().to(t.device), (alpha * ratio).float().to(t.device)

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randint(1, self.levels + 1, (count,), generator=generator) / self.levels

    def sampling_times(self, steps: int, grid: str = "even") -> Tensor:
        """`even`: trailing indices (999, 749, 499, 249 at N = 4). `diffusers`: EulerDiscrete's
        `leading`, offset 1, behind t = 1.
        """
        _check_grid(steps, grid)
        if grid == "even":
            return torch.linspace(1, 0, steps + 1)
        indices = torch.arange(steps).flip(0) * (self.levels // steps) + 1
        return torch.cat([(indices + 1) / self.levels, torch.zeros(1)])
