"""The StableDiffusion3Pipeline family: flow teachers that predict velocity (SD3.5-M, SD3-M, and
the embedded flow teacher).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from workbench.core.denoiser import Autocast, Condition, NetworkDenoiser, required
from workbench.core.prediction import VELOCITY, Prediction
from workbench.core.schedules import FlowSchedule
from workbench.models.backends.networks import bare
from workbench.models.backends.pipeline import DiffusersBackend

if TYPE_CHECKING:
    from diffusers import StableDiffusion3Pipeline

# a network's timestep is t x 1000, always fp32: in bf16 it would round by up to 2 levels
TRAIN_LEVELS = 1000


@dataclass(frozen=True)
class SD3Denoiser:
    """An SD3Transformer2DModel as a `Denoiser`."""

    network: nn.Module
    schedule: FlowSchedule
    autocast: Autocast = nullcontext

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition | None) -> Prediction:
        """The network's prediction at x_t [B, C, h, w], t [B]."""
        dtype, tensors = bare(self.network).dtype, required(condition).tensors
        with self.autocast():
            raw = self.network(
                hidden_states=x_t.to(dtype),
                timestep=t.float() * TRAIN_LEVELS,
                return_dict=False,
                encoder_hidden_states=tensors["tokens"].to(dtype),
                pooled_projections=tensors["pooled"].to(dtype),
            )[0]
        return Prediction(raw.float(), x_t, t, VELOCITY, self.schedule)


class SD3Backend(DiffusersBackend):
    """A loaded StableDiffusion3Pipeline as a `PipelineBackend`; `rewrite` may check or normalise
    each prompt.
    """

    def __init__(
        self,
        pipeline: StableDiffusion3Pipeline,
        device: torch.device | str = "cpu",
        resolution: int | None = None,
        rewrite: Callable[[str], str] = str,
        rest: bool = False,
    ):
        super().__init__(pipeline, pipeline.transformer, device, resolution, rewrite, rest)
        config = self.network.config
        if self.latent_shape[-1] > config.patch_size * config.pos_embed_max_size:
            limit = config.patch_size * config.pos_embed_max_size * pipeline.vae_scale_factor
            raise ValueError(
                f"resolution {resolution} is more than the {limit} pixels of this teacher's "
                "position embedding"
            )
        self.schedule = FlowSchedule(float(pipeline.scheduler.config.shift))
        # without a third text encoder the pipeline would append empty tokens; the embedded teacher
        # is sampled without them
        self.empty_tokens = 0 if pipeline.text_encoder_3 is None else 256
        self.feature_width = self.network.inner_dim

    def denoiser(self, network: nn.Module, autocast: Autocast | None = None) -> SD3Denoiser:
        """`network` as a `Denoiser`; `autocast` wraps each evaluation."""
        return SD3Denoiser(network, self.schedule, autocast or nullcontext)

    def encode(self, prompts: list[str]) -> Condition:
        """The text encoders' embeddings of a batch of prompts, fp32."""
        texts = [self.rewrite(prompt) for prompt in prompts]
        with self.encoding():
            tokens, _, pooled, _ = self.pipeline.encode_prompt(
                texts,
                None,
                None,
                do_classifier_free_guidance=False,
                device=self.device,
                max_sequence_length=self.empty_tokens,
            )
        return Condition({"tokens": tokens.float(), "pooled": pooled.float()})

    def features(
        self, denoiser: NetworkDenoiser, x_t: Tensor, t: Tensor, condition: Condition | None
    ) -> Tensor:
        """[B, N, feature_width]: the middle block's output for the image's tokens."""
        blocks = bare(denoiser.network).transformer_blocks
        return self.hidden(blocks[len(blocks) // 2], denoiser, x_t, t, condition)
