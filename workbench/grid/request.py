"""The request of a grid: a frozen dataclass with the only defaults, its limits, and the link that
regenerates the grid.

    ?tab=compare&prompt=a+star&seeds=0-8&model=teacher&model=dp-dmd&teacher_steps=30&guidance=2

`prompt` and `model` may be repeated. No torch here; `check_request` finds out whether a prompt can
be encoded and a model exists.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from workbench.core.presets import SCENES
from workbench.io.notation import MAX_SEEDS, TEACHER, _distinct, format_seeds, parse_seeds
from workbench.io.prompt_text import clean_prompt, prompt_lines

TAB = "compare"
MAX_PROMPTS, MAX_LENGTH, MAX_CELLS = 8, 400, 512
MAX_SEED, MAX_STEPS, MAX_GUIDANCE = 2**32 - 1, 100, 20.0


@dataclass(frozen=True)
class GridRequest:
    """A grid to generate. Raises ValueError, with the allowed values, outside the limits.

    `student_steps` None samples each student at the times of its training.
    """

    prompts: tuple[str, ...] = ("a circle",)
    seeds: tuple[int, ...] = tuple(range(9))
    models: tuple[str, ...] = (TEACHER,)
    teacher_steps: int = SCENES.teacher_steps
    guidance: float = SCENES.guidance
    student_steps: int | None = None

    def __post_init__(self):
        object.__setattr__(self, "prompts", _clean(self.prompts))
        _check_list("prompt", self.prompts, MAX_PROMPTS, "write one per line")
        _check_list("seed", self.seeds, MAX_SEEDS, 'for example "0-8" or "0, 3, 7"')
        _check_list("model", self.models, MAX_CELLS, "tick at least one")
        for number, prompt in enumerate(self.prompts, 1):
            if not 0 < len(prompt) <= MAX_LENGTH:
                raise ValueError(
                    f"A prompt has 1 to {MAX_LENGTH} characters; prompt {number}, {prompt[:40]!r}, "
                    f"has {len(prompt)}."
                )
        for seed in self.seeds:
            _check_number("a seed", seed, 0, MAX_SEED, whole=True)
        _check_number("teacher steps", self.teacher_steps, 1, MAX_STEPS, whole=True)
        _check_number("guidance", self.guidance, 0, MAX_GUIDANCE)
        if self.student_steps is not None:
            _check_number("student steps", self.student_steps, 1, MAX_STEPS, whole=True)
        cells = len(self.prompts) * len(self.seeds) * len(self.models)
        if cells > MAX_CELLS:
            raise ValueError(
                f"That grid has {cells} cells, over the limit of {MAX_CELLS}: take fewer prompts, "
                "seeds or models."
            )

    @classmethod
    def from_form(cls, prompts: str, seeds: str, models: Iterable[str], **numbers) -> GridRequest:
        """The request of a form: one prompt per line, seeds as text; repetitions count once."""
        try:
            lines = prompt_lines(prompts)
        except ValueError as error:
            raise ValueError(f"The prompts, {error}.") from error
        return cls(
            _distinct(lines),
            parse_seeds(seeds),
            _distinct(models),
            **numbers,
        )

    @classmethod
    def from_query(cls, query: str) -> GridRequest | None:
        """The request of a link's query string, with defaults for missing parameters; None if the
        query is not about a grid. What mail, search engines and social networks append to a link
        is ignored.

        Raises ValueError, naming the parameter, for one that is unknown, empty or wrong: to paint
        without it would be another grid than was asked for.
        """
        try:
            pairs = parse_qsl(query.lstrip("?"), keep_blank_values=True, errors="strict")
        except UnicodeDecodeError as error:
            raise ValueError(f"The link is not UTF-8 ({error.reason}): copy it again.") from error
        pairs = [(name, value) for name, value in pairs if not _APPENDED.fullmatch(name)]
        if not pairs or dict(pairs).get("tab", TAB) != TAB:
            return None
        given: dict[str, list[str]] = {}
        for name, value in pairs:
            if name not in _READERS:
                near = difflib.get_close_matches(name, _READERS, n=1)
                known = f"; leave it out, a grid has {', '.join(_READERS)}."
                hint = f"; did you mean {near[0]!r}?" if near else known
                raise ValueError(f"The link has an unknown parameter {name!r}{hint}")
            given.setdefault(name, []).append(value)
        values = {}
        for name, (key, read) in _READERS.items():
            if name in given and key:
                try:
                    values[key] = read(given[name])
                except ValueError as error:
                    raise ValueError(
                        f"The link's parameter {name!r} cannot be read: {error}"
                    ) from error
        return cls(**values)

    @property
    def query(self) -> str:
        """The query string, with its question mark, of the link that regenerates this grid."""
        pairs = [
            ("tab", TAB),
            *(("prompt", prompt) for prompt in self.prompts),
            ("seeds", format_seeds(self.seeds)),
            *(("model", model) for model in self.models),
            ("teacher_steps", self.teacher_steps),
            ("guidance", format(self.guidance, ".12g")),
        ]
        if self.student_steps is not None:
            pairs.append(("student_steps", self.student_steps))
        return "?" + urlencode(pairs)


def check_request(
    request: GridRequest, models: Iterable[str], check_prompt: Callable[[str], None]
) -> None:
    """Raises ValueError when a model is not among `models`, or `check_prompt` (which raises
    ValueError) refuses a prompt.
    """
    models = list(models)
    for name in request.models:
        if name not in models:
            raise ValueError(
                f"There is no model called {name!r} here. The models are: {', '.join(models)}."
            )
    for number, prompt in enumerate(request.prompts, 1):
        try:
            check_prompt(prompt)
        except ValueError as error:
            raise ValueError(
                f"Prompt {number}: {error}" if len(request.prompts) > 1 else str(error)
            ) from error


def _check_list(name: str, values: tuple, most: int, hint: str) -> None:
    if not values:
        raise ValueError(f"There are no {name}s: {hint}.")
    if len(values) > most:
        raise ValueError(f"A grid takes at most {most} {name}s, not {len(values)}.")
    if len(set(values)) < len(values):
        raise ValueError(f"A {name} is listed twice.")


def _check_number(name: str, value: float, low: float, high: float, whole: bool = False) -> None:
    kind = int if whole else (int, float)
    allowed = isinstance(value, kind) and not isinstance(value, bool)
    if not allowed or not low <= value <= high:  # a NaN fails both
        raise ValueError(
            f"{name[0].upper() + name[1:]} must be a {'whole ' if whole else ''}number from "
            f"{low:g} to "
            f"{high if whole else format(high, 'g')}, not {value!r}."
        )


def _clean(prompts: Iterable[str]) -> tuple[str, ...]:
    cleaned = []
    for number, prompt in enumerate(prompts, 1):
        try:
            cleaned.append(clean_prompt(prompt))
        except ValueError as error:
            raise ValueError(f"Prompt {number}: {error}.") from error
    return tuple(cleaned)


def _only(read: Callable[[str], object]) -> Callable[[list[str]], object]:
    def last(values: list[str]):
        try:
            return read(values[-1])
        except ValueError as error:
            wrong_number = read in (int, float)
            raise ValueError(
                f"{values[-1]!r} is not a number" if wrong_number else str(error)
            ) from error

    return last


# gradio's own (__theme), then campaigns, clicks and referrers
_APPENDED = re.compile(
    r"__.*|(utm|mc|pk|piwik|mtm|matomo|_hs|stm|at)_.*|_hs(enc|mi)|_(ga|gl|kx|openstat)"
    "|.+clid|msclkid|gclsrc|[gw]braid|li_fat_id|igsh(id)?|mkt_tok|srsltid|cmpid|trk|epik|ref(_.*)?"
    "|refer+er|source|spm|si|share|fb_.*|s_kwcid|ved|usg|gs_lcrp|_branch_.*",
    re.IGNORECASE,
)
_READERS: dict[str, tuple[str, Callable[[list[str]], object]]] = {  # parameter: (field, reader)
    "tab": ("", str),
    "prompt": ("prompts", lambda prompts: _distinct(_clean(prompts))),
    "seeds": ("seeds", _only(parse_seeds)),
    "model": ("models", _distinct),
    "teacher_steps": ("teacher_steps", _only(int)),
    "guidance": ("guidance", _only(float)),
    "student_steps": ("student_steps", _only(int)),
}
