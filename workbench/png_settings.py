"""PNG files that carry what made them: a JSON object in a text chunk called "workbench"."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

KEY = "workbench"


def png_bytes(image: Image.Image, settings: dict) -> bytes:
    """`image` as a PNG file with `settings` in it."""
    info, file = PngInfo(), BytesIO()
    info.add_text(KEY, json.dumps(settings))
    image.save(file, "PNG", pnginfo=info)
    return file.getvalue()


def read_settings(file: str | Path | BytesIO) -> dict:
    """The settings of such a file. Raises ValueError for an image without them."""
    with Image.open(file) as image:
        text = getattr(image, "text", {}).get(KEY)
    if text is None:
        raise ValueError("this image has no settings of the workbench in it; it was made or saved by another program")
    return json.loads(text)
