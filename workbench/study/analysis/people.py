"""Whom a rule excludes, by simulation: honest and careless people who answer the very trials that a
study would give them.

The trials of a person are those of `assignment`: kinds in their order, golds and real trials with
sides in blocks of two, repeats with exchanged sides. A person answers every criterion of a trial.

Honest people know the right answer of a gold trial and slip in `SLIPS`. Of real trials they tie
with probability `ties`, and otherwise prefer the first method with logit

    difference + u_person + v_prompt + lean,        plus `lean` if it is on the left, else minus,

with the normal effects of `simulation`. Careless people never look; the same key answers all
criteria, which is the hardest case: two answers tell no more than one. A trial takes a lognormal
time around the person's own median, which is lognormal around `seconds`.

Not here: whole studies with a known win rate (`simulation`), the rule (`exclusion`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from workbench.study.analysis.exclusion import GOLD, SIDES, TIME, Rule, breaches
from workbench.study.analysis.simulation import CARELESS_SECONDS, SECONDS, SLIPS
from workbench.study.analysis.statistics import wilson_interval
from workbench.study.assignment import PRACTICE, Given, NextTrial, next_trial
from workbench.study.ballots import Ballot, Choice, TrialKind
from workbench.study.design import StudyDesign

BETWEEN, WITHIN = 0.4, 0.4  # sds of log seconds: of people's medians, of one person's trials
LEFT, RIGHT, TIE = Choice.LEFT, Choice.RIGHT, Choice.TIE

Careless = Callable[[int, np.random.Generator], Choice]  # of the position


def always_left(position: int, rng: np.random.Generator) -> Choice:
    """Left."""
    return LEFT


def always_right(position: int, rng: np.random.Generator) -> Choice:
    """Right."""
    return RIGHT


def alternating(position: int, rng: np.random.Generator) -> Choice:
    """Left, right, left, right."""
    return LEFT if position % 2 else RIGHT


def coin(position: int, rng: np.random.Generator) -> Choice:
    """Left or right at random."""
    return LEFT if rng.random() < 0.5 else RIGHT


def three_keys(position: int, rng: np.random.Generator) -> Choice:
    """One of the three answers at random."""
    return (LEFT, RIGHT, TIE)[int(rng.integers(3))]


@dataclass(frozen=True)
class Person:
    """How someone votes. `careless` is None for an honest person; `until` is the share of the
    trials that a careless person still answers honestly and at an honest pace.
    """

    name: str
    careless: Careless | None = None
    seconds: float = SECONDS  # the median of a trial
    until: float = 0.0
    difference: float = 0.0
    ties: float = 0.15
    lean: float = 0.0  # to the left, on the logit scale
    participant_sd: float = 0.5
    prompt_sd: float = 0.8


HONEST = (
    Person("honest, sees a clear difference", difference=1.5),
    Person("honest, sees a small difference", difference=0.3),
    Person("honest, one method always wins", difference=6.0, ties=0.0),
    Person("honest, no preference at all", participant_sd=0.0, prompt_sd=0.0, ties=0.0),
    Person("honest, mostly undecided", ties=0.6),
    Person("honest, leans to the left", lean=0.4),
    Person("honest, twice as quick", seconds=SECONDS / 2),
)
CARELESS = (
    Person("always left", always_left),
    Person("always right", always_right),
    Person("alternating", alternating),
    Person("random", coin),
    Person("random of three answers", three_keys),
    Person("fast and random", coin, CARELESS_SECONDS),
    Person("fast and always left", always_left, CARELESS_SECONDS),
    Person("tired: fast and random from the middle", coin, CARELESS_SECONDS, until=0.5),
    Person("tired: always left from the middle", always_left, until=0.5),
)
# not caught as often as the others: reported, and no part of what the default rule promises
HARDEST = (
    Person("tired: random at an honest pace from the middle", coin, until=0.5),
    Person("tired: random at an honest pace at the end", coin, until=0.75),
)


@dataclass(frozen=True)
class Caught:
    """The share of people of one kind whom a rule excludes, with its 95 % Monte Carlo interval, and
    the shares of its parts (one person can break several).
    """

    person: Person
    share: float
    low: float
    high: float
    parts: dict[str, float]


def trials_of_people(design: StudyDesign, count: int) -> list[list[NextTrial]]:
    """The trials of `count` participants, without practice, as `assignment` gives them."""
    return [_trials(design, f"person {n}") for n in range(count)]


def simulated_ballots(
    design: StudyDesign, person: Person, trials: Sequence[Sequence[NextTrial]], seed: int = 0
) -> list[Ballot]:
    """The ballots of people of one kind, one for each list of trials; equal for equal arguments."""
    rng = np.random.default_rng(seed)
    prompts = rng.normal(0, person.prompt_sd, len(design.prompts))
    ballots = []
    for n, own in enumerate(trials):
        taste = person.difference + rng.normal(0, person.participant_sd)
        pace, honest_pace = (
            median * np.exp(BETWEEN * rng.normal()) for median in (person.seconds, SECONDS)
        )
        for trial in own:
            begun = (trial.position - 1) / len(own) >= person.until
            careless = person.careless if begun else None
            median = pace if careless or person.careless is None else honest_pace
            seconds = float(median * np.exp(WITHIN * rng.normal()))
            key = careless(trial.position, rng) if careless else None
            for criterion in design.criteria:
                choice = key or _honest(design, person, trial, taste + prompts[trial.prompt], rng)
                expected = trial.expected if criterion.gold else None
                ballots.append(
                    Ballot(
                        f"person {n} {trial.position}",
                        f"person {n}",
                        design.prompts[trial.prompt],
                        criterion.name,
                        trial.left,
                        trial.right,
                        choice,
                        TrialKind(trial.kind),
                        expected,
                        trial.repeats,
                        seconds,
                        trial.position,
                    )
                )
    return ballots


def caught(
    design: StudyDesign,
    people: Sequence[Person],
    count: int,
    rule: Rule | None = None,
    seed: int = 0,
) -> list[Caught]:
    """How many of `count` people of each kind the design's rule (or another) excludes."""
    trials, found = trials_of_people(design, count), []
    for n, person in enumerate(people):
        broken = breaches(simulated_ballots(design, person, trials, seed + n), rule or design.rule)
        share, low, high = wilson_interval(len(broken), count)
        parts = {
            part: sum(part in reasons for reasons in broken.values()) / count
            for part in (GOLD, TIME, SIDES)
        }
        found.append(Caught(person, share, low, high, parts))
    return found


def _trials(design: StudyDesign, participant: str) -> list[NextTrial]:
    given: list[Given] = []
    while (trial := next_trial(design, participant, given, {})) is not None:
        given.append(Given(f"{participant} {trial.position}", trial))
    return [one.content for one in given if one.content.kind != PRACTICE]


def _honest(
    design: StudyDesign,
    person: Person,
    trial: NextTrial,
    difference: float,
    rng: np.random.Generator,
) -> Choice:
    if trial.expected is not None:
        if rng.random() >= SLIPS:
            return trial.expected
        return TIE if design.ties else {LEFT: RIGHT, RIGHT: LEFT}[trial.expected]
    if design.ties and rng.random() < person.ties:
        return TIE
    first_left = (trial.left, trial.right) in design.pairs
    logit = person.lean + (difference if first_left else -difference)
    return LEFT if rng.random() < expit(logit) else RIGHT
