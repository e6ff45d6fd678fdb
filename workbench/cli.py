"""The command line: python -m workbench train | plan | resume | sample | evaluate | report | stages | models | export |
study ... | scenes make-teacher.

Its settings are generated from the dataclasses `Recipe` and `TeacherRecipe`, which hold every default and help text.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import typing
from pathlib import Path

from workbench.cards import CARDS
from workbench.command_models import add_device_option, add_model_options, common_recipe, loaded
from workbench.evaluation_commands import add_evaluation_commands
from workbench.presets import PRESETS
from workbench.recipe import Recipe
from workbench.study_commands import add_study_commands


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status. Mistakes of the user end in one line, not in a traceback."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except (ValueError, RuntimeError, OSError) as error:
        print(f"workbench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nworkbench: stopped; nothing written so far is lost", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workbench",
                                     description="Distil few-step students and measure what it does to diversity.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train = _command(commands, "train", "distil a student into a run folder", _train)
    train.add_argument("--preset", choices=PRESETS, default="scenes-dp-dmd", help="recipe to start from (default: %(default)s)")
    train.add_argument("--out", type=Path, help="run folder (default: runs/METHOD-DIGEST)")
    train.add_argument("--dry-run", action="store_true", help="print the resolved recipe and stop")
    add_device_option(train)
    _settings(train, Recipe)
    planned = _command(commands, "plan", "say what a recipe needs in memory and time, without weights or a GPU", _plan)
    planned.add_argument("--preset", choices=PRESETS, default="paper", help="recipe to start from (default: %(default)s)")
    planned.add_argument("--mode", choices=("full", "lora"), help="lora: --lora 64 unless given; full: --lora 0")
    planned.add_argument("--card", choices=CARDS, default="h100", help="whose hours to estimate (default: %(default)s)")
    planned.add_argument("--utilisation", type=float, default=0.4, help="share of the card's peak (default: %(default)s)")
    planned.add_argument("--json", action="store_true", help="print JSON: bytes, operations and hours")
    planned.add_argument("--table", action="store_true", help="print the README's table of SD3.5-Medium and SDXL for these settings")
    _settings(planned, Recipe)
    resume = _command(commands, "resume", "go on with an interrupted run, bit for bit", _resume)
    resume.add_argument("folder", type=Path, metavar="RUN", help="run folder")
    add_device_option(resume)
    sample = _command(commands, "sample", "make one picture: a row of seeds for each prompt", _sample)
    sample.add_argument("prompt", nargs="+", help="prompts")
    sample.add_argument("--out", type=Path, default=Path("sample.png"), help="picture to write (default: %(default)s)")
    add_model_options(sample, "dp-dmd")
    add_evaluation_commands(commands, _command)
    stages = _command(commands, "stages", "see and measure what each denoising step decides, for one prompt", _stages)
    stages.add_argument("prompt", help="one prompt")
    stages.add_argument("--out", type=Path, help="folder for report.html, numbers.json and the trajectories, which are taken from "
                        "there when they are the same (default: stages/PROMPT)")
    stages.add_argument("--branches", type=int, default=4,
                        help="branches of each parent seed; 0 leaves branching out (default: %(default)s)")
    stages.add_argument("--parents", type=int, default=6, help="seeds that are branched (default: %(default)s)")
    stages.add_argument("--no-swap", action="store_true", help="leave the swap test out")
    stages.add_argument("--no-gradients", action="store_true",
                        help="leave out the gradients of each student, which need memory to train")
    add_model_options(stages, "teacher,dmd,dp-dmd")
    _command(commands, "models", "list the students that --models takes by name, one line each", _list_models)
    export = _command(commands, "export", "write a run's student as a diffusers pipeline or LoRA with a model card", _export)
    export.add_argument("folder", type=Path, metavar="RUN", help="run folder")
    export.add_argument("--to", type=Path, required=True, help="folder to write")
    export.add_argument("--lora", type=int, default=0, metavar="RANK",
                        help="write a whole student as the nearest adapter of this rank (default: as a pipeline)")
    add_study_commands(commands, _command)
    scenes = commands.add_parser("scenes", help="the embedded world").add_subparsers(required=True, metavar="COMMAND")
    make = _command(scenes, "make-teacher", "train the embedded teacher from nothing (hours; resumable)", _make_teacher)
    make.add_argument("--out", type=Path, default=Path("scenes-teacher"), help="work folder (default: %(default)s)")
    make.add_argument("--compile", action="store_true", help="compile the transformer's blocks first (minutes, then a third faster)")
    make.add_argument("--dry-run", action="store_true", help="print the resolved recipe and stop")
    from workbench.scenes.teacher_recipe import TeacherRecipe

    _settings(make, TeacherRecipe)
    return parser


def _command(commands, name: str, text: str, run) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def _settings(parser: argparse.ArgumentParser, recipe: type) -> None:
    """One option for each field; an option that is not given leaves the preset's value."""
    kinds = typing.get_type_hints(recipe)
    for item in dataclasses.fields(recipe):
        kind = kinds[item.name]
        parser.add_argument("--" + item.name.replace("_", "-"), dest=item.name, type=kind, metavar=kind.__name__.upper(),
                            choices=item.metadata["choices"] or None, default=argparse.SUPPRESS,
                            help=f"{item.metadata['help']} (default: {item.default!r})".replace("%", "%%"))


