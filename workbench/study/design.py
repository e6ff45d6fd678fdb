"""A study's design: methods, prompts, seeds, criteria, and the number of trials per participant.
One frozen dataclass, which holds every default.

An item is one pair of methods for one prompt. A study's items are numbered pair by pair, in the
order of its pairs and prompts, and a participant sees each at most once as a real trial. The two
default criteria are worded as in the paper's Appendix D.

A design is frozen when its study is created: its digest names it, so the exclusion rule
(`rule`) and the pictures are older than any vote. Its defaults were chosen by simulation
(`analysis.people`). Not here: which
participant gets which trial (`assignment`), the effect of the rule (`analysis.exclusion`), the
pictures (`server.pictures`).
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.io.strict_json import to_json
from workbench.study.analysis.exclusion import Rule
from workbench.study.errors import StudyError

SPOILED = "spoiled"  # the reserved name of the wrong answer of a gold trial
# fields that earlier studies did not have: their values there, which do not change the digest
LATER = {
    "min_seconds": None,
    "pictures": "",
    "noise": "",
    "max_fast": None,
    "min_side_p": None,
    "late_gold": False,
}
DESIGN = "a study's design"
REPEAT_GAP = 3  # a repeat comes at least this many trials after the one that it repeats

CONSENT = (
    "You will compare pictures that computer models made from a short text. Your answers are "
    "stored with the time they took, under a random "
    "number and without your name, and are used for research. Taking part is voluntary, and you "
    "may stop at any time; the answers that you "
    "gave until then are kept."
)
INSTRUCTIONS = (
    "Each question shows one text and two sheets of pictures that two methods made from it. Look "
    "at all pictures of both sheets, then "
    "answer each question on its own: the better sheet of one question need not be that of the "
    "other. The first trial is for practice."
)


@dataclass(frozen=True)
class Criterion:
    """One question that every trial asks."""

    name: str
    question: str
    explanation: str = ""
    gold: bool = False  # whether a blurred sheet is beyond doubt the wrong answer


@dataclass(frozen=True)
class Item:
    """One pair of methods, in the design's order, for one prompt."""

    pair: tuple[str, str]
    prompt: str


CRITERIA = (
    Criterion(
        "diversity",
        "Which side is more diverse?",
        "Diversity is variation in overall composition, global and local structure, and semantic "
        "attributes across the samples of a side, which were all made from the same prompt.",
    ),
    Criterion(
        "quality",
        "Which side has the better image quality?",
        "Image quality is semantic and statistical fidelity, and naturalness.",
        gold=True,
    ),
)


