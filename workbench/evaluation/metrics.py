"""The metrics of an evaluation by name: how each reads the images, and its numbers.

    name           numbers                           reads
    diversity      Eq. (9)                           features of a prompt's seeds
    vendi          the Vendi score                   features of a prompt's seeds
    coverage       precision, recall, density,       features, against the teacher's of the same
                   coverage                          prompt and other seeds
    kid, fid       distance to the teacher's         features of all images
                   other images
    cmmd           the same, on CLIP                 clip-336 of all images
    spread         factor spread over the data's     scenes only
    geneval        GenEval's six tasks, their mean   the exact detector on scenes, elsewhere
                                                     Mask2Former and CLIP
    vq-r1, maniqa, maniqa-pyiqa                      quality of single images
    image-reward, pickscore, pickscore-26,           preference and prompt following of single
    clipscore                                        images

Metrics on features are repeated for each feature. NAME=SOURCE takes weights from another folder or
hub id (geneval=DETECTOR+COLOURS). A metric of your own is one line in a file that WORKBENCH_PLUGINS
names (see `workbench.core.registry`):

    METRICS.register("brightness", per_image(lambda images, prompts: images.mean((1, 2, 3))))
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from workbench.core.registry import Registry
from workbench.evaluation.numbers import (
    EXACT,
    Numbers,
    Sampled,
    cmmd_numbers,
    coverage_numbers,
    diversity_numbers,
    fid_numbers,
    kid_numbers,
    score_numbers,
    set_numbers,
    spread_numbers,
    task_numbers,
    vendi_numbers,
)
from workbench.evaluation.prompt_lists import Prompt
from workbench.metrics.geneval.scorer import GenEval
from workbench.metrics.preference.image_reward import ImageReward
from workbench.metrics.preference.maniqa import Maniqa
from workbench.metrics.preference.text_match import ClipScore, PickScore
from workbench.metrics.preference.visual_quality import VisualQuality
from workbench.metrics.vision import KINDS, load_feature
from workbench.models.embedded import EMBEDDED
from workbench.scenes.detector import detect, satisfies
from workbench.scenes.grammar import parse

Prompts = tuple[Prompt, ...]


class Reader(NamedTuple):
    """A loaded network, or another function, that reads images."""

    protocol: str
    read: Callable[[Tensor, list[Prompt]], Tensor]  # [B, 3, H, W], B prompts -> [B, D]


@dataclass(frozen=True)
class Metric:
    """One metric of a request. `reader` names its reader, "" if it reads the images itself."""

    name: str
    reader: str
    load: Callable[[str], Reader] | None  # of the device
    numbers: Callable[[Sampled, Sampled | None], Numbers]  # of a model, and of its reference
    seeds: bool = True  # reads all seeds of a prompt, or the single images
    reference: bool = False  # needs the teacher's samples of other seeds
    independent: bool = False  # takes all images for independent
    slowness: int = 1  # readings are saved this many times as often


@dataclass(frozen=True)
class MetricKind:
    """An entry of `METRICS`. `metrics` returns the metrics of a request, from the name, the SOURCE
    of NAME=SOURCE ("" for none), the features and the prompts.
    """

    metrics: Callable[[str, str, tuple[str, ...], Prompts], list[Metric]]
    title: str = ""  # in the app; "" for the name


def per_image(
    function: Callable[[Tensor, list[str]], Tensor],
    title: str = "",
    higher_is_better: bool = True,
    digits: int = 3,
) -> MetricKind:
    """A metric of `function`(images [B, 3, H, W] in [0, 1], B prompts) -> [B], nan for an image
    without a number. Read from the single images; the table has the mean over prompts.
    """

    def metrics(name: str, source: str, features: tuple[str, ...], prompts: Prompts):
        def read(images: Tensor, prompts: list[Prompt]) -> Tensor:
            scores = _called(name, function, images, [prompt.text for prompt in prompts])
            if scores.shape != (len(images),):
                raise ValueError(
                    f"{name} returns {list(scores.shape)}, not [{len(images)}] numbers"
                )
            return scores[:, None]

        protocol = _protocol(name, function)
        numbers = partial(score_numbers, name, higher_is_better=higher_is_better, digits=digits)
        return [Metric(name, protocol, lambda device: Reader(protocol, read), numbers, seeds=False)]

    return MetricKind(metrics, title)


def per_prompt(
    function: Callable[[Tensor, str], float],
    title: str = "",
    higher_is_better: bool = True,
    digits: int = 3,
) -> MetricKind:
    """A metric of `function`(images [S, 3, H, W] in [0, 1] of a prompt's seeds, the prompt) -> a
    number, nan for none. The table has the mean over the prompts with all of their images.
    """

    def metrics(name: str, source: str, features: tuple[str, ...], prompts: Prompts):
        def measure(images: Tensor, prompt: str) -> float:
            return float(_called(name, lambda *of: float(function(*of)), images, prompt))

        protocol = _protocol(name, function)
        numbers = partial(set_numbers, name, protocol, measure, higher_is_better, digits)
        return [Metric(name, "", None, numbers)]

    return MetricKind(metrics, title)


def _scored(load: Callable, title: str = "") -> MetricKind:
    """A metric of a scorer: load(source, device=device) has a `protocol` and a `score` of images
    and prompts.
    """

    def metrics(name: str, source: str, features: tuple[str, ...], prompts: Prompts):
        def loaded(device: str) -> Reader:
            scorer = load(*filter(None, [source]), device=device)
            return Reader(scorer.protocol, partial(_read_scores, scorer.score))

        numbers = partial(score_numbers, name)
        return [Metric(name, _named(name, source), loaded, numbers, seeds=False, slowness=32)]

    return MetricKind(metrics, title)


def _on_features(
    numbers: Callable[[str, Sampled, Sampled | None], Numbers],
    title: str,
    only: str = "",
    **settings: bool,
) -> MetricKind:
    """A metric of each feature, or of the `only` one, which NAME=SOURCE then takes from SOURCE."""

    def metrics(name: str, source: str, features: tuple[str, ...], prompts: Prompts):
        return [
            _on_feature(name, feature, numbers, settings)
            for feature in ([_named(only, source)] if only else features)
        ]

    return MetricKind(metrics, title)


def _on_feature(metric: str, feature: str, numbers: Callable, settings: dict) -> Metric:
    name = feature.partition("=")[0]
    if name not in FEATURES:
        raise ValueError(
            f"there is no feature {name!r}; one of {', '.join(FEATURES)}, or NAME=SOURCE for "
            "another hub id or a folder"
        )
    return Metric(
        metric, feature, partial(_load_feature, feature), partial(numbers, name), **settings
    )


def _spread(name: str, source: str, features: tuple[str, ...], prompts: Prompts) -> list[Metric]:
    return [Metric(name, "", None, spread_numbers)]


def _geneval(name: str, source: str, features: tuple[str, ...], prompts: Prompts) -> list[Metric]:
    """Prompts with GenEval's metadata need networks, captions of scenes do not."""
    if all(prompt.geneval for prompt in prompts):
        return [Metric(name, _named(name, source), partial(_load_geneval, source), task_numbers)]
    return [Metric(name, EXACT, _load_exact, task_numbers)]


FEATURES = ("lite0", *KINDS)
METRICS = Registry(
    "metric",
    {
        "diversity": _on_features(diversity_numbers, "Diversity, Eq. (9)"),
        "vendi": _on_features(vendi_numbers, "Vendi score"),
        "coverage": _on_features(coverage_numbers, "Coverage of the teacher", reference=True),
        "kid": _on_features(kid_numbers, "KID", reference=True, independent=True),
        "fid": _on_features(fid_numbers, "FID", reference=True, independent=True),
        "cmmd": _on_features(
            cmmd_numbers, "CMMD (1.7 GB)", only="clip-336", reference=True, independent=True
        ),
        "spread": MetricKind(_spread, "Factor spread (scenes)"),
        "geneval": MetricKind(_geneval, "GenEval's tasks (2 GB, on scenes nothing)"),
        "vq-r1": _scored(VisualQuality.load, "VisualQuality-R1 (16.6 GB)"),
        "maniqa": _scored(Maniqa.load, "MANIQA (0.5 GB)"),
        "maniqa-pyiqa": _scored(partial(Maniqa.load, protocol="pyiqa"), "MANIQA as pyiqa (0.5 GB)"),
        "image-reward": _scored(ImageReward.load, "ImageReward (1.8 GB)"),
        "pickscore": _scored(PickScore.load, "PickScore (3.9 GB)"),
        "pickscore-26": _scored(partial(PickScore.load, divided=True), "PickScore / 26 (3.9 GB)"),
        "clipscore": _scored(ClipScore.load, "CLIPScore (1.7 GB)"),
    },
)


def usual_metrics(teacher: str) -> tuple[str, ...]:
    """The default metrics: all that need no download and no other images."""
    return ("diversity", "vendi", *(("spread", "geneval") if teacher in EMBEDDED else ()))


def parse_metrics(
    metrics: tuple[str, ...], features: tuple[str, ...], prompts: Prompts
) -> list[Metric]:
    """The named metrics, those that share a reader side by side. Raises ValueError for an unknown
    metric, with the nearest names.
    """
    parsed: list[Metric] = []
    for text in metrics:
        name, _, source = text.partition("=")
        parsed += METRICS[name].metrics(name, source, features, prompts)
    readers = list(dict.fromkeys(metric.reader for metric in parsed))
    return sorted(parsed, key=lambda metric: readers.index(metric.reader))


def _named(name: str, source: str) -> str:
    return f"{name}={source}" if source else name


def _protocol(name: str, function: Callable) -> str:
    """The name and a digest of the function's source: another function is another protocol."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):  # of a console, or no Python function
        return name
    return f"{name} {hashlib.sha256(source.encode()).hexdigest()[:7]}"


def _called(name: str, function: Callable, images: Tensor, prompts: list[str] | str) -> Tensor:
    """The result of another file's function, whose errors are all ValueErrors."""
    try:
        return torch.as_tensor(function(images, prompts), dtype=torch.float32)
    except Exception as error:  # any: the other metrics are worth having
        raise ValueError(f"{name} fails: {type(error).__name__}: {error}") from error


def _read_scores(score: Callable, images: Tensor, prompts: list[Prompt]) -> Tensor:
    return score(images, [prompt.text for prompt in prompts])[:, None]


def _load_feature(name: str, device: str) -> Reader:
    feature = load_feature(name, device)
    return Reader(feature.protocol, lambda images, prompts: feature.features(images))


def _load_exact(device: str) -> Reader:
    def read(images: Tensor, prompts: list[Prompt]) -> Tensor:
        right = [
            satisfies(seen, parse(prompt.text)) for seen, prompt in zip(detect(images), prompts)
        ]
        return torch.tensor(right, dtype=torch.float32)[:, None]

    return Reader(EXACT, read)


def _load_geneval(source: str, device: str) -> Reader:
    geneval = GenEval.load(*filter(None, source.split("+")), device=device)

    def read(images: Tensor, prompts: list[Prompt]) -> Tensor:
        verdicts = geneval.verdicts(images, [prompt.geneval for prompt in prompts])
        return torch.tensor([float(verdict.correct) for verdict in verdicts])[:, None]

    return Reader(geneval.protocol, read)
