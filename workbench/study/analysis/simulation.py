"""Studies whose truth is known: ballots drawn from a model, to check the analysis and to try a
report before anyone votes.

A careful participant i who compares methods a (left) and b (right) on prompt j by a criterion ties
with probability `ties`, and otherwise chooses a with

    logit P = strength_a - strength_b + (u_ia - u_ib) + (v_ja - v_jb) + side_bias

with normal effects of person and prompt for each method and criterion, of variance sd^2 / 2, so
that those of a pair have the given sd. Careless participants toss a coin, for golds too, and are
fast. A repeat is a new draw with the same logit.

Unlike real studies, ties do not depend on how close the methods are, effects are normal, and
nobody learns or tires.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from itertools import combinations

import numpy as np
from scipy.special import expit

from workbench.study.ballots import Ballot, Choice, TrialKind
from workbench.study.errors import StudyError

TWO = {"diversity": {"ours": 0.5, "theirs": 0.0}, "quality": {"ours": 0.0, "theirs": 0.0}}
GOLD = ("gold-good", "gold-bad")
SLIPS = 0.02  # the share of golds that a careful participant fails
SECONDS, CARELESS_SECONDS = 12.0, 1.5  # medians of a trial

TrueStrengths = Mapping[str, Mapping[str, float]]  # criterion -> method -> score
# (criterion, method) -> of each participant, or of each prompt
Effects = Mapping[tuple[str, str], np.ndarray]
_Item = tuple[int, tuple[str, str]]  # prompt, pair


@dataclass(frozen=True)
class SimulatedStudy:
    """A study of the methods in `strengths` (criterion -> method -> score on the logit scale).

    Each participant has `trials` real trials (of distinct prompts and pairs, filled evenly over
    the study, sides balanced within each pair), `golds`, and `repeats` of the real ones at the
    end, and votes by every criterion in each. The last `careless` of the `participants` are
    careless. `ties` and `skips` are probabilities; every vote of a skipped trial is a skip. Raises
    StudyError for numbers that do not fit together.
    """

    strengths: TrueStrengths = field(default_factory=lambda: TWO)
    _: KW_ONLY
    participants: int = 20
    prompts: int = 40
    trials: int = 20
    participant_sd: float = 0.5
    prompt_sd: float = 0.8
    ties: float = 0.0
    skips: float = 0.0
    side_bias: float = 0.0
    careless: int = 0
    golds: int = 0
    repeats: int = 0
    seed: int = 0

    def __post_init__(self):
        methods, items = self.methods, len(self._items())
        if self.trials > items or self.repeats > self.trials or self.careless > self.participants:
            raise StudyError(
                f"no study has {self.trials} of {items} trials per participant, {self.repeats} of "
                f"them repeated, and {self.careless} careless of {self.participants} participants; "
                "lower the first of each"
            )
        if any(sorted(scores) != methods for scores in self.strengths.values()):
            raise StudyError("every criterion needs a score for the same methods")

    @property
    def methods(self) -> list[str]:
        """In alphabetical order."""
        return sorted(next(iter(self.strengths.values())))

    def ballots(self) -> list[Ballot]:
        """All ballots, by participant and position; equal for equal studies."""
        rng, items = np.random.default_rng(self.seed), self._items()
        model = _Model(
            self,
            _effects(self.strengths, self.participants, self.participant_sd, rng),
            _effects(self.strengths, self.prompts, self.prompt_sd, rng),
            rng,
        )
        used, ballots = np.zeros(len(items)), []
        for person in range(self.participants):
            # the least used items first
            chosen = np.lexsort((rng.random(len(items)), used))[: self.trials]
            used[chosen] += 1
            order = _order([items[n] for n in rng.permutation(chosen)], self, rng)
            for position, trial in enumerate(order):
                ballots += model.votes(person, position, trial)
        return ballots

    def _items(self) -> list[_Item]:
        pairs = list(combinations(self.methods, 2))
        return [(prompt, pair) for prompt in range(self.prompts) for pair in pairs]


@dataclass(frozen=True)
class _Trial:
    prompt: int
    left: str
    right: str
    kind: TrialKind = TrialKind.REAL
    repeats: int = -1  # the position of the trial that it repeats

    @property
    def expected(self) -> Choice | None:
        if self.kind != TrialKind.GOLD:
            return None
        return Choice.LEFT if self.left == GOLD[0] else Choice.RIGHT


@dataclass(frozen=True)
class _Model:
    study: SimulatedStudy
    of_people: Effects
    of_prompts: Effects
    rng: np.random.Generator

    def votes(self, person: int, position: int, trial: _Trial) -> list[Ballot]:
        """One per criterion."""
        name, careless = (
            f"p{person:03}",
            person >= self.study.participants - self.study.careless,
        )
        skipped = trial.kind == TrialKind.REAL and self.rng.random() < self.study.skips
        seconds = float(self.rng.lognormal(np.log(CARELESS_SECONDS if careless else SECONDS), 0.4))
        return [
            Ballot(
                f"{name}-{position}",
                name,
                f"prompt {trial.prompt:03}",
                criterion,
                trial.left,
                trial.right,
                Choice.SKIP if skipped else self._choice(criterion, person, trial, careless),
                trial.kind,
                trial.expected,
                f"{name}-{trial.repeats}" if trial.kind == TrialKind.REPEAT else "",
                seconds,
                position,
            )
            for criterion in self.study.strengths
        ]

    def _choice(self, criterion: str, person: int, trial: _Trial, careless: bool) -> Choice:
        if trial.expected and not careless:
            return trial.expected if self.rng.random() >= SLIPS else Choice.TIE
        if self.rng.random() < self.study.ties:
            return Choice.TIE
        logit = 0.0 if careless else self._logit(criterion, person, trial)
        return Choice.LEFT if self.rng.random() < expit(logit) else Choice.RIGHT

    def _logit(self, criterion: str, person: int, trial: _Trial) -> float:
        left, right = (
            self.study.strengths[criterion][method]
            + self.of_people[criterion, method][person]
            + self.of_prompts[criterion, method][trial.prompt]
            for method in (trial.left, trial.right)
        )
        return left - right + self.study.side_bias


def true_rate(
    difference: float, participant_sd: float = 0.5, prompt_sd: float = 0.8, ties: float = 0.0
) -> float:
    """The win rate (a tie counts half) of a method that is stronger than another by `difference`,
    over all careful people and prompts.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(101)
    decided = (
        weights @ expit(difference + np.hypot(participant_sd, prompt_sd) * nodes) / weights.sum()
    )
    return float(ties / 2 + (1 - ties) * decided)


