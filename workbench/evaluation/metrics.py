"""The metrics of an evaluation by name: what reads the images, and which numbers come of it.

    name           numbers                                   reads
    diversity      Eq. (9)                                   features of a prompt's seeds
    vendi          the Vendi score                           features of a prompt's seeds
    coverage       precision, recall, density, coverage      features, against the teacher's of the same prompt and other seeds
    kid, fid       distance to the teacher's other images    features of all images
    cmmd           the same, on CLIP                         clip-336 of all images
    spread         factor spread, over that of the data      scenes only
    geneval        GenEval's six tasks and their mean        on scenes the exact detector, else Mask2Former and CLIP
    vq-r1, maniqa, maniqa-pyiqa                              quality of single images
    image-reward, pickscore, pickscore-26, clipscore         preference and prompt following of single images

Metrics on features are repeated for each feature. NAME=SOURCE takes weights from another folder or
hub id (geneval=DETECTOR+COLOURS).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

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

ON_FEATURES = {
    "diversity": diversity_numbers,
    "vendi": vendi_numbers,
    "coverage": coverage_numbers,
    "kid": kid_numbers,
    "fid": fid_numbers,
    "cmmd": cmmd_numbers,
}
REFERRING = ("coverage", "kid", "fid", "cmmd")
SCORERS = {
    "vq-r1": VisualQuality.load,
    "maniqa": Maniqa.load,
    "maniqa-pyiqa": partial(Maniqa.load, protocol="pyiqa"),
    "image-reward": ImageReward.load,
    "pickscore": PickScore.load,
    "pickscore-26": partial(PickScore.load, divided=True),
    "clipscore": ClipScore.load,
}
METRICS = (*ON_FEATURES, "spread", "geneval", *SCORERS)


class Reader(NamedTuple):
    """What reads images, when it is loaded."""

    protocol: str
    read: Callable[[Tensor, list[Prompt]], Tensor]  # [B, 3, H, W], B prompts -> [B, D]


@dataclass(frozen=True)
class Metric:
    """One metric of a request. `reader` names what it reads by; "" is nothing, for it looks at the
    images themselves.
    """

    name: str
    reader: str
    load: Callable[[str], Reader] | None
    numbers: Callable[
        [Sampled, Sampled | None], Numbers
    ]  # of a model, and of the reference if there is one
    seeds: bool = True  # reads all seeds of a prompt, or the single images
    reference: bool = False  # needs the teacher's samples of other seeds
    slowness: int = 1  # readings are saved this many times as often


def usual_metrics(teacher: str) -> tuple[str, ...]:
    """What is measured where nothing was asked for: all that needs no download and no other
    images.
    """
    return ("diversity", "vendi", *(("spread", "geneval") if teacher in EMBEDDED else ()))


def parse_metrics(
    metrics: tuple[str, ...], features: tuple[str, ...], prompts: tuple[Prompt, ...]
) -> list[Metric]:
    """The metrics that are named, those that share a reader side by side. Raises ValueError, with
    the nearest names, for one there is not.
    """
    found = []
    for asked in metrics:
        name, _, source = asked.partition("=")
        if name == "cmmd":
            found.append(_on_feature(name, f"clip-336={source}" if source else "clip-336"))
        elif name in ON_FEATURES:
            found += [_on_feature(name, feature) for feature in features]
        elif name in SCORERS:
            found.append(
                Metric(
                    name,
                    asked,
                    partial(_load_scorer, name, source),
                    partial(score_numbers, name),
                    seeds=False,
                    slowness=32,
                )
            )
        elif name == "spread":
            found.append(Metric(name, "", None, spread_numbers))
        elif (
            name == "geneval"
        ):  # by what the prompts are: metadata of GenEval, or captions of scenes
            reader, load = (
                (asked, partial(_load_geneval, source))
                if all(prompt.geneval for prompt in prompts)
                else (EXACT, _load_exact)
            )
            found.append(Metric(name, reader, load, task_numbers))
        else:
            near = difflib.get_close_matches(name, METRICS, n=3) or METRICS
            raise ValueError(f"there is no metric {name!r}; did you mean {', '.join(near)}?")
    readers = list(dict.fromkeys(metric.reader for metric in found))
    return sorted(found, key=lambda metric: readers.index(metric.reader))


def _on_feature(metric: str, feature: str) -> Metric:
    name = feature.partition("=")[0]
    if name not in ("lite0", *KINDS):
        raise ValueError(
            f"there is no feature {name!r}; one of lite0, {', '.join(KINDS)}, or NAME=SOURCE for "
            "another hub id or a folder"
        )
    return Metric(
        metric,
        feature,
        partial(_load_feature, feature),
        partial(ON_FEATURES[metric], name),
        reference=metric in REFERRING,
    )


def _load_feature(name: str, device: str) -> Reader:
    feature = load_feature(name, device)
    return Reader(feature.protocol, lambda images, prompts: feature.features(images))


def _load_scorer(name: str, source: str, device: str) -> Reader:
    scorer = SCORERS[name](*filter(None, [source]), device=device)
    return Reader(
        scorer.protocol,
        lambda images, prompts: scorer.score(images, [prompt.text for prompt in prompts])[:, None],
    )


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
