"""The commands `train`, `plan`, `resume`, `export`, `models` and `scenes make-teacher`."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from workbench.core.methods import check_trains
from workbench.core.presets import PRESETS
from workbench.core.recipe import Recipe
from workbench.io.files import folder_to_write
from workbench.io.settings import add_settings, given_settings
from workbench.io.strict_json import to_json
from workbench.models.options import add_device_option, add_verify_option
from workbench.scenes.teacher_recipe import TeacherRecipe
from workbench.training.changes import CHANGEABLE
from workbench.training.plan.gpus import GPUS

INPUTS = ("prompts", "teacher")  # what `resume` may find changed


def add_training_commands(commands, command) -> None:
    """Adds the parsers; `command` is the command line's way to add one."""
    _add_train(commands, command)
    _add_plan(commands, command)
    _add_resume(commands, command)
    export = command(
        commands,
        "export",
        "write a run's student as a diffusers pipeline or LoRA with a model card",
        _export,
    )
    export.add_argument("folder", type=Path, metavar="RUN", help="run folder")
    export.add_argument("--to", type=folder_to_write, required=True, help="folder to write")
    export.add_argument(
        "--lora",
        type=int,
        default=0,
        metavar="RANK",
        help="write the nearest adapter of this rank (default: a whole student as a pipeline, an "
        "adapter as it is)",
    )
    command(
        commands, "models", "list the students that --models takes by name, one per line", _models
    )
    scenes = commands.add_parser("scenes", help="the embedded world").add_subparsers(
        required=True, metavar="COMMAND"
    )
    _add_make_teacher(scenes, command)


def _add_train(commands, command) -> None:
    train = command(commands, "train", "distil a student into a run folder", _train)
    train.add_argument(
        "--preset",
        choices=PRESETS,
        default="scenes-dp-dmd",
        help="recipe to start from (default: %(default)s)",
    )
    train.add_argument(
        "--out", type=folder_to_write, help="run folder (default: runs/METHOD-DIGEST)"
    )
    train.add_argument("--dry-run", action="store_true", help="print the resolved recipe and stop")
    add_device_option(train)
    add_settings(train, Recipe, default="from the preset")


def _add_resume(commands, command) -> None:
    resume = command(
        commands, "resume", "continue an interrupted run, with bit-identical results", _resume
    )
    resume.add_argument("folder", type=Path, metavar="RUN", help="run folder")
    resume.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="continue with another value of a setting, which the manifest records; repeatable. "
        "Those that can change: " + ", ".join(CHANGEABLE),
    )
    resume.add_argument(
        "--from-checkpoint",
        default="",
        metavar="ROUND",
        help="continue from this checkpoint, such as round-000050 (round-000000: the start); what "
        "lies behind it is moved to a folder set-aside-N of the run (default: the last one)",
    )
    for name in INPUTS:
        resume.add_argument(
            f"--accept-changed-{name}",
            action="store_true",
            help=f"continue although the {name} changed, and note it in the manifest",
        )
    add_verify_option(resume)
    add_device_option(resume)


def _add_plan(commands, command) -> None:
    plan = command(
        commands,
        "plan",
        "estimate a recipe's memory and time, without weights or a GPU",
        _plan,
    )
    plan.add_argument(
        "--preset",
        choices=PRESETS,
        default="paper",
        help="recipe to start from (default: %(default)s)",
    )
    plan.add_argument(
        "--mode", choices=("full", "lora"), help="lora: --lora 64 unless given; full: --lora 0"
    )
    plan.add_argument(
        "--gpu",
        choices=GPUS,
        default="h100",
        help="GPU to estimate hours for (default: %(default)s)",
    )
    plan.add_argument(  # its earlier name
        "--card", dest="gpu", choices=GPUS, default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )
    plan.add_argument(
        "--utilisation",
        type=float,
        default=0.4,
        help="fraction of the GPU's peak that is reached (default: %(default)s)",
    )
    plan.add_argument("--json", action="store_true", help="print JSON: bytes, operations and hours")
    plan.add_argument(
        "--table",
        action="store_true",
        help="print the README's table of SD3.5-Medium and SDXL for these settings",
    )
    add_settings(plan, Recipe, default="from the preset")


