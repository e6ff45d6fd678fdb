"""A network that is being trained: its optimiser, its gradients over micro-batches and processes,
and what a resume needs.

Several processes share the work as `accelerate launch` was configured
(`workbench/training/launch/`):

    DDP     every process holds a whole copy; gradients are averaged
    FSDP2   weights, gradients and optimiser states are split over the processes, by torch's `fully_shard`
    (DeepSpeed: `workbench.core.deepspeed_learner`)

Accelerate shards on GPUs only, so sharding is asked for by its setting and done by torch's own
function: one path for every device. A `state` is the same whole tensors in all cases, so a run may
go on with another number of processes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map

from workbench.core.recipe import Recipe


def _adamw_8bit(*args, **kwargs) -> torch.optim.Optimizer:
    try:
        from bitsandbytes.optim import AdamW8bit
    except ModuleNotFoundError as error:
        raise ValueError(
            "optimizer adamw8bit needs the package bitsandbytes: pip install "
            '"dp-dmd-workbench[eight-bit]", or take adamw'
        ) from error
    return AdamW8bit(*args, **kwargs)


OPTIMIZERS = {"adamw": torch.optim.AdamW, "adamw8bit": _adamw_8bit}


class Learner:
    """`network`, trained at `rate` and otherwise as the recipe says; `head` (or None) is trained
    along with it.

    Raises ValueError for settings that cannot be sharded.
    """

    def __init__(
        self,
        network: nn.Module,
        rate: float,
        recipe: Recipe,
        accelerator: Accelerator,
        head: nn.Module | None = None,
    ):
        self.accelerator, self.clip, self.rest = accelerator, recipe.clip, recipe.offload == "on"
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
        """The network without what DDP wrapped around it."""
        return getattr(self.network, "module", self.network)

    @property
    def bare_head(self) -> nn.Module | None:
        return getattr(self.head, "module", self.head)

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def micro_batch(self, last: bool) -> AbstractContextManager:
        """Goes around a micro-batch's forward and backward: processes exchange gradients with the
        `last` one only.
        """
        return nullcontext() if last else self._alone()

    def backward(self, loss: Tensor) -> None:
        """Adds gradients."""
        self.scaler.scale(loss).backward()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if isinstance(self.network, FSDPModule):
            self.network.set_requires_gradient_sync(False)
            try:
                yield
            finally:
                self.network.set_requires_gradient_sync(True)
        else:
            with self.accelerator.no_sync(self.network):
                yield

    def clipped(self) -> float:
        """The norm of all gradients, over all processes and before clipping them."""
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.clip or math.inf)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def skips(self, norm: float) -> bool:
        """Whether `step` will leave out an update with gradients of this norm: fp16 overflows now
        and then, and halves its scale.
        """
        return self.scaler.is_enabled() and not math.isfinite(norm) and self.scaler.get_scale() > 1

    def forget(self) -> None:
        """Drops the gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        """One update, after which there are no gradients. With `offload` the optimiser's states
        are on the device just for it.
        """
        if self.rest:
            move_states(self.optimizer, self.device)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.forget()
        if self.rest:
            move_states(self.optimizer, torch.device("cpu"))

    def state(self) -> dict:
        """Whole tensors: the live ones, or of sharded ones copies on the first process only; every
        process has to ask.
        """
        return {
            "network": full_state_dict(self.bare),
            "head": full_state_dict(self.bare_head) if self.head else {},
            "optimizer": tree_map(full_tensor, self.optimizer.state_dict()),
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: dict) -> None:
        """Takes a `state`, also of another number of processes."""
        load_full_state_dict(self.bare, state["network"])
        if self.head:
            self.bare_head.load_state_dict(state["head"])
        saved = state["optimizer"]
        rows = {
            n: {key: like(value, parameter) for key, value in saved["state"][n].items()}
            for n, parameter in enumerate(self.parameters)
            if n in saved["state"]
        }
        self.optimizer.load_state_dict(saved | {"state": rows})
        self.scaler.load_state_dict(state["scaler"])
        if self.rest:
            move_states(self.optimizer, torch.device("cpu"))


def check_sharable(kind: str, recipe: Recipe, head: nn.Module | None) -> None:
    """Raises ValueError for what FSDP2 and DeepSpeed do not share out."""
    settings = {
        "lora": recipe.lora > 0,
        "method dmd_gan": head is not None,
        "precision fp16": recipe.precision == "fp16",
        "optimizer adamw8bit": recipe.optimizer == "adamw8bit",
        "offload": recipe.offload == "on",
    }
    wrong = [name for name, given in settings.items() if given]
    if wrong:
        raise ValueError(
            f"{kind} does not go with {', '.join(wrong)}: launch with "
            "workbench/training/launch/ddp.yaml, or change the setting"
        )


def shard(network: nn.Module) -> None:
    """Splits the blocks that diffusers calls indivisible, inner ones first, and then what is left
    of the network.
    """
    for module in reversed(list(network.modules())):
        if type(module).__name__ in network._no_split_modules:
            fully_shard(module)
    fully_shard(network)


def full_tensor(value):
    """A sharded tensor put together on the CPU of the first process (elsewhere None); anything
    else as it is.
    """
    if not isinstance(value, DTensor):
        return value
    value = value.full_tensor()
    return value.cpu() if torch.distributed.get_rank() == 0 else None


def full_state_dict(network: nn.Module) -> dict[str, Tensor]:
    """`network.state_dict()` of whole tensors; every process has to ask."""
    return {name: full_tensor(tensor) for name, tensor in network.state_dict().items()}


def load_full_state_dict(network: nn.Module, state: dict[str, Tensor]) -> None:
    ours = network.state_dict()
    network.load_state_dict(
        {
            name: like(tensor, ours[name]) if name in ours else tensor
            for name, tensor in state.items()
        }
    )


def like(value, parameter: Tensor):
    """`value` split over the processes as the parameter is, when it is one of the parameter's
    shape.
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
