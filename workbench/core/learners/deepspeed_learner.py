"""A `workbench.core.learner.Learner` by DeepSpeed's engine (ZeRO stages 1 and 2), for `accelerate
launch` with `launch/deepspeed.yaml`.

The engine owns backward, clipping and the step. A `state` has the same whole tensors as
everywhere, gathered by DeepSpeed's own functions, so a run may continue on another number of
processes, or without DeepSpeed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from workbench.core.learner import OPTIMIZERS, check_sharable, check_weights
from workbench.core.recipe import Recipe

MOMENTS = ("exp_avg", "exp_avg_sq")


class DeepSpeedLearner:
    """`network`, trained at `rate` and otherwise as the recipe says.

    Raises:
        ValueError: The recipe or the launch has settings that DeepSpeed does not support here.
    """

    head: nn.Module | None = None

    def __init__(
        self,
        network: nn.Module,
        rate: float,
        recipe: Recipe,
        accelerator: Accelerator,
        head: nn.Module | None = None,
    ):
        check_sharable("DeepSpeed", recipe, head)
        plugin: Any = accelerator.state.deepspeed_plugin
        config = plugin.deepspeed_config
        micro = recipe.batch // (recipe.accumulate * accelerator.num_processes)
        config |= {
            "train_micro_batch_size_per_gpu": micro,
            "train_batch_size": micro * accelerator.num_processes,
            "gradient_accumulation_steps": 1,  # micro-batches are counted by the distiller
            "gradient_clipping": recipe.clip,
            "zero_allow_untested_optimizer": True,
        }
        if config["zero_optimization"]["stage"] not in (1, 2):
            raise ValueError(
                "DeepSpeed is used with ZeRO stage 1 or 2; to split the weights too, launch with "
                "workbench/training/launch/fsdp2.yaml"
            )
        optimizer = OPTIMIZERS[recipe.optimizer](
            network.parameters(), lr=rate, weight_decay=recipe.weight_decay
        )
        self.network, self.optimizer = accelerator.prepare(network, optimizer)
        self._last = True

    @property
    def bare(self) -> nn.Module:
        """The network without the engine."""
        return self.network.module

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The trained parameters."""
        return list(self.bare.parameters())

    @contextmanager
    def micro_batch(self, last: bool) -> Iterator[None]:
        """Wraps a micro-batch: the engine exchanges gradients at the `last` one only."""
        self._last = last
        yield

    def backward(self, loss: Tensor) -> None:
        """Adds gradients.

        Args:
            loss: A scalar [].
        """
        self.network.set_gradient_accumulation_boundary(is_boundary=self._last)
        self.network.backward(loss)

    def update(self) -> float:
        """One clipped step of the engine, after which there are no gradients. The engine computes
        the norm during its step, so the weights have changed when it turns out not to be finite:
        training ends there, and what was saved is of before.

        Returns:
            The norm of all gradients over all processes, before clipping.

        Raises:
            FloatingPointError: The norm is not finite, or a weight after the step.
        """
        self.network.step()
        norm = self.network.get_global_grad_norm()
        if norm is None or not math.isfinite(norm):
            self.forget()
            raise FloatingPointError("gradient norm")
        check_weights(self.parameters)
        return float(norm)

    def forget(self) -> None:
        """Drops the gradients."""
        self.network.zero_grad()

    def state(self) -> dict:
        """Whole tensors on every process; must be called on every process."""
        from deepspeed.utils import (  # pyright: ignore[reportMissingImports]
            safe_get_full_optimizer_state as read,
        )

        inner = self._inner()
        steps = next(
            (state["step"] for state in inner.state.values() if "step" in state), torch.tensor(0.0)
        )
        rows = {
            n: {"step": steps.detach().cpu().clone()}
            | {name: read(p, name).detach().cpu().clone() for name in MOMENTS}
            for n, p in enumerate(self.parameters)
            if steps > 0
        }  # there are no moments before the first step
        groups = [
            {name: value for name, value in inner.param_groups[0].items() if name != "params"}
            | {"params": list(range(len(self.parameters)))}
        ]
        network = {
            name: tensor.detach().cpu().clone() for name, tensor in self.bare.state_dict().items()
        }
        return {
            "network": network,
            "head": {},
            "optimizer": {"state": rows, "param_groups": groups},
            "scaler": {},
        }

    def load(self, state: dict) -> None:
        """Takes a `state`, also of another number of processes."""
        from deepspeed.utils import (  # pyright: ignore[reportMissingImports]
            safe_set_full_fp32_param,
            safe_set_full_optimizer_state,
        )

        self._empty_step()
        self.bare.load_state_dict(state["network"])
        for n, parameter in enumerate(self.parameters):
            safe_set_full_fp32_param(parameter, parameter.detach())
            for name in MOMENTS:
                row = state["optimizer"]["state"].get(n)
                safe_set_full_optimizer_state(
                    parameter,
                    row[name].to(parameter.device) if row else torch.zeros_like(parameter),
                    name,
                )
        steps = next(
            (row["step"] for row in state["optimizer"]["state"].values()), torch.tensor(0.0)
        )
        for inner in self._inner().state.values():
            inner["step"] = steps.clone()

    def _empty_step(self) -> None:
        """A step of rate 0: before its first step AdamW has no moments to set."""
        rates = [group["lr"] for group in self._inner().param_groups]
        for group in self._inner().param_groups:
            group["lr"] = 0.0
        self.backward(torch.stack([(parameter * 0).sum() for parameter in self.parameters]).sum())
        self.network.step()
        for group, rate in zip(self._inner().param_groups, rates):
            group["lr"] = rate

    def _inner(self) -> torch.optim.Optimizer:
        """The AdamW inside DeepSpeed's and accelerate's wrappers."""
        optimizer = self.network.optimizer
        while hasattr(optimizer, "optimizer"):
            optimizer = optimizer.optimizer
        return optimizer