@dataclass(frozen=True)
class StudyDesign:
    """A whole study. Raises `StudyError`, naming the setting and the way out, for a design that
    cannot be carried out.
    """

    title: str
    methods: tuple[str, ...]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    pairs: tuple[tuple[str, str], ...] = ()  # empty: all pairs of methods
    criteria: tuple[Criterion, ...] = CRITERIA
    # the goal; trials are distributed evenly, and continue afterwards until the owner closes the
    # study
    votes_per_item: int = 3
    trials: int = 20  # real trials per participant
    gold: int = 8  # trials with a right answer, per participant
    late_gold: bool = True  # whether gold trials get denser towards the end, where people tire
    repeats: int = 2  # earlier real trials again with exchanged sides, per participant
    ties: bool = True  # whether a tie is a possible answer
    # excluded from the analysis is who breaks a part of `analysis.exclusion.Rule`
    max_gold_failures: int = 1
    min_seconds: float | None = 1.5
    max_fast: float | None = 0.2
    min_side_p: float | None = 0.001
    expires_minutes: float = 30.0  # an unanswered trial stays reserved for this long
    consent: str = CONSENT
    instructions: str = INSTRUCTIONS
    seed: int = 0  # for every random choice of who sees what
    pictures: str = ""  # `server.pictures.digest_of_sheets`; "" in studies that did not keep it
    noise: str = ""  # the policy of the evaluation that the images are of, if they are of one

    def __post_init__(self):
        self._take_as_tuples()
        _check_numbers(self)
        _check_texts(self)
        _check_pairs(self.methods, self.pairs)
        self._check_sizes()

    def _take_as_tuples(self) -> None:
        for name in ("methods", "prompts", "seeds", "criteria", "pairs"):
            value = getattr(self, name)
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise StudyError(f"{name} must be a list, not {value!r}")
            object.__setattr__(
                self,
                name,
                tuple(tuple(entry) if isinstance(entry, list) else entry for entry in value),
            )
        if not self.pairs:
            object.__setattr__(self, "pairs", tuple(itertools.combinations(self.methods, 2)))

    def _check_sizes(self) -> None:
        items, golds = len(self.pairs) * len(self.prompts), len(self.methods) * len(self.prompts)
        if self.trials > items:
            raise StudyError(
                f"trials = {self.trials} is more than the {items} items of the study "
                f"({len(self.pairs)} pairs of methods x {len(self.prompts)} prompts), and a "
                "participant gets each only once: lower trials, or add prompts"
            )
        if self.gold > golds:
            raise StudyError(
                f"gold = {self.gold} is more than the {golds} sheets of the study, and each is "
                "used only once; lower gold"
            )
        if self.gold and not any(criterion.gold for criterion in self.criteria):
            raise StudyError(
                'gold trials need a criterion by which a blurred sheet is wrong: set "gold": true '
                "for one, or set gold = 0"
            )
        if self.repeats > self.trials:
            raise StudyError(
                f"repeats = {self.repeats} is more than trials = {self.trials}; lower repeats"
            )
        if self.repeats and self.trials + self.gold < REPEAT_GAP:
            raise StudyError(
                f"a repeat comes {REPEAT_GAP} trials after the original, but trials + gold = "
                f"{self.trials + self.gold}: raise trials, or set repeats = 0"
            )

    @property
    def items(self) -> tuple[Item, ...]:
        """All items; item `n` is that of pair `n // len(prompts)` and prompt `n % len(prompts)`."""
        return tuple(Item(pair, prompt) for pair in self.pairs for prompt in self.prompts)

    @property
    def length(self) -> int:
        """Trials per participant, without the practice trial."""
        return self.trials + self.gold + self.repeats

    @property
    def rule(self) -> Rule:
        """Who is excluded."""
        return Rule(self.max_gold_failures, self.min_seconds, self.max_fast, self.min_side_p)

    @property
    def digest(self) -> str:
        """12 hexadecimal digits that name this design."""
        return digest_of(self._values())

    @property
    def consent_version(self) -> str:
        """12 hexadecimal digits that name the text that was consented to."""
        return hashlib.sha256(self.consent.encode()).hexdigest()[:12]

    def to_json(self) -> str:
        """A JSON object, read by `from_json`."""
        return to_json(self._values(), indent=1, ensure_ascii=False)

    def _values(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in dataclasses.asdict(self).items()
            if name not in LATER or value != LATER[name]
        }

    @classmethod
    def from_json(cls, text: str) -> StudyDesign:
        """The design in a JSON object; one of an earlier version keeps its rule (`LATER`). Raises
        `StudyError` as the class does, and for an unknown key, naming the nearest known one.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise StudyError(f"a study's design must be a JSON object: {error}") from error
        criteria = values.get("criteria") if isinstance(values, dict) else None
        if isinstance(criteria, list):
            values["criteria"] = [_instance(Criterion, entry, "a criterion") for entry in criteria]
        return _instance(cls, LATER | values if isinstance(values, dict) else values, DESIGN)


def read_criteria(path: Path) -> tuple[Criterion, ...]:
    """The criteria in a JSON file. Raises `StudyError` if it holds anything else."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read as a JSON list of criteria: {error}") from error
    if not isinstance(entries, list):
        raise StudyError(f"{path} must hold a JSON list of criteria, not {entries!r}")
    return tuple(_instance(Criterion, entry, "a criterion") for entry in entries)


