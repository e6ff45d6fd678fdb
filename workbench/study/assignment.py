"""Which participant gets which trial. Pure functions of the design, the participant and the trials
given so far; no clock, no database.

A participant's order of kinds (`order`) is drawn once: a practice trial, then real, gold and
repeated ones, each kind spread over the whole length. The content of a trial (`next_trial`) is
decided one trial at a time, when its turn comes, so that parallel participants fill the items
evenly:

    real      an item new to the participant with the fewest votes and reservations of all
              participants; among these, of the pair and then the prompt that this participant has
              had least often; among these, any
    practice  any item of the fuller half, not repeated later if the other items suffice. It is an
              ordinary pair, so that it does not reveal what a gold trial looks like. It is not
              always the fullest item, which simultaneous participants would then all leave empty
    gold      a method beside its spoiled sheet; the methods take turns, no sheet comes twice
    repeat    a real trial from `REPEAT_GAP` or more positions ago with exchanged sides, none
              twice, a skipped one only if there is no other

Sides are balanced in blocks: in each two real trials of a participant and pair (1 and 2, 3 and 4,
...) each method is on the left once, in an order drawn for that block; likewise the spoiled side
of gold trials.

Every draw has its own random generator, named by the design's seed, the participant and the
purpose: equal arguments give equal trials.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.study.ballots import Choice, TrialKind
from workbench.study.design import REPEAT_GAP, SPOILED, StudyDesign

PRACTICE = "practice"  # a kind of trial without ballots
REAL, GOLD, REPEAT = TrialKind.REAL.value, TrialKind.GOLD.value, TrialKind.REPEAT.value


@dataclass(frozen=True)
class NextTrial:
    """The content of a trial. `item` and `prompt` are numbers in the design; a gold trial has no
    item.
    """

    position: int
    kind: str
    prompt: int
    left: str
    right: str
    item: int | None = None
    expected: Choice | None = None
    repeats: str = ""  # the trial that a repeat repeats


@dataclass(frozen=True)
class Given:
    """A trial that the participant was given."""

    trial: str
    content: NextTrial
    skipped: bool = False


def named_random(seed: int, *name: int | str) -> random.Random:
    """The random generator called `name`."""
    return random.Random(
        int.from_bytes(
            hashlib.blake2b(repr((seed, *name)).encode(), digest_size=16).digest(), "big"
        )
    )


def order(design: StudyDesign, participant: str) -> tuple[str, ...]:
    """The kinds of a participant's trials by position: practice, then `design.length` others."""
    rng = named_random(design.seed, participant, "order")
    for _ in range(100):
        kinds = _spread(design, rng)
        if _can_repeat(kinds):
            return (PRACTICE, *kinds)
    return (
        PRACTICE,
        *[REAL] * design.trials,
        *[GOLD] * design.gold,
        *[REPEAT] * design.repeats,
    )  # always possible: the design was checked


def next_trial(
    design: StudyDesign, participant: str, given: Sequence[Given], filled: Mapping[int, int]
) -> NextTrial | None:
    """The participant's next trial after those `given` (all, by position), None after the last.

    `filled` counts the votes and reservations of all participants' real trials by item, without
    those already known not to count (`records.failed_out`); items without any may be absent.
    """
    kinds = order(design, participant)
    if len(given) >= len(kinds):
        return None
    kind = kinds[len(given)]
    if kind == REAL:
        return _real(design, participant, given, filled)
    if kind == REPEAT:
        return _repeat(design, participant, given)
    return (
        _practice(design, participant, filled)
        if kind == PRACTICE
        else _gold(design, participant, given)
    )


def _spread(design: StudyDesign, rng: random.Random) -> list[str]:
    """Each kind in even steps from 0 to 1, its trials anywhere within their steps; repeats begin at
    a quarter, and two thirds of `late_gold` come in the second half.
    """
    positions = [((n + 0.5) / design.trials, REAL) for n in range(design.trials)]
    golds = [(n + rng.random()) / design.gold for n in range(design.gold)]
    positions += [(place**0.5 if design.late_gold else place, GOLD) for place in golds]
    positions += [
        (0.25 + 0.75 * (n + rng.random()) / design.repeats, REPEAT) for n in range(design.repeats)
    ]
    return [kind for _, kind in sorted(positions)]


