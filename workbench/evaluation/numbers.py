"""How what was read from a model's images becomes a table's numbers, with intervals over prompts.

Each function reads a `Sampled` model, those that compare also the teacher's samples from other
seeds, and gives numbers by column. All raise ValueError, with the reason, where nothing can be
said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from workbench.evaluation.prompt_lists import Prompt
from workbench.metrics.coverage import coverage_by_prompt
from workbench.metrics.distribution_distance import cmmd, fid, kid_by_prompt
from workbench.metrics.diversity import Interval, bootstrap_interval, diversity, vendi
from workbench.metrics.factors import relative_spread
from workbench.scenes.detector import detect
from workbench.scenes.grammar import TASKS, GrammarError, parse

EXACT = "the exact detector of scenes"


class Column(NamedTuple):
    """A column of the table. Numbers of two protocols are never in one."""

    name: str
    protocol: str
    higher_is_better: bool = True
    digits: int = 3
    part: bool = False  # of another number, with a table of its own

    @property
    def title(self) -> str:
        return f"{self.name} {'↑' if self.higher_is_better else '↓'}"


@dataclass(frozen=True)
class Number:
    """One cell: the value with its 95 % interval, on how many prompts, and how many images could
    not be read.
    """

    interval: Interval
    prompts: int
    failed: int = 0
    by_prompt: dict[str, float] = field(
        default_factory=dict
    )  # empty where there is no number of one prompt
    note: str = ""


Numbers = dict[Column, Number]


@dataclass(frozen=True)
class Sampled:
    """One model's images as a metric sees them."""

    prompts: tuple[Prompt, ...]
    values: Tensor | None  # [P, S, D], nan where there is no image or it could not be read
    protocol: str
    images: Callable[[], Iterator[Tensor]] = field(
        repr=False
    )  # [S, 3, H, W] of each prompt, without the missing ones
    seeds: int = 0  # images wanted of each prompt

    @property
    def failed(self) -> int:
        return int(torch.isnan(self.values).any(-1).sum())


def complete_prompts(prompts: tuple[Prompt, ...], values: Tensor) -> tuple[list[str], Tensor]:
    """The prompts of which no image is missing, and their readings [P', S, D]. Raises ValueError
    where there are none.
    """
    there = torch.isfinite(values).flatten(1).all(1)
    if not there.any():
        raise ValueError(
            "no prompt has all of its images read; evaluate again to make those that are missing"
        )
    return [prompt.text for prompt, one in zip(prompts, there) if one], values[there]


def diversity_numbers(feature: str, own: Sampled, reference: Sampled | None) -> Numbers:
    return {Column(f"diversity {feature}", own.protocol): _over_prompts(diversity, own)}


def vendi_numbers(feature: str, own: Sampled, reference: Sampled | None) -> Numbers:
    return {
        Column(
            f"vendi {feature}", f"{own.protocol}, {own.values.shape[1]} seeds", digits=2
        ): _over_prompts(vendi, own)
    }


def coverage_numbers(feature: str, own: Sampled, reference: Sampled) -> Numbers:
    """By prompt, against as many of the teacher's own samples from other seeds: the teacher's row
    says what can be had.
    """
    texts, x, y = _both(own, reference)
    k = min(3, x.shape[1] - 1)
    found = coverage_by_prompt(x, y, k)
    protocol = (
        f"{own.protocol}, k = {k}, by prompt, against {y.shape[1]} teacher samples of other seeds"
    )
    note = f"coverage of the same distribution would be {found[0].expected_coverage:.3f}"
    return {
        Column(f"{name} {feature}", protocol): _mean(
            dict(zip(texts, (getattr(one, name) for one in found))),
            own.failed,
            note if name == "coverage" else "",
        )
        for name in ("precision", "recall", "density", "coverage")
    }


def kid_numbers(feature: str, own: Sampled, reference: Sampled) -> Numbers:
    _, x, y = _both(own, reference)
    return _distance(
        f"kid {feature}",
        own,
        x,
        Interval(*(1000 * value for value in kid_by_prompt(x, y))),
        "x 1000",
    )


def fid_numbers(feature: str, own: Sampled, reference: Sampled) -> Numbers:
    _, x, y = _both(own, reference)
    found = fid(x.flatten(0, 1), y.flatten(0, 1))
    return _distance(
        f"fid {feature}",
        own,
        x,
        Interval(found.value, math.nan, math.nan),
        "Frechet distance",
        found.note,
    )


def cmmd_numbers(feature: str, own: Sampled, reference: Sampled) -> Numbers:
    _, x, y = _both(own, reference)
    return _distance(
        "cmmd",
        own,
        x,
        Interval(cmmd(x.flatten(0, 1), y.flatten(0, 1)), math.nan, math.nan),
        "x 1000",
    )


def _both(own: Sampled, reference: Sampled) -> tuple[list[str], Tensor, Tensor]:
    """The prompts of which neither lacks an image, and the readings [P', S, D] of each. Raises
    ValueError where there are none.
    """
    if (
        own.protocol != reference.protocol or own.values.shape[-1] != reference.values.shape[-1]
    ):  # or nothing was read of one of them
        raise ValueError("its images and the teacher's were not read by the same network")
    texts, both = complete_prompts(own.prompts, torch.cat([own.values, reference.values], 1))
    return texts, *both.split([own.values.shape[1], reference.values.shape[1]], 1)


