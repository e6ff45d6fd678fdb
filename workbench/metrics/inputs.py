"""The input of metrics: images [B, 3, H, W] in [0, 1], rounded to the 8 bits of a file."""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def eight_bit(images: Tensor) -> Tensor:
    """[B, 3, H, W] uint8, on the CPU. Raises ValueError for another shape or range, and for NaN."""
    if (
        images.ndim != 4
        or images.shape[1] != 3
        or not (images.min() >= -1e-3 and images.max() <= 1 + 1e-3)
    ):  # a NaN fails both
        raise ValueError(
            f"metrics read finite images [B, 3, H, W] in [0, 1], not {list(images.shape)}"
        )
    return (images.detach().clamp(0, 1) * 255).round().byte().cpu()


def pictures(images: Tensor) -> list[Image.Image]:
    """8-bit images [B, 3, H, W] as PIL images."""
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]


def processed(processor: Callable, images: Tensor) -> Tensor:
    """The input [B, 3, h, w] that one of transformers' processors makes of 8-bit images."""
    return processor(pictures(images), return_tensors="pt")["pixel_values"]


def normalised(images: Tensor, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Tensor:
    """fp32 (images / 255 - mean) / deviation, channel by channel."""
    middle, scale = (torch.tensor(values).view(3, 1, 1) for values in (mean, deviation))
    return (images / 255 - middle) / scale
