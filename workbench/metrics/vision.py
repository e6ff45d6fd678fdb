"""The features that papers measure diversity with, for Eq. (9): vision transformers from the hub, or from a folder.

    name             network                        what is read                                  input
    clip             CLIP-ViT-L/14                  CLS token, neither normalised nor projected   shortest side 224 (bicubic), centre crop
    clip-pooled                                     CLS token behind the last layer norm
    clip-projected                                  image embedding, the one that text is compared with
    dinov3           DINOv3-ViT-L/16                pooled output (the normalised CLS token)      224 x 224 (bilinear, no crop)
    dinov2           DINOv2-B/14                    pooled output (the normalised CLS token)      shortest side 256 (bicubic), crop 224

`clip` and `dinov3` are the two of the paper's tables, as the released test_diversity.py reads them. Images are rounded to 8 bits first,
as they would be in a file, and everything is fp32. A value means something only beside others of the same `protocol`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
import transformers.utils.logging as logging
from huggingface_hub import hf_hub_download
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (AutoConfig, BitImageProcessorPil, CLIPImageProcessorPil, CLIPVisionModel, CLIPVisionModelWithProjection, Dinov2Model,
                          DINOv3ViTModel)

from workbench.backends.source import from_hub
from workbench.metrics.lite0 import Lite0

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Feature(Protocol):
    """What Eq. (9) is measured on."""

    protocol: str

    def features(self, images: Tensor) -> Tensor:
        """[B, D] fp32 features of images [B, 3, H, W] in [0, 1]."""


class FeatureError(ValueError):
    """A feature that cannot be had; the message names the cause and the way out."""


@dataclass(frozen=True)
class Kind:
    """A row of the table above: the hub id, the network's class, its input from 8-bit images, and how its output is read."""

    source: str
    network: type[nn.Module]
    prepare: Callable[[Tensor], Tensor]
    read: Callable[[object], Tensor]


@dataclass(frozen=True)
class VisionFeature:
    """A loaded network of a `Kind`."""

    protocol: str  # name, source, and the revision when it is from the hub
    kind: Kind
    network: nn.Module

    @torch.inference_mode()
    def features(self, images: Tensor, batch: int = 16) -> Tensor:
        """[B, D] fp32 features, on the network's device. Raises ValueError for another shape or range than [B, 3, H, W] in [0, 1]."""
        if images.ndim != 4 or images.shape[1] != 3 or not (images.min() >= -1e-3 and images.max() <= 1 + 1e-3):  # a NaN fails both
            raise ValueError(f"features are read from finite images [B, 3, H, W] in [0, 1], not {list(images.shape)}")
        eight_bit = (images.clamp(0, 1) * 255).round().byte().cpu()
        inputs = (self.kind.prepare(part).to(self.network.device) for part in eight_bit.split(batch))
        return torch.cat([self.kind.read(self.network(pixel_values=part)).float() for part in inputs])


def load_feature(name: str = "lite0", device: str = "cpu") -> Feature:
    """A feature by its name, or NAME=SOURCE with another hub id or a folder; loaded once a process. Raises `FeatureError`."""
    kind, _, source = name.partition("=")
    if kind == "lite0" and not source:
        return Lite0.load(device=device)
    if kind not in KINDS:
        raise FeatureError(f"there is no feature {kind!r}; one of lite0, {', '.join(KINDS)}, or NAME=SOURCE for another hub id or a folder")
    return _loaded(kind, source or KINDS[kind].source, str(device))


@cache
def _loaded(name: str, source: str, device: str) -> VisionFeature:
    kind = KINDS[name]
    try:
        config = AutoConfig.from_pretrained(source if Path(source).is_dir() else Path(_config_of(name, source)).parent)
        with _quiet():
            network = kind.network.from_pretrained(source, dtype=torch.float32)
    except FeatureError:
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise FeatureError(f"{source} cannot be loaded as {name}, a {kind.network.__name__}: {error}") from error
    wanted = kind.network.config_class.model_type.removesuffix("_vision_model")
    if config.model_type.removesuffix("_vision_model") != wanted:
        raise FeatureError(f"{source} is a {config.model_type}, and {name} reads a {wanted}: choose another source")
    revision = getattr(network.config, "_commit_hash", None)
    return VisionFeature(f"{name} {source}" + (f"@{revision[:7]}" if revision else ""), kind, network.eval().requires_grad_(False).to(device))


def _config_of(name: str, source: str) -> str:
    instead = f"connect to the network and unset HF_HUB_OFFLINE, copy it here and give {name}=FOLDER, or take the feature lite0"
    gate = f"; access to it is granted by hand, so {name}=SOURCE with another copy of the weights may be quicker" if name == "dinov3" else ""
    try:
        return from_hub(source, lambda: hf_hub_download(source, "config.json"), absent=f"{source} holds no network (no config.json)",
                        offline=f"{source} is not in the hub cache, and the hub cannot be reached: {instead}", error=FeatureError)
    except FeatureError as error:
        raise FeatureError(f"{error}{gate}" if "gated" in str(error) else str(error)) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' report of the text half of CLIP, which is not wanted."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _processed(processor: Callable, images: Tensor) -> Tensor:
    """What one of transformers' processors, which work on PIL images, makes of 8-bit images."""
    return processor([Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images], return_tensors="pt")["pixel_values"]


def _stretched(images: Tensor) -> Tensor:
    """DINOv3's input; its own processor wants torchvision. (At most 1.3e-6 apart.)"""
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
    return (F.interpolate(images / 255, (224, 224), mode="bilinear", antialias=True) - mean) / deviation


_CLIP, _CLIP_INPUT = "openai/clip-vit-large-patch14", partial(_processed, CLIPImageProcessorPil())
_DINOV2_INPUT = partial(_processed, BitImageProcessorPil(
    size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}, resample=Image.Resampling.BICUBIC, image_mean=IMAGENET[0],
    image_std=IMAGENET[1]))
KINDS = {
    "clip": Kind(_CLIP, CLIPVisionModel, _CLIP_INPUT, lambda output: output.last_hidden_state[:, 0]),
    "clip-pooled": Kind(_CLIP, CLIPVisionModel, _CLIP_INPUT, lambda output: output.pooler_output),
    "clip-projected": Kind(_CLIP, CLIPVisionModelWithProjection, _CLIP_INPUT, lambda output: output.image_embeds),
    "dinov3": Kind("facebook/dinov3-vitl16-pretrain-lvd1689m", DINOv3ViTModel, _stretched, lambda output: output.pooler_output),
    "dinov2": Kind("facebook/dinov2-base", Dinov2Model, _DINOV2_INPUT, lambda output: output.pooler_output),
}
