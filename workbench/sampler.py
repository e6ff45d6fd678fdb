"""Passes through time: the one walk shared by teacher, student and visualiser, and its two samplers.

    ode      x_s = alpha_s x0 + sigma_s eps              both read from the network's prediction at t: a step of Euler or DDIM
    renoise  x_s = alpha_s x0 + sigma_s fresh noise      DMD2's and LCM's student sampler; needs a `Renoise`

`walk` yields one `Stage` a step and is the only loop; `sample` is a walk without gradients, `rollout` one with them.
The gradient stop of (8) belongs here: `detach_after=1` cuts the graph behind the first step's output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.denoiser import Condition, Denoiser
from workbench.prediction import Prediction
from workbench.schedules import perturb

Renoise = Callable[[int], Tensor]  # a step's index, from 1 -> the fresh noise [B, ...] of the state it leads to


@dataclass(frozen=True)
class Stage:
    """One step of a walk: the prediction at time t, and the state x_s [B, ...] it leads to; `index` counts from 1."""

    index: int
    t: float
    s: float
    prediction: Prediction
    x_s: Tensor


@dataclass(frozen=True)
class Rollout:
    """A whole pass: `first` is step 1's prediction (for the diversity loss), `x` [B, ...] the final sample."""

    first: Prediction
    x: Tensor


def walk(denoiser: Denoiser, x: Tensor, condition: Condition | None, times: Tensor, detach_after: int = 0,
         renoise: Renoise | None = None) -> Iterator[Stage]:
    """Steps along falling `times` [N + 1] from x at times[0]; states fp32. The output of step `detach_after` is detached.

    With `renoise` it is the re-noising sampler, without it the ODE's."""
    x = x.float()
    for index, (t, s) in enumerate(zip(times[:-1], times[1:]), 1):
        t_batch, s_batch = (value.to(x.device, torch.float32).expand(len(x)) for value in (t, s))
        prediction = denoiser(x, t_batch, condition)
        x = (prediction.move(s_batch) if renoise is None
             else perturb(denoiser.schedule, prediction.x0, renoise(index).to(x.device), s_batch))
        if index == detach_after:
            x = x.detach()
        yield Stage(index, float(t), float(s), prediction, x)


def sample(denoiser: Denoiser, noise: Tensor, condition: Condition | None, times: Tensor,
           renoise: Renoise | None = None) -> Iterator[Stage]:
    """A walk without gradients; stop iterating to cancel it."""
    stages = walk(denoiser, noise, condition, times, renoise=renoise)
    while True:
        with torch.no_grad():
            stage = next(stages, None)
        if stage is None:
            return
        yield stage


def sampled(denoiser: Denoiser, noise: Tensor, condition: Condition | None, times: Tensor,
            renoise: Renoise | None = None) -> Tensor:
    """The end point [B, ...] of `sample`, fp32."""
    x = noise.float()
    for stage in sample(denoiser, noise, condition, times, renoise):
        x = stage.x_s
    return x


def rollout(denoiser: Denoiser, noise: Tensor, condition: Condition | None, times: Tensor, detach_after: int = 0,
            renoise: Renoise | None = None) -> Rollout:
    """A student's pass with gradients through every step behind `detach_after` (0: through all of them)."""
    stages = list(walk(denoiser, noise, condition, times, detach_after, renoise))
    return Rollout(stages[0].prediction, stages[-1].x_s)
