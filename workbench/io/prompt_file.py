"""Prompt lists: from a file or from the embedded world, and drawn by named streams."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path


class PromptFileError(ValueError):
    """A prompt file that cannot be used; the message names the file, the line and the way out."""


def read_prompts(path: str | Path, check: Callable[[str], None] | None = None) -> list[str]:
    """The prompts of a UTF-8 file, one a line; blank lines are skipped, and the `123-----` prefix
    of the released lists is removed.

    `check(prompt)` may raise ValueError (over the encoder's limit, outside a grammar). Raises
    `PromptFileError` with the line number for that, for bad UTF-8 and for a file without prompts.
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
        raise PromptFileError(f"{path} has no prompts; write one prompt a line")
    return prompts
