"""An evaluation: generate, read, results; a folder that resumes wherever it was interrupted.

    request = EvaluationRequest(("teacher", "dp-dmd"), prompt_list("scenes"))
    evaluation = Evaluation(Path("evaluations/scenes"), request)
    for step in chain(evaluation.generate(backend, open_model), evaluation.read()):
        print(step)                                    # stop iterating to stop
    evaluation.results()

Images that exist and are whole are not generated again, and each is read once by each network;
one network that reads is in memory at a time. A model that does not open, an image that is not
finite, or a metric that cannot be computed leaves a blank and a reason in `failures`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from workbench.evaluation.generate import generate_images
from workbench.evaluation.images import ImageFolder, ModelImages
from workbench.evaluation.read import read_images
from workbench.evaluation.request import (
    EvaluationRequest,
    EvaluationStage,
    EvaluationTask,
    Failures,
)
from workbench.evaluation.results import ModelResult, model_results
from workbench.io.digests import LENGTH, file_digest, short_digest
from workbench.io.files import FolderError, exclusive_lock, keep_earlier, write_atomically
from workbench.io.progress import Progress
from workbench.io.strict_json import to_json
from workbench.models.backends.pipeline import PipelineBackend
from workbench.models.model import Model
from workbench.models.sampling import ImageDraw


@dataclass
class Evaluation:
    """An evaluation in a folder; `Evaluation.open` reads one that was saved."""

    folder: Path
    request: EvaluationRequest
    images: dict[str, ModelImages] = field(default_factory=dict)  # by model
    failures: Failures = field(default_factory=dict)
    about: dict = field(default_factory=dict)  # teacher's revision, device, resolution
    checksums: dict[str, dict[ImageDraw, int | None]] = field(  # by model; None: no whole image
        default_factory=dict, repr=False
    )

    @classmethod
    def open(cls, folder: str | Path) -> Evaluation:
        """The evaluation saved in `folder`. Raises `FolderError` if there is none."""
        file = Path(folder) / "evaluation.json"
        try:
            saved = json.loads(file.read_text())
            request = EvaluationRequest.from_dict(saved["request"])
            images = {name: ModelImages(**made) for name, made in saved["made"].items()}
            failures = _failures_from_json(saved, request)
            return cls(Path(folder), request, images, failures, saved["about"])
        except FileNotFoundError as error:
            raise FolderError(f"{folder} holds no evaluation (no evaluation.json)") from error
        except (ValueError, KeyError, TypeError) as error:
            raise FolderError(
                f"{file} cannot be read: {error}; evaluate again into the same folder, the images "
                "in it stay"
            ) from error

    def save(self) -> None:
        """Writes evaluation.json, all but the images and their readings. The files of another
        evaluation in this folder are kept in earlier/DIGEST.
        """
        saved = {
            "request": self.request.to_dict(),
            "made": {name: asdict(images) for name, images in self.images.items()},
            "failures": _failures_to_json(self.failures),
            "about": self.about,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        self._keep_earlier(saved)
        write_atomically(
            self.folder / "evaluation.json",
            lambda part: part.write_text(to_json(saved, indent=1)),
        )

    def _keep_earlier(self, now: dict) -> None:
        """Moves report and numbers away if they are not of this request, models and teacher."""
        file = self.folder / "evaluation.json"
        try:
            before = json.loads(file.read_text())
            if _same(before, json.loads(to_json(now))):
                return
            digest = short_digest([before["request"], before["made"]])
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError):  # damaged: kept all the same
            digest = file_digest(file)[:LENGTH]
        files = [path.name for path in self.folder.iterdir() if path.is_file()]
        keep_earlier(self.folder, digest, [name for name in files if not name.startswith(".")])

    def generate(
        self, backend: PipelineBackend, open_model: Callable[[str], Model]
    ) -> Iterator[Progress]:
        """Generates the images that are missing or broken. Raises `FolderError` while another
        evaluation works in the folder.
        """
        with exclusive_lock(self.folder):
            yield from generate_images(self, backend, open_model)

    def read(self, device: str = "cpu") -> Iterator[Progress]:
        """Reads the images with each metric's network in turn. Raises `FolderError` as `generate`
        does.
        """
        with exclusive_lock(self.folder):
            yield from read_images(self, device)

    def results(self) -> list[ModelResult]:
        """Every model's numbers; metrics without a number are listed in `missing`."""
        return model_results(self)

    @property
    def missing(self) -> Failures:
        """Everything that is missing, with reasons: failures, and models that an interruption left
        without images.
        """
        unmade = (EvaluationTask(EvaluationStage.IMAGES, name) for name in self.request.models)
        return self.failures | {
            task: "not begun"
            for task in unmade
            if task.subject not in self.images and task not in self.failures
        }

    def image_folder(self, model: str) -> ImageFolder:
        """The folder of a model's images."""
        return ImageFolder(self.folder / "images" / self.images[model].folder)


def _same(before: dict, now: dict) -> bool:
    """Whether two evaluation.json are of one request, and of equal models as far as both have
    them.
    """
    folders = [
        {name: made["folder"] for name, made in saved["made"].items()} for saved in (before, now)
    ]
    return before["request"] == now["request"] and all(
        folders[0].get(name, folder) == folder for name, folder in folders[1].items()
    )


def _failures_to_json(failures: Failures) -> list[dict]:
    """A list of {"stage", "subject", "model", "reason"}."""
    return [
        {**task._asdict(), "stage": task.stage.value, "reason": reason}
        for task, reason in failures.items()
    ]


def _failures_from_json(saved: dict, request: EvaluationRequest) -> Failures:
    """The failures in an evaluation.json, of today's form or of the one before: "left", reasons
    by what failed in words.
    """
    if "failures" in saved:
        return {
            EvaluationTask(EvaluationStage(one["stage"]), one["subject"], one["model"]): one[
                "reason"
            ]
            for one in saved["failures"]
        }
    return dict(_from_words(words, why, request) for words, why in saved["left"].items())


def _from_words(words: str, reason: str, request: EvaluationRequest) -> tuple[EvaluationTask, str]:
    if images := re.fullmatch(r"(\d+ )?images of (.+)", words):
        count, model = images.groups()
        return EvaluationTask(
            EvaluationStage.IMAGES, model
        ), f"{count}failed: {reason}" if count else reason
    metric, _, model = words.partition(" of ")
    if model and metric in {metric.name for metric in request.parsed}:
        return EvaluationTask(EvaluationStage.NUMBER, metric, model), reason
    return EvaluationTask(EvaluationStage.READING, words), reason
