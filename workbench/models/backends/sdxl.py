"""The StableDiffusionXLPipeline family: variance-preserving teachers that predict eps (SDXL, and
the embedded eps teacher).

Appendix C. Our t is (index + 1) / 1000, and x_t keeps unit variance, where diffusers' Euler
scheduler keeps x_t / alpha_t. The empty prompt of such a teacher is all zeros when its pipeline
says so (`force_zeros_for_empty_prompt`, as SDXL's does).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from workbench.core.denoiser import Autocast, Condition, NetworkDenoiser, required
from workbench.core.prediction import EPS, Prediction
from workbench.core.schedules import VPSchedule
from workbench.models.backends.networks import bare
from workbench.models.backends.pipeline import DiffusersBackend

if TYPE_CHECKING:
    from diffusers import StableDiffusionXLPipeline


@dataclass(frozen=True)
class SDXLDenoiser:
    """A UNet2DConditionModel with SDXL's added conditions as a `Denoiser`."""

    network: nn.Module
    schedule: VPSchedule
    autocast: Autocast = nullcontext

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition | None) -> Prediction:
        """The network's prediction at x_t [B, C, h, w], t [B]."""
        dtype, tensors = bare(self.network).dtype, required(condition).tensors
        with self.autocast():
            raw = self.network(
                x_t.to(dtype),
                (t.float() * self.schedule.levels - 1).clamp(min=0),
                return_dict=False,
                encoder_hidden_states=tensors["tokens"].to(dtype),
                added_cond_kwargs={
                    "text_embeds": tensors["pooled"].to(dtype),
                    "time_ids": tensors["time_ids"].to(dtype),
                },
            )[0]
        return Prediction(raw.float(), x_t, t, EPS, self.schedule)


class SDXLBackend(DiffusersBackend):
    """A loaded StableDiffusionXLPipeline as a `PipelineBackend`; `rewrite` may check or normalise
    each prompt.

    Raises ValueError for a teacher that predicts something other than eps.
    """

    def __init__(
        self,
        pipeline: StableDiffusionXLPipeline,
        device: torch.device | str = "cpu",
        resolution: int | None = None,
        rewrite: Callable[[str], str] = str,
        rest: bool = False,
    ):
        config = pipeline.scheduler.config
        kind = config.get("prediction_type", "epsilon")
        if kind != "epsilon":
            raise ValueError(
                f"this teacher predicts {kind!r}; the sdxl family takes teachers that predict "
                "epsilon"
            )
        super().__init__(pipeline, pipeline.unet, device, resolution, rewrite, rest)
        self.schedule = VPSchedule(tuple(pipeline.scheduler.alphas_cumprod.double().tolist()))
        self.feature_width = self.network.config.block_out_channels[-1]

    def denoiser(self, network: nn.Module, autocast: Autocast | None = None) -> SDXLDenoiser:
        """`network` as a `Denoiser`; `autocast` wraps each evaluation."""
        return SDXLDenoiser(network, self.schedule, autocast or nullcontext)

    def encode(self, prompts: list[str]) -> Condition:
        """The text encoders' embeddings of a batch of prompts, fp32."""
        texts = [self.rewrite(prompt) for prompt in prompts]
        with self.encoding():
            tokens, _, pooled, _ = self.pipeline.encode_prompt(
                texts, device=self.device, do_classifier_free_guidance=False
            )
        if self.pipeline.config.force_zeros_for_empty_prompt:
            kept = torch.tensor([bool(text) for text in texts], device=tokens.device)
            tokens, pooled = tokens * kept[:, None, None], pooled * kept[:, None]
        side = float(self.latent_shape[-1] * self.pipeline.vae_scale_factor)
        sizes = torch.tensor(
            [[side, side, 0.0, 0.0, side, side]], device=tokens.device
        )  # original size, crop corner, target size
        return Condition(
            {
                "tokens": tokens.float(),
                "pooled": pooled.float(),
                "time_ids": sizes.expand(len(texts), 6),
            }
        )

    def features(
        self, denoiser: NetworkDenoiser, x_t: Tensor, t: Tensor, condition: Condition | None
    ) -> Tensor:
        """[B, N, feature_width]: the middle block's output, a position per pixel."""
        return (
            self.hidden(bare(denoiser.network).mid_block, denoiser, x_t, t, condition).flatten(2).mT
        )
