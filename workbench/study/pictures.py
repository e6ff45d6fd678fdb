"""The rendered pictures of a study as they go out: whole files of one length, which differ in bytes each time.

    stimuli.json      {"sheets": {PROMPT: {METHOD: file, "spoiled METHOD": file}}}
    stimuli/          the files, PNG

A PNG may hold chunks of its own; one of random bytes brings every picture to the same length, so that neither length nor checksum links an answer
to a method, or one trial's picture to another's.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path

from workbench.study.design import SPOILED
from workbench.study.errors import StudyError
from workbench.study.records import Stimulus

BLOCK = 65_536  # bytes; lengths are a multiple of it
FRAME = 12  # bytes of a chunk beside its data: length, name, checksum


class Pictures:
    """The pictures in a study's folder. Raises `StudyError` where stimuli.json or a file that it names is missing."""

    def __init__(self, folder: Path):
        try:
            self.sheets: dict[str, dict[str, str]] = json.loads((folder / "stimuli.json").read_text(encoding="utf-8"))["sheets"]
            self.folder = folder / "stimuli"
            sizes = [(self.folder / file).stat().st_size for sheets in self.sheets.values() for file in sheets.values()]
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise StudyError(f"{folder} has no pictures to show ({error}); make the study again") from error
        self.length = (max(sizes, default=0) + FRAME) // BLOCK * BLOCK + BLOCK

    def check(self, methods: tuple[str, ...], prompts: tuple[str, ...]) -> None:
        """Raises `StudyError` where a picture of a design is missing."""
        for prompt in prompts:
            for method in methods:
                for name in (method, f"{SPOILED} {method}"):
                    if name not in self.sheets.get(prompt, {}):
                        raise StudyError(f"there is no picture of {name} for “{prompt}”; make the study again")

    def disguised(self, shown: Stimulus) -> bytes:
        """The picture, with random bytes in it, `length` bytes long."""
        name = f"{SPOILED} {shown.of}" if shown.method == SPOILED else shown.method
        content = (self.folder / self.sheets[shown.prompt][name]).read_bytes()
        head, end = content[:-FRAME], content[-FRAME:]  # the last chunk, IEND, has no data
        noise = os.urandom(self.length - len(content) - FRAME)
        chunk = b"paDd" + noise  # ancillary, private, safe to copy: readers pass over it
        return head + struct.pack(">I", len(noise)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + end
