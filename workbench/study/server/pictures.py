"""The rendered pictures of a study as they go out: checked against what was frozen, then
disguised, so that no two answers are alike.

    stimuli.json      {"sheets": {PROMPT: {METHOD: file, "spoiled METHOD": file}}, "sha256": {file: ...}, "length": N}
    stimuli/          the files, PNG; N: the longest of them, in bytes, as it goes out

What goes out is not the file: some of its values are changed by one (`perturbed`), drawn anew for
every answer, and the whole is brought to one length. So neither length, nor checksum, nor the
checksum of the pixels links an answer to a method, or one trial's picture to another's. Who looks
at the pictures can of course recognise them.
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

SHARE = 0.01  # of a picture's values is changed, and so about 3 % of its pixels
KEPT = 64  # decoded sheets in memory, of about 2.4 MB
BLOCK = 65_536  # bytes; lengths are a multiple of it
SIGNATURE = b"\x89PNG\r\n\x1a\n"
BESIDE = (
    len(SIGNATURE) + 4 * 12 + 13
)  # bytes of a file beside its packed pixels and its noise: four chunks' frames, and the header's data
# for participants: it names none
WITHOUT = (
    "a picture of this study is missing or was changed; its owner sees which by `study status`"
)


class Pictures:
    """The pictures in a study's folder. Raises `StudyError` where stimuli.json or a file that it
    names is missing.
    """

    def __init__(self, folder: Path):
        self.folder = folder / "stimuli"
        try:
            saved = json.loads((folder / "stimuli.json").read_text(encoding="utf-8"))
            self.sheets: dict[str, dict[str, str]] = saved["sheets"]
            self.sha256: dict[str, str] = saved.get(
                "sha256", {}
            )  # studies of earlier versions have none
            files = [file for sheets in self.sheets.values() for file in sheets.values()]
            for file in files:
                (self.folder / file).stat()
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise StudyError(
                f"{folder} has no pictures to show ({error}); restore the folder from a copy, or "
                "make the study again"
            ) from error
        self._pixels = lru_cache(KEPT)(self._read)
        longest = saved.get("length") or max(
            (outgoing_length(self._read(file)) for file in files), default=0
        )
        self.length = blocks(
            longest + longest // 50
        )  # the changed values make some bytes more or less

    def check(self, methods: tuple[str, ...], prompts: tuple[str, ...]) -> None:
        """Raises `StudyError` where a picture of a design is missing, or is no more what it was
        when the study was made.
        """
        for prompt in prompts:
            for method in methods:
                for name in (method, f"{SPOILED} {method}"):
                    if name not in self.sheets.get(prompt, {}):
                        raise StudyError(
                            f"there is no picture of {name} for “{prompt}”; make the study again"
                        )
                    self._content(self.sheets[prompt][name])

    def disguised(self, shown: Stimulus) -> bytes:
        """The picture as PNG, each time other bytes and other pixels, by at most 1 in each value;
        `length` bytes long.

        Raises `StudyError`, which tells no file, where the picture cannot be had.
        """
        name = f"{SPOILED} {shown.of}" if shown.method == SPOILED else shown.method
        try:
            pixels = self._pixels(self.sheets[shown.prompt][name])
        except StudyError as error:
            raise StudyError(WITHOUT) from error
        return png(
            perturbed(pixels, np.random.default_rng()), self.length
        )  # a generator of the system's own entropy, so nobody can draw it again

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
                f"{self.folder / file} is not the picture that the study was made with; restore "
                "it from a copy of the folder"
            )
        return content


def digest_of_sheets(sheets: Mapping[str, Mapping[str, str]], sha256: Mapping[str, str]) -> str:
    """12 hexadecimal digits of what is shown for every prompt and method, whatever the files are
    called.
    """
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
    values[places] = np.where(
        more, old + 1, old - 1
    )  # the branch that would wrap round is not taken
    return values.reshape(pixels.shape)


def png(pixels: np.ndarray, length: int) -> bytes:
    """The pixels [H, W, 3] uint8 as PNG, with a chunk of random bytes that brings it to `length`
    bytes, or to the next multiple of `BLOCK`.
    """
    height, width, _ = pixels.shape
    data = packed(pixels)
    noise = os.urandom(max(length, blocks(BESIDE + len(data))) - BESIDE - len(data))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # RGB of 8 bits
    # paDd: ancillary, private, safe to copy, so that readers pass over it
    return SIGNATURE + b"".join(
        _chunk(name, data)
        for name, data in ((b"IHDR", header), (b"IDAT", data), (b"paDd", noise), (b"IEND", b""))
    )


def packed(pixels: np.ndarray) -> bytes:
    """What PNG's chunk IDAT holds: every row as its difference from the one above, runs packed.

    In about as many bytes as Pillow's, which tries five filters on every row and takes two to
    three times as long.
    """
    rows = np.empty((len(pixels), 1 + pixels[0].size), np.uint8)
    rows[:, 0], flat = 2, pixels.reshape(len(pixels), -1)  # 2: the filter "up"
    rows[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    return packer.compress(rows) + packer.flush()


def outgoing_length(pixels: np.ndarray) -> int:
    """About how many bytes a picture has as it goes out, before it is brought to the length of
    all.
    """
    return BESIDE + len(packed(perturbed(pixels, np.random.default_rng(0))))


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
