"""A student set up as in training, to measure which term's gradient reaches which of its steps
(`workbench.stages.gradients`).

A run's own folder gives student and fake network as they were at its last checkpoint. A student
that comes without a fake network gets one as training makes it: a copy of the teacher, fitted to
the student's samples for some updates of Algorithm 1's fake phase.
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

FIGURE_5 = ("dmd", "dp_dmd_no_stop", "dp_dmd")  # its methods from left to right
FAKE_UPDATES = 60
# of a batch on an embedded teacher; one by one on others, whose evaluations with gradients are
# large
SAMPLES = 16


@dataclass(frozen=True)
class Probed:
    """What is known so far of a student: for each method the gradients by step."""

    model: str
    prompt: str
    fake: str  # where the fake network comes from
    reaches: dict[str, GradientNorms]
    done: float


def probe(
    model: Model,
    source: str | Path,
    backend: PipelineBackend,
    teacher: str,
    prompt: str,
    methods: tuple[str, ...] = FIGURE_5,
    batches: int = 4,
    fake_updates: int = FAKE_UPDATES,
) -> Iterator[Probed]:
    """The gradients of each method at `prompt`, on the student behind `model` (which was opened
    from `source`); what is known so far after each piece of work. Neither the model nor the
    teacher is changed, and what was put on the teacher's network is taken off.

    Raises ValueError for the teacher and for students that are sampled as none is trained here,
    `FolderError` for a checkpoint that cannot be read, and what training raises.
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
    total, done = (
        fitting + 4 * batches * len(methods),
        0,
    )  # a student pass takes about as long as four fake updates
    for _ in distiller.fake_phase(fitting):
        done += 1
        yield Probed(model.name, prompt, fake, dict(reaches), done / total)
    for method in methods:
        for reaches[method] in gradient_reach(
            distiller, new_objective(replace(distiller.recipe, method=method)), batches
        ):
            done += 4
            yield Probed(model.name, prompt, fake, dict(reaches), done / total)


def _recipe(model: Model, run: Run | None, teacher: str, device: str) -> Recipe:
    """The recipe that the student was trained by, or its teacher's preset, in small batches."""
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
    preset = replace(recipe_of(teacher), teacher=teacher)
    recipe = run.recipe if run else model.info.recipe or preset
    recipe = replace(
        recipe,
        ema=0.0,
        compile=False,
        embeddings="",
        offload=False,
        batch=SAMPLES if teacher in EMBEDDED else 1,
        accumulate=1,
        precision="fp32"
        if recipe.precision == "fp16"
        else recipe.precision,  # fp16 needs a scaled loss
        checkpointing=recipe.checkpointing or (device != "cpu" and teacher not in EMBEDDED),
    )
    return (
        recipe
        if run
        else replace(
            recipe,
            lora=0,
            method="dmd",
            student_sampler=model.sampler,
            student_steps=len(model.times) - 1,
        )
    )


def _run(source: str | Path, digest: str | None) -> Run | None:
    """The run that a student of this recipe's digest is from, by its folder, when it has a
    checkpoint.
    """
    for folder in (Path(source), Path(source).parent):
        try:
            run = Run.open(folder)
        except FolderError:
            continue
        if run.recipe.digest == digest and run.checkpoints():
            return run
    return None
