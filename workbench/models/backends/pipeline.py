"""The common part of all families on a loaded diffusers pipeline: networks to train and to load,
and the way from latents to pixels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import cpu_offload_with_hook
from torch import Tensor, nn

from workbench.core.denoiser import Backend, Condition, NetworkDenoiser
from workbench.models.backends.lora import LORA_FILE, Adapter, SharedBase
from workbench.models.backends.networks import (
    bare,
    load_like,
    output_of,
    trainable_copy,
)
from workbench.models.backends.parts import Parts, checksum, memory_parts, part_digest

DECODED_PIXELS = 2**20  # per call of the decoder
# most of a network, compiled once for all of its blocks
REPEATED = ("JointTransformerBlock", "BasicTransformerBlock")


class PipelineBackend(Backend, Protocol):
    """A `Backend` on a diffusers pipeline, for what only its parts can tell: digests, exports,
    adapters and cached embeddings.
    """

    @property
    def pipeline(self) -> Any:
        """The diffusers pipeline that was loaded."""
        ...

    @property
    def adapters(self) -> SharedBase:
        """The adapters on the teacher's network."""
        ...

    @property
    def parts(self) -> dict[str, str]:
        """What the teacher is made of: the digest of each part."""
        ...

    def made_of(self, parts: Parts) -> None:
        """Notes that the pipeline's parts, as they are in memory now, have these digests."""
        ...

    @property
    def resting(self) -> list:
        """Accelerate's hooks of the text encoders that wait in the computer's memory."""
        ...

    @property
    def empty_tokens(self) -> int:
        """Tokens that the pipeline appends for a further text encoder; 0 without one."""
        ...