def _given(options: argparse.Namespace, recipe: type) -> dict:
    return {item.name: getattr(options, item.name) for item in dataclasses.fields(recipe) if hasattr(options, item.name)}


def _train(options: argparse.Namespace) -> None:
    recipe = dataclasses.replace(PRESETS[options.preset], **_given(options, Recipe))
    if options.dry_run:
        print(recipe.to_json())
        return
    from accelerate import PartialState

    from workbench.runs import Run

    device = _own_device(options)
    folder = options.out or Path("runs") / f"{recipe.method.replace('_', '-')}-{recipe.digest}"
    if PartialState().is_main_process:  # of several processes the first makes the folder
        Run.create(folder, recipe, device)
    PartialState().wait_for_everyone()
    _follow(Run.open(folder), device)


def _plan(options: argparse.Namespace) -> None:
    from workbench.backends.planner import plan
    from workbench.plan_report import as_dict, as_markdown, as_text

    if not 0 < options.utilisation <= 1:
        raise ValueError(f"utilisation = {options.utilisation} is not a share between 0 and 1")
    recipe = dataclasses.replace(PRESETS[options.preset], **_given(options, Recipe))
    if options.mode:
        recipe = dataclasses.replace(recipe, lora=(recipe.lora or 64) if options.mode == "lora" else 0)
    if options.table:
        for line in as_markdown(recipe, ("sd3.5-medium", "sdxl"), (512, 1024)):
            print(line, flush=True)  # it takes minutes in all
        return
    planned = plan(recipe)
    report = as_dict if options.json else as_text
    shown = report(planned, options.card, options.utilisation)
    print(json.dumps(shown, indent=1) if options.json else shown)


def _resume(options: argparse.Namespace) -> None:
    from workbench.runs import Run

    _follow(Run.open(options.folder), _own_device(options))


def _own_device(options: argparse.Namespace) -> str:
    """The device of this process: each of several has a GPU of its own."""
    from accelerate import PartialState

    from workbench.build import best_device

    device = options.device or best_device()
    state = PartialState(cpu=device == "cpu")
    return str(state.device) if device == "cuda" and state.num_processes > 1 else device


def _follow(run, device: str) -> None:
    """Trains under a progress bar."""
    from tqdm import tqdm

    from workbench.build import new_distiller
    from workbench.training import Reading, train

    distiller, shown = new_distiller(run.recipe, device), {}
    main = distiller.accelerator.is_main_process
    with tqdm(total=run.recipe.rounds, unit="round", disable=not main) as bar:
        for event in train(run, distiller):
            if isinstance(event, Reading):
                shown["div"] = f"{event.diversity:.3f}"
            else:
                shown |= {name: f"{loss:.4f}" for name, loss in event.losses.items()}
            bar.set_postfix(shown)
            bar.update(distiller.rounds_done - bar.n)
        bar.update(distiller.rounds_done - bar.n)
    if main:
        print(f"{run.path}: {distiller.rounds_done} rounds, {distiller.student_updates} student updates, "
              f"{distiller.fake_updates} fake updates; student in {run.path / 'student'}")
    distiller.accelerator.end_training()  # waits for the threads of several processes' exchange: Python ending under them is an abort


