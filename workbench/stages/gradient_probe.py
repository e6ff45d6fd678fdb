"""A student set up as in training, to measure which term's gradient reaches which of its steps
(`workbench.stages.gradients`).

A run folder gives student and fake network as of its last checkpoint. A student without a fake
network gets one as in training: a copy of the teacher, fitted to the student's samples for some
updates of Algorithm 1's fake phase.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from workbench.core.denoiser import Guided
from workbench.core.distiller import Distiller
from workbench.core.presets import recipe_of
from workbench.core.recipe import Recipe
from workbench.io.files import FolderError
from workbench.io.notation import TEACHER
from workbench.models.backends.lora import Adapter, merged_state
from workbench.models.backends.pipeline import PipelineBackend
from workbench.models.embedded import EMBEDDED
from workbench.models.model import Model
from workbench.models.published import WholeTimesteps
from workbench.stages.gradients import GradientNorms, gradient_reach
from workbench.training.build import new_objective
from workbench.training.run import Run

PROBED_METHODS = ("dmd", "dp_dmd_no_stop", "dp_dmd")  # Figure 5 from left to right
FAKE_UPDATES = 60
SAMPLES = 16  # per batch on an embedded teacher; 1 on others, whose graphs are large


@dataclass(frozen=True)
class Probed:
    """The gradients of a student so far, by method and step; `done` is the share of the work."""

    model: str
    prompt: str
    fake: str  # the source of the fake network
    reaches: dict[str, GradientNorms]
    done: float


def probe(
    model: Model,
    source: str | Path,
    backend: PipelineBackend,
    teacher: str,
    prompt: str,
    methods: tuple[str, ...] = PROBED_METHODS,
    batches: int = 4,
    fake_updates: int = FAKE_UPDATES,
) -> Iterator[Probed]:
    """The gradients of each method at `prompt`, on the student `model`, opened from `source`; the
    results so far after each piece of work. Model and teacher stay as they are: adapters put on the
    teacher's network are removed.

    Raises ValueError for the teacher and for students sampled in a way that is not trained here,
    `FolderError` for an unreadable checkpoint, and the errors of training.
    """
    run = _run(source, model.info.digest)
    recipe = _recipe(model, run, teacher, backend.device.type)
    distiller = Distiller(recipe, backend, new_objective(recipe), [prompt])
    try:
        yield from _probed(
            distiller, model, run, prompt, methods, batches, 0 if run else fake_updates
        )
    finally:
        for learner in distiller.learners.values():
            if isinstance(learner.bare, Adapter):
                backend.adapters.drop(learner.bare)


def _probed(
    distiller: Distiller,
    model: Model,
    run: Run | None,
    prompt: str,
    methods: tuple[str, ...],
    batches: int,
    fitting: int,
) -> Iterator[Probed]:
    if run:
        distiller.load_state_dict(run.load_checkpoint())
    else:
        distiller.student_times = model.times
        distiller.learners["student"].bare.load_state_dict(merged_state(model.network))
    fake = f"of round {distiller.rounds_done}" if run else f"fitted for {fitting} updates"
    reaches: dict[str, GradientNorms] = {}
    # a student pass takes about as long as four fake updates
    total, done = fitting + 4 * batches * len(methods), 0
    for _ in distiller.fake_phase(fitting):
        done += 1
        yield Probed(model.name, prompt, fake, dict(reaches), done / total)
    for method in methods:
        objective = new_objective(replace(distiller.recipe, method=method))
        for norms in gradient_reach(distiller, objective, batches):
            reaches[method] = norms
            done += 4
            yield Probed(model.name, prompt, fake, dict(reaches), done / total)


def _recipe(model: Model, run: Run | None, teacher: str, device: str) -> Recipe:
    """The run's recipe, or the one saved with the student, or its teacher's preset; in small
    batches.
    """
    _check(model)
    if run:
        return _small(run.recipe, teacher, device)
    recipe = model.info.recipe or replace(recipe_of(teacher), teacher=teacher)
    return replace(
        _small(recipe, teacher, device),
        lora=0,
        method="dmd",
        student_sampler=model.sampler,
        student_steps=len(model.times) - 1,
    )


def _check(model: Model) -> None:
    """Raises ValueError for a model that is no student as trained here."""
    if model.name == TEACHER:
        raise ValueError("the gradients are those of a student: choose one")
    if (
        isinstance(model.denoiser, (Guided, WholeTimesteps))
        or model.sampler == "multistep"
        or model.renoise_fraction < 1
    ):
        raise ValueError(
            f"{model.name} is sampled in a way that no student is trained in here (its guidance, "
            "timesteps or sampler)"
        )


def _small(recipe: Recipe, teacher: str, device: str) -> Recipe:
    """The recipe with settings for measuring: small batches, no average, no caches."""
    embedded = teacher in EMBEDDED
    return replace(
        recipe,
        ema=0.0,
        compile=False,
        embeddings="",
        offload=False,
        batch=SAMPLES if embedded else 1,
        accumulate=1,
        # fp16 would need a scaled loss
        precision="fp32" if recipe.precision == "fp16" else recipe.precision,
        checkpointing=recipe.checkpointing or (device != "cpu" and not embedded),
    )


def _run(source: str | Path, digest: str | None) -> Run | None:
    """The run that a student comes from: at or above its folder, with a checkpoint and the digest
    of its recipe.
    """
    for folder in (Path(source), Path(source).parent):
        try:
            run = Run.open(folder)
        except FolderError:
            continue
        if run.digest == digest and run.checkpoints():
            return run
    return None
