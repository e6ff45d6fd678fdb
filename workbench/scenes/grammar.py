"""The language of the `scenes` world: captions over coloured shapes, with GenEval's six kinds of
task.

    caption  := thing | thing "and" thing | thing relation thing | number things
    thing    := "a" [colour] (shape | "shape")          "a red circle", "a circle", "a red shape"
    things   := [colour] (shapes | "shapes")            "two blue squares", "three shapes"
    relation := "left of" | "right of" | "above" | "below"
    number   := "two" | "three" | "four"

Everything that a caption leaves open (a colour, a shape, and always position, size, rotation, shade
and background) is drawn at random by `workbench.scenes.renderer`, so every caption has a broad
conditional distribution with known factors. This module knows words only: no pixels, no torch.
"""

from __future__ import annotations

import difflib
import itertools
import random
from dataclasses import dataclass

SHAPES = ("circle", "square", "triangle", "star")
COLOURS = ("red", "yellow", "green", "cyan", "blue", "purple")
RELATIONS = ("left of", "right of", "above", "below")
NUMBERS = {"two": 2, "three": 3, "four": 4}
TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
MAX_OBJECTS = max(NUMBERS.values())

EXAMPLES = (
    "a red circle",
    "a circle",
    "a blue shape",
    "two green stars",
    "three triangles",
    "a yellow star above a blue square",
    "a circle left of a triangle",
    "a red square and a cyan circle",
    "a star and a circle",
    "a shape",
)

WORDS = sorted(
    {
        "a",
        "and",
        "of",
        "left",
        "right",
        "above",
        "below",
        "shape",
        "shapes",
        *COLOURS,
        *NUMBERS,
        *SHAPES,
        *(shape + "s" for shape in SHAPES),
    }
)


class GrammarError(ValueError):
    """A caption outside the grammar; the message names the unknown part and what can be written
    instead.
    """


@dataclass(frozen=True)
class Thing:
    """One kind of object that a caption names; None means that the caption leaves it open."""

    colour: str | None = None
    shape: str | None = None

    def text(self, plural: bool = False) -> str:
        """Its words, as "a red circle" or "red circles"."""
        noun = (self.shape or "shape") + ("s" if plural else "")
        words = ([] if plural else ["a"]) + ([self.colour] if self.colour else []) + [noun]
        return " ".join(words)


@dataclass(frozen=True)
class Request:
    """The content of a caption: `things[0]` once, `count` times, or with `things[1]`, perhaps in a
    `relation` to it.
    """

    things: tuple[Thing, ...]
    count: int = 1
    relation: str | None = None

    @property
    def objects(self) -> tuple[Thing, ...]:
        """Every object that the picture has to show, one entry each."""
        return self.things * self.count

    @property
    def task(self) -> str:
        """The GenEval task of this caption, one of `TASKS`."""
        if self.count > 1:
            return "counting"
        if self.relation:
            return "position"
        if len(self.things) == 2:
            return "color_attr" if all(thing.colour for thing in self.things) else "two_object"
        return "colors" if self.things[0].colour else "single_object"

    @property
    def text(self) -> str:
        """The caption."""
        if self.count > 1:
            number = next(word for word, value in NUMBERS.items() if value == self.count)
            return f"{number} {self.things[0].text(plural=True)}"
        return f" {self.relation or 'and'} ".join(thing.text() for thing in self.things)


def parse(text: str) -> Request:
    """The `Request` of a caption. Raises `GrammarError` with the way out when the caption is
    outside the grammar.
    """
    words = text.lower().replace(",", " ").replace(".", " ").split()
    if not words:
        raise GrammarError('The prompt is empty. Write for example "a red circle".')
    for word in words:
        if word not in WORDS and word != "an":
            near = difflib.get_close_matches(word, WORDS, n=1)
            hint = f' Did you mean "{near[0]}"?' if near else ""
            raise GrammarError(f'The scenes world does not know the word "{word}".{hint} {_help()}')
    request = _parse_words(words)
    if request is None:
        raise GrammarError(f'"{text}" is not a caption of the scenes world. {_help()}')
    if len(request.things) == 2 and request.things[0] == request.things[1]:
        raise GrammarError(
            f'Both things are "{request.things[0].text()}". Write "two '
            f'{request.things[0].text(plural=True)}".'
        )
    return request


