"""What a network read from each image of a model, kept on disk: features [N, D], or scores [N, 1];
nan where an image could not be read.

A reading belongs to the image's bytes (their checksum) and to a protocol, so an image that was
made again is read again, and numbers of two protocols are never mixed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from workbench.io.files import write_atomically
from workbench.models.sampling import ImageDraw


class FeatureCache:
    """The readings of one model's images by one reader, in one file."""

    def __init__(self, path: Path):
        """Opens what is there; a broken file counts as none."""
        self.path, self.protocol = path, ""
        self.rows: dict[tuple[str, int], Tensor] = {}  # (image's path, checksum) -> [D]
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata()
                keys = [tuple(key) for key in json.loads(about["images"])]
                self.rows = dict(zip(keys, file.get_tensor("values"), strict=True))
                self.protocol = about["protocol"]
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            self.rows = {}

    def missing(self, wanted: dict[ImageDraw, int]) -> list[ImageDraw]:
        """Which of the images, given with their checksums, are not read yet."""
        return [draw for draw, checksum in wanted.items() if (draw.path, checksum) not in self.rows]

    def begin(self, protocol: str) -> None:
        """Says by what the next images are read; readings by another protocol are forgotten."""
        if protocol != self.protocol:
            self.protocol, self.rows = protocol, {}

    def add(self, images: Iterable[tuple[ImageDraw, int]], values: Tensor) -> None:
        self.rows |= {
            (draw.path, checksum): value
            for (draw, checksum), value in zip(images, values.float().cpu(), strict=True)
        }

    def save(self) -> None:
        """Writes the file."""
        if not self.rows:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        about = {"protocol": self.protocol, "images": json.dumps(list(self.rows))}
        write_atomically(
            self.path,
            lambda part: save_file(
                {"values": torch.stack(list(self.rows.values()))}, part, metadata=about
            ),
        )

    def of(self, draws: list[list[ImageDraw]], checksums: dict[ImageDraw, int]) -> Tensor:
        """[P, S, D] of the draws, nan where there is no image or no reading."""
        width = len(next(iter(self.rows.values()))) if self.rows else 1
        blank = torch.full((width,), torch.nan)
        return torch.stack(
            [
                torch.stack(
                    [self.rows.get((draw.path, checksums.get(draw, -1)), blank) for draw in row]
                )
                for row in draws
            ]
        )
