"""Two disjoint lists of captions, the same on every machine: settings are chosen on one and
results reported on the other.
"""

from __future__ import annotations

import random

from workbench.scenes.grammar import TASKS, Request, requests

PER_TASK = 8  # in the report list; the choosing list has half of that


def chosen_on() -> list[Request]:
    """Up to 4 captions of each task, for choosing settings."""
    return [request for task in TASKS for request in _split(task)[0]]


def reported_on() -> list[Request]:
    """Up to 8 captions of each task, never used in choosing settings (single_object has 5
    captions: 2 and 3).
    """
    return [request for task in TASKS for request in _split(task)[1]]


def _split(task: str) -> tuple[list[Request], list[Request]]:
    pool = requests(task)
    random.Random(f"prompt sets {task}").shuffle(pool)
    choose = min(PER_TASK // 2, len(pool) // 2)
    return pool[:choose], pool[choose : choose + PER_TASK]