def read_text(path: Path) -> str:
    """A text for participants, without surrounding whitespace. Raises `StudyError` for a file that
    is empty or not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read as a text in UTF-8: {error}") from error
    if not text:
        raise StudyError(f"{path} is empty; write the text for participants into it")
    return text


def digest_of(values: dict[str, Any]) -> str:
    """12 hexadecimal digits of a JSON object, whatever the order of its keys."""
    return hashlib.sha256(to_json(values, sort_keys=True).encode()).hexdigest()[:12]


def _instance(kind: type, values: Any, what: str) -> Any:
    """An instance of the dataclass `kind` from a JSON object with its keys and no others."""
    if not isinstance(values, dict):
        raise StudyError(f"{what} must be a JSON object, not {values!r}")
    fields = dataclasses.fields(kind)
    known = [field.name for field in fields]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise StudyError(
                f"unknown key {key!r} in {what}"
                + (f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(known)}")
            )
    missing = [
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.name not in values
    ]
    if missing:
        raise StudyError(f"{what} needs {' and '.join(missing)}")
    return kind(**values)


def _check_texts(design: StudyDesign) -> None:
    if not isinstance(design.pictures, str):
        raise StudyError(f"pictures must be the digest of the sheets, not {design.pictures!r}")
    for name in ("title", "consent", "instructions"):
        _check_text(name, getattr(design, name))
    for name in ("methods", "prompts"):
        for text in getattr(design, name):
            _check_text(f"each of {name}", text)
    for criterion in design.criteria:
        _check_criterion(criterion)
    _check_once("criterion", [criterion.name for criterion in design.criteria])
    _check_once("method", design.methods)
    _check_once("prompt", design.prompts)
    _check_once("seed", design.seeds)
    if len(design.methods) < 2:
        raise StudyError(
            f"a study compares two or more methods, not {len(design.methods)}; add methods"
        )
    for method in design.methods:
        if method.split()[0] == SPOILED:
            raise StudyError(
                f"{SPOILED!r} begins the reserved names of blurred sheets in gold trials; give the "
                f"method {method!r} another name"
            )


def _check_criterion(criterion: Any) -> None:
    if not isinstance(criterion, Criterion):
        raise StudyError(f"criteria must be Criterion values, not {criterion!r}")
    _check_text("a criterion's name", criterion.name)
    _check_text("a criterion's question", criterion.question)
    if type(criterion.gold) is not bool:
        raise StudyError(f"a criterion's gold must be true or false, not {criterion.gold!r}")
    if not isinstance(criterion.explanation, str):
        raise StudyError(f"a criterion's explanation must be a text, not {criterion.explanation!r}")


def _check_text(name: str, text: Any) -> None:
    if not isinstance(text, str) or not text.strip():
        raise StudyError(f"{name} must be a text that is not empty, not {text!r}")
    if any(ch == "\0" or 0xD800 <= ord(ch) <= 0xDFFF for ch in text):  # no database keeps these
        raise StudyError(f"{name} has a character that is not text: {text!r}")


def _check_once(kind: str, values: Sequence) -> None:
    if not values:
        raise StudyError(f"a study needs at least one {kind}")
    value, count = Counter(values).most_common(1)[0]
    if count > 1:
        raise StudyError(f"the {kind} {value!r} is given twice; leave one out")


MOST = {"expires_minutes": math.inf, "min_seconds": math.inf, "max_fast": 1, "min_side_p": 1}


def _check_numbers(design: StudyDesign) -> None:
    lowest = {
        "votes_per_item": 1,
        "trials": 1,
        "gold": 0,
        "repeats": 0,
        "max_gold_failures": 0,
        "seed": 0,
    }
    for name, low in lowest.items():
        value = getattr(design, name)
        if type(value) is not int or value < low:
            raise StudyError(f"{name} must be a whole number of {low} or more, not {value!r}")
    if any(type(seed) is not int or seed < 0 for seed in design.seeds):
        raise StudyError(f"seeds must be whole numbers of 0 or more, not {list(design.seeds)}")
    for name in ("ties", "late_gold"):
        if type(getattr(design, name)) is not bool:
            raise StudyError(f"{name} must be true or false, not {getattr(design, name)!r}")
    for name, most in MOST.items():
        value = getattr(design, name)
        if name in LATER and value is None:
            continue
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not math.isfinite(value)
            or not 0 < value <= most
        ):
            to = "" if most == math.inf else f" and at most {most:g}"
            raise StudyError(f"{name} must be a number above 0{to}, not {value!r}")
        object.__setattr__(design, name, float(value))


def _check_pairs(methods: Sequence[str], pairs: Sequence) -> None:
    seen: set[frozenset] = set()
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise StudyError(f"a pair must be two methods, not {pair!r}")
        for method in pair:
            if method not in methods:
                near = difflib.get_close_matches(str(method), methods, n=1)
                raise StudyError(
                    f"the pair {' and '.join(map(str, pair))} names {method!r}, which is not one "
                    "of the methods"
                    + (f"; did you mean {near[0]!r}?" if near else f" ({', '.join(methods)})")
                )
        if pair[0] == pair[1]:
            raise StudyError(f"{pair[0]!r} is paired with itself; a pair is two different methods")
        if frozenset(pair) in seen:
            raise StudyError(
                f"the pair {' and '.join(pair)} is given twice (in either order); leave one out"
            )
        seen.add(frozenset(pair))
