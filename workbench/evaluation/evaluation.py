"""An evaluation: generate, read, report; a folder that goes on wherever it was interrupted.

    asked = EvaluationRequest(("teacher", "dp-dmd"), prompt_list("scenes"))
    evaluation = Evaluation(Path("evaluations/scenes"), asked)
    for step in chain(evaluation.generate(backend, open_model), evaluation.read()):    # stop iterating to stop
        print(step)
    evaluation.results()

Images that are there and whole are not made again, what was read from them is not read again, and
one network that reads is in memory at a time. A model that does not open, an image that is not
finite, or a metric that cannot be had leaves a blank and a reason in `left`.
"""

from __future__ import annotations

import gc
import hashlib
import json
import re
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from workbench.core.denoiser import Backend
from workbench.evaluation.feature_cache import FeatureCache
from workbench.evaluation.images import ImageFolder
from workbench.evaluation.metrics import Metric, Reader
from workbench.evaluation.numbers import Column, Number, Sampled
from workbench.evaluation.request import EvaluationRequest
from workbench.io.files import FolderError, exclusive_lock, slug, write_atomically
from workbench.io.hub import revision_of
from workbench.io.notation import TEACHER, reason_of
from workbench.io.progress import Progress
from workbench.metrics.weights import fingerprint
from workbench.models.identity import model_settings, parts_digest
from workbench.models.model import Model
from workbench.models.sampling import ImageDraw, sampled_images, sampled_together

READ_TOGETHER, SAVE_EVERY = 32, 4096  # images


@dataclass(frozen=True)
class ModelImages:
    """One model's images."""

    folder: str  # below images/
    settings: dict
    evaluations: int  # NFEs an image
    milliseconds: float | None  # an image, sampling and decoding; None where it was not made here


@dataclass(frozen=True)
class ModelResult:
    """One model's numbers: (column, number), in the order of the metrics."""

    model: str
    made: ModelImages
    numbers: dict[Column, Number]