def _help() -> str:
    return (
        f"Use colours ({', '.join(COLOURS)}), shapes ({', '.join(SHAPES)}, or the open word "
        'shape), two/three/four, and, left of, right of, above, below: for example "three red '
        'stars" or "a circle left of a blue square".'
    )


def _parse_words(words: list[str]) -> Request | None:
    if words[0] in NUMBERS:
        thing = _thing(words[1:], plural=True)
        return thing and Request((thing,), count=NUMBERS[words[0]])
    for joint in ("and", *RELATIONS):
        parts = joint.split()
        for i in range(1, len(words) - len(parts)):
            if words[i : i + len(parts)] == parts:
                first, second = _thing(words[:i]), _thing(words[i + len(parts) :])
                relation = None if joint == "and" else joint
                return Request((first, second), relation=relation) if first and second else None
    thing = _thing(words)
    return thing and Request((thing,))


def _thing(words: list[str], plural: bool = False) -> Thing | None:
    if words and words[0] in ("a", "an") and not plural:
        words = words[1:]
    nouns = {shape + "s" * plural: shape for shape in SHAPES} | {"shape" + "s" * plural: None}
    if (
        not words
        or words[-1] not in nouns
        or len(words) > 2
        or (len(words) == 2 and words[0] not in COLOURS)
    ):
        return None
    return Thing(words[0] if len(words) == 2 else None, nouns[words[-1]])


def requests(task: str) -> list[Request]:
    """Every request of a task, in a fixed order (the things of two-object tasks always differ)."""
    shapes, colours = (*SHAPES, None), (*COLOURS, None)
    anything = [Thing(colour, shape) for colour in colours for shape in shapes]
    pairs = [pair for pair in itertools.permutations(anything, 2)]
    by_task = {
        "single_object": lambda: [Request((Thing(None, shape),)) for shape in shapes],
        "colors": lambda: [
            Request((Thing(colour, shape),)) for colour in COLOURS for shape in shapes
        ],
        "counting": lambda: [
            Request((thing,), count=n) for n in NUMBERS.values() for thing in anything
        ],
        "two_object": lambda: [
            Request(pair) for pair in pairs if not all(thing.colour for thing in pair)
        ],
        "position": lambda: [
            Request(pair, relation=relation) for relation in RELATIONS for pair in pairs
        ],
        "color_attr": lambda: [
            Request(pair) for pair in pairs if all(thing.colour for thing in pair)
        ],
    }
    if task not in by_task:
        raise ValueError(f"unknown task {task!r}; one of {', '.join(TASKS)}")
    return by_task[task]()


def draw_request(rng: random.Random, task: str | None = None) -> Request:
    """A random request of `task` (of a random task if None) that names attributes at least half of
    the time.
    """
    task = task or rng.choice(TASKS)

    def thing(colour: float = 0.6, shape: float = 0.9) -> Thing:
        return Thing(
            rng.choice(COLOURS) if rng.random() < colour else None,
            rng.choice(SHAPES) if rng.random() < shape else None,
        )

    while True:
        if task == "single_object":
            request = Request((thing(0.0, 0.85),))
        elif task == "colors":
            request = Request((thing(1.0),))
        elif task == "counting":
            request = Request((thing(),), count=rng.choice(tuple(NUMBERS.values())))
        elif task == "two_object":
            request = Request((thing(0.15, 0.95), thing(0.15, 0.95)))
        elif task == "position":
            request = Request((thing(0.5), thing(0.5)), relation=rng.choice(RELATIONS))
        else:
            request = Request((thing(1.0, 0.95), thing(1.0, 0.95)))
        if request.task == task and (
            len(request.things) == 1 or request.things[0] != request.things[1]
        ):
            return request


def draw_requests(count: int, seed: int, task: str | None = None) -> list[Request]:
    """`count` random requests, the same for the same seed."""
    rng = random.Random(seed)
    return [draw_request(rng, task) for _ in range(count)]
