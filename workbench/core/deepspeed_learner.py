"""A `workbench.core.learner.Learner` by DeepSpeed's engine (ZeRO stages 1 and 2), for `accelerate
launch` with `launch/deepspeed.yaml`.

The engine owns backward, clipping and the step. A `state` has the same whole tensors as
everywhere, put together by DeepSpeed's own functions, so a run may go on with another number of
processes, or without DeepSpeed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from workbench.core.learner import OPTIMIZERS, check_sharable
from workbench.core.recipe import Recipe

MOMENTS = ("exp_avg", "exp_avg_sq")


class DeepSpeedLearner:
    """`network`, trained at `rate` and otherwise as the recipe says. Raises ValueError for
    settings that do not go with it.
    """

    head = None

    def __init__(
        self,
        network: nn.Module,
        rate: float,
        recipe: Recipe,
        accelerator: Accelerator,
        head: nn.Module | None = None,
    ):
        check_sharable("DeepSpeed", recipe, head)
        config = accelerator.state.deepspeed_plugin.deepspeed_config
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
        return self.network.module

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.bare.parameters())

    @contextmanager
    def micro_batch(self, last: bool) -> Iterator[None]:
        self._last = last
        yield

    def backward(self, loss: Tensor) -> None:
        self.network.set_gradient_accumulation_boundary(is_boundary=self._last)
        self.network.backward(loss)

    def clipped(self) -> float:
        """The gradients' norm before clipping. The engine steps here: it computes the norm on the
        way.
        """
        self.network.step()
        norm = self.network.get_global_grad_norm()
        return float(norm) if norm is not None else math.nan

    def skips(self, norm: float) -> bool:
        return False

    def forget(self) -> None:
        self.network.zero_grad()

    def step(self) -> None:
        """Done with `clipped`."""

    def state(self) -> dict:
        from deepspeed.utils import safe_get_full_optimizer_state as read

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
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

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
        """A step of rate 0: AdamW has no moments to be set before its first one."""
        rates = [group["lr"] for group in self._inner().param_groups]
        for group in self._inner().param_groups:
            group["lr"] = 0.0
        self.backward(sum((parameter * 0).sum() for parameter in self.parameters))
        self.network.step()
        for group, rate in zip(self._inner().param_groups, rates):
            group["lr"] = rate

    def _inner(self) -> torch.optim.Optimizer:
        """The AdamW inside DeepSpeed's and accelerate's wrappers."""
        optimizer = self.network.optimizer
        while hasattr(optimizer, "optimizer"):
            optimizer = optimizer.optimizer
        return optimizer
