"""A distillation in a run folder: rounds, log, checkpoints, and at intervals the diversity of a
fixed panel.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from workbench.core.denoiser import Backend
from workbench.core.distiller import Distiller, DivergedError, Step
from workbench.io.files import exclusive_lock, write_atomically
from workbench.io.png import png_bytes, tile
from workbench.metrics.diversity import diversity
from workbench.metrics.lite0 import SIZE, Lite0
from workbench.models.model import Model
from workbench.models.sampling import NOISE_OF_SEED, NotFiniteError, images_of
from workbench.models.students import save_student
from workbench.training.changes import way_back, way_out
from workbench.training.inputs import check_inputs, run_distiller
from workbench.training.run import Run

PANEL_SEEDS, PANEL_PROMPTS, PANEL_FEATURE = 6, 4, f"lite0@{SIZE}"


@dataclass(frozen=True)
class PanelMeasurement:
    """The student on the run's panel after `round` rounds: Eq. (9) on lite0, and the file of the
    picture.
    """

    round: int
    diversity: float
    picture: Path


def train(
    run: Run,
    distiller: Distiller | None = None,
    device: str = "cpu",
    accepted: Collection[str] = (),
) -> Iterator[Step | PanelMeasurement]:
    """Trains to the recipe's rounds, from the run's last checkpoint if it has one. Stop iterating
    to stop; resume by calling again. `accepted` may name "prompts" and "teacher", which may then
    have changed since the run began.

    A checkpoint is good: all three networks were finite on the batches that come next.

    Raises `DivergedError` naming the last good checkpoint and how to continue from it; ValueError
    for settings by which a term of the loss vanishes; `FolderError` for a checkpoint that cannot be
    read or written, for a run that another process trains, and for inputs that changed.
    """
    distiller = distiller or run_distiller(run, device)
    with exclusive_lock(run.path) if distiller.accelerator.is_main_process else nullcontext():
        check_inputs(run, distiller, accepted)
        state = run.load_checkpoint()
        if state is not None:
            distiller.load_state_dict(state)
        if state is not None and distiller.rounds_done < run.recipe.rounds:
            _check_loaded(run, distiller)
        yield from _rounds(run, distiller)


def _check_loaded(run: Run, distiller: Distiller) -> None:
    """Earlier versions saved checkpoints that nobody looked at."""
    try:
        distiller.check()
    except DivergedError as error:
        raise DivergedError(f"{error} {way_back(run, error.remedy)}") from None


def _rounds(run: Run, distiller: Distiller) -> Iterator[Step | PanelMeasurement]:
    while distiller.rounds_done < run.recipe.rounds:
        try:
            yield from _round(run, distiller)
        except DivergedError as error:
            raise DivergedError(f"{error} {way_out(run, error.remedy)}") from None


def _round(run: Run, distiller: Distiller) -> Iterator[Step | PanelMeasurement]:
    """One round, and what is due after it: a measurement, the student, a checkpoint."""
    recipe, main = run.recipe, distiller.accelerator.is_main_process
    for step in distiller.round():
        if main:
            run.log(kind=step.network, **asdict(step))
        yield step
    done, end = distiller.rounds_done, distiller.rounds_done == recipe.rounds
    to_save = done % recipe.checkpoint_every == 0 or end
    if to_save:
        distiller.check()
    # a sharded student is sampled and assembled by all processes; the first one saves it
    if recipe.sample_every and (done % recipe.sample_every == 0 or end):
        reading = _read(run, distiller)
        if main:
            yield reading
    if to_save:
        # first: a run that is resumed at its end would not save it again
        changes = run.manifest.get("changes")
        save_student(distiller, run.path / "student", run.digest if changes else "", changes)
        state = distiller.state_dict()
        if main:
            run.save_checkpoint(state, done, recipe.keep)


def _read(run: Run, distiller: Distiller) -> PanelMeasurement:
    model = panel_model(distiller)
    try:
        rows, value = read_panel(model, distiller.backend, distiller.prompts)
    except NotFiniteError:
        where = f"after round {distiller.rounds_done}"
        raise distiller.diverged("student", "sample", where) from None
    picture = run.path / "samples" / f"round-{distiller.rounds_done:06d}.png"
    reading = PanelMeasurement(distiller.rounds_done, value, picture)
    if distiller.accelerator.is_main_process:
        content = png_bytes(tile(rows), _about(run, distiller, model))
        write_atomically(picture, lambda part: part.write_bytes(content))
        run.log(
            kind="reading",
            round=reading.round,
            diversity=reading.diversity,
            feature=PANEL_FEATURE,
        )
    return reading


def panel_model(distiller: Distiller) -> Model:
    """The student in training as a model to sample."""
    return Model(
        "student",
        distiller.backend.denoiser(distiller.result(), distiller.autocast),
        distiller.student_times,
        sampler=distiller.recipe.student_sampler,
    )


def read_panel(model: Model, backend: Backend, prompts: list[str]) -> tuple[list[Tensor], float]:
    """A row of images [S, 3, H, W] per prompt of a run's panel, and their Eq. (9) on lite0;
    `prompts` are the run's.
    """
    rows = list(images_of(model, backend, _panel(prompts, backend), list(range(PANEL_SEEDS))))
    features = torch.stack([Lite0.load().features(row) for row in rows])
    return rows, float(diversity(features).mean())


def _about(run: Run, distiller: Distiller, model: Model) -> dict:
    """What the panel's picture says of itself."""
    return {
        "kind": "training panel",
        "run": str(run.path.resolve()),
        "recipe": asdict(run.recipe),
        "digest": run.digest,
        "inputs": run.manifest.get("inputs"),
        "round": distiller.rounds_done,
        "prompts": _panel(distiller.prompts, distiller.backend),
        "seeds": list(range(PANEL_SEEDS)),
        "noise": NOISE_OF_SEED,
        "times": model.times.tolist(),
        "sampler": model.sampler,
        "device": str(distiller.backend.device),
    }


def _panel(prompts: list[str], backend: Backend) -> list[str]:
    """A few prompts that the backend reads as distinct ones, spread over the list."""
    first: dict[str, str] = {}
    for prompt in dict.fromkeys(prompts):
        first.setdefault(backend.rewrite(prompt), prompt)
    distinct = list(first.values())
    return [distinct[n * len(distinct) // PANEL_PROMPTS] for n in range(PANEL_PROMPTS)]
