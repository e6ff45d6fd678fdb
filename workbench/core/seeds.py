"""Randomness as named streams: every draw is a function of (seed, name, ...), never of what was
drawn before.

So a run resumes without saved generator states, a batch is the same however many processes share
it, and one cell of a seed grid can be made again alone. Generators live on the CPU: CUDA's would
draw other numbers; move the result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor


def stream(seed: int, *name: int | str) -> torch.Generator:
    """A CPU generator for the stream called `name`, e.g. stream(0, "noise", update, sample)."""
    digest = hashlib.blake2b(repr((seed, *name)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def noise(shape: tuple[int, ...], seed: int, name: str, update: int, samples: range) -> Tensor:
    """[len(samples), *shape] standard normal; sample i of an update is the same in every split of
    the batch.
    """
    return torch.stack(
        [torch.randn(shape, generator=stream(seed, name, update, i)) for i in samples]
    )


def grid_noise(shape: tuple[int, ...], seeds: list[int]) -> Tensor:
    """[len(seeds), *shape]: `torch.Generator().manual_seed(seed)` each, as diffusers' pipelines
    draw on the CPU.
    """
    return torch.stack(
        [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )


def grid_renoise(shape: tuple[int, ...], seeds: list[int]) -> Callable[[int], Tensor]:
    """The noise [len(seeds), *shape] that re-noises the end of step `index`; of its own stream for
    each seed and step.
    """
    return lambda index: torch.stack(
        [torch.randn(shape, generator=stream(seed, "renoise", index)) for seed in seeds]
    )


def draw_prompts(
    prompts: list[str], seed: int, name: str, update: int, samples: range
) -> list[str]:
    """The prompts of some samples of an update: uniform with replacement, the same in every split
    of the batch.
    """
    return [
        prompts[
            int(
                torch.randint(
                    len(prompts), (1,), generator=stream(seed, f"{name} prompt", update, i)
                )
            )
        ]
        for i in samples
    ]