def _list_models(options: argparse.Namespace) -> None:
    from workbench.backends.published import PUBLISHED
    from workbench.backends.scenes import EMBEDDED
    from workbench.models import STUDENT_FILE, shipped_students

    rows = [(name, teacher, f"{len(json.loads((folder / STUDENT_FILE).read_text())['times']) - 1} steps", "no CFG",
             "shipped with this project", "") for teacher in EMBEDDED for name, folder in shipped_students(teacher).items()]
    rows += [(name, entry.teacher, f"{entry.steps} steps", f"CFG {entry.guidance:g}" if entry.guidance != 1 else "no CFG",
              entry.licence, entry.source) for name, entry in PUBLISHED.items()]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def _sample(options: argparse.Namespace) -> None:
    from workbench.evaluation import images_of
    from workbench.training import tile

    backend, models = loaded(options)
    rows = [row for model in models for row in images_of(model, backend, options.prompt, list(range(options.seeds)))]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    tile(rows).save(options.out)
    print(f"{options.out}: {len(models)} models x {len(options.prompt)} prompts x {options.seeds} seeds")


def _stages(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from workbench.build import check_prompt
    from workbench.examination import Examination, check_folder, save_trajectories, saved_trajectories
    from workbench.gradient_probe import probe
    from workbench.grid_request import TEACHER, GridRequest
    from workbench.stages_report import figures_of, write_report

    folder = options.out or Path("stages") / "-".join(options.prompt.lower().split())
    check_folder(folder, {options.prompt})
    backend, models = loaded(options)
    check_prompt(backend, options.prompt)
    by_name = {model.name: model for model in models}
    request = GridRequest((options.prompt,), tuple(range(options.seeds)), tuple(by_name))
    seen = Examination(request, backend, by_name.__getitem__, options.branches, options.parents, not options.no_swap,
                       known=saved_trajectories(folder))
    gradients, students = [], [] if options.no_gradients else [name for name in by_name if name != TEACHER]
    left = {name: "not measured" for name in students}
    _, teacher = common_recipe(options, list(by_name))
    try:
        _advance(tqdm(total=1.0, desc="stages", bar_format=BAR), ((step.done, None) for step in seen.run() if hasattr(step, "done")))
        for name in students:
            events = probe(by_name[name], name, backend, teacher, options.prompt)
            try:
                gradients.append(_advance(tqdm(total=1.0, desc=f"gradients of {name}", bar_format=BAR), ((p.done, p) for p in events)))
                del left[name]
            except (ValueError, RuntimeError, KeyError) as error:
                # too little memory, an old checkpoint ...: the others are worth having
                left[name] = str(error)
    finally:  # also when it is interrupted: what is done is kept
        missing = [f"gradients of {name}: {reason}" for name, reason in left.items()]
        if seen.trajectories:
            save_trajectories(seen.trajectories, folder)
            print(write_report(folder, seen, figures_of(seen), gradients, missing))
        for line in [*seen.left, *missing]:
            print(f"not done: {line}")


BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"


def _advance(bar, events):
    """Follows (part done, result) events with a bar; returns the last result."""
    with bar:
        for done, result in events:
            bar.update(done - bar.n)
    return result


def _export(options: argparse.Namespace) -> None:
    from workbench.export_student import export_student

    print(f"saved {export_student(options.folder, options.to, options.lora)}; its README.md says how to sample it")


def _make_teacher(options: argparse.Namespace) -> None:
    from workbench.scenes.teacher_recipe import TeacherRecipe

    recipe = TeacherRecipe(**_given(options, TeacherRecipe))
    if options.dry_run:
        print(json.dumps(dataclasses.asdict(recipe), indent=1))
        return
    from workbench.scenes.make_teacher import make_teacher

    print(f"saved {make_teacher(options.out, recipe, options.compile)}")
