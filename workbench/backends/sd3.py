"""The StableDiffusion3Pipeline family: flow teachers that predict velocity (SD3.5-M, and the embedded scenes teacher)."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
from torch import Tensor, nn

from workbench.backends import load_like
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
        with self.autocast():
            raw = self.network(hidden_states=x_t, timestep=t.float() * TRAIN_LEVELS, return_dict=False,
                               encoder_hidden_states=condition.tensors["tokens"],
                               pooled_projections=condition.tensors["pooled"])[0]
        return Prediction(raw.float(), x_t, t, VELOCITY, self.schedule)


class SD3Backend:
    """A loaded StableDiffusion3Pipeline; see `workbench.backends.Backend`."""

    def __init__(self, pipeline: StableDiffusion3Pipeline, device: torch.device | str = "cpu"):
        self.pipeline = pipeline.to(device)
        self.device = torch.device(device)
        self.schedule = FlowSchedule(float(pipeline.scheduler.config.shift))
        self.network = pipeline.transformer.eval().requires_grad_(False)
        size = pipeline.transformer.config.sample_size
        self.latent_shape = (pipeline.transformer.config.in_channels, size, size)
        # without a third text encoder the pipeline would append empty tokens; the embedded teacher is sampled without them
        self.empty_tokens = 0 if pipeline.text_encoder_3 is None else 256
        self.max_tokens = pipeline.tokenizer.model_max_length

    @classmethod
    def load(cls, folder: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> "SD3Backend":
        """A saved pipeline. Raises FileNotFoundError, naming what is missing, when `folder` holds none."""
        if not (Path(folder) / "model_index.json").is_file():
            raise FileNotFoundError(f"{folder} holds no diffusers pipeline (no model_index.json); give the folder that "
                                    "save_pretrained wrote, or 'scenes' for the embedded teacher")
        absent = {} if (Path(folder) / "text_encoder_3").is_dir() else {"text_encoder_3": None, "tokenizer_3": None}
        pipeline = StableDiffusion3Pipeline.from_pretrained(folder, dtype=dtype, local_files_only=True, **absent)
        pipeline.set_progress_bar_config(disable=True)
        return cls(pipeline, device)

    def denoiser(self, network: nn.Module, autocast: Autocast | None = None) -> SD3Denoiser:
        return SD3Denoiser(network, self.schedule, autocast or nullcontext)

    def new_network(self) -> nn.Module:
        return copy.deepcopy(self.network).float().requires_grad_(True).train()

    def load_network(self, folder: str | Path) -> nn.Module:
        return load_like(self.network, SD3Transformer2DModel, folder).to(self.device)

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> Condition:
        tokens, _, pooled, _ = self.pipeline.encode_prompt(prompts, None, None, do_classifier_free_guidance=False,
                                                           device=self.device, max_sequence_length=self.empty_tokens)
        return Condition({"tokens": tokens.float(), "pooled": pooled.float()})

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        vae = self.pipeline.vae
        z = latents / vae.config.scaling_factor + vae.config.shift_factor
        images = vae.decode(z.to(vae.device, vae.dtype), return_dict=False)[0]
        return (images.float() / 2 + 0.5).clamp(0, 1).cpu()
