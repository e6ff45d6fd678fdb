"""A student set up as in training, to measure which term's gradient reaches which of its steps (`workbench.stages.gradients`).

A run's own folder gives student and fake network as they were at its last checkpoint. A student that comes without a fake network gets
one as training makes it: a copy of the teacher, fitted to the student's samples for some updates of Algorithm 1's fake phase.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

from workbench.backends.lora import Adapter, merged_state
from workbench.build import new_objective
from workbench.denoiser import Backend
from workbench.distiller import Distiller
from workbench.models import Model
from workbench.presets import recipe_of
from workbench.recipe import Recipe
from workbench.runs import Run, RunError
from workbench.stages.gradients import GradientReach, gradient_reach

METHODS = ("dmd", "dp_dmd_no_stop", "dp_dmd")  # Figure 5 from left to right
FAKE_UPDATES = 60


@dataclass(frozen=True)
class Probed:
    """What is known so far of a student: for each method the gradients by step."""

    model: str
    prompt: str
    fake: str  # where the fake network comes from
    reaches: dict[str, GradientReach]
    done: float


def probe(model: Model, source: str | Path, backend: Backend, teacher: str, prompt: str, methods: tuple[str, ...] = METHODS,
          batches: int = 4, fake_updates: int = FAKE_UPDATES, batch: int = 16) -> Iterator[Probed]:
    """The gradients of each method at `prompt`, on the student behind `model` (which was opened from `source`); what is known so far
    after each piece of work. Neither the model nor the teacher is changed. Raises ValueError for a teacher, and what training raises."""
    distiller, checkpoint = _set_up(model, source, backend, teacher, prompt, batch)
    reaches: dict[str, GradientReach] = {}
    fitting = 0 if checkpoint else fake_updates
    total, done = fitting + 4 * batches * len(methods), 0  # a student pass of N steps takes about as long as four fake updates
    told = checkpoint or f"fitted for {fake_updates} updates"
    try:
        for _ in distiller.fake_phase(fitting):
            done += 1
            yield Probed(model.name, prompt, told, dict(reaches), done / total)
        for method in methods:
            for reaches[method] in gradient_reach(distiller, new_objective(replace(distiller.recipe, method=method)), batches):
                done += 4
                yield Probed(model.name, prompt, told, dict(reaches), done / total)
    finally:  # adapters would stay on the teacher's network
        for learner in distiller.learners.values():
            if isinstance(learner.bare, Adapter):
                backend.adapters.drop(learner.bare)


def _set_up(model: Model, source: str | Path, backend: Backend, teacher: str, prompt: str, batch: int) -> tuple[Distiller, str]:
    """The distiller, and which checkpoint its networks are from, if they are from one."""
    if model.name == "teacher":
        raise ValueError("the gradients are those of a student: choose one")
    run = _run(source, model.info.get("digest"))
    known = model.info.get("recipe", {})
    recipe = run.recipe if run else Recipe(**{item.name: known[item.name] for item in fields(Recipe) if item.name in known}) if known \
        else replace(recipe_of(teacher), teacher=teacher)
    recipe = replace(recipe, ema=0.0, compile="off", embeddings="", offload="off", batch=batch, accumulate=1)
    if run:
        distiller = Distiller(recipe, backend, new_objective(recipe), [prompt])
        distiller.load_state_dict(run.load_checkpoint())
        return distiller, f"of round {distiller.rounds_done}"
    recipe = replace(recipe, lora=0, method="dmd", student_steps=len(model.times) - 1)
    distiller = Distiller(recipe, backend, new_objective(recipe), [prompt])
    distiller.student_times = model.times
    distiller.learners["student"].bare.load_state_dict(merged_state(model.network))
    return distiller, ""


def _run(source: str | Path, digest: str | None) -> Run | None:
    """The run that a student of this recipe's digest is from, by its folder, when it has a checkpoint."""
    for folder in (Path(source), Path(source).parent):
        try:
            run = Run.open(folder)
        except RunError:
            continue
        if run.recipe.digest == digest and run.checkpoints():
            return run
    return None
