"""The StableDiffusion3Pipeline family: flow teachers that predict velocity (SD3.5-M, SD3-M, and the embedded flow teacher)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import StableDiffusion3Pipeline
from torch import Tensor, nn

from workbench.backends.lora import LORA_FILE, Adapter, SharedBase
from workbench.backends.networks import bare, decode, kept_output, latent_shape, load_like, pixels, trainable_copy
from workbench.denoiser import Autocast, Condition
from workbench.prediction import VELOCITY, Prediction
from workbench.schedules import FlowSchedule

TRAIN_LEVELS = 1000  # a network's timestep is t x 1000, always fp32: in bf16 it would round by up to 2 levels


@dataclass(frozen=True)
class SD3Denoiser:
    """An SD3Transformer2DModel as a `Denoiser`."""

    network: nn.Module
    schedule: FlowSchedule
    autocast: Autocast = nullcontext

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Prediction:
        dtype = bare(self.network).dtype
        with self.autocast():
            raw = self.network(hidden_states=x_t.to(dtype), timestep=t.float() * TRAIN_LEVELS, return_dict=False,
                               encoder_hidden_states=condition.tensors["tokens"].to(dtype),
                               pooled_projections=condition.tensors["pooled"].to(dtype))[0]
        return Prediction(raw.float(), x_t, t, VELOCITY, self.schedule)


class SD3Backend:
    """A loaded StableDiffusion3Pipeline as a `workbench.denoiser.Backend`; `rewrite` may check or normalise each prompt."""

    def __init__(self, pipeline: StableDiffusion3Pipeline, device: torch.device | str = "cpu", resolution: int | None = None,
                 rewrite: Callable[[str], str] = str):
        self.pipeline, self.rewrite = pipeline.to(device), rewrite
        self.device = torch.device(device)
        self.schedule = FlowSchedule(float(pipeline.scheduler.config.shift))
        self.network = pipeline.transformer.eval().requires_grad_(False)
        self.adapters = SharedBase(self.network)
        pipeline.vae.requires_grad_(False)
        config = self.network.config
        self.latent_shape = latent_shape(config.in_channels, pipeline, resolution, config.sample_size)
        # without a third text encoder the pipeline would append empty tokens; the embedded teacher is sampled without them
        self.empty_tokens = 0 if pipeline.text_encoder_3 is None else 256
        self.max_tokens = pipeline.tokenizer.model_max_length
        self.feature_width = self.network.inner_dim

    def denoiser(self, network: nn.Module, autocast: Autocast | None = None) -> SD3Denoiser:
        return SD3Denoiser(network, self.schedule, autocast or nullcontext)

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
        tokens, _, pooled, _ = self.pipeline.encode_prompt(texts, None, None, do_classifier_free_guidance=False,
                                                           device=self.device, max_sequence_length=self.empty_tokens)
        return Condition({"tokens": tokens.float(), "pooled": pooled.float()})

    def decode(self, latents: Tensor) -> Tensor:
        return decode(self.pipeline.vae, latents)

    def pixels(self, latents: Tensor) -> Tensor:
        return pixels(self.pipeline.vae, latents)

    def features(self, denoiser: SD3Denoiser, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        blocks = bare(denoiser.network).transformer_blocks
        hidden = kept_output(blocks[len(blocks) // 2], lambda: denoiser(x_t, t, condition))[1]  # the image's tokens
        if isinstance(denoiser.network, Adapter):
            denoiser.network.reactivate_behind(hidden)
        return hidden
