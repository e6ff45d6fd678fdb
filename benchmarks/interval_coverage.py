"""How often the product's 95 % intervals hold the truth: data are simulated whose truth is known.

    python benchmarks/interval_coverage.py --out FOLDER      # resumable: FOLDER/CELL.json when done
    python benchmarks/interval_coverage.py --quick --out FOLDER     # few repeats, other folder

A cell is an interval of the product in one setting. Of its repeats it says how many intervals held
the truth, of those that were given; how many were left blank; and on which side the truth lay
otherwise. An interval of several numbers (the scores of all methods) counts each of them. The
functions measured are those that the product calls. Writes FOLDER/interval_coverage.json, which
`make results` shows once it is in results/.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from record import as_markdown, write_record
from scipy import special, stats

from workbench.evaluation.numbers import (
    ANY,
    POSITIVE,
    SHARE,
    Sampled,
    diversity_numbers,
    task_numbers,
    vendi_numbers,
)
from workbench.evaluation.prompt_lists import Prompt
from workbench.io.files import write_atomically
from workbench.metrics.coverage import coverage_by_prompt
from workbench.metrics.distribution_distance import kid_by_prompt
from workbench.metrics.diversity import mean_interval, seed_interval
from workbench.scenes.grammar import TASKS
from workbench.stages.bands import BandPower
from workbench.stages.branching import variance_split
from workbench.stages.commitment import commitment, fixed_by, fixed_curve
from workbench.study.analysis.agreement import nominal_alpha
from workbench.study.analysis.bradley_terry import Comparisons, scale, scores
from workbench.study.analysis.clustering import clustered_rate, crossed_rate, unanimous_bounds
from workbench.study.analysis.simulation import true_rate
from workbench.study.analysis.statistics import wilson_interval

TITLE = "How often does each interval hold the truth?"
PROTOCOL = (
    "Data are simulated whose truth is known, and the product's own functions give their 95 % "
    "intervals. *Varies*: what is drawn anew in each repeat, and so what the interval is about. "
    "*Covers*: how many of the intervals that were given hold the truth, ± the Monte Carlo "
    "standard error; *truth below* and *above*: how often it lies outside on which side; *blank*:"
    " intervals that the data do not determine and that are left blank. Votes have crossed normal"
    " effects of people (sd 0.5 on the logit scale; very different: 1.2) and prompts (sd 0.8) and"
    " 10 % ties; the truth of a score or rate is that over all people and prompts. Not balanced: "
    "people answer 0.3 to 1.7 times as many questions, some pairs and prompts are asked three or "
    "four times as often. Nearly unbeaten: a score of 4. A one-sided bound covers if it is not "
    "above the truth; where not every vote was won it is 0. Standard deviations over training "
    "seeds (sweeps) are no intervals; FID and CMMD have none."
)
SCORES, DIFFERENCES = "Bradley-Terry scores", "differences of Bradley-Terry scores"
# [K, 3] value, low and high of K numbers, and their truth [K]
Draw = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Cell:
    """An interval in one setting. `simulation`() returns a function of a generator that simulates
    one data set.
    """

    interval: str
    over: str  # what varies
    setting: str
    simulation: Callable[[], Callable[[np.random.Generator], Draw]]
    repeats: int = 500

    @property
    def name(self) -> str:
        """Of its file."""
        return "".join(c if c.isalnum() else "-" for c in f"{self.interval} {self.setting}")


def measured(cell: Cell, repeats: int) -> dict:
    """The cell's numbers over `repeats` data sets, the n-th drawn from seed n."""
    begun, draw = time.process_time(), cell.simulation()
    drawn = [draw(np.random.default_rng(seed)) for seed in range(repeats)]
    low, high = (np.array([found[:, end] for found, _ in drawn]) for end in (1, 2))  # [R, K]
    truth, known = np.array([truth for _, truth in drawn]), ~np.isnan(low)
    if not (low <= high)[known].all():
        raise AssertionError(f"{cell.name}: an interval with low > high")
    inside = (low <= truth) & (truth <= high)
    count, given = known.sum(), known.sum(1)
    covers = inside.sum() / count
    # numbers of one data set are alike: the data sets are the sample
    error = math.sqrt(((inside.sum(1) - covers * given) ** 2).sum()) / count
    return {
        "interval": cell.interval,
        "over": cell.over,
        "setting": cell.setting,
        "repeats": repeats,
        "covers": covers,
        "error": error,
        "least": (inside.sum(0) / known.sum(0)).min(),  # of the K numbers
        "below": (truth < low).sum() / count,
        "above": (truth > high).sum() / count,
        "blank": 1 - count / known.size,
        "width": float(np.median((high - low)[known])),
        "seconds": time.process_time() - begun,
    }


