"""The metrics of an evaluation by name: what reads the images, and how readings become a table's numbers.

    name           columns                                   reads
    diversity      Eq. (9)                                   features of a prompt's seeds
    vendi          the Vendi score                           features of a prompt's seeds
    coverage       precision, recall, density, coverage      features, against the teacher's of the same prompt and other seeds
    kid, fid       distance to the teacher's other images    features of all images
    cmmd           the same, on CLIP                         clip-336 of all images
    spread         factor spread, over that of the data      scenes only
    geneval        GenEval's six tasks and their mean        on scenes the exact detector, else Mask2Former and CLIP
    vq-r1, maniqa, maniqa-pyiqa                              quality of single images
    image-reward, pickscore, pickscore-26, clipscore          preference and prompt following of single images

Metrics on features are repeated for each feature. NAME=SOURCE takes weights from another folder or hub id (geneval=DETECTOR+COLOURS). Intervals
are over prompts.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from workbench.backends.scenes import EMBEDDED
from workbench.metrics.coverage import coverage_by_prompt
from workbench.metrics.distribution_distance import cmmd, fid, kid_by_prompt
from workbench.metrics.diversity import Interval, bootstrap_interval, diversity, vendi
from workbench.metrics.factors import relative_spread
from workbench.metrics.vision import KINDS, load_feature
from workbench.prompt_lists import Prompt
from workbench.scenes.detector import detect, satisfies
from workbench.scenes.grammar import TASKS, GrammarError, parse

if TYPE_CHECKING:
    from workbench.evaluation import EvaluationRequest


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
    """One cell: the value with its 95 % interval, on how many prompts, and how many images could not be read."""

    interval: Interval
    prompts: int
    failed: int = 0
    by_prompt: dict[str, float] = field(default_factory=dict)  # empty where there is no number of one prompt
    note: str = ""


@dataclass(frozen=True)
class Sampled:
    """One model's images as a metric sees them."""

    prompts: tuple[Prompt, ...]
    values: Tensor | None  # [P, S, D], nan where there is no image or it could not be read
    protocol: str
    images: Callable[[], list[Tensor]] = field(repr=False)  # [S, 3, H, W] of each prompt, those that are there

    @property
    def failed(self) -> int:
        return int(torch.isnan(self.values).any(-1).sum())


def whole(prompts: tuple[Prompt, ...], values: Tensor) -> tuple[list[str], Tensor]:
    """The prompts of which no image is missing, and their readings [P', S, D]. Raises ValueError where there are none."""
    there = torch.isfinite(values).flatten(1).all(1)
    if not there.any():
        raise ValueError("no prompt has all of its images read")
    return [prompt.text for prompt, one in zip(prompts, there) if one], values[there]


Numbers = dict[Column, Number]


class Reader(NamedTuple):
    """What reads images, when it is loaded."""

    protocol: str
    read: Callable[[Tensor, list[Prompt]], Tensor]  # [B, 3, H, W], B prompts -> [B, D]


@dataclass(frozen=True)
class Metric:
    """One metric of a request. `reader` names what it reads by ("": the images themselves)."""

    name: str
    reader: str
    load: Callable[[str], Reader]
    numbers: Callable[[Sampled, Sampled | None], Numbers]  # of a model, and of the reference if there is one
    seeds: bool = True  # reads all seeds of a prompt, or the single images
    reference: bool = False  # needs the teacher's samples of other seeds
    slowness: int = 1  # readings are saved this many times as often


def usual_metrics(teacher: str) -> tuple[str, ...]:
    """What is measured where nothing was asked for: all that needs no download and no other images."""
    return ("diversity", "vendi", *(WHOLE if teacher in EMBEDDED else ()))


def parse_metrics(request: EvaluationRequest) -> list[Metric]:
    """The request's metrics, those that share a reader side by side. Raises ValueError, with the nearest names, for one there is not."""
    found = []
    for asked in request.metrics:
        name, _, source = asked.partition("=")
        if name in ON_FEATURES:
            found += [_on_feature(name, feature) for feature in request.features]
        elif name == "cmmd":
            found.append(_on_feature("cmmd", f"clip-336={source}" if source else "clip-336"))
        elif name in SCORERS:
            found.append(_scored(name, source))
        elif name in WHOLE:
            found.append(WHOLE[name](source, request.prompts.prompts))
        else:
            near = difflib.get_close_matches(name, METRICS, n=3) or METRICS
            raise ValueError(f"there is no metric {name!r}; did you mean {', '.join(near)}?")
    readers = list(dict.fromkeys(metric.reader for metric in found))
    return sorted(found, key=lambda metric: readers.index(metric.reader))


# ---- on features


def _on_feature(metric: str, feature: str) -> Metric:
    name = feature.partition("=")[0]
    if name not in ("lite0", *KINDS):
        raise ValueError(f"there is no feature {name!r}; one of lite0, {', '.join(KINDS)}, or NAME=SOURCE for another hub id or a folder")
    return Metric(metric, feature, partial(_load_feature, feature), partial(ON_FEATURES.get(metric, _cmmd), name),
                  reference=metric in REFERRING)


