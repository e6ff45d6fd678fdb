"""Copies of a diffusers network to train, students of its class, and outputs of its parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn


def trainable_copy(network: nn.Module) -> nn.Module:
    """A trainable fp32 copy on the same device, without the original's adapters."""
    with network.device:
        result = type(network).from_config(network.config)
    result.load_state_dict(base_state(network))
    return result.float().requires_grad_(True).train()


def base_state(network: nn.Module) -> dict[str, Tensor]:
    """The network's own tensors under the names they have without adapters."""
    return {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in network.state_dict().items()
        if ".lora_" not in name
    }


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Names of tensors that only one of two states has, or whose shapes differ."""
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in (one, other)]
    return sorted(
        name for name in one.keys() | other.keys() if shapes[0].get(name) != shapes[1].get(name)
    )


def bare(network: nn.Module) -> nn.Module:
    """The diffusers network inside accelerate's wrapper or an adapter."""
    network = getattr(network, "module", network)
    return getattr(network, "base", network)


def load_like(network: nn.Module, folder: str | Path) -> nn.Module:
    """A frozen network of `network`'s diffusers class, precision and device from `folder`. Raises
    ValueError when its tensors are not `network`'s.
    """
    student = type(network).from_pretrained(folder, dtype=network.dtype, local_files_only=True)
    if differing(base_state(network), base_state(student)):
        raise ValueError(
            "it has another architecture than this teacher; choose the teacher that it was "
            "distilled from"
        )
    return student.to(network.device).eval().requires_grad_(False)


def output_of(module: nn.Module, run: Callable[[], object]) -> object:
    """The last output of `module` during `run()`."""
    outputs = []
    hook = module.register_forward_hook(lambda module, args, output: outputs.append(output))
    try:
        run()
    finally:
        hook.remove()
    return outputs[-1]