def one(interval, truth: float) -> Draw:
    """A draw of a single number."""
    return np.array([interval[:3]], float), np.array([truth])


# --- user studies -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Study:
    """Votes of a study with crossed effects of people and prompts, as in
    `workbench.study.analysis.simulation`; the same questions in each repeat.
    """

    people: int
    prompts: int
    trials: int
    strengths: tuple[float, ...]
    participant_sd: float = 0.5
    prompt_sd: float = 0.8
    ties: float = 0.1
    balanced: bool = True
    all_ties: int = -1  # the number of a method with ties only

    def questions(self) -> np.ndarray:
        """[V, 4] participant, prompt, first and second method. Not balanced: people answer 0.3 to
        1.7 times the trials, and some pairs and prompts are asked three or four times as often.
        """
        rng, methods = np.random.default_rng(1), len(self.strengths)
        pairs = list(itertools.combinations(range(methods), 2))
        items = np.array([(q, *pair) for q in range(self.prompts) for pair in pairs])
        weight = np.ones(len(items))
        if not self.balanced:
            weight[np.arange(len(items)) % len(pairs) % 3 == 0] *= 4
            weight[items[:, 0] % 4 == 0] *= 3
        used, asked = np.zeros(len(items)), []
        for person in range(self.people):
            share = 1.0 if self.balanced else 0.3 + 1.4 * person / (self.people - 1)
            chosen = np.lexsort((rng.random(len(items)), used / weight))
            chosen = chosen[: round(self.trials * share)]
            used[chosen] += 1
            asked.append(np.column_stack([np.full(len(chosen), person), items[chosen]]))
        return np.concatenate(asked)

    def shares(self, asked: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """[V] the share of the win that the first method has."""
        person, prompt, first, second = asked.T
        strength, methods = np.array(self.strengths), len(self.strengths)
        own = self.participant_sd / 2**0.5 * rng.normal(size=(self.people, methods))
        own_prompt = self.prompt_sd / 2**0.5 * rng.normal(size=(self.prompts, methods))
        scored = strength + own[person] + own_prompt[prompt]
        rows = np.arange(len(asked))
        won = rng.random(len(asked)) < special.expit(scored[rows, first] - scored[rows, second])
        tied = rng.random(len(asked)) < self.ties
        tied |= (first == self.all_ties) | (second == self.all_ties)
        return np.where(tied, 0.5, won)

    def rate(self, first: int, second: int) -> float:
        """The true win rate of a pair, over all people and prompts."""
        if self.all_ties in (first, second):
            return 0.5
        apart = self.strengths[first] - self.strengths[second]
        return true_rate(apart, self.participant_sd, self.prompt_sd, self.ties)


def bradley_terry(study: Study, differences: bool = False) -> Callable:
    """Draws of the scores of all methods, or of the differences of all pairs; the truth are the
    scores that fit the true win rates, pair by pair as often as they are asked for.
    """
    asked, methods = study.questions(), len(study.strengths)
    expected = np.zeros((methods, methods))
    for (first, second), count in zip(*np.unique(asked[:, 2:], axis=0, return_counts=True)):
        rate = study.rate(first, second)
        expected[first, second] += count * rate
        expected[second, first] += count * (1 - rate)
    truth = scores(expected)[0]
    above, below = np.triu_indices(methods, 1)

    def draw(rng: np.random.Generator) -> Draw:
        votes = Comparisons(asked[:, 2], asked[:, 3], study.shares(asked, rng), *asked.T[:2])
        found = scale(votes, methods)
        value, half, true = found.scores, found.half, truth
        if differences:
            value, true = value[above] - value[below], truth[above] - truth[below]
            half = found.apart[above, below]
        return np.column_stack([value, value - half, value + half]), true

    return draw


def win_rate(study: Study) -> Callable:
    """Draws of the win rate of one pair with ties as half."""
    asked, truth = study.questions(), study.rate(0, 1)
    return lambda rng: one(crossed_rate(study.shares(asked, rng), *asked.T[:2].tolist()), truth)


def as_if_independent(study: Study) -> Callable:
    asked, truth = study.questions(), study.rate(0, 1)

    def draw(rng: np.random.Generator) -> Draw:
        return one(wilson_interval(int(study.shares(asked, rng).sum()), len(asked)), truth)

    return draw


def unanimous(study: Study, certain: bool) -> Callable:
    """Draws of the least rate of a method, one-sided: 0 if it did not win every vote."""
    asked, truth = study.questions(), study.rate(0, 1)

    def draw(rng: np.random.Generator) -> Draw:
        if study.shares(asked, rng).min() < 1:
            return one((0.0, 0.0, 1.0), truth)
        bounds = unanimous_bounds(*asked.T[:2].tolist())
        return one((1.0, bounds.certain if certain else bounds.independent, 1.0), truth)

    return draw


def alpha(study: Study) -> Callable:
    """Draws of Krippendorff's alpha of one pair, over all people and prompts."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    weights = weights / weights.sum()
    apart = study.strengths[0] - study.strengths[1]
    rates = weights @ special.expit(
        apart + study.participant_sd * nodes[:, None] + study.prompt_sd * nodes
    )  # of each prompt, over people
    mean = rates @ weights
    truth = 1 - (rates * (1 - rates)) @ weights / (mean * (1 - mean))
    asked = study.questions()

    def draw(rng: np.random.Generator) -> Draw:
        share = study.shares(asked, rng)
        units: dict[int, list[tuple[int, float]]] = {}
        for (person, prompt, *_), answer in zip(asked.tolist(), share.tolist()):
            units.setdefault(prompt, []).append((person, answer))
        people, answers = (
            [[answer[part] for answer in unit] for unit in units.values()] for part in (0, 1)
        )
        return one(nominal_alpha(answers, 0.95, people), truth)

    return draw


def side_share(people: int, trials: int, sd: float, bias: float) -> Callable:
    """Draws of a share that is clustered by participant: side bias, repeats."""
    truth = true_rate(bias, sd, 0.0)
    who = np.repeat(np.arange(people), trials)

    def draw(rng: np.random.Generator) -> Draw:
        logits = bias + sd * rng.normal(size=people)
        return one(clustered_rate(rng.random(len(who)) < special.expit(logits[who]), who), truth)

    return draw


def power_share(rate: float, repetitions: int) -> Callable:
    return lambda rng: one(wilson_interval(int(rng.binomial(repetitions, rate)), repetitions), rate)


def scale_cells() -> Iterator[Cell]:
    """Bradley-Terry's."""
    few, many = "8 people x 20 prompts", "30 people x 60 prompts"
    for methods, trials in ((3, 15), (5, 20), (8, 40)):
        spread = tuple(np.linspace(0, 0.2 * methods - 0.2, methods))
        designs = {
            few: Study(8, 20, trials, spread),
            f"{few}, not balanced": Study(8, 20, trials, spread, balanced=False),
            many: Study(30, 60, trials, spread),
            f"{many}, not balanced": Study(30, 60, trials, spread, balanced=False),
            f"{few}, people very different": Study(8, 20, trials, spread, participant_sd=1.2),
            f"{few}, nobody differs": Study(8, 20, trials, spread, 0.0, 0.0),
            f"{few}, one nearly unbeaten": Study(8, 20, trials, (*spread[:-1], 4.0)),
            f"{few}, one nearly winless": Study(8, 20, trials, (*spread[:-1], -4.0)),
            f"{few}, one with ties only": Study(8, 20, trials, spread, all_ties=1),
            f"{many}, one nearly unbeaten": Study(30, 60, trials, (*spread[:-1], 4.0)),
        }
        if methods == 3:
            designs["8 people x 6 prompts, one nearly unbeaten, no ties"] = Study(
                8, 6, 18, (4.0, 0.0, -0.2), ties=0.0
            )
        for setting, study in designs.items():
            for of in (SCORES, DIFFERENCES):
                simulation = partial(bradley_terry, study, of == DIFFERENCES)
                yield Cell(of, "people, prompts", f"{methods} methods, {setting}", simulation, 1000)


def study_cells() -> Iterator[Cell]:
    """Those of a study of two methods."""
    sizes = (8, 20, 15), (20, 40, 20), (30, 60, 20)
    laws = (0.5, 0.0, 0.0), (0.65, 0.5, 0.8), (0.9, 0.5, 0.8)
    for (people, prompts, trials), (rate, own, of_prompt) in itertools.product(sizes, laws):
        apart = (float(special.logit(rate)), 0.0)
        study = Study(people, prompts, trials, apart, own, of_prompt, ties=0.0)
        setting = f"{people} people x {prompts} prompts, rate {rate:g}"
        setting += "" if own else ", nobody differs"
        yield Cell("win rate", "people, prompts", setting, partial(win_rate, study), 1000)
        if own:
            name = "win rate, as if votes were independent"
            yield Cell(name, "votes", setting, partial(as_if_independent, study))
            name = "Krippendorff's alpha"
            yield Cell(name, "people, prompts", setting, partial(alpha, study), 1000)
    for rate in (0.7, 0.95):
        apart = next(float(x) for x in np.arange(0, 5, 0.01) if true_rate(x) >= rate)
        study = Study(10, 6, 6, (apart, 0.0), ties=0.0)
        for certain, how in ((True, "whatever votes share"), (False, "as if independent")):
            name, setting = f"least rate, one-sided, {how}", f"10 people x 6 prompts, rate {rate:g}"
            yield Cell(name, "people, prompts", setting, partial(unanimous, study, certain), 2000)
    for people, sd in ((8, 0.0), (8, 0.8), (30, 0.8)):
        setting = f"{people} people of 15 answers, {'different' if sd else 'alike'}"
        simulation = partial(side_share, people, 15, sd, 0.5)
        yield Cell("side bias, repeats", "people", setting, simulation, 1000)
    simulation = partial(power_share, 0.8, 1000)
    yield Cell("power", "simulated studies", "1,000 studies, power .8", simulation, 1000)


# --- images -------------------------------------------------------------------------------------


def directions(
    rng: np.random.Generator, shape: tuple[int, ...], width: int, concentration: float
) -> torch.Tensor:
    """Von Mises-Fisher features [*shape, width] around the first axis."""
    law = stats.vonmises_fisher(np.eye(width)[0], concentration)
    return torch.from_numpy(law.rvs(math.prod(shape), random_state=rng)).view(*shape, width)


def mean_cosine(width: int, concentration: float) -> float:
    """Of two independent ones: A^2, A = I_{D/2}(k) / I_{D/2 - 1}(k)."""
    ratio = special.ive(width / 2, concentration) / special.ive(width / 2 - 1, concentration)
    return float(ratio**2)


def seeds_of_one_prompt(width: int, concentration: float, seeds: int) -> Callable:
    truth = 1 - mean_cosine(width, concentration)
    return lambda rng: one(seed_interval(directions(rng, (seeds,), width, concentration)), truth)


def seeds_of_modes(shares: tuple[float, ...], seeds: int) -> Callable:
    """Images that are one of some unrelated pictures, up to a little noise."""
    noise, width = 0.1, 64
    truth = 1 - sum(share**2 for share in shares) / (1 + width * noise**2)  # to about 1 %

    def draw(rng: np.random.Generator) -> Draw:
        which = rng.choice(len(shares), p=shares, size=seeds)
        features = np.eye(width)[which] + noise * rng.normal(size=(seeds, width))
        return one(seed_interval(torch.from_numpy(features)), truth)

    return draw


def prompts_of(prompts: int, values: Callable, truth: float, within: tuple = ANY) -> Callable:
    """Draws of a mean over prompts, of values(generator, prompts)."""
    return lambda rng: one(mean_interval(values(rng, prompts), within=within), truth)


def prompt_features(rng: np.random.Generator, prompts: int, seeds: int) -> torch.Tensor:
    """[P, S, 16]: each prompt has its own middle and its own spread."""
    middle = rng.normal(size=(prompts, 1, 16))
    spread = rng.gamma(4, 0.2, size=(prompts, 1, 1))
    return torch.from_numpy(middle + spread * rng.normal(size=(prompts, seeds, 16)))


def over_prompts(numbers: Callable, prompts: int, seeds: int) -> Callable:
    """Draws of the mean over prompts of a number of each prompt's seeds."""

    def interval(features: torch.Tensor):
        texts = tuple(Prompt(str(n)) for n in range(len(features)))
        (found,) = numbers("", Sampled(texts, features, "", iter), None).values()
        return found.interval

    truth = interval(prompt_features(np.random.default_rng(99), 20_000, seeds)).mean
    return lambda rng: one(interval(prompt_features(rng, prompts, seeds)), truth)


def two_sets(rng: np.random.Generator, prompts: int, shift: float) -> tuple:
    """A student's and a teacher's features [P, 9, 16]; the student's are shifted and narrower."""
    middle = rng.normal(size=(prompts, 1, 16))
    near, far = rng.normal(size=(2, prompts, 9, 16))
    return tuple(torch.from_numpy(x) for x in (middle + shift + (1 - shift) * near, middle + far))


def covered_share(prompts: int, shift: float, which: str) -> Callable:
    """Draws of the mean over prompts of the share of the teacher's images that are reached."""

    def values(rng: np.random.Generator, count: int) -> list[float]:
        return [getattr(x, which) for x in coverage_by_prompt(*two_sets(rng, count, shift))]

    truth = float(np.mean(values(np.random.default_rng(99), 4000)))
    return prompts_of(prompts, values, truth, SHARE)


def cubic_mean(x: tuple[float, float], y: tuple[float, float], width: int = 16) -> float:
    """E (z + 1)^3, z = x . y / D, of independent Gaussian x and y, each with equal means and
    variances in all D dimensions: the moments of z, given y and then over y.
    """
    (a, v), (b, w) = x, y
    first, second = a * b, (a * b) ** 2 + (w * a**2 + v * (b**2 + w)) / width
    third = first**3 + 3 * first * (w * a**2 + v * (b**2 + w + 2 * w / width)) / width
    return 1 + 3 * first + 3 * second + third


def kid(prompts: int, shift: float) -> Callable:
    """Draws of the distance of two sets, whose images of different prompts are Gaussian."""
    x, y = (shift, 1 + (1 - shift) ** 2), (0.0, 2.0)  # mean and variance
    truth = cubic_mean(x, x) + cubic_mean(y, y) - 2 * cubic_mean(x, y)
    return lambda rng: one(kid_by_prompt(*two_sets(rng, prompts, shift)), truth)


def paired(prompts: int) -> Callable:
    """Draws of the mean of differences, of values that have the prompt in common."""

    def values(rng: np.random.Generator, count: int) -> np.ndarray:
        prompt = rng.gamma(4, 0.05, count)
        own, teacher = prompt * rng.gamma(20, 1 / 20, (2, count)) * [[0.7], [1.0]]
        return own - teacher

    return prompts_of(prompts, values, -0.3 * 0.2)


def tasks(prompts_each: int, seeds: int, mean: float) -> Callable:
    """Draws of the mean of six tasks, whose prompts are right with a share from a beta law."""
    texts = [(f"{task} {n}", task) for task in TASKS for n in range(prompts_each)]
    prompts = tuple(Prompt(text, {"tag": task}) for text, task in texts)

    def draw(rng: np.random.Generator) -> Draw:
        share = rng.beta(4 * mean, 4 * (1 - mean), size=len(prompts))
        right = rng.random((len(prompts), seeds)) < share[:, None]
        own = Sampled(prompts, torch.from_numpy(right[..., None] * 1.0), "", lambda: iter(()))
        (found,) = [n for column, n in task_numbers(own, None).items() if column.name == "correct"]
        return one(found.interval, mean)

    return draw


def image_cells() -> Iterator[Cell]:
    name = "Eq. (9) of one prompt"
    for width, concentration, seeds in (
        (16, 60.0, 5), (16, 60.0, 9), (64, 150.0, 9), (64, 150.0, 25), (16, 5.0, 9),
    ):  # fmt: skip
        setting = (
            f"{seeds} seeds, {width} dimensions, Div {1 - mean_cosine(width, concentration):.2f}"
        )
        yield Cell(
            name, "seeds", setting, partial(seeds_of_one_prompt, width, concentration, seeds), 1000
        )
    for shares in ((0.5, 0.5), (0.8, 0.2), (0.95, 0.05)):
        setting = f"9 seeds, two pictures of shares {shares[0]:g} and {shares[1]:g}"
        yield Cell(name, "seeds", setting, partial(seeds_of_modes, shares, 9), 1000)
    laws = {
        "normal": (lambda rng, n: rng.normal(size=n), 0.0, ANY),
        "skewed (gamma 4)": (lambda rng, n: rng.gamma(4, 0.05, n), 0.2, POSITIVE),
        "very skewed (exponential)": (lambda rng, n: rng.exponential(size=n), 1.0, POSITIVE),
        "shares near 1 (beta 9, 1)": (lambda rng, n: rng.beta(9, 1, n), 0.9, SHARE),
    }
    for count, (law, (values, truth, within)) in itertools.product((3, 5, 10, 43), laws.items()):
        simulation = partial(prompts_of, count, values, truth, within)
        yield Cell("mean over prompts", "prompts", f"{count} prompts, {law}", simulation, 2000)
    for count in (5, 43):
        setting = f"{count} prompts of 9 seeds"
        yield Cell(
            "Eq. (9), mean", "prompts", setting, partial(over_prompts, diversity_numbers, count, 9)
        )
        yield Cell(
            "Vendi score, mean", "prompts", setting, partial(over_prompts, vendi_numbers, count, 9)
        )
        for which in ("coverage", "recall"):
            yield Cell(which, "prompts", setting, partial(covered_share, count, 0.3, which))
        for shift in (0.0, 0.3):
            how = "another distribution" if shift else "the same distribution"
            yield Cell("KID", "prompts", f"{setting}, {how}", partial(kid, count, shift))
        yield Cell(
            "difference to the teacher", "prompts", f"{count} prompts", partial(paired, count), 2000
        )
    for each, seeds, mean in ((7, 9, 0.75), (7, 9, 0.95), (90, 4, 0.7), (2, 9, 0.8)):
        setting = f"6 tasks of {each} prompts, {seeds} images, {mean:.0%} right"
        yield Cell("GenEval, mean of tasks", "prompts", setting, partial(tasks, each, seeds, mean))


# --- stages -------------------------------------------------------------------------------------


def fixed_share(seeds: int, amount: float, noise: float) -> Callable:
    """Beliefs a F + noise of independent finals F: fixed = 1 - ((1 - a)^2 + n) / (a^2 + 1 + n)."""
    truth = 1 - ((1 - amount) ** 2 + noise) / (amount**2 + 1 + noise)

    def draw(rng: np.random.Generator) -> Draw:
        finals, error = torch.from_numpy(rng.normal(size=(2, seeds, 12)))
        (found,) = fixed_curve(commitment([amount * finals + noise**0.5 * error], finals))
        return one(found, truth)

    return draw


def fixed_step(seeds: int) -> Callable:
    """Eight steps; each seed is blurred by an amount of its own. The truth is of 4,000 seeds."""

    def beliefs(rng: np.random.Generator, count: int) -> tuple:
        finals = torch.from_numpy(rng.normal(size=(count, 12)))
        pace = torch.from_numpy(rng.uniform(0.5, 2, size=(count, 1)))
        times = torch.linspace(0, 1, 9, dtype=torch.float64)[1:]
        return [finals * time**pace for time in times], finals

    steps, finals = beliefs(np.random.default_rng(99), 2000)
    own = torch.stack([(step - finals).square().sum() for step in steps])
    middle = finals.mean(0)
    others = torch.stack(
        [(step - middle).square().sum() + (finals - middle).square().sum() for step in steps]
    )
    below = (1 - own / others < 0.5).nonzero()
    truth = int(below[-1]) + 2

    def draw(rng: np.random.Generator) -> Draw:
        steps, finals = beliefs(rng, seeds)
        return one(fixed_by(commitment(steps, finals), 0.5), truth)

    return draw


def band(seeds: int) -> Callable:
    """Power of a belief at half of the final image's, each seed with its own."""

    def draw(rng: np.random.Generator) -> Draw:
        final = rng.gamma(4, 1, size=seeds)
        belief = final * rng.beta(4, 4, size=seeds)
        power = BandPower(*(torch.from_numpy(x) for x in (belief[None, :, None], final[:, None])))
        return one(power.interval(0, 0), 0.5)

    return draw


def branches(parents: int, of: str) -> Callable:
    """Variances 1 and 1 in 8 dimensions: within 8, cross 16, an ICC of 0.5."""
    truth = {"within": 8.0, "cross": 16.0, "icc": 0.5}[of]

    def draw(rng: np.random.Generator) -> Draw:
        features = rng.normal(size=(parents, 1, 8)) + rng.normal(size=(parents, 4, 8))
        return one(getattr(variance_split(torch.from_numpy(features)), of), truth)

    return draw


def stage_cells() -> Iterator[Cell]:
    for seeds in (4, 9):
        setting = f"{seeds} seeds"
        for amount, noise in ((0.6, 0.05), (0.9, 0.02)):
            of = f"{setting}, belief {amount:g} of the way"
            simulation = partial(fixed_share, seeds, amount, noise)
            yield Cell("share fixed after a step", "seeds", of, simulation, 1000)
        yield Cell("step by which half is fixed", "seeds", setting, partial(fixed_step, seeds))
        yield Cell("power of a band", "seeds", setting, partial(band, seeds))
    for parents, of in itertools.product((4, 6), ("within", "cross", "icc")):
        name = {"within": "diversity left", "cross": "diversity", "icc": "intraclass correlation"}
        setting = f"{parents} parents of 4 branches"
        yield Cell(f"branching, {name[of]}", "parents", setting, partial(branches, parents, of))


# --- the table ----------------------------------------------------------------------------------


def cells() -> list[Cell]:
    """Every interval that the product prints, in its settings."""
    return [*scale_cells(), *study_cells(), *image_cells(), *stage_cells()]


def row(numbers: dict, differences: dict | None = None) -> dict[str, str]:
    """A line of the table; of Bradley-Terry's scores with their differences."""
    covers = f"{100 * numbers['covers']:.1f} ± {100 * numbers['error']:.1f}"
    if differences:
        covers += f" (differences {100 * differences['covers']:.1f})"
    return {
        "interval": numbers["interval"],
        "varies": numbers["over"],
        "setting": numbers["setting"],
        "covers, %": covers,
        "truth below, %": f"{100 * numbers['below']:.1f}",
        "above, %": f"{100 * numbers['above']:.1f}",
        "blank, %": f"{100 * numbers['blank']:.1f}",
        "repeats": f"{numbers['repeats']:,}",
    }


def rows_of(found: list[dict]) -> list[dict[str, str]]:
    """The table's lines."""
    apart = {n["setting"]: n for n in found if n["interval"] == DIFFERENCES}
    return [
        row(numbers, apart.get(numbers["setting"]) if numbers["interval"] == SCORES else None)
        for numbers in found
        if numbers["interval"] != DIFFERENCES
    ]


def notes_of(found: list[dict]) -> list[str]:
    """The range of each interval over its settings, and where an interval does not cover."""
    ranges, short = [], []
    for name in dict.fromkeys(numbers["interval"] for numbers in found):
        own = [numbers for numbers in found if numbers["interval"] == name]
        low, high = (100 * pick(n["covers"] for n in own) for pick in (min, max))
        ranges.append(f"{name} {low:.1f} to {high:.1f} %" if high > low else f"{name} {low:.1f} %")
        short += [
            f"{name}, {numbers['setting']} ({100 * numbers['covers']:.1f} %)"
            for numbers in own
            if numbers["covers"] + 2 * numbers["error"] < 0.93
        ]
    scales = [n["least"] for n in found if n["interval"] in (SCORES, DIFFERENCES)]
    notes = [f"Lowest and highest coverage over the settings: {'; '.join(ranges)}."]
    if scales:
        notes.append(
            "Of single methods and pairs, the least covered Bradley-Terry interval of any setting "
            f"covers in {100 * min(scales):.1f} %."
        )
    if short:
        notes.append(f"Below 93 % beyond the Monte Carlo error: {'; '.join(short)}.")
    return notes


def main() -> None:
    """Measures the cells that have no file yet, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("interval-coverage"))
    parser.add_argument("--quick", action="store_true", help="a tenth of the repeats")
    parser.add_argument("--only", default="", help="only intervals whose name has this in it")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found = []
    for cell in cells():
        if options.only not in cell.interval:
            continue
        file = options.out / f"{cell.name}.json"
        if not file.exists():
            numbers = measured(cell, cell.repeats // (10 if options.quick else 1))
            write_atomically(file, partial(Path.write_text, data=json.dumps(numbers)))
        found.append(json.loads(file.read_text()))
        print(*row(found[-1]).values(), f"{found[-1]['seconds']:.1f} s", sep=" | ", file=sys.stderr)
    rows = rows_of(found)
    page = {"title": TITLE, "order": 205, "notes": notes_of(found)}
    path = write_record(options.out, "interval_coverage", PROTOCOL, {}, rows, found, **page)
    print(f"{as_markdown(rows)}\n\n{path}")


if __name__ == "__main__":
    main()
