"""Progress bars for generators of steps, in terminals and notebooks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tqdm import tqdm


@dataclass(frozen=True)
class Progress:
    """How far a piece of work is: `done` of `total`, in the unit of the work; `what` names a part
    of it that has a bar of its own.
    """

    done: float
    total: float = 1.0
    what: str = ""


def watched(steps: Iterable[Progress], unit: str = "image") -> None:
    """Lets `steps` run to their end under a bar for each part of the work."""
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
