"""Progress bars for generators of steps, in terminals and notebooks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tqdm import tqdm


def watched(steps: Iterable, unit: str = "image") -> None:
    """Lets `steps` run to their end under a bar for each part of the work; each has `what`, `done` and `total`."""
    bar = None
    try:
        for step in steps:
            if bar is None or bar.desc != step.what:
                if bar is not None:
                    bar.close()
                bar = tqdm(total=step.total, desc=step.what, unit=unit)
            bar.update(step.done - bar.n)
    finally:  # also when it is interrupted: what is printed next starts on a line of its own
        if bar is not None:
            bar.close()

@dataclass(frozen=True)
class Step:
    """How far one part of the work is."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class Progress:
    """The part of the grid's work that is done, in [0, 1]."""

    done: float
