"""Bytes and floating-point operations of a network's evaluation, counted on the meta device: no
weights, no GPU, no arithmetic.

    with MemoryMeter() as meter, MeteredAutocast("cuda"):
        output = network(...)
    meter.live_bytes, meter.peak     bytes of the storages made inside that live now, and their most
    meter.flops                      multiplications and additions of matrix products, convolutions
                                     and attention

Every operator below autograd passes the meter, so the tensors that a graph saves for its backward
pass are counted because they live, not by a rule per layer. The meter cannot see the allocator's
rounding and fragmentation, nor workspaces inside kernels.

The meta device has no autocast, so `MeteredAutocast` says which functions a device runs in bf16
and which in fp32 (the lists of ATen's autocast_mode.h, as far as diffusion networks call them),
and that bf16 copies of trained fp32 weights live until the context ends. Attention is one fused
operator with its own backward pass, as on a GPU.
"""

from __future__ import annotations

import functools
import weakref
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import flop_registry

_LOWER = {
    F.linear,
    F.conv2d,
    torch.matmul,
    Tensor.matmul,
    Tensor.__matmul__,
    torch.bmm,
    F.scaled_dot_product_attention,
}
_FULL = {
    F.layer_norm,
    F.group_norm,
    F.rms_norm,
    F.softmax,
    F.interpolate,
    torch.softmax,
    torch.rsqrt,
    torch.pow,
    torch.exp,
    torch.sum,
    Tensor.softmax,
    Tensor.rsqrt,
    Tensor.pow,
    Tensor.exp,
    Tensor.sum,
}
FULL = {
    "cuda": _FULL,
    "cpu": set(),
}  # autocast on a CPU leaves these in the precision of their input


class MemoryMeter(TorchDispatchMode):
    """Counts the storages made inside its context, without the tensors of `existing` modules and
    their gradients.
    """

    def __init__(self, *existing: nn.Module):
        super().__init__()
        self.live_bytes = self.peak = self.flops = 0
        tensors = [
            tensor for module in existing for tensor in (*module.parameters(), *module.buffers())
        ]
        tensors += [tensor.grad for tensor in tensors if tensor.grad is not None]
        self._counted = weakref.WeakSet(tensor.untyped_storage() for tensor in tensors)
        self._cached: dict[tuple, tuple] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result, flops = self._run(function, args, kwargs or {})
        self.flops += flops
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _run(self, function, args: tuple, kwargs: dict) -> tuple:
        """The result and its operations. Blocks repeat, and torch works out shapes in Python: the
        result for shapes that were seen before is cached, unless it may share storage with its
        arguments.
        """
        if _aliases(function):
            return function(*args, **kwargs), 0
        key = (function, _described(args), _described(tuple(kwargs.items())))
        if key not in self._cached:
            result = function(*args, **kwargs)
            count = flop_registry.get(function._overloadpacket)
            flops = count(*args, **kwargs, out_val=result) if count else 0
            self._cached[key] = tree_map(_Layout.of, result), flops
            return result, flops
        layouts, flops = self._cached[key]
        return tree_map(
            lambda value: value.new() if isinstance(value, _Layout) else value, layouts
        ), flops

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage not in self._counted:
            self._counted.add(storage)
            self.live_bytes += storage.nbytes()
            self.peak = max(self.peak, self.live_bytes)
            weakref.finalize(storage, self._forget, storage.nbytes())

    def _forget(self, size: int) -> None:
        self.live_bytes -= size


@dataclass(frozen=True)
class _Layout:
    """A tensor on the meta device is its layout."""

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, value):
        return cls(value.shape, value.stride(), value.dtype) if isinstance(value, Tensor) else value

    def new(self) -> Tensor:
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device="meta")


def _described(value):
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype
    return (
        tuple(map(_described, value)) if isinstance(value, (tuple, list)) else (type(value), value)
    )


@functools.cache
def _aliases(function) -> bool:
    return any(item.alias_info for item in (*function._schema.arguments, *function._schema.returns))


class MeteredAutocast(TorchFunctionMode):
    """bf16 autocast of a `device` for tensors on the meta device; `half=False` leaves precisions
    alone, and fuses attention only.
    """

    def __init__(self, device: str, half: bool = True):
        super().__init__()
        self.full, self.half = FULL[device], half
        self._copies: dict[int, Tensor] = {}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if self.half and function in _LOWER:
            args, kwargs = tree_map(self._lower, (args, kwargs))
        elif self.half and function in self.full:
            args, kwargs = tree_map(_raise, (args, kwargs))
        if function is F.scaled_dot_product_attention:
            function = _attention
        return function(*args, **kwargs)

    def __exit__(self, *error):
        self._copies.clear()
        return super().__exit__(*error)

    def _lower(self, value):
        if not isinstance(value, Tensor) or value.dtype != torch.float32:
            return value
        if not (value.is_leaf and value.requires_grad):  # autocast caches copies of those only
            return value.to(torch.bfloat16)
        if id(value) not in self._copies:
            self._copies[id(value)] = value.to(torch.bfloat16)
        return self._copies[id(value)]


def checkpoint_blocks(network: nn.Module, device: str, half: bool) -> None:
    """Turns gradient checkpointing on; as in torch, the blocks are recomputed in the same
    precision.
    """
    network.enable_gradient_checkpointing(
        functools.partial(
            checkpoint,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), MeteredAutocast(device, half)),
        )
    )


def _raise(value):
    return value.float() if isinstance(value, Tensor) and value.dtype == torch.bfloat16 else value


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask=None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **kwargs,
):
    return torch.ops.aten._scaled_dot_product_flash_attention(
        query, key, value, dropout_p, is_causal
    )[0]
