"""What the families share: copies of a network to train, students to load, and the way from latents to pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn


def trainable_copy(network: nn.Module) -> nn.Module:
    """A trainable fp32 copy without the adapters it may carry; the original stays as it is."""
    result = type(network).from_config(network.config)
    result.load_state_dict(base_state(network))
    return result.float().requires_grad_(True).train()


def base_state(network: nn.Module) -> dict[str, Tensor]:
    """The network's own tensors under the names they have without adapters."""
    return {name.replace(".base_layer.", "."): tensor for name, tensor in network.state_dict().items() if ".lora_" not in name}


def bare(network: nn.Module) -> nn.Module:
    """The diffusers network inside what accelerate or an adapter wrapped around it."""
    network = getattr(network, "module", network)
    return getattr(network, "base", network)


def load_like(network: nn.Module, folder: str | Path) -> nn.Module:
    """A frozen network of `network`'s diffusers class, precision and device from `folder`. Raises ValueError when its tensors
    are not `network`'s."""
    found = type(network).from_pretrained(folder, dtype=network.dtype, local_files_only=True)
    ours, theirs = ({name: tensor.shape for name, tensor in base_state(module).items()} for module in (network, found))
    if ours != theirs:
        raise ValueError("it has another architecture than this teacher; choose the teacher that it was distilled from")
    return found.to(network.device).eval().requires_grad_(False)


def pixels(vae: nn.Module, latents: Tensor) -> Tensor:
    """Images [B, 3, H, W], about in [-1, 1] and with gradients. A VAE that says it overflows in fp16 (SDXL's first one) decodes in
    fp32."""
    if vae.dtype == torch.float16 and vae.config.force_upcast:
        vae.to(torch.float32)
    z = latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
    return vae.decode(z.to(vae.device, vae.dtype), return_dict=False)[0].float()


@torch.no_grad()
def decode(vae: nn.Module, latents: Tensor) -> Tensor:
    """Images [B, 3, H, W] in [0, 1], fp32 on the CPU."""
    return (pixels(vae, latents) / 2 + 0.5).clamp(0, 1).cpu()


def kept_output(module: nn.Module, run: Callable[[], object]) -> object:
    """What `module` puts out while `run()` runs."""
    kept = []
    hook = module.register_forward_hook(lambda module, args, output: kept.append(output))
    try:
        run()
    finally:
        hook.remove()
    return kept[-1]


def latent_shape(channels: int, pipeline, resolution: int | None, native: int) -> tuple[int, int, int]:
    """[C, h, w] of a square image of `resolution` pixels; None takes the network's `native` latent side. Raises ValueError."""
    if resolution is None:
        return channels, native, native
    if resolution <= 0 or resolution % (2 * pipeline.vae_scale_factor):
        raise ValueError(f"resolution {resolution} is not a multiple of {2 * pipeline.vae_scale_factor} pixels")
    side = resolution // pipeline.vae_scale_factor
    return channels, side, side