def _effects(strengths: TrueStrengths, count: int, sd: float, rng: np.random.Generator) -> Effects:
    return {
        (criterion, method): rng.normal(0, sd / 2**0.5, count)
        for criterion, scores in strengths.items()
        for method in sorted(scores)
    }


def _order(items: list[_Item], study: SimulatedStudy, rng: np.random.Generator) -> list[_Trial]:
    """Real trials with golds inserted anywhere, then the repeats."""
    exchanged = _balanced_sides([pair for _, pair in items], rng)
    order = [
        _Trial(prompt, right, left) if exchange else _Trial(prompt, left, right)
        for (prompt, (left, right)), exchange in zip(items, exchanged)
    ]
    for _ in range(study.golds):
        left, right = GOLD[::-1] if rng.random() < 0.5 else GOLD
        position = int(rng.integers(len(order) + 1))
        prompt = items[0][0] if items else 0
        order.insert(position, _Trial(prompt, left, right, TrialKind.GOLD))
    real = [position for position, trial in enumerate(order) if trial.kind == TrialKind.REAL]
    repeated = [int(position) for position in rng.permutation(real)[: study.repeats]]
    return order + [
        _Trial(trial.prompt, trial.right, trial.left, TrialKind.REPEAT, position)
        for position, trial in ((position, order[position]) for position in repeated)
    ]


def _balanced_sides(pairs: list[tuple[str, str]], rng: np.random.Generator) -> np.ndarray:
    """[T] bool: whether to exchange each trial's sides; true for half of each pair's trials."""
    exchanged = np.zeros(len(pairs), dtype=bool)
    for pair in sorted(set(pairs)):
        trials = rng.permutation([n for n, other in enumerate(pairs) if other == pair])
        exchanged[trials[: (len(trials) + int(rng.integers(2))) // 2]] = True
    return exchanged
