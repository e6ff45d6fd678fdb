"""The images of an evaluation, each a PNG with its settings and the digest of its pixels in it:
which exist, and which are missing, broken, or not the evaluation's own.

    images/MODEL-DIGEST/model.json       how the model was sampled; another state of a model has
                                         another folder
    images/MODEL-DIGEST/a-red-circle-1f3a5c7e/seed-0003.png

The initial noise of an image follows one of two policies. All noise is drawn on the CPU; the
released scripts draw on the GPU: other numbers, the same distribution.

    per-prompt   a separate noise for each (prompt, seed)
    official     as the released scripts do: the noises of seeds 0, 1, ... are the same for all
                 prompts; quality and preference are read from other images, one per prompt,
                 sampled four at a time from a fresh generator of seed 42: four noises in all
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.Image import DecompressionBombError
from torch import Tensor

from workbench.io.digests import LENGTH, reads_in_full
from workbench.io.files import slug, write_atomically
from workbench.io.png import picture_of, png_bytes, read_settings
from workbench.io.strict_json import to_json
from workbench.models.sampling import ImageDraw


@dataclass(frozen=True)
class ModelImages:
    """One model's images, and how they were sampled."""

    folder: str  # below images/
    settings: dict
    evaluations: int  # NFEs per image
    milliseconds: float | None  # per image, sampling and decoding; None if not generated here
    place: str = ""  # what the model was opened by; not known of earlier versions' images


@dataclass(frozen=True)
class ImageFolder:
    """The images of one state of one model."""

    path: Path

    @classmethod
    def of(cls, parent: Path, model: str, settings: dict) -> ImageFolder:
        """The folder of a model sampled with `settings` (JSON), created if necessary."""
        text = to_json(settings, sort_keys=True)
        folder = (
            parent / f"{slug(Path(model).name)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        )
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "model.json").is_file():
            write_atomically(
                folder / "model.json",
                lambda part: part.write_text(to_json({"model": model, **settings}, indent=1)),
            )
        return cls(folder)

    def checksums(self, draws: Iterable[ImageDraw]) -> dict[ImageDraw, int]:
        """The checksums of the whole files, without missing and broken ones (cut short, a changed
        bit, no PNG) and without those that the evaluation did not write (of another prompt or seed,
        resized, edited). A file that has kept its size and time since the last call is not read
        again, unless all files are (`workbench.io.digests.in_full`).
        """
        known, checksums, states = {} if reads_in_full() else self._known(), {}, {}
        for draw in draws:
            try:
                state = (self.path / draw.path).stat()
            except OSError:
                continue
            size, changed, checksum = known.get(draw.path, (0, 0, None))
            if (size, changed) != (state.st_size, state.st_mtime_ns):
                checksum = self._checksum(draw)
            if checksum is not None:
                checksums[draw] = checksum
                states[draw.path] = state.st_size, state.st_mtime_ns, checksum
        if states.items() - known.items():
            content = to_json(known | states)
            write_atomically(self.path / "checksums.json", lambda part: part.write_text(content))
        return checksums

    def forget(self) -> None:
        """Makes `checksums` read every file again."""
        (self.path / "checksums.json").unlink(missing_ok=True)

    def _known(self) -> dict[str, tuple[int, int, int]]:
        try:
            return {
                path: tuple(state)
                for path, state in json.loads((self.path / "checksums.json").read_text()).items()
            }
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def _checksum(self, draw: ImageDraw) -> int | None:
        try:
            content = (self.path / draw.path).read_bytes()
            with Image.open(BytesIO(content)) as image:
                image.verify()  # reads the checksums of all parts
            about = read_settings(BytesIO(content))
            own = (about["prompt"], about["image"]) == (draw.prompt, draw.name)
            # those of earlier versions have no digest of their pixels
            if not own or about.get("pixels", "") not in ("", _pixels_digest(content)):
                return None
        except (OSError, SyntaxError, ValueError, KeyError, TypeError, DecompressionBombError):
            return None
        return zlib.crc32(content)

    def write(self, draw: ImageDraw, image: Tensor, settings: dict) -> None:
        """Saves an image [3, H, W] in [0, 1] with its prompt, its name and `settings`."""
        path = self.path / draw.path
        path.parent.mkdir(exist_ok=True)
        picture = picture_of(image)
        about = {**draw.settings, **settings, "pixels": _digest(np.asarray(picture))}
        content = png_bytes(picture, about)
        write_atomically(path, lambda part: part.write_bytes(content))

    def read(self, draws: Iterable[ImageDraw]) -> Tensor:
        """[B, 3, H, W] in [0, 1]. Raises OSError for a missing file, and ValueError for one of
        another size than those before it.
        """
        arrays: list[np.ndarray] = []
        for draw in draws:
            with Image.open(self.path / draw.path) as image:
                arrays.append(np.array(image.convert("RGB")))
            (height, width, _), first = arrays[-1].shape, arrays[0].shape
            if arrays[-1].shape != first:
                raise ValueError(
                    f"{self.path / draw.path} has {width} x {height} pixels, where the others have "
                    f"{first[1]} x {first[0]}: delete it, and evaluate again"
                )
        return (
            torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 255
            if arrays
            else torch.empty(0, 3, 0, 0)
        )


def _pixels_digest(content: bytes) -> str:
    with Image.open(BytesIO(content)) as image:
        return _digest(np.array(image)) if image.mode == "RGB" else "none of the workbench's"


def _digest(pixels: np.ndarray) -> str:
    """Of an image [H, W, 3] uint8, its size included."""
    shape = "x".join(map(str, pixels.shape)).encode()
    return hashlib.sha256(shape + pixels.tobytes()).hexdigest()[:LENGTH]
