"""Randomness as named streams: every draw is a function of (seed, name, ...), never of earlier
draws.

So a run resumes without saved generator states, a batch is the same however many processes share
it, and one cell of a seed grid can be regenerated on its own. Generators live on the CPU: CUDA's
would draw other numbers; move the result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor


def stream(seed: int, *name: int | str) -> torch.Generator:
    """A CPU generator for the stream of that name, as in `stream(0, "noise", update, sample)`."""
    digest = hashlib.blake2b(repr((seed, *name)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def noise(shape: tuple[int, ...], seed: int, name: str, *, update: int, samples: range) -> Tensor:
    """Standard normal noise; sample i of an update is the same in every split of the batch.

    Args:
        shape: Of one sample, [...].
        seed: The run's.
        name: The stream's.
        update: Counts from 0.
        samples: B numbers of samples in the whole batch.

    Returns:
        [B, ...], fp32 on the CPU.
    """
    return torch.stack(
        [torch.randn(shape, generator=stream(seed, name, update, i)) for i in samples]
    )


def grid_noise(shape: tuple[int, ...], seeds: list[int]) -> Tensor:
    """Standard normal noise of `torch.Generator().manual_seed(seed)` each, as diffusers' pipelines
    draw it on the CPU.

    Args:
        shape: Of one sample, [...].
        seeds: B of them.

    Returns:
        [B, ...], fp32 on the CPU.
    """
    return torch.stack(
        [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )


def grid_renoise(shape: tuple[int, ...], seeds: list[int]) -> Callable[[int], Tensor]:
    """The noise between steps of a re-noising sampler; each seed and step has its own stream.

    Args:
        shape: Of one sample, [...].
        seeds: B of them.

    Returns:
        A function of the step's index, from 1, to noise [B, ...], fp32 on the CPU.
    """
    return lambda index: torch.stack(
        [torch.randn(shape, generator=stream(seed, "renoise", index)) for seed in seeds]
    )


def draw_prompts(
    prompts: list[str], seed: int, name: str, *, update: int, samples: range
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
