"""The random draws of an update, as micro-batches: functions of (seed, network, update, sample)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.core import seeds
from workbench.core.denoiser import Backend, Condition
from workbench.core.recipe import Recipe
from workbench.core.sampler import Renoise


@dataclass(frozen=True)
class MicroBatch:
    """The draws of one micro-batch of B samples: initial noise x1 [B, ...], the prompts' condition,
    training times t [B], the noise [B, ...] added to the sample, and the noise between the
    student's steps.
    """

    x1: Tensor
    condition: Condition
    t: Tensor
    noise: Tensor
    renoise: Renoise | None


def draw_batch(
    recipe: Recipe,
    backend: Backend,
    prompts: list[str],
    name: str,
    *,
    update: int,
    process: int = 0,
    processes: int = 1,
) -> list[MicroBatch]:
    """One process's share of the batch of an update.

    Args:
        recipe: For the seed, the batch and the sampler.
        backend: Encodes the prompts.
        prompts: The run's prompts.
        name: The network, "student" or "fake".
        update: Counts from 0, for each network apart.
        process: Of `processes`, from 0.
        processes: They share the batch.

    Returns:
        One entry per micro-batch, each of batch / (processes accumulate) samples.
    """
    size = recipe.batch // (processes * recipe.accumulate)
    start = process * size * recipe.accumulate
    result = []
    for first in range(start, start + size * recipe.accumulate, size):
        samples = range(first, first + size)
        texts = seeds.draw_prompts(prompts, recipe.seed, name, update=update, samples=samples)
        x1, noise = (
            seeds.noise(
                backend.latent_shape, recipe.seed, f"{name} {part}", update=update, samples=samples
            ).to(backend.device)
            for part in ("x1", "noise")
        )
        times = _times(recipe, backend, name, update, samples).to(backend.device)
        renoise = _renoise(recipe, backend, name, update, samples)
        result.append(MicroBatch(x1, backend.encode(texts), times, noise, renoise))
    return result


def _renoise(
    recipe: Recipe, backend: Backend, name: str, update: int, samples: range
) -> Renoise | None:
    if recipe.student_sampler == "ode":
        return None
    return lambda index: seeds.noise(
        backend.latent_shape, recipe.seed, f"{name} renoise {index}", update=update, samples=samples
    )


def _times(recipe: Recipe, backend: Backend, name: str, update: int, samples: range) -> Tensor:
    draw = backend.schedule.draw_times
    if recipe.times == "per_batch":
        return draw(1, seeds.stream(recipe.seed, f"{name} t", update)).expand(len(samples))
    return torch.cat([draw(1, seeds.stream(recipe.seed, f"{name} t", update, i)) for i in samples])
