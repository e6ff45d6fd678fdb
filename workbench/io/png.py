"""PNG files that carry what made them: a JSON object in a text chunk called "workbench"."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from workbench.io.provenance import Remade
from workbench.io.strict_json import to_json

KEY = "workbench"
NOT_FINITE = "the model's output is not finite (NaN)"


def png_bytes(image: Image.Image, settings: dict) -> bytes:
    """`image` as a PNG file with `settings` in it."""
    info, file = PngInfo(), BytesIO()
    info.add_text(KEY, to_json(settings))
    image.save(file, "PNG", pnginfo=info)
    return file.getvalue()


def read_settings(file: str | Path | BytesIO) -> dict:
    """The settings in a PNG of the workbench. Raises ValueError for an image without them."""
    with Image.open(file) as image:
        text = getattr(image, "text", {}).get(KEY)
    if text is None:
        raise ValueError(
            "this image has no settings of the workbench in it; it was generated or saved by "
            "another program"
        )
    return json.loads(text)


def picture_of(image: Tensor) -> Image.Image:
    """An image [3, H, W] in [0, 1] as a picture of eight bits. Raises ValueError for NaN, which
    would turn black.
    """
    if not torch.isfinite(image).all():
        raise ValueError(f"{NOT_FINITE}, so there is no picture of it")
    return Image.fromarray((image.permute(1, 2, 0) * 255).round().byte().cpu().numpy())


def compared(before: np.ndarray, after: np.ndarray, changes: str = "") -> Remade:
    """The verdict on the pixels [..., 3] uint8 of a picture and of the same made again on a machine
    with these `changes`. One of 255 is rounding: another batch or machine adds in another order.
    """
    note = f" ({changes})" if changes else ""
    if before.shape != after.shape:
        return Remade(False, f"not equal: {_size(after)} pixels, was {_size(before)}{note}")
    apart = np.abs(before.astype(int) - after.astype(int))
    if not apart.any():
        return Remade(True, f"equal, bit for bit{note}")
    how = (
        f"the largest difference is {apart.max()} of 255, the mean {apart.mean():.4f}, and "
        f"{(apart > 0).mean():.2%} of the values differ{note}"
    )
    if apart.max() <= 1:
        return Remade(True, f"equal to rounding: {how}")
    return Remade(False, f"not equal: {how}")


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]} x {pixels.shape[0]}"


def tile(rows: list[Tensor]) -> Image.Image:
    """One picture of rows of images, each [S, 3, H, W] in [0, 1]. Raises as `picture_of`."""
    return picture_of(torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1))
