"""Teacher, student and fake network as LoRA adapters of ONE base in memory; the teacher is the
base with every adapter off.

    shared = SharedBase(network)          the network stays the teacher, with any adapters on it
    student, fake = shared.new(rank), shared.new(rank)    their parameters are their adapter's alone
    other = shared.adopt(weights, alphas, scale)          a published one, on any of the layers

A new adapter starts at exactly zero, so a new student is the (unguided) teacher. Its weights are
fp32 also on a bf16 base. Switching sets two attributes of each peft layer and copies nothing. It
happens at each evaluation and, for gradient checkpointing, which evaluates blocks once more during
the backward pass, when the first gradient arrives.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from workbench.io.digests import file_digest
from workbench.models.backends.networks import base_state

LORA_FILE = (
    "pytorch_lora_weights.safetensors"  # the name that diffusers' load_lora_weights looks for
)
# every linear layer of attention and feed-forward, by the names of diffusers' transformers and
# UNets
TARGETS = (
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "add_q_proj",
    "add_k_proj",
    "add_v_proj",
    "to_add_out",
    "net.0.proj",
    "net.2",
)


class SharedBase:
    """The adapters of one frozen diffusers network."""

    def __init__(self, network: nn.Module):
        self.network, self.count = network, 0
        self.adopted: dict[Hashable, Adapter] = {}  # by the caller's keys
        self._wanted: str | None = None
        self._layers: list[BaseTunerLayer] = []
        network.register_forward_pre_hook(lambda *_: self.activate(self._wanted))

    def new(self, rank: int) -> Adapter:
        """A trainable adapter W + B A of `rank` (peft's alpha is the rank, so its scale is 1),
        with B = 0.
        """
        name, self.count = f"adapter{self.count}", self.count + 1
        with warnings.catch_warnings(), torch.random.fork_rng():
            torch.manual_seed(self.count)  # of A: a function of the order of adapters only
            # several adapters are meant
            warnings.filterwarnings("ignore", "Already found a `peft_config`")
            inject_adapter_in_model(
                LoraConfig(r=rank, lora_alpha=rank, target_modules=list(TARGETS)),
                self.network,
                name,
            )
        return self._injected(name)

    def adopt(
        self, weights: dict[str, Tensor], alphas: dict[str, float] | None = None, scale: float = 1.0
    ) -> Adapter:
        """A frozen adapter W + scale alpha / rank B A of any linear and convolution layers; an
        alpha that is not given is the rank.

        `weights` and `alphas` have the names of diffusers' LoRA files. Raises ValueError, and
        leaves the network as it was, when a tensor has no layer of its shape here.
        """
        prefix = _prefix(self.network)
        self._check(weights, prefix)
        name, self.count = f"adapter{self.count}", self.count + 1
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`")
            self.network.load_lora_adapter(
                weights, prefix=prefix, network_alphas=alphas or None, adapter_name=name
            )
        adapter = self._injected(name).requires_grad_(False).eval()
        for layer in self._layers:
            if name in layer.scaling:
                layer.scaling[name] *= scale
        return adapter

    def _check(self, weights: dict[str, Tensor], prefix: str) -> None:
        """Raises ValueError for a tensor that diffusers would skip with a warning, or fail on half
        way.
        """
        if not weights:  # an adapter of nothing would pass for the teacher
            raise ValueError("it holds no LoRA weights")
        shapes = {
            name.removesuffix(".base_layer"): module.weight.shape
            for name, module in self.network.named_modules()
            if isinstance(module, (nn.Linear, nn.Conv2d)) and ".lora_" not in name
        }
        for name, tensor in weights.items():
            path, _, part = name.removeprefix(f"{prefix}.").partition(".lora_")
            shape = shapes.get(path, ())
            fits = shape and {
                "A.weight": tensor.shape[1:] == shape[1:],
                "B.weight": tensor.shape[0] == shape[0],
            }.get(part)
            other = (
                name.replace(".lora_A.", ".lora_B.")
                if part == "A.weight"
                else name.replace(".lora_B.", ".lora_A.")
            )
            if not fits or other not in weights or not name.startswith(f"{prefix}."):
                raise ValueError(
                    f"its tensor {name} {tuple(tensor.shape)} has no layer of that shape, or lacks "
                    "its other half"
                )

    def _injected(self, name: str) -> Adapter:
        """The adapter that peft has just put into the network, switched off again."""
        self._layers = [
            module for module in self.network.modules() if isinstance(module, BaseTunerLayer)
        ]
        self.activate(None)
        return Adapter(self, name)

    def load(self, folder: Path) -> Adapter:
        """The adapter in a student's folder, frozen; the same one when the file is loaded again.

        Raises:
            ValueError: It belongs to another architecture.
        """
        file = folder / LORA_FILE
        key = file_digest(file)
        if key not in self.adopted:
            try:
                self.adopted[key] = self.adopt(load_file(file))
            except ValueError as error:
                raise ValueError(
                    f"its adapter is not of this teacher's architecture ({error}); choose the "
                    "teacher that it was distilled from"
                ) from error
        return self.adopted[key]

    def drop(self, adapter: Adapter) -> None:
        """Removes an adapter from the network and from memory; it cannot be used afterwards."""
        self.activate(None)  # peft warns about one that is on
        for layer in self._layers:
            layer.delete_adapter(adapter.name)
        self.network.peft_config.pop(adapter.name, None)
        self.adopted = {key: kept for key, kept in self.adopted.items() if kept is not adapter}

    def activate(self, name: str | None) -> None:
        """Turns on the adapter `name` only (None: all off), and changes nothing else: peft's own
        switch also freezes.
        """
        for layer in self._layers:
            layer._active_adapter = [name] if name else []
            layer._disable_adapters = name is None

    def run(self, name: str, *args, **kwargs):
        """The network's output with the adapter `name` on. Raises RuntimeError for one that was
        dropped.
        """
        if name not in self.network.peft_config:  # peft would run the teacher instead
            raise RuntimeError("this adapter was closed; open it again")
        self._wanted = name
        try:
            return self.network(*args, **kwargs)
        finally:
            self._wanted = None


class Adapter(nn.Module):
    """The base with one adapter on. Its parameters, and therefore its state and an optimiser's, are
    the adapter's alone.
    """

    def __init__(self, shared: SharedBase, name: str):
        super().__init__()
        self._shared, self.name = (shared,), name  # in a tuple, so that the base is no submodule
        self.weights = nn.ParameterDict()
        for path, module in shared.network.named_modules():
            if isinstance(module, BaseTunerLayer) and name in module.lora_A:
                for part in ("lora_A", "lora_B"):
                    linear = getattr(module, part)[name].float()
                    self.weights[f"{path}.{part}".replace(".", "/")] = linear.weight
        self.requires_grad_(True)

    @property
    def shared(self) -> SharedBase:
        """The base and its adapters."""
        return self._shared[0]

    @property
    def base(self) -> nn.Module:
        """The network that carries the adapter."""
        return self.shared.network

    @property
    def dtype(self) -> torch.dtype:
        """The base's precision, in which inputs have to be."""
        return self.base.dtype

    def forward(self, *args, **kwargs):
        """The base's output with this adapter on."""
        output = self.shared.run(self.name, *args, **kwargs)
        self.reactivate_at(output[0])
        return output

    def reactivate_at(self, tensor: Tensor) -> None:
        """Turns this adapter on when a gradient arrives at `tensor`, for the blocks that
        checkpointing evaluates again.
        """
        if tensor.requires_grad:
            tensor.register_hook(lambda gradient: self.shared.activate(self.name))

    def save(self, path: Path) -> None:
        """Writes the file that diffusers' `load_lora_weights` reads."""
        tensors = {
            f"{_prefix(self.base)}.{name.replace('/', '.')}.weight": tensor.detach()
            .cpu()
            .contiguous()
            for name, tensor in self.weights.items()
        }
        save_file(tensors, path, metadata={"format": "pt"})


@torch.no_grad()
def merged_state(network: nn.Module) -> dict[str, Tensor]:
    """The tensors of a whole network that is equivalent to `network`, an adapter on its base; of a
    whole network its own.
    """
    if not isinstance(network, Adapter):
        return base_state(network)
    changes = _changes(network)
    return {
        name: tensor + changes[path]
        if (path := name.removesuffix(".weight")) in changes
        else tensor
        for name, tensor in base_state(network.base).items()
    }


def _changes(adapter: Adapter) -> dict[str, Tensor]:
    """What an adapter adds to the weight of each of its layers."""
    return {
        path: layer.get_delta_weight(adapter.name)
        for path, layer in adapter.base.named_modules()
        if isinstance(layer, BaseTunerLayer) and adapter.name in layer.lora_A
    }


@torch.no_grad()
def extracted(student: nn.Module, teacher: nn.Module, rank: int) -> dict[str, Tensor]:
    """The LoRA of `rank` that comes closest to a whole student, or to an adapter of a higher rank:
    of each linear and convolution layer's difference from the teacher the largest singular values,
    in half precision under diffusers' names. Biases and norms stay the teacher's. DMD2's published
    LoRA was made in this way.
    """
    prefix, result = _prefix(teacher), {}
    for name, difference in _differences(student, teacher):
        u, s, v = torch.linalg.svd(difference.flatten(1), full_matrices=False)
        root = s[:rank].sqrt()
        halves = {
            "A": (root[:, None] * v[:rank]).unflatten(1, difference.shape[1:]),
            "B": (u[:, :rank] * root)[(..., *[None] * (difference.ndim - 2))],
        }  # a convolution's B has a kernel of 1
        result |= {
            f"{prefix}.{name}.lora_{part}.weight": half.half().contiguous()
            for part, half in halves.items()
        }
    return result


def _differences(student: nn.Module, teacher: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Each layer's weight minus the teacher's."""
    if isinstance(student, Adapter):
        yield from ((name, change.float()) for name, change in _changes(student).items())
        return
    theirs = base_state(teacher)
    for name, module in student.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            yield name, module.weight.float() - theirs[f"{name}.weight"].float()


def _prefix(network: nn.Module) -> str:
    """The prefix of the network's layers in diffusers' LoRA files."""
    return "unet" if isinstance(network, UNet2DConditionModel) else "transformer"
