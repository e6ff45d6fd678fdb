"""The parts of a teacher without its weights: classes and configurations, and the parts on the meta
device.

    architecture("sd3.5-medium")     a published one, by name or hub id; or an embedded one; or the
                                     folder of a diffusers pipeline

The published configurations are the config.json files of stabilityai/stable-diffusion-3.5-medium
and stabilityai/stable-diffusion-xl-base-1.0, as far as they differ from the classes' defaults.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import diffusers
import torch
import transformers
from torch import Tensor, nn

from workbench.core.denoiser import Condition
from workbench.models.backends.pipeline import latent_shape
from workbench.models.backends.source import T5_PARTS, TeacherError, family_of, pipeline_index
from workbench.models.embedded import EMBEDDED

_CLIP_L = dict(
    vocab_size=49408,
    hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=12,
    projection_dim=768,
)
_CLIP_G = dict(
    vocab_size=49408,
    hidden_size=1280,
    intermediate_size=5120,
    num_hidden_layers=32,
    num_attention_heads=20,
    projection_dim=1280,
)
_T5_XXL = dict(
    vocab_size=32128,
    d_model=4096,
    d_kv=64,
    d_ff=10240,
    num_layers=24,
    num_heads=64,
    feed_forward_proj="gated-gelu",
)
_VAE = dict(
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
    block_out_channels=(128, 256, 512, 512),
    layers_per_block=2,
)

_SD35_MEDIUM = {
    "transformer": (
        "SD3Transformer2DModel",
        dict(
            sample_size=128,
            patch_size=2,
            in_channels=16,
            out_channels=16,
            num_layers=24,
            attention_head_dim=64,
            num_attention_heads=24,
            joint_attention_dim=4096,
            caption_projection_dim=1536,
            pooled_projection_dim=2048,
            pos_embed_max_size=384,
            dual_attention_layers=tuple(range(13)),
            qk_norm="rms_norm",
        ),
    ),
    "vae": (
        "AutoencoderKL",
        _VAE | dict(latent_channels=16, use_quant_conv=False, use_post_quant_conv=False),
    ),
    "text_encoder": ("CLIPTextModelWithProjection", _CLIP_L),
    "text_encoder_2": ("CLIPTextModelWithProjection", _CLIP_G),
    "text_encoder_3": ("T5EncoderModel", _T5_XXL),
}
_SDXL = {
    "unet": (
        "UNet2DConditionModel",
        dict(
            sample_size=128,
            in_channels=4,
            out_channels=4,
            block_out_channels=(320, 640, 1280),
            layers_per_block=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            use_linear_projection=True,
            cross_attention_dim=2048,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        ),
    ),
    "vae": ("AutoencoderKL", _VAE | dict(latent_channels=4)),
    "text_encoder": ("CLIPTextModel", _CLIP_L),
    "text_encoder_2": ("CLIPTextModelWithProjection", _CLIP_G),
}
ARCHITECTURES = {
    "sd3.5-medium": _SD35_MEDIUM,
    "stabilityai/stable-diffusion-3.5-medium": _SD35_MEDIUM,
    "sdxl": _SDXL,
    "stabilityai/stable-diffusion-xl-base-1.0": _SDXL,
}


@dataclass(frozen=True)
class Architecture:
    """A pipeline's parts by name, each a class name and its configuration."""

    parts: dict[str, tuple[str, dict]]

    @property
    def network_name(self) -> str:
        """The name of the part that is distilled."""
        return "transformer" if "transformer" in self.parts else "unet"

    @property
    def flow(self) -> bool:
        """Whether it is of the sd3 family, which predicts velocity; sdxl predicts eps."""
        return self.network_name == "transformer"

    @property
    def vae_scale_factor(self) -> int:
        """Pixels per latent, along a side."""
        return 2 ** (len(self.parts["vae"][1]["block_out_channels"]) - 1)

    def network(self) -> nn.Module:
        """The part that is distilled, on the meta device."""
        return self.part(self.network_name)

    def part(self, name: str) -> nn.Module:
        """The part on the meta device, always in fp32."""
        kind, config = self.parts[name]
        with torch.device("meta"):
            if hasattr(diffusers, kind):
                return getattr(diffusers, kind).from_config(config)
            return getattr(transformers, kind)(getattr(transformers, kind).config_class(**config))

    def text_encoders(self) -> Iterator[nn.Module]:
        """The text encoders, on the meta device."""
        return (self.part(name) for name in self.parts if name.startswith("text_encoder"))

    def latent_shape(self, resolution: int | None) -> tuple[int, int, int]:
        """[C, h, w] at `resolution` pixels, or at the network's own. Raises ValueError for a
        resolution that does not divide.
        """
        config = self.parts[self.network_name][1]
        return latent_shape(
            config["in_channels"], self.vae_scale_factor, resolution, config["sample_size"]
        )

    def condition(self, batch: int) -> Condition:
        """The condition of `batch` prompts on the meta device, with the shapes of
        `SD3Backend.encode` and `SDXLBackend.encode`.
        """
        config = self.parts[self.network_name][1]
        tokens = self.parts["text_encoder"][1].get("max_position_embeddings", 77)
        if self.flow:
            length = tokens + (256 if "text_encoder_3" in self.parts else 0)
            return Condition(
                {
                    "tokens": _empty(batch, length, config["joint_attention_dim"]),
                    "pooled": _empty(batch, config["pooled_projection_dim"]),
                }
            )
        pooled = (
            config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
        )
        return Condition(
            {
                "tokens": _empty(batch, tokens, config["cross_attention_dim"]),
                "pooled": _empty(batch, pooled),
                "time_ids": _empty(batch, 6),
            }
        )


@functools.cache
def architecture(teacher: str) -> Architecture:
    """The architecture of a recipe's `teacher`. Raises `TeacherError`; other hub ids than those
    listed here need a folder.
    """
    if teacher in ARCHITECTURES:
        return Architecture(ARCHITECTURES[teacher])
    folder = EMBEDDED[teacher] / "teacher" if teacher in EMBEDDED else Path(teacher)
    if not folder.is_dir():
        raise TeacherError(
            f"there is no folder {teacher}, and the planner knows no architecture of that name; "
            "give the folder of a "
            f"diffusers pipeline, or one of {', '.join([*EMBEDDED, *ARCHITECTURES])}"
        )
    index = pipeline_index(str(folder))
    family_of(index, teacher)
    left_out = T5_PARTS if teacher in EMBEDDED else ()
    files = {
        name: folder / name / "config.json"
        for name in (
            "transformer",
            "unet",
            "vae",
            "text_encoder",
            "text_encoder_2",
            "text_encoder_3",
        )
        if name not in left_out
    }
    return Architecture(
        {
            name: (index[name][1], json.loads(file.read_text()))
            for name, file in files.items()
            if (index.get(name) or [None])[0] is not None
        }
    )


def _empty(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")
