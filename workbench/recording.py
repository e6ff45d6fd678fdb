"""Sampling for the stages: passes that are recorded, that branch, and that change the model half way.

Everything is a generator or one batch of seeds; all noise is a function of the seed, so every picture can be made again.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from workbench.denoiser import Backend
from workbench.grid import TOGETHER, model_settings
from workbench.models import Model
from workbench.schedules import perturb
from workbench.seeds import grid_noise, stream
from workbench.stages.trajectory import Trajectory


def record(model: Model, backend: Backend, prompt: str, seeds: tuple[int, ...], together: int = TOGETHER) -> Iterator[float | Trajectory]:
    """The part of the steps done, after each; and, as soon as it is finished, the trajectory of each batch of seeds.

    A batch that fails (out of memory, say) is tried again seed by seed. The cost is that of sampling: nothing is decoded."""
    done = 0
    for batch in np.array_split(seeds, -(-len(seeds) // together)):
        parts, batch = [batch.tolist()], tuple(batch.tolist())
        while parts:
            part = parts.pop(0)
            try:
                for made in _recorded(model, backend, prompt, part):
                    yield (done + made * len(part)) / len(seeds) if isinstance(made, float) else made
            except RuntimeError:
                if len(part) == 1:
                    raise
                parts = [[seed] for seed in part]
                continue
            done += len(part)


def _recorded(model: Model, backend: Backend, prompt: str, seeds: list[int]) -> Iterator[float | Trajectory]:
    condition = backend.encode([prompt]).expand(len(seeds))
    x = grid_noise(backend.latent_shape, seeds).to(backend.device)
    beliefs, states, steps = [], [_half(x)], len(model.times) - 1
    for stage in model.stages(x, condition, seeds):
        beliefs.append(_half(stage.prediction.x0))
        states.append(_half(stage.x_s))
        if stage.index < steps:
            yield stage.index / steps
    alpha_sigma = torch.stack(backend.schedule.alpha_sigma(model.times), 1)
    yield Trajectory(prompt, model.name, tuple(seeds), model.times.float(), alpha_sigma, torch.stack(beliefs), torch.stack(states),
                     model_settings(model))


def branched(model: Model, backend: Backend, trajectory: Trajectory, step: int, branches: int,
             together: int = 2 * TOGETHER) -> Iterator[Tensor]:
    """Final latents [*, C, h, w], batch by batch, of `branches` passes for each recorded seed that share the first `step` steps with it
    and go on with fresh noise: its belief x0 there, noised again to the level that the step leads to. All branches of the first seed
    come first, then those of the second. Step 0 shares nothing but the prompt."""
    steps = len(model.times) - 1
    if not 0 <= step < steps:
        raise ValueError(f"a pass of {steps} steps branches behind step 0 to {steps - 1}, not {step}")
    condition, rest = backend.encode([trajectory.prompt]), replace(model, times=model.times[step:])
    todo = [(row, zlib.crc32(f"branch {seed} {step} {branch}".encode())) for row, seed in enumerate(trajectory.seeds)
            for branch in range(branches)]
    for batch in (todo[first : first + together] for first in range(0, len(todo), together)):
        rows, names = [row for row, _ in batch], [name for _, name in batch]
        x = torch.stack([torch.randn(backend.latent_shape, generator=stream(name, "branch")) for name in names])
        if step:
            x = perturb(backend.schedule, trajectory.x0[step - 1, rows], x, model.times[step].expand(len(x)))
        yield rest.sampled(x.to(backend.device), condition.expand(len(x)), names, step)


def swapped(first: Model, then: Model, backend: Backend, prompt: str, seeds: tuple[int, ...], step: int) -> Tensor:
    """Final latents [S, C, h, w] of passes by `first` up to the noise level behind step `step` of `switch_times`, and by `then` from
    there on, from the seeds' own noise. Each model keeps its own times on its side of that level, which is one of them for both."""
    levels = switch_times(first, then)
    level = levels[step]
    parts = [(first, torch.cat([first.times[first.times > level + 1e-6], level[None]])),
             (then, torch.cat([level[None], then.times[then.times < level - 1e-6]]))]
    if step in (0, len(levels) - 1):
        parts = [(first, first.times) if step else (then, then.times)]
    x, taken = grid_noise(backend.latent_shape, list(seeds)).to(backend.device), 0
    condition = backend.encode([prompt]).expand(len(seeds))
    for model, times in parts:
        x = replace(model, times=times).sampled(x, condition, list(seeds), taken)
        taken += len(times) - 1
    return x


def switch_times(first: Model, then: Model) -> Tensor:
    """The levels at which two models may take over from each other: the times of the one with fewer steps."""
    return min(first.times, then.times, key=len)


def _half(x: Tensor) -> Tensor:
    return x.detach().to("cpu", torch.float16)
