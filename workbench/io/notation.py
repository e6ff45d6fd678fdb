"""Models, seeds and errors as text for people, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable

from workbench.io.prompt_text import clean_prompt

MAX_SEEDS = 32


def reason_of(error: Exception) -> str:
    """An error's message, or its type if it has none."""
    return str(error) or type(error).__name__


TEACHER = "teacher"


def parse_seeds(text: str) -> tuple[int, ...]:
    """The seeds of a text such as "0-8" or "0, 3, 7-9", in order, each once; commas too many, and
    semicolons and dashes as word processors write them, are read as meant. Raises ValueError, with
    the part that cannot be read.
    """
    text = re.sub(r"\s*[-\u2010-\u2015\u2212]\s*", "-", clean_prompt(text))
    parts = [part for part in re.split(r"[,;\s\u3001\uff0c\uff1b]+", text) if part]
    if not parts:
        raise ValueError('There are no seeds. Write for example "0-8" or "0, 3, 7".')
    seeds: list[int] = []
    for part in parts:
        match = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", part)
        if match is None:
            raise ValueError(
                f'Cannot read "{part}" as seeds. Write for example "0-8" or "0, 3, 7".'
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f'The seeds "{part}" run backwards. Write "{last}-{first}".')
        if last - first >= MAX_SEEDS:
            raise ValueError(
                f'"{part}" is {last - first + 1} seeds; a grid takes at most {MAX_SEEDS}.'
            )
        seeds += range(first, last + 1)
    return _distinct(seeds)


def format_seeds(seeds: tuple[int, ...]) -> str:
    """The shortest text that `parse_seeds` reads as `seeds`."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][1] + 1:
            runs[-1][1] = seed
        else:
            runs.append([seed, seed])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)


def model_title(name: str) -> str:
    """A model's name as shown to people."""
    if name in ("dmd", "dmd-lpips", "dmd-gan", "dp-dmd"):
        return name.upper()
    return "Teacher" if name == TEACHER else name


def _distinct(values: Iterable) -> tuple:
    return tuple(dict.fromkeys(values))
