"""Studies whose truth is known: ballots drawn from a model, to check the analysis against and to
try a report before anyone votes.

A careful participant i, asked for a criterion to compare methods a (left) and b (right) on prompt
j, ties with probability `ties`, and else chooses a with

    logit P = strength_a - strength_b + (u_ia - u_ib) + (v_ja - v_jb) + side_bias

with normal effects of person and prompt for each method and criterion, of variance sd^2 / 2, so
that those of a pair have the sd given. Careless participants choose by a coin, golds too, and
fast. A repeat is answered by the same logit anew.

Departs from real studies: ties do not depend on how close the methods are; effects are normal;
nobody learns or tires.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import expit

from workbench.study.ballots import Ballot, Choice, TrialKind
from workbench.study.errors import StudyError

TWO = {"diversity": {"ours": 0.5, "theirs": 0.0}, "quality": {"ours": 0.0, "theirs": 0.0}}
GOLD = ("gold-good", "gold-bad")
SLIPS = 0.02  # of golds that a careful participant fails
SECONDS, CARELESS_SECONDS = 12.0, 1.5  # medians of a trial


TrueStrengths = Mapping[str, Mapping[str, float]]  # criterion -> method -> score
Effects = Mapping[
    tuple[str, str], np.ndarray
]  # (criterion, method) -> of each participant, or of each prompt


@dataclass(frozen=True)
class _Asked:
    prompt: int
    left: str
    right: str
    kind: TrialKind = TrialKind.REAL
    repeats: int = -1  # a place in the order

    @property
    def expected(self) -> Choice | None:
        return (
            None
            if self.kind != TrialKind.GOLD
            else Choice.LEFT
            if self.left == GOLD[0]
            else Choice.RIGHT
        )


@dataclass(frozen=True)
class _Model:
    strengths: TrueStrengths
    of_people: Effects
    of_prompts: Effects
    ties: float
    skips: float
    side_bias: float
    rng: np.random.Generator

    def votes(self, person: int, place: int, asked: _Asked, careless: bool) -> list[Ballot]:
        """One for each criterion."""
        name, skipped = (
            f"p{person:03}",
            asked.kind == TrialKind.REAL and self.rng.random() < self.skips,
        )
        seconds = float(self.rng.lognormal(np.log(CARELESS_SECONDS if careless else SECONDS), 0.4))
        repeats = f"{name}-{asked.repeats}" if asked.kind == TrialKind.REPEAT else ""
        return [
            Ballot(
                f"{name}-{place}",
                name,
                f"prompt {asked.prompt:03}",
                criterion,
                asked.left,
                asked.right,
                Choice.SKIP if skipped else self._choice(criterion, person, asked, careless),
                asked.kind,
                asked.expected,
                repeats,
                seconds,
                place,
            )
            for criterion in self.strengths
        ]

    def _choice(self, criterion: str, person: int, asked: _Asked, careless: bool) -> Choice:
        if asked.expected and not careless:
            return asked.expected if self.rng.random() >= SLIPS else Choice.TIE
        if self.rng.random() < self.ties:
            return Choice.TIE
        logit = 0.0 if careless else self._logit(criterion, person, asked)
        return Choice.LEFT if self.rng.random() < expit(logit) else Choice.RIGHT

    def _logit(self, criterion: str, person: int, asked: _Asked) -> float:
        left, right = (
            self.strengths[key[0]][key[1]]
            + self.of_people[key][person]
            + self.of_prompts[key][asked.prompt]
            for key in ((criterion, asked.left), (criterion, asked.right))
        )
        return left - right + self.side_bias


def simulated_ballots(
    strengths: TrueStrengths = TWO,
    *,
    participants: int = 20,
    prompts: int = 40,
    trials: int = 20,
    participant_sd: float = 0.5,
    prompt_sd: float = 0.8,
    ties: float = 0.0,
    skips: float = 0.0,
    side_bias: float = 0.0,
    careless: int = 0,
    golds: int = 0,
    repeats: int = 0,
    seed: int = 0,
) -> list[Ballot]:
    """The ballots of a study of the methods in `strengths` (criterion -> method -> score on the
    logit scale), equal for equal arguments.

    Each participant has `trials` real trials (of distinct prompts and pairs, filled evenly over
    the study, sides balanced within pair), `golds`, and `repeats` of the real ones at the end, and
    votes by every criterion in each. The last `careless` of the `participants` are careless.
    `ties` and `skips` are probabilities; of a skipped trial every vote is a skip. Raises
    StudyError for numbers that do not fit together.
    """
    methods = sorted(next(iter(strengths.values())))
    cells = [(prompt, pair) for prompt in range(prompts) for pair in combinations(methods, 2)]
    if not (trials <= len(cells) and repeats <= trials and careless <= participants):
        raise StudyError(
            f"no study has {trials} of {len(cells)} trials a participant, {repeats} of them "
            "repeated, "
            f"and {careless} careless of {participants} participants; lower the first of each"
        )
    if any(sorted(scores) != methods for scores in strengths.values()):
        raise StudyError("every criterion needs a score for the same methods")
    rng = np.random.default_rng(seed)
    model = _Model(
        strengths,
        _effects(strengths, participants, participant_sd, rng),
        _effects(strengths, prompts, prompt_sd, rng),
        ties,
        skips,
        side_bias,
        rng,
    )
    used, ballots = np.zeros(len(cells)), []
    for person in range(participants):
        chosen = np.lexsort((rng.random(len(cells)), used))[:trials]  # the least used first
        used[chosen] += 1
        order = _order([cells[cell] for cell in rng.permutation(chosen)], golds, repeats, rng)
        for place, asked in enumerate(order):
            ballots += model.votes(person, place, asked, careless=person >= participants - careless)
    return ballots


def true_rate(
    difference: float, participant_sd: float = 0.5, prompt_sd: float = 0.8, ties: float = 0.0
) -> float:
    """The win rate, a tie counting half, of a method `difference` stronger than another, over all
    careful people and prompts.
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


def _order(
    cells: list[tuple[int, tuple[str, str]]], golds: int, repeats: int, rng: np.random.Generator
) -> list[_Asked]:
    """Real trials with golds strewn in, then the repeats."""
    turned = _balanced_sides([pair for _, pair in cells], rng)
    order = [
        _Asked(prompt, *(pair[::-1] if turn else pair))
        for (prompt, pair), turn in zip(cells, turned)
    ]
    for _ in range(golds):
        sides = GOLD[::-1] if rng.random() < 0.5 else GOLD
        order.insert(
            int(rng.integers(len(order) + 1)),
            _Asked(cells[0][0] if cells else 0, *sides, kind=TrialKind.GOLD),
        )
    places = rng.permutation(
        [place for place, asked in enumerate(order) if asked.kind == TrialKind.REAL]
    )[:repeats]
    return order + [
        _Asked(
            order[place].prompt, order[place].right, order[place].left, TrialKind.REPEAT, int(place)
        )
        for place in places
    ]


def _balanced_sides(pairs: list[tuple[str, str]], rng: np.random.Generator) -> np.ndarray:
    """[T] bool: whether to turn each pair, half of each pair's trials turned."""
    turned = np.zeros(len(pairs), dtype=bool)
    for pair in sorted(set(pairs)):
        places = rng.permutation([place for place, other in enumerate(pairs) if other == pair])
        turned[places[: (len(places) + int(rng.integers(2))) // 2]] = True
    return turned
