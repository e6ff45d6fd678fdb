"""Sampling for the stages: passes that are recorded, that branch, and that change the model half
way.

Everything is a generator that works batch by batch, and again seed by seed where a batch fails
(out of memory, say). All noise is a function of the seed, so every picture can be made again.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from workbench.core.denoiser import Backend
from workbench.core.schedules import perturb
from workbench.core.seeds import grid_noise, stream
from workbench.grid.generate import BATCH_SIZE
from workbench.models.identity import model_settings
from workbench.models.model import Model
from workbench.models.sampling import even_batches, in_batches
from workbench.stages.trajectory import Trajectory


def record(
    model: Model, backend: Backend, prompt: str, seeds: tuple[int, ...], together: int = BATCH_SIZE
) -> Iterator[float | Trajectory]:
    """The part of the work done, after each step; and the trajectory of each batch of seeds, as
    soon as it is finished.

    The cost is that of sampling: nothing is decoded. Raises RuntimeError, with the seed, for a
    pass that is not finite.
    """
    done = 0
    for made in in_batches(
        even_batches(seeds, together), lambda batch: _recorded(model, backend, prompt, batch)
    ):
        if isinstance(made, Trajectory):
            done += len(made.seeds)
        yield made if isinstance(made, Trajectory) else min((done + made) / len(seeds), 1.0)


def _recorded(
    model: Model, backend: Backend, prompt: str, seeds: list[int]
) -> Iterator[float | Trajectory]:
    """Yields how many passes' worth of steps are done, then the trajectory."""
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
        model_settings(model),
    )


def branched(
    model: Model,
    backend: Backend,
    trajectory: Trajectory,
    step: int,
    branches: int,
    together: int = 2 * BATCH_SIZE,
) -> Iterator[Tensor]:
    """Final latents [*, C, h, w], batch by batch, of `branches` passes for each recorded seed that
    share the first `step` steps with it and go on with fresh noise: its belief x0 there, noised
    again to the level that the step leads to. All branches of the first seed come first, then
    those of the second. Step 0 shares nothing but the prompt.
    """
    steps = len(model.times) - 1
    if not 0 <= step < steps:
        raise ValueError(
            f"a pass of {steps} steps branches behind step 0 to {steps - 1}, not {step}"
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

    yield from in_batches(even_batches(todo, together), finished)


def swapped(
    open_model: Callable[[str], Model],
    first: str,
    then: str,
    levels: Tensor,
    step: int,
    backend: Backend,
    prompt: str,
    seeds: tuple[int, ...],
    together: int = BATCH_SIZE,
) -> Iterator[Tensor]:
    """Final latents [*, C, h, w], batch by batch, of passes by `first` from the seeds' own noise
    up to the noise level levels[step], and by `then` from there on. Each model keeps its own times
    on its side of that level, and the noises of its own steps; step 0 is `then` alone, the last
    one `first` alone. Only one model has to be open at a time.
    """
    level, alone = levels[step], {0: then, len(levels) - 1: first}.get(step)

    def finished(part: list[int]) -> Iterator[Tensor]:
        x, condition = (
            grid_noise(backend.latent_shape, part).to(backend.device),
            backend.encode([prompt]).expand(len(part)),
        )
        for upper, name in ((True, first), (False, then)) if alone is None else ((True, alone),):
            model = open_model(name)
            above, below = (
                model.times[model.times > level + 1e-6],
                model.times[model.times < level - 1e-6],
            )
            times = (
                model.times
                if alone
                else torch.cat([above, level[None]] if upper else [level[None], below])
            )
            if len(times) > 1:
                x = replace(model, times=times).sampled(
                    x, condition, part, 0 if upper else len(above)
                )
        yield x

    yield from in_batches(even_batches(seeds, together), finished)


def _half(x: Tensor) -> Tensor:
    return x.detach().to("cpu", torch.float16)