def _load_feature(name: str, device: str) -> Reader:
    feature = load_feature(name, device)
    return Reader(feature.protocol, lambda images, prompts: feature.features(images))


def _diversity(feature: str, own: Sampled, reference: Sampled | None) -> Numbers:
    return {Column(f"diversity {feature}", own.protocol): _over_prompts(diversity, own)}


def _vendi(feature: str, own: Sampled, reference: Sampled | None) -> Numbers:
    return {Column(f"vendi {feature}", f"{own.protocol}, {own.values.shape[1]} seeds", digits=2): _over_prompts(vendi, own)}


def _coverage(feature: str, own: Sampled, reference: Sampled) -> Numbers:
    """By prompt, against as many of the teacher's own samples from other seeds: the teacher's row says what can be had."""
    texts, x, y = _both(own, reference)
    k = min(3, x.shape[1] - 1)
    found = coverage_by_prompt(x, y, k)
    protocol = f"{own.protocol}, k = {k}, by prompt, against {y.shape[1]} teacher samples of other seeds"
    note = f"coverage of the same distribution would be {found[0].expected_coverage:.3f}"
    return {Column(f"{name} {feature}", protocol): _mean(dict(zip(texts, (getattr(one, name) for one in found))), own.failed,
                                                         note if name == "coverage" else "")
            for name in ("precision", "recall", "density", "coverage")}


def _kid(feature: str, own: Sampled, reference: Sampled) -> Numbers:
    _, x, y = _both(own, reference)
    return _distance(f"kid {feature}", own, x, Interval(*(1000 * value for value in kid_by_prompt(x, y))), "x 1000")


def _fid(feature: str, own: Sampled, reference: Sampled) -> Numbers:
    _, x, y = _both(own, reference)
    found = fid(x.flatten(0, 1), y.flatten(0, 1))
    return _distance(f"fid {feature}", own, x, Interval(found.value, math.nan, math.nan), "Frechet distance", found.note)


def _cmmd(feature: str, own: Sampled, reference: Sampled) -> Numbers:
    _, x, y = _both(own, reference)
    return _distance("cmmd", own, x, Interval(cmmd(x.flatten(0, 1), y.flatten(0, 1)), math.nan, math.nan), "x 1000")


def _both(own: Sampled, reference: Sampled) -> tuple[list[str], Tensor, Tensor]:
    """The prompts of which neither lacks an image, and the readings [P', S, D] of each. Raises ValueError where there are none."""
    texts, both = whole(own.prompts, torch.cat([own.values, reference.values], 1))
    return texts, *both.split([own.values.shape[1], reference.values.shape[1]], 1)


def _distance(name: str, own: Sampled, x: Tensor, value: Interval, how: str, note: str = "") -> Numbers:
    """The distance of all images to the teacher's of other seeds; the teacher's row says how near its own other samples come."""
    protocol = f"{own.protocol}, {how}, {x.shape[0] * x.shape[1]} images against as many of the teacher"
    return {Column(name, protocol, higher_is_better=False): Number(value, len(x), own.failed, note=note)}


REFERRING = ("coverage", "kid", "fid", "cmmd")
ON_FEATURES = {"diversity": _diversity, "vendi": _vendi, "coverage": _coverage, "kid": _kid, "fid": _fid}


def _over_prompts(measure: Callable[[Tensor], Tensor], own: Sampled) -> Number:
    texts, readings = whole(own.prompts, own.values)
    return _mean(dict(zip(texts, measure(readings).tolist())), own.failed)


def _mean(by_prompt: dict[str, float], failed: int = 0, note: str = "") -> Number:
    """The mean over prompts and its interval."""
    return Number(bootstrap_interval(np.array(list(by_prompt.values()))), len(by_prompt), failed, by_prompt, note)


# ---- scores of single images


def _vq_r1(source: str, device: str):
    from workbench.metrics.visual_quality import VisualQuality

    return VisualQuality.load(*_given(source), device=device)


def _maniqa(protocol: str, source: str, device: str):
    from workbench.metrics.maniqa import Maniqa

    return Maniqa.load(*_given(source), device=device, protocol=protocol)


def _imagereward(source: str, device: str):
    from workbench.metrics.image_reward import ImageReward

    return ImageReward.load(*_given(source), device=device)


def _pickscore(divided: bool, source: str, device: str):
    from workbench.metrics.text_match import PickScore

    return PickScore.load(*_given(source), device=device, divided=divided)


def _clipscore(source: str, device: str):
    from workbench.metrics.text_match import ClipScore

    return ClipScore.load(*_given(source), device=device)


def _given(source: str) -> tuple[str, ...]:
    return (source,) if source else ()


SCORERS = {"vq-r1": _vq_r1, "maniqa": partial(_maniqa, "dpdmd"), "maniqa-pyiqa": partial(_maniqa, "pyiqa"), "image-reward": _imagereward,
           "pickscore": partial(_pickscore, False), "pickscore-26": partial(_pickscore, True), "clipscore": _clipscore}


