"""A network in training, as the distiller sees it: gradients over micro-batches, one update, and
the state that a resume needs.

Several processes share the work as `accelerate launch` was configured
(`workbench/training/launch/`):

    TorchLearner       one process; DDP: every process holds a whole copy, gradients are averaged;
                       FSDP2: weights, gradients and optimiser states are split over processes
    DeepSpeedLearner   ZeRO stages 1 and 2, by DeepSpeed's engine

A `state` has the same whole tensors in all cases, so a run may continue on another number of
processes, or with another learner.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from workbench.core.recipe import Recipe


class Learner(Protocol):
    """A network (and perhaps a head) with its optimiser."""

    @property
    def network(self) -> nn.Module:
        """The network as it is evaluated in training, with its wrapper for several processes."""
        ...

    @property
    def head(self) -> nn.Module | None:
        """The adversarial head that is trained with the network."""
        ...

    @property
    def bare(self) -> nn.Module:
        """The network without that wrapper."""
        ...

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The trained parameters, the head's included."""
        ...

    def micro_batch(self, last: bool) -> AbstractContextManager:
        """Wraps a micro-batch's forward and backward pass: processes exchange gradients at the
        `last` one only.
        """
        ...

    def backward(self, loss: Tensor) -> None:
        """Adds gradients.

        Args:
            loss: A scalar [].
        """
        ...

    def update(self) -> float:
        """One clipped step of the optimiser, after which there are no gradients.

        Returns:
            The norm of all gradients over all processes, before clipping. It is not finite for an
            update that fp16's loss scaling leaves out.

        Raises:
            FloatingPointError: The norm is not finite, or a weight after the step. The gradients
                are dropped; of a wrong norm, torch's learner leaves the weights as they were.
        """
        ...

    def forget(self) -> None:
        """Drops the gradients."""
        ...

    def state(self) -> dict:
        """Whole tensors, complete on the first process; must be called on every process."""
        ...

    def load(self, state: dict) -> None:
        """Takes a `state`, also of another number of processes."""
        ...


@torch.no_grad()
def largest(tensors: list[Tensor]) -> float:
    """The largest absolute value in some tensors. Of sharded ones it must be called on every
    process.

    Args:
        tensors: Of any shapes.

    Returns:
        A float; NaN if there is one among them.
    """
    norm = torch.nn.utils.get_total_norm(tensors, math.inf)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def check_weights(parameters: list[nn.Parameter]) -> None:
    """Raises FloatingPointError when a weight is not finite.

    Args:
        parameters: Of any shapes.
    """
    if not math.isfinite(largest([parameter.detach() for parameter in parameters])):
        raise FloatingPointError("largest weight")


def _adamw_8bit(*args: Any, **kwargs: Any) -> torch.optim.Optimizer:
    try:
        from bitsandbytes.optim import AdamW8bit  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise ValueError(
            "optimizer adamw8bit needs the package bitsandbytes: pip install "
            '"dp-dmd-workbench[eight-bit]", or take adamw'
        ) from error
    return AdamW8bit(*args, **kwargs)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adamw8bit": _adamw_8bit,
}


def check_sharable(kind: str, recipe: Recipe, head: nn.Module | None) -> None:
    """Raises ValueError for settings that FSDP2 and DeepSpeed cannot split over processes."""
    settings = {
        "lora": recipe.lora > 0,
        "method dmd_gan": head is not None,
        "precision fp16": recipe.precision == "fp16",
        "optimizer adamw8bit": recipe.optimizer == "adamw8bit",
        "offload": recipe.offload,
    }
    wrong = [name for name, given in settings.items() if given]
    if wrong:
        raise ValueError(
            f"{kind} does not support {', '.join(wrong)}: launch with "
            "workbench/training/launch/ddp.yaml, or change the setting"
        )