def _can_repeat(kinds: Sequence[str]) -> bool:
    """Whether every repeat has its own real trial long enough ago."""
    repeats = [n for n, kind in enumerate(kinds) if kind == REPEAT]
    return all(
        kinds[: max(n - REPEAT_GAP + 1, 0)].count(REAL) > earlier
        for earlier, n in enumerate(repeats)
    )


def _practice(design: StudyDesign, participant: str, filled: Mapping[int, int]) -> NextTrial:
    items = range(len(design.pairs) * len(design.prompts))
    rng = named_random(design.seed, participant, "practice")
    fullest = sorted(
        rng.sample(items, len(items)), key=lambda item: filled.get(item, 0), reverse=True
    )
    item = rng.choice(fullest[: (len(items) + 1) // 2])
    pair, prompt = divmod(item, len(design.prompts))
    return NextTrial(0, PRACTICE, prompt, *rng.sample(design.pairs[pair], 2), item=item)


def _real(
    design: StudyDesign, participant: str, given: Sequence[Given], filled: Mapping[int, int]
) -> NextTrial:
    had = [
        entry.content.item
        for entry in given
        if entry.content.kind == REAL and entry.content.item is not None
    ]
    size = len(design.prompts)
    pairs, prompts = Counter(item // size for item in had), Counter(item % size for item in had)
    practised = {entry.content.item for entry in given if entry.content.kind == PRACTICE}

    def rank(item: int) -> tuple[int, int, int]:
        return filled.get(item, 0), pairs[item // size], prompts[item % size]

    new = sorted(set(range(len(design.pairs) * size)) - set(had))
    new = [item for item in new if item not in practised] or new
    first = min(map(rank, new))
    item = named_random(design.seed, participant, "item", len(given)).choice(
        [item for item in new if rank(item) == first]
    )
    pair = item // size
    sides = list(design.pairs[pair])
    if _exchanged(design, participant, f"pair {pair}", pairs[pair]):
        sides.reverse()
    return NextTrial(len(given), REAL, item % size, *sides, item=item)


def _repeat(design: StudyDesign, participant: str, given: Sequence[Given]) -> NextTrial:
    repeated = {entry.content.repeats for entry in given}
    candidates = [
        entry
        for entry in given[: len(given) - REPEAT_GAP + 1]
        if entry.content.kind == REAL and entry.trial not in repeated
    ]
    answered = [entry for entry in candidates if not entry.skipped]
    original = named_random(design.seed, participant, "repeat", len(given)).choice(
        answered or candidates
    )
    return NextTrial(
        len(given),
        REPEAT,
        original.content.prompt,
        original.content.right,
        original.content.left,
        item=original.content.item,
        repeats=original.trial,
    )


def _gold(design: StudyDesign, participant: str, given: Sequence[Given]) -> NextTrial:
    had = [
        (_unspoiled(entry.content), entry.content.prompt)
        for entry in given
        if entry.content.kind == GOLD
    ]
    methods, prompts = Counter(method for method, _ in had), Counter(prompt for _, prompt in had)

    def rank(sheet: tuple[str, int]) -> tuple[int, int]:
        return methods[sheet[0]], prompts[sheet[1]]

    sheets = [
        (method, prompt)
        for method in design.methods
        for prompt in range(len(design.prompts))
        if (method, prompt) not in had
    ]
    first = min(map(rank, sheets))
    method, prompt = named_random(design.seed, participant, "sheet", len(given)).choice(
        [sheet for sheet in sheets if rank(sheet) == first]
    )
    if _exchanged(design, participant, GOLD, len(had)):
        return NextTrial(len(given), GOLD, prompt, SPOILED, method, expected=Choice.RIGHT)
    return NextTrial(len(given), GOLD, prompt, method, SPOILED, expected=Choice.LEFT)


def _unspoiled(shown: NextTrial) -> str:
    return shown.right if shown.left == SPOILED else shown.left


def _exchanged(design: StudyDesign, participant: str, what: str, earlier: int) -> bool:
    """Whether the trial after `earlier` ones of `what` has its sides exchanged, as exactly one in
    each block of two has.
    """
    block, second = divmod(earlier, 2)
    first_exchanged = named_random(design.seed, participant, what, block).random() < 0.5
    return first_exchanged != bool(second)