def _scored(name: str, source: str) -> Metric:
    return Metric(name, f"{name}={source}" if source else name, partial(_load_scorer, name, source), partial(_score_numbers, name), seeds=False,
                  slowness=32)


def _load_scorer(name: str, source: str, device: str) -> Reader:
    scorer = SCORERS[name](source, device)
    return Reader(scorer.protocol, lambda images, prompts: scorer.score(images, [prompt.text for prompt in prompts])[:, None])


def _score_numbers(name: str, own: Sampled, reference: Sampled | None) -> Numbers:
    """The mean over prompts of the mean over a prompt's images that could be scored."""
    means = own.values[..., 0].double().nanmean(1).tolist()
    usable = {prompt.text: value for prompt, value in zip(own.prompts, means) if math.isfinite(value)}
    if not usable:
        raise ValueError("no image could be scored")
    return {Column(name, own.protocol): _mean(usable, own.failed)}


# ---- scenes, and GenEval


def _spread(source: str, prompts: tuple[Prompt, ...]) -> Metric:
    def numbers(own: Sampled, reference: Sampled | None) -> Numbers:
        try:
            requests = [parse(prompt.text) for prompt in own.prompts]
        except GrammarError as error:
            raise ValueError(f"factor spread is for captions of the scenes world: {error}") from error
        relative = relative_spread([detect(images) for images in own.images()], requests)
        usable = {prompt.text: value for prompt, value in zip(own.prompts, relative.by_prompt) if value == value}
        if not usable:
            raise ValueError("no prompt has two images that show what it asks")
        note = f"read from the {relative.matched} of {relative.total} images that show what was asked"
        return {Column("factor spread", EXACT, digits=2): _mean(usable, note=note)} | {
            Column(f"spread of {factor}", EXACT, digits=2, part=True): Number(Interval(value, math.nan, math.nan), len(usable))
            for factor, value in relative.by_factor.items()}

    return Metric("spread", "", _no_reader, numbers)


def _no_reader(device: str) -> Reader:
    raise NotImplementedError("this metric looks at the images themselves")


def _geneval(source: str, prompts: tuple[Prompt, ...]) -> Metric:
    """By what the prompts are: metadata of GenEval, or captions of scenes."""
    if all(prompt.geneval for prompt in prompts):
        return Metric("geneval", f"geneval={source}" if source else "geneval", partial(_load_geneval, source), _task_numbers)
    return Metric("geneval", EXACT, _load_exact, _task_numbers)


def _load_exact(device: str) -> Reader:
    def read(images: Tensor, prompts: list[Prompt]) -> Tensor:
        right = [satisfies(seen, parse(prompt.text)) for seen, prompt in zip(detect(images), prompts)]
        return torch.tensor(right, dtype=torch.float32)[:, None]

    return Reader(EXACT, read)


def _load_geneval(source: str, device: str) -> Reader:
    from workbench.metrics.geneval_scorer import GenEval

    geneval = GenEval.load(*filter(None, source.split("+")), device=device)

    def read(images: Tensor, prompts: list[Prompt]) -> Tensor:
        verdicts = geneval.verdicts(images, [prompt.geneval for prompt in prompts])
        return torch.tensor([float(verdict.correct) for verdict in verdicts])[:, None]

    return Reader(geneval.protocol, read)


def _task_numbers(own: Sampled, reference: Sampled | None) -> Numbers:
    """The share of right images by task, and the mean of the tasks, with normal intervals from the spread over prompts."""
    tasks = [prompt.geneval["tag"] if prompt.geneval else parse(prompt.text).task for prompt in own.prompts]
    right = own.values[..., 0].double().nanmean(1)
    found, variances = {}, []
    for task in TASKS:
        shares = right[[name == task for name in tasks]]
        shares = shares[torch.isfinite(shares)]
        if not len(shares):
            continue
        variance = float(shares.var() / len(shares)) if len(shares) > 1 else math.nan
        found[task] = Number(_share(float(shares.mean()), variance), len(shares))
        variances.append(variance)
    if not found:
        raise ValueError("no image could be judged")
    mean = sum(number.interval.mean for number in found.values()) / len(found)
    note = "" if len(found) == len(TASKS) else f"the mean of {len(found)} of GenEval's {len(TASKS)} tasks"
    by_prompt = {prompt.text: value for prompt, value in zip(own.prompts, right.tolist()) if math.isfinite(value)}
    overall = Number(_share(mean, sum(variances) / len(found) ** 2), len(by_prompt), own.failed, by_prompt, note)
    return {Column(name, own.protocol, digits=2, part=name != "correct"): number for name, number in ({"correct": overall} | found).items()}


def _share(mean: float, variance: float) -> Interval:
    """The normal interval of a share, cut at 0 and 1."""
    half = float(stats.norm.ppf(0.975)) * math.sqrt(variance) if variance == variance else math.nan
    return Interval(mean, max(mean - half, 0.0), min(mean + half, 1.0)) if half == half else Interval(mean, math.nan, math.nan)


WHOLE = {"spread": _spread, "geneval": _geneval}
METRICS = (*ON_FEATURES, "cmmd", *WHOLE, *SCORERS)