def _add_make_teacher(scenes, command) -> None:
    make = command(
        scenes,
        "make-teacher",
        "train the embedded teacher from scratch (hours; resumable)",
        _make_teacher,
    )
    make.add_argument(
        "--out",
        type=folder_to_write,
        default=Path("scenes-teacher"),
        help="work folder (default: %(default)s)",
    )
    make.add_argument(
        "--compile",
        action="store_true",
        help="compile the transformer's blocks first (takes minutes, then a third faster)",
    )
    make.add_argument("--dry-run", action="store_true", help="print the resolved recipe and stop")
    add_settings(make, TeacherRecipe)


def _train(options: argparse.Namespace) -> None:
    recipe = dataclasses.replace(PRESETS[options.preset], **given_settings(options, Recipe))
    check_trains(recipe)
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
    check_trains(recipe)
    if options.table:
        for line in as_markdown(recipe, ("sd3.5-medium", "sdxl"), (512, 1024)):
            print(line, flush=True)  # the whole table takes minutes
        return
    planned = plan(recipe)
    if options.json:
        print(to_json(as_dict(planned, options.gpu, options.utilisation), indent=1))
    else:
        print(as_text(planned, options.gpu, options.utilisation))


def _resume(options: argparse.Namespace) -> None:
    from accelerate import PartialState

    from workbench.io.files import exclusive_lock
    from workbench.training.changes import change
    from workbench.training.run import Run

    accepted = tuple(name for name in INPUTS if getattr(options, f"accept_changed_{name}"))
    device, run = _own_device(options), Run.open(options.folder)
    if options.set or options.from_checkpoint:
        if PartialState().is_main_process:
            with exclusive_lock(run.path):
                change(run, options.set, options.from_checkpoint)
        PartialState().wait_for_everyone()
        run = Run.open(options.folder)
    _follow(run, device, accepted)


def _own_device(options: argparse.Namespace) -> str:
    """The device of this process; of several processes each has its own GPU."""
    from accelerate import PartialState

    from workbench.models.loading import best_device

    device = options.device or best_device()
    state = PartialState(cpu=device == "cpu")
    return str(state.device) if device == "cuda" and state.num_processes > 1 else device


def _follow(run, device: str, accepted: tuple[str, ...] = ()) -> None:
    """Trains under a progress bar."""
    from tqdm import tqdm

    from workbench.training.inputs import run_distiller
    from workbench.training.train import PanelMeasurement, train

    distiller, numbers = run_distiller(run, device), {}
    is_main = distiller.accelerator.is_main_process
    with tqdm(total=run.recipe.rounds, unit="round", disable=not is_main) as bar:
        for event in train(run, distiller, accepted=accepted):
            if isinstance(event, PanelMeasurement):
                numbers["div"] = f"{event.diversity:.3f}"
            else:
                numbers |= {name: f"{loss:.4f}" for name, loss in event.losses.items()}
            bar.set_postfix(numbers)
            bar.update(distiller.rounds_done - bar.n)
        bar.update(distiller.rounds_done - bar.n)
    if is_main:
        student = run.path / "student"
        made = f"student in {student}" if student.is_dir() else "no student, which needs a round"
        print(
            f"{run.path}: {distiller.rounds_done} rounds, {distiller.student_updates} student "
            f"updates, {distiller.fake_updates} fake updates; {made}"
        )
    # waits for the communication threads of several processes: Python aborts if it ends before them
    distiller.accelerator.end_training()


def _models(options: argparse.Namespace) -> None:
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
    recipe = TeacherRecipe(**given_settings(options, TeacherRecipe))
    if options.dry_run:
        print(to_json(dataclasses.asdict(recipe), indent=1))
        return
    from workbench.scenes.make_teacher import make_teacher

    print(f"saved {make_teacher(options.out, recipe, options.compile)}")


def _remake_panel(path: Path, made: dict, device: str | None):
    from workbench.training.panel import remake_panel

    return remake_panel(path, made, device)


TRAINING_REMAKERS = {"training panel": _remake_panel}
