r"""Noise schedules: x_t = alpha_t x0 + sigma_t noise, with our t in [0, 1] (0 is data, 1 is noise)
for every family.

    FlowSchedule   alpha = 1 - t, sigma = t                     flow teachers (SD3.5-M); Eq. (1)
    VPSchedule     alpha = sqrt(abar), sigma = sqrt(1 - abar)   eps teachers (SDXL)

Only a backend sees integer timesteps. A schedule also draws training times and lists sampling
times; `GRIDS` names two ways to place N of them:

    even       t = 1, (N-1)/N, ..., 1/N, 0 before the shift: every step does the same share
    diffusers  as FlowMatchEulerDiscreteScheduler(shift).set_timesteps(N): from sigma_max to
               sigma_min INCLUSIVE, shifted a second time. At N = 4 and shift 3 that is 1, 0.858,
               0.602, 0.0089, 0, so the fourth evaluation changes next to nothing. Kept for parity
               with the released script and weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

GRIDS = ("even", "diffusers")


class NoiseSchedule(Protocol):
    """t -> (alpha_t, sigma_t), training times and sampling times."""

    @property
    def levels(self) -> int:
        """The number of the teacher's training levels."""
        ...

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t and sigma_t.

        Args:
            t: Times in [0, 1], of any shape [...].

        Returns:
            Both [...], fp32.
        """
        ...

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        """Training times, uniform over the teacher's 1000 training levels.

        Args:
            count: B.
            generator: On the CPU.

        Returns:
            [B] in (0, 1].
        """
        ...

    def sampling_times(self, steps: int, grid: str = "even") -> Tensor:
        """The times of a sampler.

        Args:
            steps: N, at least 1.
            grid: One of `GRIDS`.

        Returns:
            [N + 1], falling from 1 to 0, fp32.

        Raises:
            ValueError: No steps, or an unknown grid.
        """
        ...


def broadcast(values: Tensor, like: Tensor) -> Tensor:
    """One value per sample, with trailing axes to multiply a batch.

    Args:
        values: [B], or [] for one value of all samples.
        like: The batch [B, ...].

    Returns:
        [B, 1, ...] with as many axes as `like`.
    """
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


def perturb(schedule: NoiseSchedule, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t = alpha_t x0 + sigma_t noise. Eq. (1).

    Args:
        schedule: Gives alpha and sigma.
        x0: Clean samples [B, ...].
        noise: [B, ...].
        t: [B] in [0, 1].

    Returns:
        x_t [B, ...], fp32.
    """
    alpha, sigma = schedule.alpha_sigma(t)
    return broadcast(alpha, x0) * x0.float() + broadcast(sigma, x0) * noise.float()


def _check_grid(steps: int, grid: str) -> None:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    if grid not in GRIDS:
        raise ValueError(f"unknown sampling grid {grid!r}; one of {', '.join(GRIDS)}")


@dataclass(frozen=True)
class FlowSchedule:
    """The linear path; a `shift` of s moves times to s t / (1 + (s - 1) t). SD3.5-M at 1024 px uses
    3, scenes 1.
    """

    shift: float = 3.0
    levels: int = 1000

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """1 - t and t.

        Args:
            t: Times in [0, 1], of any shape [...].

        Returns:
            Both [...], fp32.
        """
        t = t.float()
        return 1 - t, t

    def shifted(self, t: Tensor) -> Tensor:
        """Times after the shift.

        Args:
            t: Times in [0, 1], of any shape [...].

        Returns:
            [...] in [0, 1], of the same precision.
        """
        return self.shift * t / (1 + (self.shift - 1) * t)

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        """Shifted training times, uniform over the levels.

        Args:
            count: B.
            generator: On the CPU.

        Returns:
            [B] in (0, 1].
        """
        index = torch.randint(1, self.levels + 1, (count,), generator=generator)
        return self.shifted(index / self.levels)

    def sampling_times(self, steps: int, grid: str = "even") -> Tensor:
        """The shifted times of a sampler.

        Args:
            steps: N, at least 1.
            grid: One of `GRIDS`.

        Returns:
            [N + 1], falling from 1 to 0, fp32.

        Raises:
            ValueError: No steps, or an unknown grid.
        """
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
        """The table's length n."""
        return len(self.alphas_cumprod)

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(abar) and sqrt(1 - abar) at t, interpolated.

        Args:
            t: Times in [0, 1], of any shape [...].

        Returns:
            Both [...], fp32.
        """
        abar = torch.tensor((1.0, *self.alphas_cumprod), dtype=torch.float64)
        ratio = ((1 - abar) / abar).sqrt()
        index = t.cpu().double().clamp(0, 1) * self.levels  # Apple's GPUs have no float64
        below = index.floor().long().clamp(max=self.levels - 1)
        ratio = torch.lerp(ratio[below], ratio[below + 1], index - below)
        alpha = (1 + ratio**2).rsqrt()
        return alpha.float().to(t.device), (alpha * ratio).float().to(t.device)

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        """Training times, uniform over the levels.

        Args:
            count: B.
            generator: On the CPU.

        Returns:
            [B] in (0, 1].
        """
        return torch.randint(1, self.levels + 1, (count,), generator=generator) / self.levels

    def sampling_times(self, steps: int, grid: str = "even") -> Tensor:
        """The times of a sampler. `even`: trailing indices (999, 749, 499, 249 at N = 4).
        `diffusers`: t = 1, then EulerDiscrete's `leading` with offset 1.

        Args:
            steps: N, at least 1.
            grid: One of `GRIDS`.

        Returns:
            [N + 1], falling from 1 to 0, fp32.

        Raises:
            ValueError: No steps, or an unknown grid.
        """
        _check_grid(steps, grid)
        if grid == "even":
            return torch.linspace(1, 0, steps + 1)
        indices = torch.arange(steps).flip(0) * (self.levels // steps) + 1
        return torch.cat([(indices + 1) / self.levels, torch.zeros(1)])
