"""Passes through time: the one walk shared by teacher, student and visualiser, and its samplers.

    ode        x_s = alpha_s x0 + sigma_s eps         x0 and eps from the network's prediction at t:
                                                      a step of Euler or DDIM
    renoise    x_s = alpha_s x0 + sigma_s noise       the student sampler of DMD2 and LCM; needs a
                                                      `Renoise`. Below a `renoise_fraction` f of 1
                                                      the noise is cos(a) eps + sin(a) noise with
                                                      a = f pi / 2: CPS, between the ODE and LCM
                                                      (arXiv 2509.05952)
    multistep  an ODE step from an extrapolated x0    of the last two predictions: DPM-Solver++(2M),
                                                      arXiv 2211.01095

`walk` yields one `Stage` per step and is the only loop; `sample` is a walk without gradients,
`rollout` one with them. The gradient stop of Eq. (8) belongs here: `detach_after=1` detaches the
first step's output.
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

# a step's index, from 1 -> the new noise [B, ...] of the state after it
Renoise = Callable[[int], Tensor]


@dataclass(frozen=True)
class Stage:
    """One step of a walk: the prediction at time t and the state x_s [B, ...] after the step;
    `index` counts from 1.
    """

    index: int
    t: float
    s: float
    prediction: Prediction
    x_s: Tensor


@dataclass(frozen=True)
class Rollout:
    """A whole pass: `first` is step 1's prediction (for the diversity loss), `x` [B, ...] the final
    sample.
    """

    first: Prediction
    x: Tensor


def walk(
    denoiser: Denoiser,
    x: Tensor,
    condition: Condition | None,
    times: Tensor,
    *,
    detach_after: int = 0,
    renoise: Renoise | None = None,
    renoise_fraction: float = 1.0,
    multistep: bool = False,
) -> Iterator[Stage]:
    """The stages along falling times, with gradients.

    Args:
        denoiser: Evaluated once per step.
        x: The state [B, ...] at times[0].
        condition: B rows, or None.
        times: [N + 1], falling, in [0, 1].
        detach_after: The step, from 1, whose output is detached; 0 is none. Eq. (8).
        renoise: The noise between steps; makes it the re-noising sampler.
        renoise_fraction: The share of new noise in it, in [0, 1].
        multistep: Without `renoise`, the multistep sampler instead of the ODE's.

    Returns:
        N stages, their states [B, ...] in fp32.
    """
    x, last = x.float(), None
    for index, (t, s) in enumerate(itertools.pairwise(times), 1):
        t_batch, s_batch = (value.to(x.device, torch.float32).expand(len(x)) for value in (t, s))
        prediction = denoiser(x, t_batch, condition)
        if renoise is not None:
            noise = _mixed(prediction, renoise(index).to(x.device), renoise_fraction)
            x = perturb(denoiser.schedule, prediction.x0, noise, s_batch)
        elif multistep and last is not None and s > 0:  # at s = 0 x_s is x0 itself
            x = extrapolated(prediction, last, s_batch)
        else:
            x = prediction.move(s_batch)
        if index == detach_after:
            x = x.detach()
        yield Stage(index, float(t), float(s), prediction, x)
        last = prediction


def _mixed(prediction: Prediction, noise: Tensor, fraction: float) -> Tensor:
    """New noise [B, ...] and the predicted one, in the module's proportions."""
    if fraction >= 1:
        return noise
    angle = fraction * math.pi / 2
    return math.cos(angle) * prediction.eps + math.sin(angle) * noise


def extrapolated(prediction: Prediction, last: Prediction, s: Tensor) -> Tensor:
    """x_s by DPM-Solver++(2M) in its midpoint form, Algorithm 2 of arXiv 2211.01095.

    The step of constant x0, with x0 + (x0 - x0_last) h / (2 h_last) for x0, where h is a step in
    log(alpha / sigma).

    Args:
        prediction: At the present state [B, ...].
        last: At the state one step before.
        s: The times [B] to step to, in (0, 1).

    Returns:
        x_s [B, ...], fp32.
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
    *,
    renoise: Renoise | None = None,
    renoise_fraction: float = 1.0,
    multistep: bool = False,
) -> Iterator[Stage]:
    """A walk without gradients; stop iterating to cancel it.

    Args:
        denoiser: Evaluated once per step.
        noise: The state [B, ...] at times[0].
        condition: B rows, or None.
        times: [N + 1], falling, in [0, 1].
        renoise: As for `walk`.
        renoise_fraction: As for `walk`.
        multistep: As for `walk`.

    Returns:
        N stages, their states [B, ...] in fp32.
    """
    stages = walk(
        denoiser,
        noise,
        condition,
        times,
        renoise=renoise,
        renoise_fraction=renoise_fraction,
        multistep=multistep,
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
    *,
    renoise: Renoise | None = None,
) -> Tensor:
    """The end point of `sample`.

    Args:
        denoiser: Evaluated once per step.
        noise: The state [B, ...] at times[0].
        condition: B rows, or None.
        times: [N + 1], falling, in [0, 1]; with one time only, the result is `noise`.
        renoise: As for `walk`.

    Returns:
        [B, ...], fp32.
    """
    x = noise.float()
    for stage in sample(denoiser, noise, condition, times, renoise=renoise):
        x = stage.x_s
    return x


def rollout(
    denoiser: Denoiser,
    noise: Tensor,
    condition: Condition | None,
    times: Tensor,
    *,
    detach_after: int = 0,
    renoise: Renoise | None = None,
) -> Rollout:
    """A student's pass, with gradients through every step after `detach_after` (0: through all).

    Args:
        denoiser: The student.
        noise: Initial noise [B, ...].
        condition: B rows, or None.
        times: [N + 1], falling, in [0, 1].
        detach_after: As for `walk`. Eq. (8).
        renoise: As for `walk`.

    Returns:
        The first prediction and the final sample, both [B, ...].
    """
    stages = list(
        walk(denoiser, noise, condition, times, detach_after=detach_after, renoise=renoise)
    )
    return Rollout(stages[0].prediction, stages[-1].x_s)