def _distance(
    name: str, own: Sampled, x: Tensor, value: Interval, how: str, note: str = ""
) -> Numbers:
    """The distance of all images to the teacher's of other seeds; the teacher's row says how near
    its own other samples come.
    """
    protocol = (
        f"{own.protocol}, {how}, {x.shape[0] * x.shape[1]} images against as many of the teacher"
    )
    return {
        Column(name, protocol, higher_is_better=False): Number(value, len(x), own.failed, note=note)
    }


def _over_prompts(measure: Callable[[Tensor], Tensor], own: Sampled) -> Number:
    texts, readings = complete_prompts(own.prompts, own.values)
    return _mean(dict(zip(texts, measure(readings).tolist())), own.failed)


def _mean(by_prompt: dict[str, float], failed: int = 0, note: str = "") -> Number:
    """The mean over prompts and its interval."""
    return Number(
        bootstrap_interval(np.array(list(by_prompt.values()))),
        len(by_prompt),
        failed,
        by_prompt,
        note,
    )


def score_numbers(
    name: str,
    own: Sampled,
    reference: Sampled | None,
    higher_is_better: bool = True,
    digits: int = 3,
) -> Numbers:
    """The mean over prompts of the mean over a prompt's images that could be scored."""
    means = own.values[..., 0].double().nanmean(1).tolist()
    usable = {
        prompt.text: value for prompt, value in zip(own.prompts, means) if math.isfinite(value)
    }
    if not usable:
        raise ValueError("no image could be scored")
    return {Column(name, own.protocol, higher_is_better, digits): _mean(usable, own.failed)}


def set_numbers(
    name: str,
    protocol: str,
    function: Callable[[Tensor, str], float],
    higher_is_better: bool,
    digits: int,
    own: Sampled,
    reference: Sampled | None,
) -> Numbers:
    """The mean of function(images [S, 3, H, W], prompt) over the prompts with all of their images
    and a finite value.
    """
    values = {
        prompt.text: float(function(images, prompt.text))
        for prompt, images in zip(own.prompts, own.images())
        if len(images) == own.seeds
    }
    usable = {text: value for text, value in values.items() if math.isfinite(value)}
    if not usable:
        raise ValueError("no prompt has all of its images and a number")
    column = Column(name, f"{protocol}, {own.seeds} seeds", higher_is_better, digits)
    return {column: _mean(usable)}


def spread_numbers(own: Sampled, reference: Sampled | None) -> Numbers:
    """Factor spread, and the spread of each factor, over those of the data."""
    try:
        requests = [parse(prompt.text) for prompt in own.prompts]
    except GrammarError as error:
        raise ValueError(f"factor spread is for captions of the scenes world: {error}") from error
    relative = relative_spread(
        [detect(images) if len(images) else [] for images in own.images()], requests
    )
    usable = {
        prompt.text: value
        for prompt, value in zip(own.prompts, relative.by_prompt)
        if value == value
    }
    if not usable:
        raise ValueError("no prompt has two images that show what it asks")
    note = f"read from the {relative.matched} of {relative.total} images that show what was asked"
    return {Column("factor spread", EXACT, digits=2): _mean(usable, note=note)} | {
        Column(f"spread of {factor}", EXACT, digits=2, part=True): Number(
            Interval(value, math.nan, math.nan), len(usable)
        )
        for factor, value in relative.by_factor.items()
    }


def task_numbers(own: Sampled, reference: Sampled | None) -> Numbers:
    """The share of right images by task, and the mean of the tasks. Prompts are the sample:
    Student's t from their spread within a task, and Welch's degrees of freedom for the mean of
    tasks.
    """
    tasks = [
        prompt.geneval["tag"] if prompt.geneval else parse(prompt.text).task
        for prompt in own.prompts
    ]
    right = own.values[..., 0].double().nanmean(1)
    found, parts = {}, []
    for task in TASKS:
        shares = right[[name == task for name in tasks]]
        shares = shares[torch.isfinite(shares)]
        if len(shares):
            parts.append(
                (
                    float(shares.var() / len(shares)) if len(shares) > 1 else math.nan,
                    len(shares) - 1,
                )
            )
            found[task] = Number(_share(float(shares.mean()), [parts[-1]]), len(shares))
    if not found:
        raise ValueError("no image could be judged")
    mean = sum(number.interval.mean for number in found.values()) / len(found)
    note = (
        ""
        if len(found) == len(TASKS)
        else f"the mean of {len(found)} of GenEval's {len(TASKS)} tasks"
    )
    by_prompt = {
        prompt.text: value
        for prompt, value in zip(own.prompts, right.tolist())
        if math.isfinite(value)
    }
    parts = [(variance / len(found) ** 2, freedom) for variance, freedom in parts]
    overall = Number(_share(mean, parts), len(by_prompt), own.failed, by_prompt, note)
    return {
        Column(name, own.protocol, digits=2, part=name != "correct"): number
        for name, number in ({"correct": overall} | found).items()
    }


def _share(mean: float, parts: list[tuple[float, int]]) -> Interval:
    """A share and its interval, cut at 0 and 1, from (variance, degrees of freedom) of the parts
    that it is the sum of; no ends where there is no spread to tell them from.
    """
    variance = sum(part for part, _ in parts)
    if not variance > 0:  # nan too
        return Interval(mean, math.nan, math.nan)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts if part)
    half = float(stats.t.ppf(0.975, freedom)) * math.sqrt(variance)
    return Interval(mean, max(mean - half, 0.0), min(mean + half, 1.0))
