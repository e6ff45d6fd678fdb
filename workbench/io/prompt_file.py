"""Prompt lists, read from a file and checked line by line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path


class PromptFileError(ValueError):
    """A prompt file that cannot be used; the message names the file, the line and the way out."""


def read_prompts(path: str | Path, check: Callable[[str], None] | None = None) -> list[str]:
    """The prompts of a UTF-8 file, one per line; blank lines are skipped, and the `123-----` prefix
    of the released lists is removed.

    `check(prompt)` may raise ValueError (over the encoder's limit, outside a grammar).

    Raises:
        PromptFileError: With the line number, for that and for bad UTF-8; for a file without
            prompts, or one that cannot be read.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise PromptFileError(f"cannot read the prompt file {path}: {error.strerror}") from error
    prompts = []
    for number, line in enumerate(lines, 1):
        try:
            prompt = re.sub(
                r"^\d+-----", "", line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            )
            if prompt and check:
                check(prompt)
        except UnicodeDecodeError as error:
            raise PromptFileError(
                f"{path}, line {number}: not UTF-8 ({error.reason}); save the file as UTF-8"
            ) from error
        except ValueError as error:
            raise PromptFileError(f"{path}, line {number}: {error}") from error
        if prompt:
            prompts.append(prompt)
    if not prompts:
        raise PromptFileError(f"{path} has no prompts; write one prompt per line")
    return prompts
