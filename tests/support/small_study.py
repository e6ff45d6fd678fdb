"""A small design, and participants who act one by one or in parallel, for the tests of a study's
store.
"""

import itertools
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from workbench.study.design import LATER, StudyDesign
from workbench.study.errors import StudyError
from workbench.study.store.store import Store

DESIGN = StudyDesign(
    "Which is better?",
    methods=("dmd", "dp_dmd", "teacher"),
    prompts=tuple(f"prompt {n}" for n in range(8)),
    seeds=(0, 1),
    trials=6,
    gold=1,
    repeats=1,
    **LATER,  # the rule of earlier versions: these tests answer at once, and anything
)
PROMPTS = ("a red fox", "two stars", "a hill")  # of the fixture `folders`
CHOICES = ("left", "right", "tie")


def small_design(**changes) -> StudyDesign:
    return replace(DESIGN, **changes)


def new_id() -> str:
    return str(uuid.uuid4())


def answers_of(n: int) -> dict[str, str]:
    """One of nine different answers."""
    diversity, quality = list(itertools.product(CHOICES, CHOICES))[n % 9]
    return {"diversity": diversity, "quality": quality}


def answer(store: Store, participant: str, n: int = 0, now: float | None = None) -> str | None:
    """Answers the next trial; returns its id, None if there is none."""
    trial = store.next_trial(participant, now)
    if trial is None:
        return None
    store.vote(participant, trial.id, answers_of(n), new_id(), 1.5, now=now)
    return trial.id


def answer_all(store: Store, participant: str) -> list[str]:
    """Answers all remaining trials; returns their ids."""
    return list(iter(lambda: answer(store, participant), None))


def kept(store: Store) -> dict[str, dict[str, str]]:
    """Live answers by trial."""
    found: dict[str, dict[str, str]] = {}
    for ballot in store.ballots():
        assert ballot.criterion not in found.setdefault(ballot.trial, {}), "two live votes"
        found[ballot.trial][ballot.criterion] = ballot.choice.value
    return found


def at_once(count: int, call: Callable[[int], object]) -> list:
    """The results or errors of `count` parallel calls, call(n)."""
    start = threading.Barrier(count)

    def run(n):
        start.wait()
        try:
            return call(n)
        except StudyError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))