class DiffusersBackend:
    """The shared part of a `PipelineBackend`: `network` is the pipeline's own,
    frozen; `rewrite` may check or normalise each prompt. A `resolution` in pixels (None: the
    network's own) sets the latents' shape; raises ValueError for one that does not divide. With
    `rest`, the text encoders wait in the computer's memory and are on the device only while they
    encode.
    """

    feature_width: int
    empty_tokens = 0

    def __init__(
        self,
        pipeline,
        network: nn.Module,
        device: torch.device | str,
        resolution: int | None,
        rewrite: Callable[[str], str],
        rest: bool = False,
    ):
        self.pipeline, self.rewrite = pipeline, rewrite
        self._parts: dict[str, str] = {}  # none before they are wanted
        self._known: dict[str, int] = {}
        self.device = torch.device(device)
        self.resting = (
            [
                cpu_offload_with_hook(encoder, self.device)[1]
                for encoder in text_encoders(pipeline).values()
            ]
            if rest
            else []
        )
        for part in (network, pipeline.vae) if rest else (pipeline,):
            part.to(device)
        self.network = network.eval().requires_grad_(False)
        self.adapters = SharedBase(self.network)
        pipeline.vae.requires_grad_(False)
        self.max_tokens = pipeline.tokenizer.model_max_length
        self.tokenizer = copy.deepcopy(
            pipeline.tokenizer
        )  # encoding changes a tokenizer's padding for a moment
        self.latent_shape = latent_shape(
            network.config.in_channels,
            pipeline.vae_scale_factor,
            resolution,
            network.config.sample_size,
        )

    @property
    def parts(self) -> dict[str, str]:
        """What the teacher is made of: the digest of each part, as of the folder it was loaded
        from; of a part that was changed in memory since then, that of what is in memory.
        """
        if not self._parts:
            self.made_of(memory_parts(self.pipeline))
        for name, state in self._states().items():
            if state != self._known.get(name):
                self._parts[name] = part_digest(self.pipeline.components[name])
                self._known[name] = state
        return dict(self._parts)

    def made_of(self, parts: Parts) -> None:
        """Notes that the pipeline's parts, as they are in memory now, have these digests."""
        self._parts, self._known = dict(parts), self._states()

    def _states(self) -> dict[str, int]:
        """Of each network in memory a quick checksum. Counters of writes would not do: textual
        inversion, for one, writes past them.
        """
        return {
            name: checksum(part)
            for name, part in self.pipeline.components.items()
            if isinstance(part, nn.Module)
        }

    @contextmanager
    def encoding(self) -> Iterator[None]:
        """Wraps the use of the text encoders: no gradients, and those that rest are put back."""
        try:
            with torch.no_grad():
                yield
        finally:
            for encoder in self.resting:
                encoder.offload()

    def new_network(self, lora: int = 0, checkpointing: bool = False) -> nn.Module:
        """A trainable copy of the teacher's network, or an adapter of rank `lora` on it."""
        network = self.adapters.new(lora) if lora else trainable_copy(self.network)
        if checkpointing:
            bare(network).enable_gradient_checkpointing()
        return network

    def compile(self, network: nn.Module) -> None:
        """Compiles the repeated blocks of `network`, in place, at their next use."""
        # one code object serves kinds of block, networks, batches, and evaluations with and without
        # gradients
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
        for module in bare(network).modules():
            if (
                type(module).__name__ in REPEATED and module._compiled_call_impl is None
            ):  # adapters share one base
                module.compile()

    def load_network(self, folder: str | Path) -> nn.Module:
        """The frozen network, or the adapter, in a student's folder."""
        return (
            self.adapters.load(Path(folder))
            if (Path(folder) / LORA_FILE).is_file()
            else load_like(self.network, folder)
        )

    def pixels(self, latents: Tensor) -> Tensor:
        """Images [B, 3, H, W], about in [-1, 1], from latents [B, C, h, w], with gradients."""
        vae = self.pipeline.vae
        if (
            vae.dtype == torch.float16 and vae.config.force_upcast
        ):  # SDXL's first VAE says that it overflows in fp16
            vae.to(torch.float32)
        z = latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
        return vae.decode(z.to(vae.device, vae.dtype), return_dict=False)[0].float()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [0, 1], fp32 on the CPU, from latents [B, C, h, w]; NaN wherever
        the decoder's output is not finite.
        """
        side = latents.shape[-1] * self.pipeline.vae_scale_factor
        # SD3.5's decoder takes 2.2 GiB for each image of 1024 pixels
        batch_size = max(1, DECODED_PIXELS // side**2)
        return torch.cat([_shown(self.pixels(part)) for part in latents.split(batch_size)])

    def hidden(
        self,
        module: nn.Module,
        denoiser: NetworkDenoiser,
        x_t: Tensor,
        t: Tensor,
        condition: Condition | None,
    ) -> Tensor:
        """The output of `module`, a part of the denoiser's network; of a tuple its last tensor."""
        output = output_of(module, lambda: denoiser(x_t, t, condition))
        output = output[-1] if isinstance(output, tuple) else output
        if isinstance(denoiser.network, Adapter):
            denoiser.network.reactivate_at(output)
        return output


def text_encoders(pipeline) -> dict[str, nn.Module]:
    """The pipeline's text encoders, by their names there."""
    parts = {
        name: getattr(pipeline, name, None)
        for name in ("text_encoder", "text_encoder_2", "text_encoder_3")
    }
    return {name: encoder for name, encoder in parts.items() if encoder is not None}


def latent_shape(
    channels: int, scale: int, resolution: int | None, native: int
) -> tuple[int, int, int]:
    """[C, h, w] of a square image of `resolution` pixels, `scale` pixels per latent one; None takes
    the network's `native` side. Raises ValueError for one that does not divide.
    """
    if resolution is None:
        return channels, native, native
    if resolution <= 0 or resolution % (2 * scale):
        raise ValueError(f"resolution {resolution} is not a multiple of {2 * scale} pixels")
    return channels, resolution // scale, resolution // scale


def _shown(pixels: Tensor) -> Tensor:
    """[-1, 1] to [0, 1] on the CPU; an infinity becomes NaN, for clamping would make it white."""
    return (pixels / 2 + 0.5).clamp(0, 1).masked_fill(~pixels.isfinite(), torch.nan).cpu()
