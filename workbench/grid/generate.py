"""The seed grid: models by seeds, one section per prompt, and the SAME initial noise down a column.

    request = GridRequest(prompts=("a circle",), seeds=(0, 1, 2, 3), models=("teacher", "dp-dmd"))
    grid = Grid(request, device)
    loader = model_loader(request, backend, students_of("scenes"))
    for event in generate_grid(request, backend, loader):
        grid.add(event)

`generate_grid` is a generator: to cancel it, stop iterating, which takes effect after the sampling
step in progress. A cell holds all that regenerates it alone, so a stopped grid is as good as a
finished one. Requests are in `workbench.grid.request`, exports in `workbench.grid.export`; this
module knows no user interface.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from workbench.core.denoiser import Condition
from workbench.core.seeds import grid_noise
from workbench.grid.request import GridRequest
from workbench.io.notation import TEACHER, reason_of
from workbench.io.png import NOT_FINITE, picture_of, png_bytes
from workbench.io.progress import Progress
from workbench.metrics.diversity import Interval, seed_interval
from workbench.metrics.lite0 import Lite0
from workbench.models.backends.pipeline import PipelineBackend
from workbench.models.identity import model_settings
from workbench.models.model import Model, teacher_model
from workbench.models.model_cache import ModelCache
from workbench.models.provenance import made_with
from workbench.models.sampling import NOISE_OF_SEED, even_batches, in_batches

# seeds: on two CPU cores 2.3 times faster per image than one by one, and hardly slower than 16
BATCH_SIZE = 9
DECODING = 2.0  # the cost of decoding an image in network evaluations; for the progress only
CELL = "cell"  # the kind of picture, in its settings
ModelLoader = Callable[[str], Model]


@dataclass(frozen=True)
class Cell:
    """One image [H, W, 3] uint8, or the reason for its absence; `settings` regenerate it alone."""

    prompt: int  # index into the request's prompts
    model: str
    seed: int
    image: np.ndarray | None
    error: str = ""
    settings: dict = field(default_factory=dict)

    @cached_property
    def png(self) -> bytes:
        """The image as a PNG file with its settings in it; encoded once for page and ZIP."""
        return png_bytes(Image.fromarray(self.image), self.settings)


@dataclass(frozen=True)
class Row:
    """The numbers of a model's images for one prompt. `diversity` is Eq. (9) with its interval
    over seeds; `seconds` is the time per image, sampling and decoding, in its batch.
    """

    prompt: int
    model: str
    evaluations: int | None = None
    seconds: float | None = None
    diversity: Interval | None = None
    feature: str = ""  # the protocol of `diversity`, e.g. lite0@224
    note: str = ""  # the reason for a missing number


GridEvent = Progress | Cell | Row


@dataclass
class Grid:
    """The part of a request that has been generated so far."""

    request: GridRequest
    device: str = ""
    cells: dict[tuple[int, str, int], Cell] = field(default_factory=dict)
    rows: dict[tuple[int, str], Row] = field(default_factory=dict)
    done: float = 0.0

    def add(self, event: GridEvent) -> None:
        """Puts a cell or row in its place, or notes the progress."""
        if isinstance(event, Cell):
            self.cells[event.prompt, event.model, event.seed] = event
        elif isinstance(event, Row):
            self.rows[event.prompt, event.model] = event
        else:
            self.done = event.done


def model_loader(
    request: GridRequest,
    backend: PipelineBackend,
    students: dict[str, str | Path],
    cache: ModelCache | None = None,
) -> ModelLoader:
    """Opens a model by its name, with the request's steps and guidance. `students` holds the place
    of each, as `open_model` takes it, and with its errors; `cache` may keep them open for the next
    grid.
    """
    cache = cache or ModelCache(backend)

    def opened(name: str) -> Model:
        if name == TEACHER:
            return teacher_model(backend, request.teacher_steps, request.guidance)
        if name not in students:
            raise ValueError(f"{name} is no longer on offer: press Refresh")
        model = cache.open(students[name], name)
        if request.student_steps is None or model.info.recipe is None:
            return model  # a published student keeps its own times
        spacing = model.info.recipe.student_grid
        return replace(model, times=backend.schedule.sampling_times(request.student_steps, spacing))

    return opened


def generate_grid(
    request: GridRequest,
    backend: PipelineBackend,
    open_model: ModelLoader,
    batch_size: int = BATCH_SIZE,
    feature: Callable[[], Lite0] = Lite0.load,
) -> Iterator[GridEvent]:
    """Every cell, each model's `Row` after its cells, and the progress in between; prompt by
    prompt, model by model.

    A failure leaves holes and never ends the grid: a model that does not open, a cell that cannot
    be generated. A batch that fails (out of memory, say) is tried again seed by seed. One model is
    held at a time: `open_model` may keep what fits.
    """
    opened = _LastModel(open_model)
    tasks = _plan(request, opened)
    total, done = sum(task.cost * len(request.seeds) for task in tasks) or 1.0, 0.0
    for task in tasks:
        for event in _row(task, request.seeds, backend, opened, batch_size, feature):
            if isinstance(event, float):
                yield Progress((done + event) / total)
            else:
                yield event
        done += task.cost * len(request.seeds)
    yield Progress(1.0)


@dataclass(frozen=True)
class _Task:
    """One row of the grid: a prompt and a model."""

    prompt: int
    text: str
    model: str
    cost: float  # of an image, in network evaluations
    error: str = ""  # of a model that did not open

    def cell(self, seed: int, settings: dict, image: Tensor | None, error: str = "") -> Cell:
        pixels = None if image is None else np.asarray(picture_of(image))
        about = {
            "kind": CELL,
            "prompt": self.text,
            "model": self.model,
            "seed": seed,
            "noise": NOISE_OF_SEED,
            **settings,
        }
        return Cell(self.prompt, self.model, seed, pixels, error, about)


class _LastModel:
    """Opens models, and holds the last one until another is needed."""

    def __init__(self, open_model: ModelLoader):
        self._open, self._name, self._model = open_model, "", None

    def __call__(self, name: str) -> Model:
        if name != self._name or self._model is None:
            self._name, self._model = name, None  # let go before the next one needs its memory
            self._model = self._open(name)
        return self._model


def _plan(request: GridRequest, opened: _LastModel) -> list[_Task]:
    """The rows in order. Models are opened for their costs from the last to the first, with which
    the grid begins.
    """
    costs = {}
    for name in reversed(request.models):
        try:
            costs[name] = opened(name).evaluations + DECODING, ""
        except Exception as error:  # any: its row says why
            costs[name] = 0.0, reason_of(error)
    return [
        _Task(index, text, name, *costs[name])
        for index, text in enumerate(request.prompts)
        for name in request.models
    ]


def _row(
    task: _Task,
    seeds: tuple[int, ...],
    backend: PipelineBackend,
    opened: _LastModel,
    batch_size: int,
    feature: Callable[[], Lite0],
) -> Iterator[float | Cell | Row]:
    """The cells of a task and its row; in between, the network evaluations done so far."""
    try:
        model, error = (None, task.error) if task.error else (opened(task.model), "")
    except Exception as failure:
        model, error = None, reason_of(failure)
    if model is None:
        yield from (task.cell(seed, {}, None, error) for seed in seeds)
        yield Row(task.prompt, task.model, note=error)
        return
    settings = {**model_settings(model, backend), "origin": made_with(backend, [model])}
    images, seconds, finished = [], 0.0, 0
    for made in in_batches(
        even_batches(seeds, batch_size),
        lambda batch: _sample(task, model, backend, batch),
        lambda seed, reason: _Sampled([seed], [None], 0.0, reason),
        Exception,  # any: a hole in the grid says more than a dead grid
    ):
        if isinstance(made, float):
            yield finished * task.cost + made
            continue
        for seed, image in zip(made.seeds, made.images):
            error = made.error
            if image is not None and not torch.isfinite(image).all():
                image, error = None, f"{NOT_FINITE[0].upper()}{NOT_FINITE[1:]}."
            images += [] if image is None else [image]
            yield task.cell(seed, settings | {"batch": made.seeds}, image, error)
        seconds, finished = seconds + made.seconds, finished + len(made.seeds)
    per_image = seconds / len(images) if images else None
    yield _measured(Row(task.prompt, task.model, model.evaluations, per_image), images, feature)


@dataclass(frozen=True)
class _Sampled:
    """A batch's images [3, H, W] in [0, 1], None for one that failed, and the seconds it took."""

    seeds: list[int]
    images: list[Tensor | None]
    seconds: float
    error: str = ""


