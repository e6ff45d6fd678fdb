"""Generating an evaluation's images, model by model: those that are missing or broken."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench.evaluation.images import ImageFolder, ModelImages
from workbench.evaluation.request import EvaluationStage, EvaluationTask
from workbench.io.files import write_atomically
from workbench.io.hub import revision_of
from workbench.io.notation import reason_of
from workbench.io.png import NOT_FINITE
from workbench.io.progress import Progress
from workbench.io.strict_json import to_json
from workbench.models.backends.pipeline import PipelineBackend
from workbench.models.identity import model_settings
from workbench.models.model import Model
from workbench.models.provenance import how_opened, made_with, teacher_of
from workbench.models.sampling import ImageDraw, in_batches, sampled_images, sampled_together

if TYPE_CHECKING:
    from workbench.evaluation.evaluation import Evaluation

IMAGE = "evaluation image"  # the kind of picture, in its settings


def generate_images(
    evaluation: Evaluation, backend: PipelineBackend, open_model: Callable[[str], Model]
) -> Iterator[Progress]:
    """Generates and saves; a model that fails becomes one of the evaluation's failures."""
    evaluation.failures, evaluation.images, evaluation.checksums = {}, {}, {}
    evaluation.about = _about(evaluation, backend)
    for name in evaluation.request.models:
        try:
            yield from _generate(evaluation, backend, name, open_model(name))
        except (ValueError, RuntimeError, OSError) as error:  # the others are worth having
            evaluation.failures[EvaluationTask(EvaluationStage.IMAGES, name)] = reason_of(error)
        evaluation.save()


def _about(evaluation: Evaluation, backend: PipelineBackend) -> dict:
    """Where images are generated, and how many prompts the backend cuts."""
    texts, longest = evaluation.request.prompts.texts, backend.max_tokens
    return {
        "teacher": teacher_of(backend),
        "revision": revision_of(evaluation.request.teacher),
        "teacher_parts": backend.parts,
        "device": str(backend.device),
        "generator": "cpu",
        "latent_shape": list(backend.latent_shape),
        "tokens": longest,
        "cut": sum(len(backend.tokenizer(text).input_ids) > longest for text in texts),
    }


def _generate(
    evaluation: Evaluation, backend: PipelineBackend, name: str, model: Model
) -> Iterator[Progress]:
    settings = _settings(evaluation, backend, model)
    folder = ImageFolder.of(evaluation.folder / "images", name, settings)
    draws = evaluation.request.all_draws(name)
    existing = folder.checksums(draws)
    missing = [draw for draw in draws if draw not in existing]
    clock, size = _Clock(folder.path / "seconds.json"), sampled_together(backend.latent_shape)
    images = ModelImages(
        folder.path.name,
        settings,
        model.evaluations,
        clock.milliseconds,
        how_opened(model, backend)["place"],
    )
    evaluation.images[name] = images

    def sampled(batch: list[ImageDraw]) -> Iterator[tuple[list[ImageDraw], Tensor]]:
        begun = time.perf_counter()
        pictures = sampled_images(model, backend, batch)
        clock.add(len(batch), time.perf_counter() - begun)
        yield batch, pictures

    about = {"kind": IMAGE, "model": name, **settings, "origin": made_with(backend, [model])}
    done, failed = len(existing), 0
    batches = [missing[start : start + size] for start in range(0, len(missing), size)]
    for batch, pictures in in_batches(batches, sampled):
        for draw, picture in zip(batch, pictures):
            if torch.isfinite(picture).all():
                folder.write(draw, picture, about)
            else:
                failed += 1
        done += len(batch)
        evaluation.images[name] = replace(images, milliseconds=clock.milliseconds)
        yield Progress(done, len(draws), f"images of {name}")
    if failed:
        task = EvaluationTask(EvaluationStage.IMAGES, name)
        evaluation.failures[task] = f"{failed} failed: {NOT_FINITE}"
    yield Progress(len(draws), len(draws), f"images of {name}")


def _settings(evaluation: Evaluation, backend: PipelineBackend, model: Model) -> dict:
    """Everything that determines an image, except for its prompt and noise; and what tables say of
    the model.
    """
    info = model.info
    return (
        model_settings(model, backend)
        | ({"k": info.recipe.k, "lam": info.recipe.lam} if info.recipe else {})
        | ({"source": info.source, "revision": info.revision} if info.source else {})
        | {"teacher": evaluation.request.teacher, "noise": evaluation.request.noise}
    )


class _Clock:
    """Seconds spent on generating a model's images, over all interruptions."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self.images, self.seconds = json.loads(path.read_text())
        except (OSError, ValueError):
            self.images, self.seconds = 0, 0.0

    def add(self, images: int, seconds: float) -> None:
        self.images, self.seconds = self.images + images, self.seconds + seconds
        write_atomically(
            self.path, lambda part: part.write_text(to_json([self.images, self.seconds]))
        )

    @property
    def milliseconds(self) -> float | None:
        return 1e3 * self.seconds / self.images if self.images else None
