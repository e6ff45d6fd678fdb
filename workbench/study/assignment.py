"""Who gets which trial. Pure functions of the design, the participant and what was given so far;
no clock, no database.

A participant's order of kinds (`order`) is drawn once: a trial for practice, then real, gold and
repeated ones, each kind spread over the whole length. What a trial shows (`next_trial`) is decided
when its turn comes, one trial at a time, so that parallel participants fill the items evenly:

    real      of the items that the participant has not had, those with the fewest votes and reservations of all participants; of these, of the
              pairs and then prompts that this participant has had least; of these, any
    practice  any of the fuller half of the items, and one that the participant gets no other time if the others suffice: a pair as any, so that
              nobody learns from it what a gold trial looks like; not the fullest alone, which all who join at once would then leave empty
    gold      a method beside its spoiled sheet; the methods take turns, no sheet comes twice
    repeat    a real trial of `REPEAT_GAP` or more positions ago with its sides exchanged, none twice, a skipped one only if there is no other

Sides are balanced in blocks: of each two real trials of a participant and pair (1 and 2, 3 and 4,
...) one has either method on the left, in an order drawn for that block; likewise the spoiled side
of gold trials.

Every draw has a random stream named by the design's seed, the participant and what is drawn: equal
arguments give equal trials.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.study.ballots import Choice, TrialKind
from workbench.study.design import REPEAT_GAP, SPOILED, StudyDesign

PRACTICE = "practice"  # a kind of trial that no ballot ever has
REAL, GOLD, REPEAT = TrialKind.REAL.value, TrialKind.GOLD.value, TrialKind.REPEAT.value


@dataclass(frozen=True)
class NextTrial:
    """What a trial shows. `item` and `prompt` are numbers in the design; a trial of a spoiled
    sheet has no item.
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
    """A trial that the participant has had."""

    trial: str
    draw: NextTrial
    skipped: bool = False


def random_stream(seed: int, *name: int | str) -> random.Random:
    """The random stream called `name`."""
    return random.Random(
        int.from_bytes(
            hashlib.blake2b(repr((seed, *name)).encode(), digest_size=16).digest(), "big"
        )
    )


def order(design: StudyDesign, participant: str) -> tuple[str, ...]:
    """The kinds of a participant's trials by position: the one for practice, then `design.length`
    others.
    """
    drawn = random_stream(design.seed, participant, "order")
    for _ in range(100):
        kinds = _spread(design, drawn)
        if _can_repeat(kinds):
            return (PRACTICE, *kinds)
    return (
        PRACTICE,
        *[REAL] * design.trials,
        *[GOLD] * design.gold,
        *[REPEAT] * design.repeats,
    )  # always can: the design was checked


def next_trial(
    design: StudyDesign, participant: str, given: Sequence[Given], filled: Mapping[int, int]
) -> NextTrial | None:
    """The participant's next trial after those `given` (all, by position), None after the last.

    `filled` has the votes and reservations by item of all participants' real trials, without those
    that will not count as far as that is known (`records.failed_out`); items without any may be
    absent.
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


def _spread(design: StudyDesign, drawn: random.Random) -> list[str]:
    """Each kind in even steps from 0 to 1, its trials anywhere within their step; repeats begin at
    a quarter.
    """
    places = [((n + 0.5) / design.trials, REAL) for n in range(design.trials)]
    places += [((n + drawn.random()) / design.gold, GOLD) for n in range(design.gold)]
    places += [
        (0.25 + 0.75 * (n + drawn.random()) / design.repeats, REPEAT) for n in range(design.repeats)
    ]
    return [kind for _, kind in sorted(places)]


def _can_repeat(kinds: Sequence[str]) -> bool:
    """Whether every repeat has a real trial of its own, long enough ago."""
    repeats = [n for n, kind in enumerate(kinds) if kind == REPEAT]
    return all(
        kinds[: max(n - REPEAT_GAP + 1, 0)].count(REAL) > earlier
        for earlier, n in enumerate(repeats)
    )


def _practice(design: StudyDesign, participant: str, filled: Mapping[int, int]) -> NextTrial:
    items, drawn = (
        range(len(design.pairs) * len(design.prompts)),
        random_stream(design.seed, participant, "practice"),
    )
    fuller = sorted(
        drawn.sample(items, len(items)), key=lambda item: filled.get(item, 0), reverse=True
    )
    item = drawn.choice(fuller[: (len(items) + 1) // 2])
    pair, prompt = divmod(item, len(design.prompts))
    return NextTrial(0, PRACTICE, prompt, *drawn.sample(design.pairs[pair], 2), item=item)


def _real(
    design: StudyDesign, participant: str, given: Sequence[Given], filled: Mapping[int, int]
) -> NextTrial:
    had = [entry.draw.item for entry in given if entry.draw.kind == REAL]
    size = len(design.prompts)
    pairs, prompts = Counter(item // size for item in had), Counter(item % size for item in had)
    seen, practised = set(had), {entry.draw.item for entry in given if entry.draw.kind == PRACTICE}

    def rank(item: int) -> tuple[int, int, int]:
        return filled.get(item, 0), pairs[item // size], prompts[item % size]

    left = [item for item in range(len(design.pairs) * size) if item not in seen]
    left = [item for item in left if item not in practised] or left
    first = min(map(rank, left))
    item = random_stream(design.seed, participant, "item", len(given)).choice(
        [item for item in left if rank(item) == first]
    )
    pair = item // size
    sides = list(design.pairs[pair])
    if _exchanged(design, participant, f"pair {pair}", pairs[pair]):
        sides.reverse()
    return NextTrial(len(given), REAL, item % size, *sides, item=item)


def _repeat(design: StudyDesign, participant: str, given: Sequence[Given]) -> NextTrial:
    repeated = {entry.draw.repeats for entry in given}
    old = [
        entry
        for entry in given[: len(given) - REPEAT_GAP + 1]
        if entry.draw.kind == REAL and entry.trial not in repeated
    ]
    answered = [entry for entry in old if not entry.skipped]
    again = random_stream(design.seed, participant, "repeat", len(given)).choice(answered or old)
    return NextTrial(
        len(given),
        REPEAT,
        again.draw.prompt,
        again.draw.right,
        again.draw.left,
        item=again.draw.item,
        repeats=again.trial,
    )


def _gold(design: StudyDesign, participant: str, given: Sequence[Given]) -> NextTrial:
    had = [
        (_unspoiled(entry.draw), entry.draw.prompt) for entry in given if entry.draw.kind == GOLD
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
    method, prompt = random_stream(design.seed, participant, "sheet", len(given)).choice(
        [sheet for sheet in sheets if rank(sheet) == first]
    )
    if _exchanged(design, participant, GOLD, len(had)):
        return NextTrial(len(given), GOLD, prompt, SPOILED, method, expected=Choice.RIGHT)
    return NextTrial(len(given), GOLD, prompt, method, SPOILED, expected=Choice.LEFT)


def _unspoiled(shown: NextTrial) -> str:
    return shown.right if shown.left == SPOILED else shown.left


def _exchanged(design: StudyDesign, participant: str, what: str, earlier: int) -> bool:
    """Whether the trial after `earlier` ones of `what` has its sides exchanged: exactly one of
    each block of two has.
    """
    block, place = divmod(earlier, 2)
    return (
        random_stream(design.seed, participant, what, block).random() < 0.5
        if place == 0
        else not _exchanged(design, participant, what, earlier - 1)
    )
