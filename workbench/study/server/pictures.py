"""The rendered pictures of a study as they are sent: checked against the frozen files, then
disguised, so that no two responses are alike.

    stimuli.json      {"sheets": {PROMPT: {METHOD: file, "spoiled METHOD": file}},
                       "sha256": {file: ...}, "length": N}
    stimuli/          the PNG files; N: the bytes of the longest as it is sent

The file itself is never sent: for every response a new random choice of its values is changed by
one (`perturbed`), and all responses have the same length. So neither the length, nor a checksum of
the file, nor one of the pixels links a response to a method, or a picture to another trial's. A
person who looks at the pictures can of course recognise them, and a program can measure them
(`analysis.guessing`).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from workbench.study.design import SPOILED, digest_of
from workbench.study.errors import StudyError
from workbench.study.store.records import Stimulus

SHARE = 0.01  # of a picture's values is changed, in about 3 % of its pixels
CACHED = 64  # decoded sheets in memory, about 2.4 MB each
BLOCK = 65_536  # bytes; every length is a multiple
SIGNATURE = b"\x89PNG\r\n\x1a\n"
# bytes of a file without its packed pixels and its noise: four chunks' frames, the header's data
OVERHEAD = len(SIGNATURE) + 4 * 12 + 13
# shown to participants, so it names no picture
UNAVAILABLE = (
    "a picture of this study is missing or was changed; `study status` tells its owner which"
)


class Pictures:
    """The pictures in a study's folder. Raises `StudyError` if stimuli.json, or a file that it
    names, is missing.
    """

    def __init__(self, folder: Path):
        self.folder = folder / "stimuli"
        try:
            saved = json.loads((folder / "stimuli.json").read_text(encoding="utf-8-sig"))
            self.sheets: dict[str, dict[str, str]] = saved["sheets"]
            # absent in studies of earlier versions
            self.sha256: dict[str, str] = saved.get("sha256", {})
            files = [file for sheets in self.sheets.values() for file in sheets.values()]
            for file in files:
                (self.folder / file).stat()
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise StudyError(
                f"{folder} has no pictures to show ({error}); restore the folder from a copy, or "
                "create the study again"
            ) from error
        self._pixels = lru_cache(CACHED)(self._read)
        longest = saved.get("length") or max(
            (outgoing_length(self._read(file)) for file in files), default=0
        )
        # changed values add or save a few bytes
        self.length = blocks(longest + longest // 50)

    def check(self, methods: tuple[str, ...], prompts: tuple[str, ...]) -> None:
        """Raises `StudyError` if a picture of the design is missing or has changed since the study
        was created.
        """
        for prompt in prompts:
            for method in methods:
                for name in (method, f"{SPOILED} {method}"):
                    if name not in self.sheets.get(prompt, {}):
                        raise StudyError(
                            f"there is no picture of {name} for “{prompt}”; create the study again"
                        )
                    self._content(self.sheets[prompt][name])

    def disguised(self, shown: Stimulus) -> bytes:
        """The picture as PNG, each time other bytes and other pixels, by at most 1 in each value;
        `length` bytes long.

        Raises `StudyError`, which names no file, if the picture is not available.
        """
        name = f"{SPOILED} {shown.of}" if shown.method == SPOILED else shown.method
        try:
            pixels = self._pixels(self.sheets[shown.prompt][name])
        except StudyError as error:
            raise StudyError(UNAVAILABLE) from error
        # seeded by the system's entropy, so that nobody can reproduce it
        return png(perturbed(pixels, np.random.default_rng()), self.length)

    def _read(self, file: str) -> np.ndarray:
        """[H, W, 3] uint8."""
        try:
            with Image.open(io.BytesIO(self._content(file))) as image:
                return np.array(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            if isinstance(error, StudyError):
                raise
            raise StudyError(
                f"{self.folder / file} cannot be read as a picture ({error}); restore it from a "
                "copy"
            ) from error

    def _content(self, file: str) -> bytes:
        try:
            content = (self.folder / file).read_bytes()
        except OSError as error:
            raise StudyError(
                f"{self.folder / file} cannot be read ({error.strerror}); restore it from a copy "
                "of the folder"
            ) from error
        if file in self.sha256 and hashlib.sha256(content).hexdigest() != self.sha256[file]:
            raise StudyError(
                f"{self.folder / file} is not the picture that the study was created with; "
                "restore it from a copy of the folder"
            )
        return content


def digest_of_sheets(sheets: Mapping[str, Mapping[str, str]], sha256: Mapping[str, str]) -> str:
    """12 hexadecimal digits for the pictures of every prompt and method, whatever their names."""
    return digest_of(
        {
            prompt: {method: sha256.get(file, "") for method, file in files.items()}
            for prompt, files in sheets.items()
        }
    )


def perturbed(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[H, W, 3] uint8: the pixels with about `SHARE` of their values one more or one less."""
    values = pixels.reshape(-1).copy()
    places = rng.integers(values.size, size=max(1, int(SHARE * values.size)))
    old = values[places]
    more = (rng.integers(2, size=places.size) == 1) & (old < 255) | (old == 0)
    values[places] = np.where(more, old + 1, old - 1)  # the branch that would wrap is not taken
    return values.reshape(pixels.shape)


def png(pixels: np.ndarray, length: int) -> bytes:
    """The pixels [H, W, 3] uint8 as PNG, with a chunk of random bytes that brings it to `length`
    bytes, or to the next multiple of `BLOCK`.
    """
    height, width, _ = pixels.shape
    data = packed(pixels)
    noise = os.urandom(max(length, blocks(OVERHEAD + len(data))) - OVERHEAD - len(data))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # RGB of 8 bits
    # paDd: ancillary, private, safe to copy, so readers skip it
    return SIGNATURE + b"".join(
        _chunk(name, data)
        for name, data in ((b"IHDR", header), (b"IDAT", data), (b"paDd", noise), (b"IEND", b""))
    )


def packed(pixels: np.ndarray) -> bytes:
    """The content of PNG's chunk IDAT: every row as its difference from the one above, run-length
    packed.

    About as small as Pillow's, which tries five filters per row and takes two to three times as
    long.
    """
    rows = np.empty((len(pixels), 1 + pixels[0].size), np.uint8)
    rows[:, 0], flat = 2, pixels.reshape(len(pixels), -1)  # 2: the filter "up"
    rows[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    return packer.compress(rows.tobytes()) + packer.flush()


def outgoing_length(pixels: np.ndarray) -> int:
    """About how many bytes a picture has when it is sent, before padding."""
    return OVERHEAD + len(packed(perturbed(pixels, np.random.default_rng(0))))


def blocks(length: int) -> int:
    """The next multiple of `BLOCK`."""
    return -(-length // BLOCK) * BLOCK


def _chunk(name: bytes, data: bytes) -> bytes:
    return (
        struct.pack(">I", len(data))
        + name
        + data
        + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))
    )