def _sample(
    task: _Task, model: Model, backend: PipelineBackend, seeds: list[int]
) -> Iterator[float | _Sampled]:
    """Yields the network evaluations done after each step, then the images. The seconds are those
    spent here, not by the reader.
    """
    started, away = time.perf_counter(), 0.0
    condition: Condition = backend.encode([task.text]).expand(len(seeds))
    x = grid_noise(backend.latent_shape, seeds).to(backend.device)
    per_step = (task.cost - DECODING) * len(seeds) / (len(model.times) - 1)
    for step, stage in enumerate(model.stages(x, condition, seeds), 1):
        x, paused = stage.x_s, time.perf_counter()
        yield step * per_step
        away += time.perf_counter() - paused
    images = backend.decode(x)
    yield _Sampled(seeds, list(images), time.perf_counter() - started - away)


def _measured(row: Row, images: list[Tensor], feature: Callable[[], Lite0]) -> Row:
    if len(images) < 2:
        return replace(row, note="diversity needs two images or more")
    try:
        reader = feature()
        return replace(
            row,
            diversity=seed_interval(reader.features(torch.stack(images)).cpu()),
            feature=reader.protocol,
        )
    except Exception as error:  # the images are worth showing without the number
        return replace(row, note=f"no diversity: {reason_of(error)}")
