"""Passes through time: the one walk shared by teacher, student and visualiser, and its three
samplers.

    ode        x_s = alpha_s x0 + sigma_s eps            both read from the network's prediction at t: a step of Euler or DDIM
    renoise    x_s = alpha_s x0 + sigma_s noise          DMD2's and LCM's student sampler; needs a `Renoise`. With `fresh` < 1 the
               noise is cos(a) eps + sin(a) fresh noise at a = fresh pi / 2: CPS, between the ODE and LCM (arXiv 2509.05952)
    multistep  an ODE step whose x0 is extrapolated from the last two predictions: DPM-Solver++(2M), arXiv 2211.01095

`walk` yields one `Stage` a step and is the only loop; `sample` is a walk without gradients,
`rollout` one with them. The gradient stop of (8) belongs here: `detach_after=1` cuts the graph
behind the first step's output.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.core.denoiser import Condition, Denoiser
from workbench.core.prediction import Prediction
from workbench.core.schedules import broadcast, perturb

Renoise = Callable[
    [int], Tensor
]  # a step's index, from 1 -> the fresh noise [B, ...] of the state it leads to


@dataclass(frozen=True)
class Stage:
    """One step of a walk: the prediction at time t, and the state x_s [B, ...] it leads to;
    `index` counts from 1.
    """

    index: int
    t: float
    s: float
    prediction: Prediction
    x_s: Tensor


@dataclass(frozen=True)
class Rollout:
    """A whole pass: `first` is step 1's prediction (for the diversity loss), `x` [B, ...] the
    final sample.
    """

    first: Prediction
    x: Tensor


def walk(
    denoiser: Denoiser,
    x: Tensor,
    condition: Condition | None,
    times: Tensor,
    detach_after: int = 0,
    renoise: Renoise | None = None,
    fresh: float = 1.0,
    multistep: bool = False,
) -> Iterator[Stage]:
    """Steps along falling `times` [N + 1] from x at times[0]; states fp32. The output of step
    `detach_after` is detached.

    With `renoise` it is the re-noising sampler with a part `fresh` of new noise; else `multistep`,
    or the ODE's.
    """
    x, last = x.float(), None
    for index, (t, s) in enumerate(itertools.pairwise(times), 1):
        t_batch, s_batch = (value.to(x.device, torch.float32).expand(len(x)) for value in (t, s))
        prediction = denoiser(x, t_batch, condition)
        if renoise is not None:
            noise = renoise(index).to(x.device)
            if fresh < 1:
                noise = (
                    math.cos(fresh * math.pi / 2) * prediction.eps
                    + math.sin(fresh * math.pi / 2) * noise
                )
            x = perturb(denoiser.schedule, prediction.x0, noise, s_batch)
        elif multistep and last is not None and s > 0:  # at s = 0 x_s is x0 itself
            x = extrapolated(prediction, last, s_batch)
        else:
            x = prediction.move(s_batch)
        if index == detach_after:
            x = x.detach()
        yield Stage(index, float(t), float(s), prediction, x)
        last = prediction


def extrapolated(prediction: Prediction, last: Prediction, s: Tensor) -> Tensor:
    """x_s by DPM-Solver++(2M) in its midpoint form, Algorithm 2 of arXiv 2211.01095; s [B] in (0,
    1).

    The step of constant x0, with x0 + (x0 - x0_last) h / (2 h_last) for x0, where h is a step in
    log(alpha / sigma).
    """
    schedule = prediction.schedule
    (alpha_r, sigma_r), (alpha_t, sigma_t), (alpha_s, sigma_s) = (
        (broadcast(value, prediction.raw) for value in schedule.alpha_sigma(time))
        for time in (last.t, prediction.t, s)
    )
    of_r, of_t, of_s = (
        (alpha / sigma).log()
        for alpha, sigma in ((alpha_r, sigma_r), (alpha_t, sigma_t), (alpha_s, sigma_s))
    )
    x0 = prediction.x0 + (prediction.x0 - last.x0) * (of_s - of_t) / (2 * (of_t - of_r))
    return sigma_s / sigma_t * prediction.x_t.float() + (alpha_s - sigma_s * alpha_t / sigma_t) * x0


def sample(
    denoiser: Denoiser,
    noise: Tensor,
    condition: Condition | None,
    times: Tensor,
    renoise: Renoise | None = None,
    fresh: float = 1.0,
    multistep: bool = False,
) -> Iterator[Stage]:
    """A walk without gradients; stop iterating to cancel it."""
    stages = walk(
        denoiser, noise, condition, times, renoise=renoise, fresh=fresh, multistep=multistep
    )
    while True:
        with torch.no_grad():
            stage = next(stages, None)
        if stage is None:
            return
        yield stage


def sampled(
    denoiser: Denoiser,
    noise: Tensor,
    condition: Condition | None,
    times: Tensor,
    renoise: Renoise | None = None,
) -> Tensor:
    """The end point [B, ...] of `sample`, fp32."""
    x = noise.float()
    for stage in sample(denoiser, noise, condition, times, renoise):
        x = stage.x_s
    return x


def rollout(
    denoiser: Denoiser,
    noise: Tensor,
    condition: Condition | None,
    times: Tensor,
    detach_after: int = 0,
    renoise: Renoise | None = None,
) -> Rollout:
    """A student's pass with gradients through every step behind `detach_after` (0: through all of
    them).
    """
    stages = list(walk(denoiser, noise, condition, times, detach_after, renoise))
    return Rollout(stages[0].prediction, stages[-1].x_s)
