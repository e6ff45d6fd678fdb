"""A `workbench.core.learner.Learner` by torch alone: one process, DDP or FSDP2.

Accelerate shards on GPUs only, so sharding is requested by its setting and done by torch's own
`fully_shard`: one path for every device.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map

from workbench.core.learner import OPTIMIZERS, check_sharable, check_weights
from workbench.core.recipe import Recipe


class TorchLearner:
    """`network`, trained at `rate` and otherwise as the recipe says; `head` (or None) is trained
    with it.

    Raises:
        ValueError: The launch shards, and the recipe has settings that cannot be sharded.
    """

    def __init__(
        self,
        network: nn.Module,
        rate: float,
        recipe: Recipe,
        accelerator: Accelerator,
        head: nn.Module | None = None,
    ):
        self.accelerator, self.clip = accelerator, recipe.clip
        self.offload = recipe.offload
        self.device = next(network.parameters()).device
        sharding = (
            os.environ.get("ACCELERATE_USE_FSDP", "false") == "true"
            and accelerator.num_processes > 1
        )
        if sharding:
            check_sharable("FSDP2", recipe, head)
            shard(network)
        parameters = [*network.parameters(), *(head.parameters() if head else ())]
        self.optimizer = OPTIMIZERS[recipe.optimizer](
            parameters, lr=rate, weight_decay=recipe.weight_decay
        )
        wrap = (
            accelerator.prepare_model
            if accelerator.num_processes > 1 and not sharding
            else (lambda module: module)
        )
        self.network, self.head = wrap(network), wrap(head) if head else None
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=recipe.precision == "fp16")

    @property
    def bare(self) -> nn.Module:
        """The network without DDP's wrapper."""
        return getattr(self.network, "module", self.network)

    @property
    def bare_head(self) -> nn.Module | None:
        """The head without that wrapper."""
        return getattr(self.head, "module", self.head)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The trained parameters, the head's included."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def micro_batch(self, last: bool) -> AbstractContextManager:
        """Wraps a micro-batch's forward and backward pass: processes exchange gradients at the
        `last` one only.
        """
        return nullcontext() if last else self._unsynchronised()

    def backward(self, loss: Tensor) -> None:
        """Adds gradients.

        Args:
            loss: A scalar [].
        """
        self.scaler.scale(loss).backward()

    @contextmanager
    def _unsynchronised(self) -> Iterator[None]:
        if isinstance(self.network, FSDPModule):
            self.network.set_requires_gradient_sync(False)
            try:
                yield
            finally:
                self.network.set_requires_gradient_sync(True)
        else:
            with self.accelerator.no_sync(self.network):
                yield

    def forget(self) -> None:
        """Drops the gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def update(self) -> float:
        """One clipped step of the optimiser, after which there are no gradients. With `offload`,
        the optimiser's states are on the device during the step only.

        Returns:
            The norm of all gradients over all processes, before clipping. It is not finite for an
            update that fp16's loss scaling leaves out: it overflows now and then, and halves its
            scale.

        Raises:
            FloatingPointError: The norm is not finite, and the weights are as they were; or a
                weight is not finite after the step.
        """
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.clip or math.inf)
        norm = float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
        overflow = self.scaler.is_enabled() and self.scaler.get_scale() > 1
        if not math.isfinite(norm) and not overflow:
            self.forget()
            raise FloatingPointError("gradient norm")
        if self.offload:
            move_states(self.optimizer, self.device)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.forget()
        if self.offload:
            move_states(self.optimizer, torch.device("cpu"))
        check_weights(self.parameters)
        return norm

    def state(self) -> dict:
        """Whole tensors: the live ones, or of sharded ones copies on the first process only; call
        it on every process.
        """
        return {
            "network": full_state_dict(self.bare),
            "head": full_state_dict(self.bare_head) if self.bare_head else {},
            "optimizer": tree_map(full_tensor, self.optimizer.state_dict()),
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: dict) -> None:
        """Takes a `state`, also of another number of processes."""
        load_full_state_dict(self.bare, state["network"])
        if self.bare_head:
            self.bare_head.load_state_dict(state["head"])
        saved = state["optimizer"]
        rows = {
            n: {key: like(value, parameter) for key, value in saved["state"][n].items()}
            for n, parameter in enumerate(self.parameters)
            if n in saved["state"]
        }
        own = [
            {name: group[name] for name in ("lr", "weight_decay")}
            for group in self.optimizer.param_groups
        ]
        self.optimizer.load_state_dict(saved | {"state": rows})
        for group, rates in zip(self.optimizer.param_groups, own):
            group |= rates  # the recipe's, which may have changed since
        if state["scaler"]:  # empty of a run that was not in fp16 then
            self.scaler.load_state_dict(state["scaler"])
        if self.offload:
            move_states(self.optimizer, torch.device("cpu"))


def shard(network: nn.Module) -> None:
    """Splits the blocks that diffusers calls indivisible, inner ones first, then the rest of the
    network.
    """
    blocks: Any = network._no_split_modules  # diffusers' list of class names
    for module in reversed(list(network.modules())):
        if type(module).__name__ in blocks:
            fully_shard(module)
    fully_shard(network)


def full_tensor(value: Any) -> Any:
    """A sharded tensor, gathered.

    Args:
        value: A tensor of any shape, or anything else.

    Returns:
        Of a sharded tensor the whole one, on the CPU of the first process and None elsewhere; any
        other value as it is.
    """
    if not isinstance(value, DTensor):
        return value
    value = value.full_tensor()
    return value.cpu() if torch.distributed.get_rank() == 0 else None


def full_state_dict(network: nn.Module) -> dict[str, Any]:
    """`network.state_dict()` of whole tensors (see `full_tensor`); must be called on every
    process.
    """
    return {name: full_tensor(tensor) for name, tensor in network.state_dict().items()}


def load_full_state_dict(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Loads whole tensors into a network that may be sharded.

    Args:
        network: Takes them.
        state: By name, each of its parameter's shape.
    """
    ours = network.state_dict()
    network.load_state_dict(
        {
            name: like(tensor, ours[name]) if name in ours else tensor
            for name, tensor in state.items()
        }
    )


def like(value: Any, parameter: Tensor) -> Any:
    """`value`, sharded as a parameter is.

    Args:
        value: A tensor of the parameter's shape, or anything else.
        parameter: A parameter of any shape, sharded or not.

    Returns:
        The sharded tensor, when `parameter` is sharded and `value` a tensor of its shape; otherwise
        `value` as it is.
    """
    if (
        not isinstance(parameter, DTensor)
        or not isinstance(value, Tensor)
        or value.shape != parameter.shape
    ):
        return value
    return distribute_tensor(
        value.to(parameter.device), parameter.device_mesh, parameter.placements
    )


def move_states(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Moves an optimiser's moments (not its step counts, which AdamW wants on the CPU)."""
    for state in optimizer.state.values():
        state.update(
            {
                name: value.to(device)
                for name, value in state.items()
                if isinstance(value, Tensor) and value.dim()
            }
        )
