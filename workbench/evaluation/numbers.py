"""From the readings of a model's images to a table's numbers, with intervals over prompts.

Each function takes a `Sampled` model, those that compare also the teacher's samples from other
seeds, and returns numbers by column. All raise ValueError, with the reason, if there is no number.
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
from workbench.metrics.diversity import (
    RANGE,
    Interval,
    diversity,
    mean_interval,
    t_interval,
    vendi,
)
from workbench.metrics.factors import relative_spread
from workbench.scenes.detector import detect
from workbench.scenes.grammar import TASKS, GrammarError, parse

EXACT = "the exact detector of scenes"
SHARE, POSITIVE, ANY = (0.0, 1.0), (0.0, math.inf), (-math.inf, math.inf)  # ranges of values


class Column(NamedTuple):
    """A column of the table. Numbers of two protocols never share one."""

    name: str
    protocol: str
    higher_is_better: bool = True
    digits: int = 3
    part: bool = False  # of another number, shown in a separate table

    @property
    def title(self) -> str:
        """The name, and whether higher or lower is better."""
        return f"{self.name} {'↑' if self.higher_is_better else '↓'}"


@dataclass(frozen=True)
class Number:
    """One cell: the value with its 95 % interval, the number of prompts it is of, and of images
    that could not be read.
    """

    interval: Interval
    prompts: int
    failed: int = 0
    by_prompt: dict[str, float] = field(
        default_factory=dict
    )  # empty if a single prompt has no number
    note: str = ""


Numbers = dict[Column, Number]


@dataclass(frozen=True)
class Sampled:
    """One model's images as a metric sees them."""

    prompts: tuple[Prompt, ...]
    values: Tensor | None  # [P, S, D], nan for an image that is missing or could not be read
    protocol: str
    images: Callable[[], Iterator[Tensor]] = field(
        repr=False
    )  # [S, 3, H, W] of each prompt, without the missing ones
    seeds: int = 0  # images wanted of each prompt

    @property
    def failed(self) -> int:
        """The number of images without a reading."""
        return int(torch.isnan(self.values).any(-1).sum())


def complete_prompts(prompts: tuple[Prompt, ...], values: Tensor) -> tuple[list[str], Tensor]:
    """The prompts without a missing image, and their readings [P', S, D]. Raises ValueError if
    there are none.
    """
    complete = torch.isfinite(values).flatten(1).all(1)
    if not complete.any():
        raise ValueError(
            "no prompt has all of its images read; evaluate again to generate the missing ones"
        )
    return [prompt.text for prompt, whole in zip(prompts, complete) if whole], values[complete]


def diversity_numbers(feature: str, own: Sampled, reference: Sampled | None) -> Numbers:
    """Eq. (9) on a feature."""
    return {Column(f"diversity {feature}", own.protocol): _over_prompts(diversity, own, RANGE)}


def vendi_numbers(feature: str, own: Sampled, reference: Sampled | None) -> Numbers:
    """The Vendi score of each prompt's seeds."""
    seeds = own.values.shape[1]
    column = Column(f"vendi {feature}", f"{own.protocol}, {seeds} seeds", digits=2)
    return {column: _over_prompts(vendi, own, (1.0, seeds))}


def coverage_numbers(feature: str, own: Sampled, reference: Sampled) -> Numbers:
    """By prompt, against as many of the teacher's own samples from other seeds: the teacher's row
    is the best to expect.
    """
    texts, x, y = _both(own, reference)
    k = min(3, x.shape[1] - 1)
    by_prompt = coverage_by_prompt(x, y, k)
    protocol = (
        f"{own.protocol}, k = {k}, by prompt, against {y.shape[1]} teacher samples of other seeds"
    )
    note = f"coverage of the same distribution would be {by_prompt[0].expected_coverage:.3f}"
    return {
        Column(f"{name} {feature}", protocol): _mean(
            dict(zip(texts, (getattr(one, name) for one in by_prompt))),
            own.failed,
            note if name == "coverage" else "",
            POSITIVE if name == "density" else SHARE,
        )
        for name in ("precision", "recall", "density", "coverage")
    }


def kid_numbers(feature: str, own: Sampled, reference: Sampled) -> Numbers:
    """KID by prompt, with its interval."""
    _, x, y = _both(own, reference)
    return _distance(
        f"kid {feature}",
        own,
        x,
        Interval(*(1000 * value for value in kid_by_prompt(x, y))),
        "x 1000",
    )


def fid_numbers(feature: str, own: Sampled, reference: Sampled) -> Numbers:
    """The Frechet distance of all images, without an interval."""
    _, x, y = _both(own, reference)
    distance = fid(x.flatten(0, 1), y.flatten(0, 1))
    return _distance(
        f"fid {feature}",
        own,
        x,
        Interval(distance.value, math.nan, math.nan),
        "Frechet distance",
        distance.note,
    )


def cmmd_numbers(feature: str, own: Sampled, reference: Sampled) -> Numbers:
    """CMMD of all images, without an interval."""
    _, x, y = _both(own, reference)
    return _distance(
        "cmmd",
        own,
        x,
        Interval(cmmd(x.flatten(0, 1), y.flatten(0, 1)), math.nan, math.nan),
        "x 1000",
    )


