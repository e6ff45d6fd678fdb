"""The seed grid: models by seeds, one section a prompt, and the SAME initial noise down a column.

    request = GridRequest(prompts=("a circle",), seeds=(0, 1, 2, 3), models=("teacher", "dp-dmd"))
    grid = Grid(request, device)
    for event in paint(request, backend, opener(request, backend, students_of("scenes"))):
        grid.add(event)

`generate_grid` is a generator: cancelling it is to stop iterating, which takes effect after the
sampling step in progress. What a cell needs to be made again alone is in the cell, so a stopped
grid is as good as a finished one. Asking for a grid lives in `workbench.grid.request`, files of it
in `workbench.grid.export`; this module knows no user interface.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from workbench.core.denoiser import Backend, Condition
from workbench.core.seeds import grid_noise
from workbench.grid.request import GridRequest
from workbench.io.notation import TEACHER, reason_of
from workbench.io.png import png_bytes
from workbench.io.progress import Progress
from workbench.metrics.diversity import Interval, seed_interval
from workbench.metrics.lite0 import Lite0
from workbench.models.identity import model_settings
from workbench.models.model import Model, teacher_model
from workbench.models.model_cache import ModelCache

# seeds sampled in one batch: on two CPU cores 2.3 times faster an image than one by one, and hardly
# slower than 16
TOGETHER = 9
DECODING = 2.0  # what decoding an image costs, in network evaluations; for the progress only
ModelLoader = Callable[[str], Model]


@dataclass(frozen=True)
class Cell:
    """One image [H, W, 3] uint8, or the reason why there is none. `settings` make it again alone."""

    prompt: int  # index into the request's prompts
    model: str
    seed: int
    image: np.ndarray | None
    error: str = ""
    settings: dict = field(default_factory=dict)

    @cached_property
    def png(self) -> bytes:
        """The image as a PNG file with its settings in it; encoded once, for the page and for the
        ZIP.
        """
        return png_bytes(Image.fromarray(self.image), self.settings)


@dataclass(frozen=True)
class Row:
    """What is told about a model's images of one prompt. `diversity` is Eq. (9) with its interval
    over seeds.

    `seconds` is the time of one image: sampling and decoding, shared by the images that were made
    together.
    """

    prompt: int
    model: str
    evaluations: int | None = None
    seconds: float | None = None
    diversity: Interval | None = None
    feature: str = ""  # the protocol of `diversity`, e.g. lite0@224
    note: str = ""  # why something is missing


GridEvent = Progress | Cell | Row


@dataclass
class Grid:
    """What has been painted of a request so far."""

    request: GridRequest
    device: str = ""
    cells: dict[tuple[int, str, int], Cell] = field(default_factory=dict)
    rows: dict[tuple[int, str], Row] = field(default_factory=dict)
    done: float = 0.0

    def add(self, event: GridEvent) -> None:
        if isinstance(event, Cell):
            self.cells[event.prompt, event.model, event.seed] = event
        elif isinstance(event, Row):
            self.rows[event.prompt, event.model] = event
        else:
            self.done = event.done


def model_loader(
    request: GridRequest,
    backend: Backend,
    students: dict[str, str | Path],
    residents: ModelCache | None = None,
) -> ModelLoader:
    """Opens a model by its name, with the request's steps and guidance; `students` says where each
    is, as `open_model` takes it, and with its errors. `residents` may keep them open for the next
    grid.
    """
    residents = residents or ModelCache(backend)

    def opened(name: str) -> Model:
        if name == TEACHER:
            return teacher_model(backend, request.teacher_steps, request.guidance)
        if name not in students:
            raise ValueError(f"{name} is no longer on offer: press Refresh")
        model = residents.open(students[name], name)
        if (
            request.student_steps is None or model.info.recipe is None
        ):  # a published student keeps its own times
            return model
        placed = model.info.recipe.student_grid
        return replace(model, times=backend.schedule.sampling_times(request.student_steps, placed))

    return opened


def generate_grid(
    request: GridRequest,
    backend: Backend,
    open_model: ModelLoader,
    together: int = TOGETHER,
    feature: Callable[[], Lite0] = Lite0.load,
) -> Iterator[GridEvent]:
    """Every cell, each model's `Row` behind its cells, and the progress in between; prompt by
    prompt, model by model.

    A failure leaves holes and never ends the grid: a model that does not open, a cell that cannot
    be made. A batch that fails (out of memory, say) is tried again seed by seed. No model is held
    longer than its row: `open_model` may keep what fits.
    """
    costs = {name: _cost(_opened(open_model, name)) for name in request.models}
    work = _Work(len(request.prompts) * len(request.seeds) * sum(costs.values()) or 1.0)
    for index, prompt in enumerate(request.prompts):
        for name in request.models:
            ask = {"prompt": prompt, "model": name}
            yield from _paint_model(
                index, ask, backend, open_model, costs[name], work, request.seeds, together, feature
            )
    yield Progress(1.0)


def _paint_model(
    index: int,
    ask: dict,
    backend: Backend,
    open_model: ModelLoader,
    cost: float,
    work: _Work,
    seeds: tuple[int, ...],
    together: int,
    feature: Callable[[], Lite0],
) -> Iterator[GridEvent]:
    """The row of one model, or its holes; a generator of its own, so that the model is let go at
    its end.
    """
    model = _opened(open_model, ask["model"])
    if isinstance(model, Exception):
        yield from (
            Cell(index, ask["model"], seed, None, reason_of(model), ask | {"seed": seed})
            for seed in seeds
        )
        yield Row(index, ask["model"], note=reason_of(model))
    else:
        task = _Task(index, model, backend, cost, work, ask | model_settings(model))
        yield from _paint_row(task, seeds, together, feature)


@dataclass
class _Work:
    """Network evaluations of a whole grid."""

    total: float
    done: float = 0.0


@dataclass(frozen=True)
class _Task:
    """One row to paint."""

    index: int
    model: Model
    backend: Backend
    cost: float  # of one image
    work: _Work
    settings: dict  # of its cells, but for the seed

    def cell(self, seed: int, image: Tensor | None, error: str = "") -> Cell:
        pixels = None if image is None else (image.permute(1, 2, 0) * 255).round().byte().numpy()
        return Cell(
            self.index, self.settings["model"], seed, pixels, error, self.settings | {"seed": seed}
        )


def _paint_row(
    task: _Task, seeds: tuple[int, ...], together: int, feature: Callable[[], Lite0]
) -> Iterator[GridEvent]:
    images, seconds = [], 0.0
    batches = -(-len(seeds) // together)
    for part in np.array_split(seeds, batches):  # equal parts: 10 seeds are 5 + 5, not 9 + 1
        made, took = yield from _paint_batch(task, part.tolist())
        images += made
        seconds += took
    row = Row(
        task.index,
        task.settings["model"],
        task.model.evaluations,
        seconds / len(images) if images else None,
    )
    yield _measured(row, images, feature)


def _paint_batch(
    task: _Task, seeds: list[int]
) -> Generator[GridEvent, None, tuple[list[Tensor], float]]:
    """Yields the cells of `seeds`; returns the images [3, H, W] that could be made, and the
    seconds that took.
    """
    before, wrong = task.work.done, ""
    try:
        images, seconds = yield from _sample_batch(task, seeds)
    except Exception as error:  # any: a hole in the grid tells more than a dead grid
        wrong = reason_of(error)
    if wrong:  # behind the block, where nothing holds the failed batch in memory any more
        task.work.done = before
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(seeds) == 1:
            task.work.done += task.cost
            yield task.cell(seeds[0], None, wrong)
            return [], 0.0
        alone = []
        for seed in seeds:
            alone.append((yield from _paint_batch(task, [seed])))
        return [image for made, _ in alone for image in made], sum(took for _, took in alone)
    task.work.done = before + task.cost * len(seeds)
    for seed, image in zip(seeds, images):
        finite = bool(torch.isfinite(image).all())
        yield (
            task.cell(seed, image, "")
            if finite
            else task.cell(seed, None, "The model's output is not finite (NaN).")
        )
    return [image for image in images if torch.isfinite(image).all()], seconds


def _sample_batch(task: _Task, seeds: list[int]) -> Generator[Progress, None, tuple[Tensor, float]]:
    """Yields progress after each step; returns images [B, 3, H, W] in [0, 1] and the seconds spent
    here, not by the reader.
    """
    started = time.perf_counter()
    backend, model = task.backend, task.model
    condition: Condition = backend.encode([task.settings["prompt"]]).expand(len(seeds))
    x = grid_noise(backend.latent_shape, seeds).to(backend.device)
    stages = model.stages(x, condition, seeds)
    a_step = (task.cost - DECODING) * len(seeds) / (len(model.times) - 1)
    away = 0.0
    for stage in stages:
        x = stage.x_s
        task.work.done += a_step
        left = time.perf_counter()
        yield Progress(task.work.done / task.work.total)
        away += time.perf_counter() - left
    images = backend.decode(x)
    return images, time.perf_counter() - started - away


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


def _opened(open_model: ModelLoader, name: str) -> Model | Exception:
    try:
        return open_model(name)
    except Exception as error:
        return error


def _cost(model: Model | Exception) -> float:
    return 0.0 if isinstance(model, Exception) else model.evaluations + DECODING
