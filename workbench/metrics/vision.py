"""The features that papers measure diversity with, for Eq. (9): vision transformers from the hub,
or from a folder.

    name             network             output                        input
    clip             CLIP-ViT-L/14       CLS token, neither            shortest side 224 (bicubic),
                                         normalised nor projected      centre crop
    clip-pooled                          CLS token after the last
                                         layer norm
    clip-projected                       image embedding, which text
                                         is compared with
    clip-336         CLIP-ViT-L/14-336   image embedding               middle square, then 336
                                                                       (bicubic)
    dinov3           DINOv3-ViT-L/16     pooled output (the            224 x 224 (bilinear, no crop)
                                         normalised CLS token)
    dinov2           DINOv2-B/14         pooled output (the            shortest side 256 (bicubic),
                                         normalised CLS token)         crop 224

`clip` and `dinov3` are the two of the paper's tables, as the released test_diversity.py reads
them; `clip-336` is for CMMD, whose official code crops before it resizes. Images are rounded to 8
bits first, as in a file, and everything is fp32. Compare only values of the same `protocol`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from transformers import (
    BitImageProcessorPil,
    CLIPImageProcessorPil,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    Dinov2Model,
    DINOv3ViTModel,
)

from workbench.metrics.inputs import IMAGENET, eight_bit, normalised, processed
from workbench.metrics.lite0 import SIZE, Lite0
from workbench.metrics.weights import MetricError, pretrained, protocol_of, weights_file


class Feature(Protocol):
    """A feature that Eq. (9) can be measured on."""

    protocol: str

    def features(self, images: Tensor) -> Tensor:
        """[B, D] fp32 features of images [B, 3, H, W] in [0, 1]."""


@dataclass(frozen=True)
class FeatureSource:
    """A row of the table above: the hub id, the network's class, its input from 8-bit images, and
    the value of its output.
    """

    source: str
    network: type[nn.Module]
    prepare: Callable[[Tensor], Tensor]
    read: Callable[[object], Tensor]


@dataclass(frozen=True)
class VisionFeature:
    """A loaded network of a `FeatureSource`."""

    protocol: str  # name, source, and the revision when it is from the hub
    kind: FeatureSource
    network: nn.Module

    @torch.inference_mode()
    def features(self, images: Tensor, batch: int = 16) -> Tensor:
        """[B, D] fp32 features, on the network's device. Raises ValueError for another shape or
        range than [B, 3, H, W] in [0, 1].
        """
        inputs = (
            self.kind.prepare(part).to(self.network.device)
            for part in eight_bit(images).split(batch)
        )
        return torch.cat(
            [self.kind.read(self.network(pixel_values=part)).float() for part in inputs]
        )


def load_feature(name: str = "lite0", device: str = "cpu") -> Feature:
    """A feature by its name, or NAME=SOURCE with another hub id or a folder; lite0=96 reads 96
    pixels. Raises `MetricError`.
    """
    kind, _, source = name.partition("=")
    if kind == "lite0" and (not source or source.isdecimal()):
        return Lite0.load(int(source or SIZE), device)
    if kind not in KINDS:
        raise MetricError(
            f"there is no feature {kind!r}; one of lite0, {', '.join(KINDS)}, or NAME=SOURCE for "
            "another hub id or a folder"
        )
    return _loaded(kind, source or KINDS[kind].source, str(device))


def _loaded(name: str, source: str, device: str) -> VisionFeature:
    kind, file = KINDS[name], _config_of(name, source)
    network = pretrained(name, source, file, kind.network, dtype=torch.float32)
    return VisionFeature(protocol_of(name, source, file), kind, network.to(device))


def _config_of(name: str, source: str) -> Path:
    gate = (
        f"; access to it is granted by hand, so {name}=SOURCE with another copy of the weights "
        "may be quicker"
        if name == "dinov3"
        else ""
    )
    try:
        return weights_file(name, source, "config.json", "1.2 GB")
    except MetricError as error:
        raise MetricError(f"{error}{gate}" if "gated" in str(error) else str(error)) from error


def _stretched(images: Tensor) -> Tensor:
    """DINOv3's input; its own processor needs torchvision (at most 1.3e-6 apart)."""
    return F.interpolate(normalised(images, *IMAGENET), (224, 224), mode="bilinear", antialias=True)


def _middle(processor: Callable, images: Tensor) -> Tensor:
    """The input of the middle square of each image."""
    height, width = images.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return processed(processor, images[..., top : top + side, left : left + side])


_CLIP, _CLIP_INPUT = "openai/clip-vit-large-patch14", partial(processed, CLIPImageProcessorPil())
_CLIP_336_INPUT = partial(
    _middle, CLIPImageProcessorPil(size={"height": 336, "width": 336}, do_center_crop=False)
)
_DINOV2_INPUT = partial(
    processed,
    BitImageProcessorPil(
        size={"shortest_edge": 256},
        crop_size={"height": 224, "width": 224},
        resample=Image.Resampling.BICUBIC,
        image_mean=IMAGENET[0],
        image_std=IMAGENET[1],
    ),
)
KINDS = {
    "clip": FeatureSource(
        _CLIP, CLIPVisionModel, _CLIP_INPUT, lambda output: output.last_hidden_state[:, 0]
    ),
    "clip-pooled": FeatureSource(
        _CLIP, CLIPVisionModel, _CLIP_INPUT, lambda output: output.pooler_output
    ),
    "clip-projected": FeatureSource(
        _CLIP, CLIPVisionModelWithProjection, _CLIP_INPUT, lambda output: output.image_embeds
    ),
    "clip-336": FeatureSource(
        f"{_CLIP}-336",
        CLIPVisionModelWithProjection,
        _CLIP_336_INPUT,
        lambda output: output.image_embeds,
    ),
    "dinov3": FeatureSource(
        "facebook/dinov3-vitl16-pretrain-lvd1689m",
        DINOv3ViTModel,
        _stretched,
        lambda output: output.pooler_output,
    ),
    "dinov2": FeatureSource(
        "facebook/dinov2-base", Dinov2Model, _DINOV2_INPUT, lambda output: output.pooler_output
    ),
}
