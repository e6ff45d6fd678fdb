"""Sampling for the stages: passes that are recorded, that branch, and that change the model half
way.

Everything is a generator that works batch by batch, and seed by seed if a batch fails (out of
memory, say). All noise is a function of the seed, so every picture can be reproduced.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from workbench.core.schedules import perturb
from workbench.core.seeds import grid_noise, stream
from workbench.grid.generate import BATCH_SIZE
from workbench.models.backends.pipeline import PipelineBackend
from workbench.models.identity import model_settings
from workbench.models.model import Model
from workbench.models.sampling import even_batches, in_batches
from workbench.stages.tasks import Swap
from workbench.stages.trajectory import Trajectory


def record(
    model: Model,
    backend: PipelineBackend,
    prompt: str,
    seeds: tuple[int, ...],
    batch_size: int = BATCH_SIZE,
) -> Iterator[float | Trajectory]:
    """The share of the work that is done, after each step; and the trajectory of each batch of
    seeds, as soon as it is finished.

    The cost is that of sampling: nothing is decoded. Raises RuntimeError, with the seed, for a
    pass that is not finite.
    """
    done = 0
    for event in in_batches(
        even_batches(seeds, batch_size), lambda batch: _recorded(model, backend, prompt, batch)
    ):
        if isinstance(event, Trajectory):
            done += len(event.seeds)
            yield event
        else:
            yield min((done + event) / len(seeds), 1.0)


def _recorded(
    model: Model, backend: PipelineBackend, prompt: str, seeds: list[int]
) -> Iterator[float | Trajectory]:
    """Yields the steps done, in passes, then the trajectory."""
    condition = backend.encode([prompt]).expand(len(seeds))
    x = grid_noise(backend.latent_shape, seeds).to(backend.device)
    beliefs, states, steps = [], [_half(x)], len(model.times) - 1
    for stage in model.stages(x, condition, seeds):
        beliefs.append(_half(stage.prediction.x0))
        states.append(_half(stage.x_s))
        wrong = [
            seed
            for seed, belief, state in zip(seeds, beliefs[-1], states[-1])
            if not (belief.isfinite().all() and state.isfinite().all())
        ]
        if wrong:
            raise RuntimeError(
                f"the pass of seed {wrong[0]} is not finite (NaN) from step {stage.index} on"
            )
        yield stage.index / steps * len(seeds)
    alpha_sigma = torch.stack(backend.schedule.alpha_sigma(model.times), 1)
    yield Trajectory(
        prompt,
        model.name,
        tuple(seeds),
        model.times.float(),
        alpha_sigma,
        torch.stack(beliefs),
        torch.stack(states),
        model_settings(model, backend),
    )


def branched(
    model: Model,
    backend: PipelineBackend,
    trajectory: Trajectory,
    step: int,
    branches: int,
    batch_size: int = 2 * BATCH_SIZE,
) -> Iterator[Tensor]:
    """Final latents [*, C, h, w], batch by batch, of `branches` passes per recorded seed, which
    share its first `step` steps and continue with fresh noise: its belief x0 there, noised again to
    the level that the step leads to. All branches of the first seed come first, then those of the
    second. Step 0 shares nothing but the prompt. Raises ValueError for a step outside the pass.
    """
    steps = len(model.times) - 1
    if not 0 <= step < steps:
        raise ValueError(
            f"a pass of {steps} steps branches after step 0 to {steps - 1}, not {step}"
        )
    condition, rest = backend.encode([trajectory.prompt]), replace(model, times=model.times[step:])
    todo = [
        (row, zlib.crc32(f"branch {seed} {step} {branch}".encode()))
        for row, seed in enumerate(trajectory.seeds)
        for branch in range(branches)
    ]

    def finished(batch: list[tuple[int, int]]) -> Iterator[Tensor]:
        rows, names = [row for row, _ in batch], [name for _, name in batch]
        x = torch.stack(
            [torch.randn(backend.latent_shape, generator=stream(name, "branch")) for name in names]
        )
        if step:
            x = perturb(
                backend.schedule, trajectory.x0[step - 1, rows], x, model.times[step].expand(len(x))
            )
        yield rest.sampled(x.to(backend.device), condition.expand(len(x)), names, step)

    yield from in_batches(even_batches(todo, batch_size), finished)


def swapped(
    open_model: Callable[[str], Model],
    swap: Swap,
    levels: Tensor,
    backend: PipelineBackend,
    prompt: str,
    seeds: tuple[int, ...],
    batch_size: int = BATCH_SIZE,
) -> Iterator[Tensor]:
    """Final latents [*, C, h, w], batch by batch, of passes from the seeds' own noise: by
    `swap.first` down to the noise level levels[swap.step], and by `swap.then` from there. Each
    model keeps its own times on its side of that level, and the noises of its own steps. Only one
    model has to be open at a time.
    """
    level, alone = levels[swap.step], swap.alone(len(levels))

    def finished(batch: list[int]) -> Iterator[Tensor]:
        x = grid_noise(backend.latent_shape, batch).to(backend.device)
        condition = backend.encode([prompt]).expand(len(batch))
        if alone:
            yield open_model(alone).sampled(x, condition, batch)
            return
        first = open_model(swap.first)
        times = torch.cat([first.times[first.times > level + 1e-6], level[None]])
        if len(times) > 1:
            x = replace(first, times=times).sampled(x, condition, batch)
        then = open_model(swap.then)
        times = torch.cat([level[None], then.times[then.times < level - 1e-6]])
        taken = int((then.times > level + 1e-6).sum())
        if len(times) > 1:
            x = replace(then, times=times).sampled(x, condition, batch, taken)
        yield x

    yield from in_batches(even_batches(seeds, batch_size), finished)


def _half(x: Tensor) -> Tensor:
    return x.detach().to("cpu", torch.float16)
