"""The commands `train`, `plan`, `resume`, `export`, `models` and `scenes make-teacher`."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from workbench.core.presets import PRESETS
from workbench.core.recipe import Recipe
from workbench.io.settings import given_settings


def _train(options: argparse.Namespace) -> None:
    recipe = dataclasses.replace(PRESETS[options.preset], **given_settings(options, Recipe))
    if options.dry_run:
        print(recipe.to_json())
        return
    from accelerate import PartialState

    from workbench.training.run import Run

    device = _own_device(options)
    folder = options.out or Path("runs") / f"{recipe.method.replace('_', '-')}-{recipe.digest}"
    if PartialState().is_main_process:  # the first of several processes makes the folder
        Run.create(folder, recipe, device)
    PartialState().wait_for_everyone()
    _follow(Run.open(folder), device)


def _plan(options: argparse.Namespace) -> None:
    from workbench.training.plan.planner import plan
    from workbench.training.plan.report import as_dict, as_markdown, as_text

    if not 0 < options.utilisation <= 1:
        raise ValueError(f"utilisation = {options.utilisation} is not a share between 0 and 1")
    recipe = dataclasses.replace(PRESETS[options.preset], **given_settings(options, Recipe))
    if options.mode:
        recipe = dataclasses.replace(
            recipe, lora=(recipe.lora or 64) if options.mode == "lora" else 0
        )
    if options.table:
        for line in as_markdown(recipe, ("sd3.5-medium", "sdxl"), (512, 1024)):
            print(line, flush=True)  # the whole table takes minutes
        return
    planned = plan(recipe)
    if options.json:
        print(json.dumps(as_dict(planned, options.gpu, options.utilisation), indent=1))
    else:
        print(as_text(planned, options.gpu, options.utilisation))


def _resume(options: argparse.Namespace) -> None:
    from workbench.training.run import Run

    _follow(Run.open(options.folder), _own_device(options))


def _own_device(options: argparse.Namespace) -> str:
    """The device of this process; of several processes each has its own GPU."""
    from accelerate import PartialState

    from workbench.models.loading import best_device

    device = options.device or best_device()
    state = PartialState(cpu=device == "cpu")
    return str(state.device) if device == "cuda" and state.num_processes > 1 else device


def _follow(run, device: str) -> None:
    """Trains under a progress bar."""
    from tqdm import tqdm

    from workbench.training.build import new_distiller
    from workbench.training.train import PanelMeasurement, train

    distiller, numbers = new_distiller(run.recipe, device), {}
    is_main = distiller.accelerator.is_main_process
    with tqdm(total=run.recipe.rounds, unit="round", disable=not is_main) as bar:
        for event in train(run, distiller):
            if isinstance(event, PanelMeasurement):
                numbers["div"] = f"{event.diversity:.3f}"
            else:
                numbers |= {name: f"{loss:.4f}" for name, loss in event.losses.items()}
            bar.set_postfix(numbers)
            bar.update(distiller.rounds_done - bar.n)
        bar.update(distiller.rounds_done - bar.n)
    if is_main:
        print(
            f"{run.path}: {distiller.rounds_done} rounds, {distiller.student_updates} student "
            f"updates, {distiller.fake_updates} fake updates; student in {run.path / 'student'}"
        )
    # waits for the communication threads of several processes: Python aborts if it ends before them
    distiller.accelerator.end_training()


def _list_models(options: argparse.Namespace) -> None:
    from workbench.models.embedded import EMBEDDED
    from workbench.models.published import PUBLISHED
    from workbench.models.students import STUDENT_FILE, shipped_students

    rows = [
        (
            name,
            teacher,
            f"{len(json.loads((folder / STUDENT_FILE).read_text())['times']) - 1} steps",
            "no CFG",
            "shipped with this project",
            "",
        )
        for teacher in EMBEDDED
        for name, folder in shipped_students(teacher).items()
    ]
    rows += [
        (
            name,
            entry.teacher,
            f"{entry.steps} steps",
            f"CFG {entry.guidance:g}" if entry.guidance != 1 else "no CFG",
            entry.licence,
            entry.source,
        )
        for name, entry in PUBLISHED.items()
    ]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def _export(options: argparse.Namespace) -> None:
    from workbench.training.export import export_student

    print(
        f"saved {export_student(options.folder, options.to, options.lora)}; its README.md says "
        "how to sample it"
    )


def _make_teacher(options: argparse.Namespace) -> None:
    from workbench.scenes.teacher_recipe import TeacherRecipe

    recipe = TeacherRecipe(**given_settings(options, TeacherRecipe))
    if options.dry_run:
        print(json.dumps(dataclasses.asdict(recipe), indent=1))
        return
    from workbench.scenes.make_teacher import make_teacher

    print(f"saved {make_teacher(options.out, recipe, options.compile)}")
