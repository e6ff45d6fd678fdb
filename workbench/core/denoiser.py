"""The one interface of every model: a `Denoiser` maps (x_t, t, condition) to a `Prediction`.

    teacher = Guided(frozen network, w)      classifier-free guidance, off at w = 1:
                                             raw = raw_u + w (raw_c - raw_u)
    student, fake = the network, unguided

A `Backend` is a loaded teacher of some family; `workbench.models.backends` has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from workbench.core.prediction import Prediction
from workbench.core.schedules import NoiseSchedule


@dataclass(frozen=True)
class Condition:
    """A batch of prompts, encoded: named tensors, each [B, ...] (token embeddings, pooled
    embeddings, ...).
    """

    tensors: dict[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index) -> Condition:
        return Condition({name: tensor[index] for name, tensor in self.tensors.items()})

    def to(self, device: torch.device | str) -> Condition:
        """The same on another device."""
        return Condition({name: tensor.to(device) for name, tensor in self.tensors.items()})

    def expand(self, batch: int) -> Condition:
        """One row repeated to a batch."""
        return Condition(
            {name: tensor.expand(batch, *tensor.shape[1:]) for name, tensor in self.tensors.items()}
        )

    def split(self, size: int) -> Iterator[Condition]:
        """Parts of `size` rows; the last one may be shorter."""
        return (self[n : n + size] for n in range(0, len(self), size))

    @staticmethod
    def cat(parts: list[Condition]) -> Condition:
        """The rows of all `parts`, one after another."""
        return Condition(
            {name: torch.cat([part.tensors[name] for part in parts]) for name in parts[0].tensors}
        )


class Denoiser(Protocol):
    """A model of p(x0 | x_t): called with x_t [B, ...], t [B] in (0, 1] and a `Condition` of B rows
    (None for a model that takes no prompts).
    """

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise levels that its times t stand for."""
        ...

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition | None) -> Prediction:
        """The model's prediction at (x_t, t).

        Args:
            x_t: Noisy samples [B, ...].
            t: Times [B] in (0, 1].
            condition: B rows, or None.

        Returns:
            A prediction of [B, ...].
        """
        ...


class NetworkDenoiser(Denoiser, Protocol):
    """A denoiser that is a network; `Backend.denoiser` makes them."""

    @property
    def network(self) -> nn.Module:
        """The network, with what DDP or an adapter wrapped around it."""
        ...


def required(condition: Condition | None) -> Condition:
    """The condition, for a model that needs one.

    Raises:
        ValueError: It is None.
    """
    if condition is None:
        raise ValueError("this model is conditioned on prompts: give their condition")
    return condition


@dataclass(frozen=True)
class Guided:
    """A denoiser under classifier-free guidance, both branches in one call of twice the batch (2
    NFEs per step).

    `empty` is the condition of the empty prompt, one row. At guidance 1 the unconditional branch
    is not evaluated.
    """

    denoiser: Denoiser
    guidance: float
    empty: Condition

    @property
    def schedule(self) -> NoiseSchedule:
        """The denoiser's own."""
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition | None) -> Prediction:
        """The guided prediction at x_t [B, ...], t [B]."""
        if self.guidance == 1:
            return self.denoiser(x_t, t, condition)
        both = Condition.cat([self.empty.expand(len(x_t)), required(condition)])
        prediction = self.denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]), both)
        without, with_prompt = prediction.raw.float().chunk(2)
        return replace(
            prediction, raw=without + self.guidance * (with_prompt - without), x_t=x_t, t=t
        )


Autocast = Callable[[], AbstractContextManager]


class Backend(Protocol):
    """A loaded teacher: its frozen network, its schedule, and the ways from prompts to conditions
    and from latents to images.
    """

    @property
    def device(self) -> torch.device:
        """The device of the network, of conditions and of pixels."""
        ...

    @property
    def network(self) -> nn.Module:
        """The teacher's own network, frozen."""
        ...

    @property
    def schedule(self) -> NoiseSchedule:
        """The teacher's noise schedule."""
        ...

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """[C, h, w] of one latent."""
        ...

    @property
    def feature_width(self) -> int:
        """C of `features`."""
        ...

    @property
    def max_tokens(self) -> int:
        """The longest prompt that the encoder reads whole, in tokens."""
        ...

    @property
    def tokenizer(self) -> Callable:
        """Counts tokens while another thread encodes; its own copy."""
        ...

    @property
    def rewrite(self) -> Callable[[str], str]:
        """A prompt as the encoder reads it; raises ValueError for one that the teacher does not
        know.
        """
        ...

    def denoiser(self, network: nn.Module, autocast: Autocast | None = None) -> NetworkDenoiser:
        """`network` (the teacher's, or one of the same class) as a `Denoiser`; `autocast` wraps
        each evaluation.
        """
        ...

    def new_network(self, lora: int = 0, checkpointing: bool = False) -> nn.Module:
        """A trainable fp32 copy of the teacher's network, or an adapter of rank `lora` on it; both
        start as the teacher. With `checkpointing` its blocks are evaluated again in the backward
        pass instead of kept.
        """
        ...

    def compile(self, network: nn.Module) -> None:
        """Compiles the blocks that the network repeats, in place, at their next use."""
        ...

    def load_network(self, folder: str | Path) -> nn.Module:
        """A frozen network of the teacher's class from a diffusers folder, or the adapter in it.

        Raises:
            ValueError: It has another architecture.
        """
        ...

    def encode(self, prompts: list[str]) -> Condition:
        """The condition of a batch of prompts.

        Raises:
            ValueError: The family cannot take one of the prompts.
        """
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Images from latents, without gradients.

        Args:
            latents: [B, C, h, w].

        Returns:
            [B, 3, H, W] in [0, 1], fp32 on the CPU.
        """
        ...

    def pixels(self, latents: Tensor) -> Tensor:
        """Images from latents, with gradients.

        Args:
            latents: [B, C, h, w].

        Returns:
            [B, 3, H, W], about in [-1, 1], fp32 on the device.
        """
        ...

    def features(
        self, denoiser: NetworkDenoiser, x_t: Tensor, t: Tensor, condition: Condition | None
    ) -> Tensor:
        """The output of the middle of `denoiser`'s network, with gradients.

        Args:
            denoiser: One of this backend's.
            x_t: Noisy latents [B, C, h, w].
            t: Times [B] in (0, 1].
            condition: B rows.

        Returns:
            [B, N, feature_width] at N positions.
        """
        ...
