"""Progress bars for generators of steps, in terminals and notebooks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tqdm import tqdm


@dataclass(frozen=True)
class Progress:
    """The progress of some work: `done` of `total`, in the unit of the work; `what` names a part
    of it that has a separate bar.
    """

    done: float
    total: float = 1.0
    what: str = ""


def watched(steps: Iterable[Progress], unit: str = "image") -> None:
    """Runs `steps` to their end under a bar for each part of the work."""
    bar = None
    try:
        for step in steps:
            if bar is None or bar.desc != step.what:
                if bar is not None:
                    bar.close()
                bar = tqdm(total=step.total, desc=step.what, unit=unit)
            bar.update(step.done - bar.n)
    finally:  # so that the next output starts on a new line, after an interruption too
        if bar is not None:
            bar.close()
