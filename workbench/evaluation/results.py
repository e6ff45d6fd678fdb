"""From readings to an evaluation's results: every model's numbers.

Nothing is sampled or read by a network here, so results are available at any time of an evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.evaluation.images import ModelImages
from workbench.evaluation.metrics import Metric
from workbench.evaluation.numbers import Column, Number, Sampled
from workbench.evaluation.read import feature_cache, image_checksums
from workbench.evaluation.request import EvaluationStage, EvaluationTask
from workbench.io.notation import TEACHER, reason_of

if TYPE_CHECKING:
    from workbench.evaluation.evaluation import Evaluation


@dataclass(frozen=True)
class ModelResult:
    """One model's numbers: (column, number), in the order of the metrics."""

    model: str
    images: ModelImages
    numbers: dict[Column, Number]


def model_results(evaluation: Evaluation) -> list[ModelResult]:
    """Every model's numbers. A metric without a number is added to the evaluation's failures."""
    numbers: dict[str, dict[Column, Number]] = {name: {} for name in evaluation.images}
    for metric in evaluation.request.parsed:
        for name in evaluation.images:
            try:
                reference = (
                    _sampled(evaluation, metric, TEACHER, True) if metric.reference else None
                )
                numbers[name] |= metric.numbers(_sampled(evaluation, metric, name), reference)
            except (ValueError, OSError) as error:
                reading = EvaluationTask(EvaluationStage.READING, metric.reader)
                if reading not in evaluation.failures:
                    task = EvaluationTask(EvaluationStage.NUMBER, metric.name, name)
                    evaluation.failures[task] = reason_of(error)
    return [ModelResult(name, evaluation.images[name], own) for name, own in numbers.items()]


def _sampled(evaluation: Evaluation, metric: Metric, name: str, reference: bool = False) -> Sampled:
    """A model's images, or the teacher's of other seeds."""
    if name not in evaluation.images:
        raise ValueError(f"there are no images of the {name} to compare with")
    prompts = evaluation.request.prompts.prompts
    draws = evaluation.request.draws(metric, name)
    draws = draws[len(prompts) :] if reference else draws[: len(prompts)]
    checksums = image_checksums(evaluation, metric, name)
    cache = feature_cache(evaluation, metric, name) if metric.reader else None
    folder = evaluation.image_folder(name)
    return Sampled(
        prompts,
        cache.of(draws, checksums) if cache else None,
        cache.protocol if cache else "",
        lambda: (folder.read(draw for draw in row if draw in checksums) for row in draws),
        len(draws[0]),
    )
