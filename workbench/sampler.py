"""Passes through time: the deterministic ODE walk shared by teacher, student and visualiser.

`walk` yields one `Stage` a step and is the only loop; `sample` is a walk without gradients, `rollout` one with them.
The gradient stop of (8) belongs here: `detach_after=1` cuts the graph behind the first step's output.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.denoiser import Condition, Denoiser
from workbench.prediction import Prediction


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


def walk(denoiser: Denoiser, x: Tensor, condition: Condition | None, times: Tensor, detach_after: int = 0) -> Iterator[Stage]:
    """Steps along falling `times` [N + 1] from x at times[0]; states fp32. The output of step `detach_after` is detached."""
    x = x.float()
    for index, (t, s) in enumerate(zip(times[:-1], times[1:]), 1):
        t_batch, s_batch = (value.to(x.device, torch.float32).expand(len(x)) for value in (t, s))
        prediction = denoiser(x, t_batch, condition)
        x = prediction.move(s_batch)
        if index == detach_after:
            x = x.detach()
        yield Stage(index, float(t), float(s), prediction, x)


def sample(denoiser: Denoiser, noise: Tensor, condition: Condition | None, times: Tensor) -> Iterator[Stage]:
    """A walk without gradients; stop iterating to cancel it."""
    stages = walk(denoiser, noise, condition, times)
    while True:
        with torch.no_grad():
            stage = next(stages, None)
        if stage is None:
            return
        yield stage


def sampled(denoiser: Denoiser, noise: Tensor, condition: Condition | None, times: Tensor) -> Tensor:
    """The end point [B, ...] of `sample`, fp32."""
    x = noise.float()
    for stage in sample(denoiser, noise, condition, times):
        x = stage.x_s
    return x


def rollout(denoiser: Denoiser, noise: Tensor, condition: Condition | None, times: Tensor, detach_after: int = 0) -> Rollout:
    """A student's pass with gradients through every step behind `detach_after` (0: through all of them)."""
    stages = list(walk(denoiser, noise, condition, times, detach_after))
    return Rollout(stages[0].prediction, stages[-1].x_s)
