"""The StableDiffusionXLPipeline family: variance-preserving teachers that predict eps (SDXL, and the embedded eps teacher).

Appendix C. Our t is (index + 1) / 1000, and x_t keeps unit variance, where diffusers' Euler scheduler keeps x_t / alpha_t. The
empty prompt of such a teacher is all zeros when its pipeline says so (`force_zeros_for_empty_prompt`, as SDXL's does).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor, nn

from workbench.backends.lora import LORA_FILE, Adapter, SharedBase
from workbench.backends.networks import bare, decode, kept_output, latent_shape, load_like, pixels, trainable_copy
from workbench.denoiser import Autocast, Condition
from workbench.prediction import EPS, Prediction
from workbench.schedules import VPSchedule


@dataclass(frozen=True)
class SDXLDenoiser:
    """A UNet2DConditionModel with SDXL's added conditions as a `Denoiser`."""

    network: nn.Module
    schedule: VPSchedule
    autocast: Autocast = nullcontext

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Prediction:
        dtype, given = bare(self.network).dtype, condition.tensors
        with self.autocast():
            raw = self.network(x_t.to(dtype), (t.float() * self.schedule.levels - 1).clamp(min=0), return_dict=False,
                               encoder_hidden_states=given["tokens"].to(dtype),
                               added_cond_kwargs={"text_embeds": given["pooled"].to(dtype), "time_ids": given["time_ids"].to(dtype)})[0]
        return Prediction(raw.float(), x_t, t, EPS, self.schedule)


class SDXLBackend:
    """A loaded StableDiffusionXLPipeline as a `workbench.denoiser.Backend`; `rewrite` may check or normalise each prompt.

    Raises ValueError for a teacher that predicts something other than eps."""

    def __init__(self, pipeline: StableDiffusionXLPipeline, device: torch.device | str = "cpu", resolution: int | None = None,
                 rewrite: Callable[[str], str] = str):
        config = pipeline.scheduler.config
        kind = config.get("prediction_type", "epsilon")
        if kind != "epsilon":
            raise ValueError(f"this teacher predicts {kind!r}; the sdxl family takes teachers that predict epsilon")
        self.pipeline, self.rewrite = pipeline.to(device), rewrite
        self.device = torch.device(device)
        self.schedule = VPSchedule(tuple(pipeline.scheduler.alphas_cumprod.double().tolist()))
        self.network = pipeline.unet.eval().requires_grad_(False)
        self.adapters = SharedBase(self.network)
        pipeline.vae.requires_grad_(False)
        self.latent_shape = latent_shape(self.network.config.in_channels, pipeline, resolution, self.network.config.sample_size)
        self.max_tokens = pipeline.tokenizer.model_max_length
        self.feature_width = self.network.config.block_out_channels[-1]

    def denoiser(self, network: nn.Module, autocast: Autocast | None = None) -> SDXLDenoiser:
        return SDXLDenoiser(network, self.schedule, autocast or nullcontext)

    def new_network(self, lora: int = 0, checkpointing: bool = False) -> nn.Module:
        network = self.adapters.new(lora) if lora else trainable_copy(self.network)
        if checkpointing:
            bare(network).enable_gradient_checkpointing()
        return network

    def load_network(self, folder: str | Path) -> nn.Module:
        return self.adapters.load(Path(folder)) if (Path(folder) / LORA_FILE).is_file() else load_like(self.network, folder)

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> Condition:
        texts = [self.rewrite(prompt) for prompt in prompts]
        tokens, _, pooled, _ = self.pipeline.encode_prompt(texts, device=self.device, do_classifier_free_guidance=False)
        if self.pipeline.config.force_zeros_for_empty_prompt:
            kept = torch.tensor([bool(text) for text in texts], device=tokens.device)
            tokens, pooled = tokens * kept[:, None, None], pooled * kept[:, None]
        side = float(self.latent_shape[-1] * self.pipeline.vae_scale_factor)
        sizes = torch.tensor([[side, side, 0.0, 0.0, side, side]], device=tokens.device)  # original size, crop corner, target size
        return Condition({"tokens": tokens.float(), "pooled": pooled.float(), "time_ids": sizes.expand(len(texts), 6)})

    def decode(self, latents: Tensor) -> Tensor:
        return decode(self.pipeline.vae, latents)

    def pixels(self, latents: Tensor) -> Tensor:
        return pixels(self.pipeline.vae, latents)

    def features(self, denoiser: SDXLDenoiser, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        middle = kept_output(bare(denoiser.network).mid_block, lambda: denoiser(x_t, t, condition))  # [B, C, h, w]
        if isinstance(denoiser.network, Adapter):
            denoiser.network.reactivate_behind(middle)
        return middle.flatten(2).mT