@dataclass
class Evaluation:
    """An evaluation in a folder; `Evaluation.open` reads one that was written."""

    folder: Path
    request: EvaluationRequest
    made: dict[str, ModelImages] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)  # what is not there, and why
    about: dict = field(default_factory=dict)  # teacher's revision, device, resolution
    _sums: dict[str, dict[ImageDraw, int | None]] = field(
        default_factory=dict, repr=False
    )  # checksums, by model

    @classmethod
    def open(cls, folder: str | Path) -> Evaluation:
        """Raises `FolderError` where there is none."""
        file = Path(folder) / "evaluation.json"
        try:
            saved = json.loads(file.read_text())
            return cls(
                Path(folder),
                EvaluationRequest.from_dict(saved["request"]),
                {name: ModelImages(**made) for name, made in saved["made"].items()},
                saved["left"],
                saved["about"],
            )
        except FileNotFoundError as error:
            raise FolderError(f"{folder} holds no evaluation (no evaluation.json)") from error
        except (ValueError, KeyError, TypeError) as error:
            raise FolderError(
                f"{file} cannot be read: {error}; evaluate again into the same folder, the images "
                "in it stay"
            ) from error

    def save(self) -> None:
        saved = {
            "request": self.request.to_dict(),
            "made": {name: asdict(made) for name, made in self.made.items()},
            "left": self.left,
            "about": self.about,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(
            self.folder / "evaluation.json",
            lambda part: part.write_text(json.dumps(saved, indent=1)),
        )

    # ---- generate

    def generate(self, backend: Backend, open_model: Callable[[str], Model]) -> Iterator[Progress]:
        """Makes the images that are missing or broken. Raises `FolderError` where another
        evaluation is at work in the folder.
        """
        with exclusive_lock(self.folder):
            yield from self._generate_all(backend, open_model)

    def _generate_all(
        self, backend: Backend, open_model: Callable[[str], Model]
    ) -> Iterator[Progress]:
        self.left, self.made, self._sums = {}, {}, {}
        texts = self.request.prompts.texts
        self.about = {
            "revision": revision_of(self.request.teacher),
            "device": str(backend.device),
            "generator": "cpu",
            "latent_shape": list(backend.latent_shape),
            "tokens": backend.max_tokens,
            "cut": sum(
                len(backend.tokenizer(text).input_ids) > backend.max_tokens for text in texts
            ),
        }
        for name in self.request.models:
            try:
                yield from self._generate(backend, name, open_model(name))
            except (ValueError, RuntimeError, OSError) as error:  # the others are worth having
                self.left[f"images of {name}"] = reason_of(error)
            self.save()

    def _generate(self, backend: Backend, name: str, model: Model) -> Iterator[Progress]:
        settings = self._settings(backend, model)
        folder, draws = ImageFolder.of(self.folder / "images", name, settings), self._wanted(name)
        there = folder.checksums(draws)
        missing = [draw for draw in draws if draw not in there]
        clock = _Clock(folder.path / "seconds.json")
        self.made[name] = ModelImages(
            folder.path.name, settings, model.evaluations, clock.milliseconds
        )
        failed, together = 0, sampled_together(backend.latent_shape)
        for start in range(0, len(missing), together):
            part = missing[start : start + together]
            begun = time.perf_counter()
            images = sampled_images(model, backend, part)
            clock.add(len(part), time.perf_counter() - begun)
            for draw, image in zip(part, images):
                if torch.isfinite(image).all():
                    folder.write(
                        draw,
                        image,
                        {"prompt": draw.prompt, "image": draw.name, "model": name, **settings},
                    )
                else:
                    failed += 1
            self.made[name] = replace(self.made[name], milliseconds=clock.milliseconds)
            yield Progress(len(there) + start + len(part), len(draws), f"images of {name}")
        if failed:
            self.left[f"{failed} images of {name}"] = "the model's output is not finite (NaN)"
        yield Progress(len(draws), len(draws), f"images of {name}")

    def _settings(self, backend: Backend, model: Model) -> dict:
        """Everything that an image follows from, but for its prompt and noise."""
        info = model.info
        return (
            model_settings(model)
            | ({"k": info.recipe.k, "lam": info.recipe.lam} if info.recipe else {})
            | ({"source": info.source, "revision": info.revision} if info.source else {})
            | {
                "teacher": self.request.teacher,
                "teacher_parts": parts_digest(backend),
                "noise": self.request.noise,
                "fresh": model.renoise_fraction,
                "latent_shape": list(backend.latent_shape),
                "device": torch.device(backend.device).type,
                "dtype": str(next(backend.network.parameters()).dtype).removeprefix("torch."),
            }
        )

    def _wanted(self, name: str) -> list[ImageDraw]:
        """Every image of a model that some metric reads, each once."""
        return list(
            dict.fromkeys(
                draw
                for metric in self.request.parsed
                for row in self._draws(metric, name)
                for draw in row
            )
        )

    def _draws(self, metric: Metric, name: str) -> list[list[ImageDraw]]:
        asked = self.request
        own = asked.seed_draws if metric.seeds else asked.single_draws
        return own + (asked.reference_draws if metric.reference and name == TEACHER else [])

    # ---- read

    def read(self, device: str = "cpu") -> Iterator[Progress]:
        """Lets each reader read the images that it has not read, one after the other. Raises
        `FolderError` as `generate` does.
        """
        with exclusive_lock(self.folder):
            yield from self._read_all(device)

    def _read_all(self, device: str) -> Iterator[Progress]:
        readers = {
            metric.reader: metric
            for metric in sorted(self.request.parsed, key=lambda metric: metric.reference)
            if metric.reader
        }
        self.left = {
            what: why for what, why in self.left.items() if re.match(r"(\d+ )?images of ", what)
        }  # not what earlier metrics left
        for reader, metric in readers.items():
            try:
                yield from self._read(metric, device)
            except (ValueError, RuntimeError, OSError, ModuleNotFoundError) as error:
                self.left[reader] = reason_of(error)
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        self.save()

    def _read(self, metric: Metric, device: str) -> Iterator[Progress]:
        found = {
            name: (self._readings(metric, name), self._checksums(name, metric))
            for name in self.made
        }
        if not any(readings.missing(sums) for readings, sums in found.values()):
            return
        yield Progress(0, 1, f"loading {metric.reader}")
        reader = metric.load(device)
        for name, (readings, sums) in found.items():
            readings.begin(
                reader.protocol
            )  # what another revision has read is read again, of every model
            try:
                yield from self._read_images(reader, metric, name, readings, sums)
            finally:  # also when it is interrupted: what was read is kept
                readings.save()

    def _read_images(
        self,
        reader: Reader,
        metric: Metric,
        name: str,
        readings: FeatureCache,
        sums: dict[ImageDraw, int],
    ) -> Iterator[Progress]:
        missing, folder = readings.missing(sums), self._folder(name)
        prompts = {prompt.text: prompt for prompt in self.request.prompts.prompts}
        for start in range(0, len(missing), READ_TOGETHER):
            part = missing[start : start + READ_TOGETHER]
            values = reader.read(
                self._images(folder, part), [prompts[draw.prompt] for draw in part]
            )
            readings.add([(draw, sums[draw]) for draw in part], values)
            if (start // READ_TOGETHER + 1) % (SAVE_EVERY // READ_TOGETHER // metric.slowness) == 0:
                readings.save()
            yield Progress(start + len(part), len(missing), f"{metric.reader} of {name}")

    @staticmethod
    def _images(folder: ImageFolder, draws: list[ImageDraw]) -> Tensor:
        try:
            return folder.read(draws)
        except (
            OSError,
            SyntaxError,
            ValueError,
        ) as error:  # damage that left size and time as they were
            folder.forget()
            raise FolderError(
                f"an image in {folder.path} cannot be read ({error}); evaluate again, which makes "
                "it anew"
            ) from error

    def _folder(self, name: str) -> ImageFolder:
        return ImageFolder(self.folder / "images" / self.made[name].folder)

    def _readings(self, metric: Metric, name: str) -> FeatureCache:
        source = metric.reader.partition("=")[2]
        files = map(
            fingerprint, dict.fromkeys(filter(None, [source, *source.split("+")]))
        )  # of one folder, or GenEval's two
        digest = hashlib.sha256("|".join([metric.reader, *files]).encode()).hexdigest()[:8]
        return FeatureCache(
            self.folder
            / "readings"
            / self.made[name].folder
            / f"{slug(metric.reader)}-{digest}.safetensors"
        )

    def _checksums(self, name: str, metric: Metric) -> dict[ImageDraw, int]:
        """Of the images that are there; where a reader judges by more than a prompt's text, of
        that too.
        """
        known, draws = (
            self._sums.setdefault(name, {}),
            [draw for row in self._draws(metric, name) for draw in row],
        )
        if any(draw not in known for draw in draws):
            known |= dict.fromkeys(draws) | self._folder(name).checksums(draws)
        asked = {
            prompt.text: zlib.crc32(json.dumps(prompt.geneval, sort_keys=True).encode())
            for prompt in self.request.prompts.prompts
            if metric.name == "geneval" and prompt.geneval
        }
        return {
            draw: known[draw] ^ asked.get(draw.prompt, 0)
            for draw in draws
            if known[draw] is not None
        }

    # ---- report

    def results(self) -> list[ModelResult]:
        """Every model's numbers, from what was read; what has none of its own is told in
        `missing`.
        """
        found: dict[str, dict[Column, Number]] = {name: {} for name in self.made}
        for metric in self.request.parsed:
            for name in self.made:
                try:
                    reference = (
                        self._sampled(metric, TEACHER, reference=True) if metric.reference else None
                    )
                    found[name] |= metric.numbers(self._sampled(metric, name), reference)
                except (ValueError, OSError) as error:
                    if metric.reader not in self.left:
                        self.left[f"{metric.name} of {name}"] = reason_of(error)
        return [ModelResult(name, self.made[name], numbers) for name, numbers in found.items()]

    @property
    def missing(self) -> dict[str, str]:
        """All that is not there, and why: what failed, and models that an interruption left out."""
        unmade = [f"images of {name}" for name in self.request.models if name not in self.made]
        return self.left | {what: "not begun" for what in unmade if what not in self.left}

    def _sampled(self, metric: Metric, name: str, reference: bool = False) -> Sampled:
        """A model's images, or the teacher's of other seeds."""
        if name not in self.made:
            raise ValueError(f"there are no images of the {name} to compare with")
        draws, sums = self._draws(metric, name), self._checksums(name, metric)
        count = len(self.request.prompts.prompts)
        draws = draws[count:] if reference else draws[:count]
        readings = self._readings(metric, name) if metric.reader else None
        values = readings.of(draws, sums) if readings else None
        return Sampled(
            self.request.prompts.prompts,
            values,
            readings.protocol if readings else "",
            lambda: (
                self._folder(name).read(draw for draw in row if draw in sums) for row in draws
            ),
        )


class _Clock:
    """Seconds spent making a model's images, over all interruptions."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self.images, self.seconds = json.loads(path.read_text())
        except (OSError, ValueError):
            self.images, self.seconds = 0, 0.0

    def add(self, images: int, seconds: float) -> None:
        self.images, self.seconds = self.images + images, self.seconds + seconds
        write_atomically(
            self.path, lambda part: part.write_text(json.dumps([self.images, self.seconds]))
        )

    @property
    def milliseconds(self) -> float | None:
        return 1e3 * self.seconds / self.images if self.images else None
