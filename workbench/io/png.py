"""PNG files that carry what made them: a JSON object in a text chunk called "workbench"."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

KEY = "workbench"
NOT_FINITE = "the model's output is not finite (NaN)"


def png_bytes(image: Image.Image, settings: dict) -> bytes:
    """`image` as a PNG file with `settings` in it."""
    info, file = PngInfo(), BytesIO()
    info.add_text(KEY, json.dumps(settings))
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


def tile(rows: list[Tensor]) -> Image.Image:
    """One picture of rows of images, each [S, 3, H, W] in [0, 1]. Raises as `picture_of`."""
    return picture_of(torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1))