def _both(own: Sampled, reference: Sampled) -> tuple[list[str], Tensor, Tensor]:
    """The prompts that have all images of both, and the readings [P', S, D] of each. Raises
    ValueError if there are none.
    """
    width, reference_width = own.values.shape[-1], reference.values.shape[-1]
    if own.protocol != reference.protocol or width != reference_width:  # 1 without readings
        raise ValueError("its images and the teacher's were not read by the same network")
    texts, both = complete_prompts(own.prompts, torch.cat([own.values, reference.values], 1))
    return texts, *both.split([own.values.shape[1], reference.values.shape[1]], 1)


def _distance(
    name: str, own: Sampled, x: Tensor, value: Interval, how: str, note: str = ""
) -> Numbers:
    """The distance of all images to the teacher's of other seeds; the teacher's row is that of its
    own other samples.
    """
    protocol = (
        f"{own.protocol}, {how}, {x.shape[0] * x.shape[1]} images against as many of the teacher"
    )
    return {
        Column(name, protocol, higher_is_better=False): Number(value, len(x), own.failed, note=note)
    }


def _over_prompts(
    measure: Callable[[Tensor], Tensor], own: Sampled, within: tuple[float, float]
) -> Number:
    texts, readings = complete_prompts(own.prompts, own.values)
    return _mean(dict(zip(texts, measure(readings).tolist())), own.failed, within=within)


def _mean(
    by_prompt: dict[str, float],
    failed: int = 0,
    note: str = "",
    within: tuple[float, float] = ANY,
) -> Number:
    """The mean over prompts and its interval, of values in the range `within`."""
    return Number(
        mean_interval(np.array(list(by_prompt.values())), within=within),
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
        prompt.text: function(images, prompt.text)
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
        if not math.isnan(value)
    }
    if not usable:
        raise ValueError("no prompt has two images that show what it asks for")
    note = f"read from the {relative.matched} of {relative.total} images that show what was asked"
    return {Column("factor spread", EXACT, digits=2): _mean(usable, note=note, within=POSITIVE)} | {
        Column(f"spread of {factor}", EXACT, digits=2, part=True): Number(
            Interval(value, math.nan, math.nan), len(usable)
        )
        for factor, value in relative.by_factor.items()
    }


def task_numbers(own: Sampled, reference: Sampled | None) -> Numbers:
    """The share of correct images by task, and the mean of the tasks. Prompts are the sample:
    Student's t from their spread within a task, and Welch's degrees of freedom for the mean of
    tasks. A task whose prompts are all right, or all wrong, has the exact binomial interval of its
    prompts.
    """
    tasks = [
        prompt.geneval["tag"] if prompt.geneval else parse(prompt.text).task
        for prompt in own.prompts
    ]
    right = own.values[..., 0].double().nanmean(1)
    by_task, parts = {}, []
    for task in TASKS:
        shares = right[[name == task for name in tasks]]
        shares = shares[torch.isfinite(shares)]
        if len(shares):
            parts.append((_share_variance(shares), len(shares) - 1))
            by_task[task] = Number(_share(float(shares.mean()), [parts[-1]]), len(shares))
    if not by_task:
        raise ValueError("no image could be judged")
    mean = sum(number.interval.mean for number in by_task.values()) / len(by_task)
    note = (
        ""
        if len(by_task) == len(TASKS)
        else f"the mean of {len(by_task)} of GenEval's {len(TASKS)} tasks"
    )
    by_prompt = {
        prompt.text: value
        for prompt, value in zip(own.prompts, right.tolist())
        if math.isfinite(value)
    }
    parts = [(variance / len(by_task) ** 2, freedom) for variance, freedom in parts]
    overall = Number(_share(mean, parts), len(by_prompt), own.failed, by_prompt, note)
    return {
        Column(name, own.protocol, digits=2, part=name != "correct"): number
        for name, number in ({"correct": overall} | by_task).items()
    }


def _share_variance(shares: Tensor) -> float:
    """The variance of the mean of the prompts' shares [P] of one task; nan for one prompt.

    Prompts that are all at 0 or 1 show no spread, though the next one may: theirs is the variance
    whose interval ends where the exact binomial one does (Clopper and Pearson 1934).
    """
    count, mean = len(shares), float(shares.mean())
    if count > 1 and mean in SHARE:
        reach = 1 - float(0.025 ** (1 / count))
        return (reach / float(stats.t.ppf(0.975, count - 1))) ** 2
    return float(shares.var() / count) if count > 1 else math.nan


def _share(mean: float, parts: list[tuple[float, int]]) -> Interval:
    """A share and its interval, cut at 0 and 1, from (variance, degrees of freedom) of its
    summands; the ends are nan if there is no spread.
    """
    variance = sum(part for part, _ in parts)
    if not variance > 0:  # nan too
        return Interval(mean, math.nan, math.nan)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts if part)
    return t_interval(mean, math.sqrt(variance), freedom, 0.95, SHARE)
