"""Reading an evaluation's images: every network reads each image once, and its readings are kept
on disk.

A reading belongs to the image's bytes (their checksum) and to a protocol, so an image that was
generated again is read again, and numbers of two protocols are never mixed.
"""

from __future__ import annotations

import gc
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from workbench.evaluation.images import ImageFolder
from workbench.evaluation.metrics import Metric, Reader
from workbench.evaluation.request import EvaluationStage, EvaluationTask
from workbench.io.files import FolderError, slug, write_atomically
from workbench.io.notation import reason_of
from workbench.io.progress import Progress
from workbench.io.strict_json import to_json
from workbench.metrics.weights import fingerprint
from workbench.models.sampling import ImageDraw

if TYPE_CHECKING:
    from workbench.evaluation.evaluation import Evaluation

READ_BATCH, SAVE_EVERY = 32, 4096  # images


def read_images(evaluation: Evaluation, device: str) -> Iterator[Progress]:
    """Loads one reader after the other for the images that it has not read; one that fails becomes
    one of the evaluation's failures.
    """
    evaluation.failures = {  # without those of earlier metrics
        task: why
        for task, why in evaluation.failures.items()
        if task.stage is EvaluationStage.IMAGES
    }
    metrics = sorted(evaluation.request.parsed, key=lambda metric: metric.reference)
    for reader, metric in {metric.reader: metric for metric in metrics if metric.reader}.items():
        try:
            yield from _read(evaluation, metric, device)
        except (ValueError, RuntimeError, OSError, ModuleNotFoundError) as error:
            evaluation.failures[EvaluationTask(EvaluationStage.READING, reader)] = reason_of(error)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    evaluation.save()


def _read(evaluation: Evaluation, metric: Metric, device: str) -> Iterator[Progress]:
    work = {
        name: (feature_cache(evaluation, metric, name), image_checksums(evaluation, metric, name))
        for name in evaluation.images
    }
    if not any(cache.missing(checksums) for cache, checksums in work.values()):
        return
    yield Progress(0, 1, f"loading {metric.reader}")
    reader = metric.load(device)
    for name, (cache, checksums) in work.items():
        cache.begin(reader.protocol)  # readings by another revision are read again, of every model
        try:
            yield from _read_model(evaluation, reader, metric, name, cache, checksums)
        finally:  # keeps the readings when it is interrupted, too
            cache.save()


def _read_model(
    evaluation: Evaluation,
    reader: Reader,
    metric: Metric,
    name: str,
    cache: FeatureCache,
    checksums: dict[ImageDraw, int],
) -> Iterator[Progress]:
    missing, folder = cache.missing(checksums), evaluation.image_folder(name)
    prompts = {prompt.text: prompt for prompt in evaluation.request.prompts.prompts}
    save_every = SAVE_EVERY // READ_BATCH // metric.slowness  # batches
    for number, start in enumerate(range(0, len(missing), READ_BATCH), 1):
        batch = missing[start : start + READ_BATCH]
        values = reader.read(_whole(folder, batch), [prompts[draw.prompt] for draw in batch])
        cache.add([(draw, checksums[draw]) for draw in batch], values)
        if number % save_every == 0:
            cache.save()
        yield Progress(start + len(batch), len(missing), f"{metric.reader} of {name}")


def _whole(folder: ImageFolder, draws: list[ImageDraw]) -> Tensor:
    try:
        return folder.read(draws)
    except (OSError, SyntaxError, ValueError) as error:  # damage that kept size and time
        folder.forget()
        raise FolderError(
            f"an image in {folder.path} cannot be read ({error}); evaluate again, which "
            "regenerates it"
        ) from error


def image_checksums(evaluation: Evaluation, metric: Metric, name: str) -> dict[ImageDraw, int]:
    """The checksums of a model's whole images that a metric reads; for GenEval combined with those
    of the prompts' metadata, which its verdicts depend on.
    """
    draws = [draw for row in evaluation.request.draws(metric, name) for draw in row]
    known = evaluation.checksums.setdefault(name, {})
    if any(draw not in known for draw in draws):
        known |= dict.fromkeys(draws) | evaluation.image_folder(name).checksums(draws)
    metadata = {
        prompt.text: zlib.crc32(to_json(prompt.geneval, sort_keys=True).encode())
        for prompt in evaluation.request.prompts.prompts
        if metric.name == "geneval" and prompt.geneval
    }
    return {
        draw: known[draw] ^ metadata.get(draw.prompt, 0)
        for draw in draws
        if known[draw] is not None
    }


def feature_cache(evaluation: Evaluation, metric: Metric, name: str) -> FeatureCache:
    """The readings of a model's images by a metric's reader, empty if there are none yet."""
    source = metric.reader.partition("=")[2]
    sources = dict.fromkeys(filter(None, [source, *source.split("+")]))  # GenEval has two
    key = "|".join([metric.reader, *map(fingerprint, sources)])
    digest = hashlib.sha256(key.encode()).hexdigest()[:8]
    folder = evaluation.folder / "readings" / evaluation.images[name].folder
    return FeatureCache(folder / f"{slug(metric.reader)}-{digest}.safetensors")


class FeatureCache:
    """The readings of one model's images by one reader, in one file: features [N, D], or scores
    [N, 1]; nan for an image that could not be read.
    """

    def __init__(self, path: Path):
        """Opens the file if there is one; a broken file counts as none."""
        self.path, self.protocol = path, ""
        self.rows: dict[tuple[str, int], Tensor] = {}  # (image's path, checksum) -> [D]
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata()
                keys = [tuple(key) for key in json.loads(about["images"])]
                self.rows = dict(zip(keys, file.get_tensor("values"), strict=True))
                self.protocol = about["protocol"]
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            self.rows = {}

    def missing(self, wanted: dict[ImageDraw, int]) -> list[ImageDraw]:
        """The images, given with their checksums, that are not read yet."""
        return [draw for draw, checksum in wanted.items() if (draw.path, checksum) not in self.rows]

    def begin(self, protocol: str) -> None:
        """Sets the protocol of the next readings; those by another protocol are forgotten."""
        if protocol != self.protocol:
            self.protocol, self.rows = protocol, {}

    def add(self, images: Iterable[tuple[ImageDraw, int]], values: Tensor) -> None:
        """Adds the readings [B, D] of images, given with their checksums."""
        self.rows |= {
            (draw.path, checksum): value
            for (draw, checksum), value in zip(images, values.float().cpu(), strict=True)
        }

    def save(self) -> None:
        """Writes the file, unless there is nothing to write."""
        if not self.rows:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        about = {"protocol": self.protocol, "images": to_json(list(self.rows))}
        write_atomically(
            self.path,
            lambda part: save_file(
                {"values": torch.stack(list(self.rows.values()))}, part, metadata=about
            ),
        )

    def of(self, draws: list[list[ImageDraw]], checksums: dict[ImageDraw, int]) -> Tensor:
        """[P, S, D] of the draws, nan for a missing image or reading."""
        width = len(next(iter(self.rows.values()))) if self.rows else 1
        blank = torch.full((width,), torch.nan)
        return torch.stack(
            [
                torch.stack(
                    [self.rows.get((draw.path, checksums.get(draw, -1)), blank) for draw in row]
                )
                for row in draws
            ]
        )
