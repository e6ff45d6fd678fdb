"""The command line: python -m workbench train | plan | resume | sample | show | evaluate |
report | stages | models | export | study ... | scenes make-teacher.

Its settings are generated from the dataclasses `Recipe` and `TeacherRecipe`, which hold every
default and help text.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from workbench.core.presets import PRESETS
from workbench.core.recipe import Recipe
from workbench.evaluation.commands import add_evaluation_commands
from workbench.grid.commands import _sample, _show
from workbench.io.settings import Parser, add_settings
from workbench.models.options import add_device_option, add_model_options
from workbench.stages.commands import _stages
from workbench.study.commands import add_study_commands
from workbench.training.commands import _export, _list_models, _make_teacher, _plan, _resume, _train
from workbench.training.plan.gpus import GPUS


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status. Mistakes of the user end in one line, not in a
    traceback.
    """
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
    parser = Parser(
        prog="python -m workbench",
        description="Distil few-step students and measure what it does to diversity.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train = _command(commands, "train", "distil a student into a run folder", _train)
    train.add_argument(
        "--preset",
        choices=PRESETS,
        default="scenes-dp-dmd",
        help="recipe to start from (default: %(default)s)",
    )
    train.add_argument("--out", type=Path, help="run folder (default: runs/METHOD-DIGEST)")
    train.add_argument("--dry-run", action="store_true", help="print the resolved recipe and stop")
    add_device_option(train)
    add_settings(train, Recipe, default="from the preset")
    planned = _command(
        commands,
        "plan",
        "say what a recipe needs in memory and time, without weights or a GPU",
        _plan,
    )
    planned.add_argument(
        "--preset",
        choices=PRESETS,
        default="paper",
        help="recipe to start from (default: %(default)s)",
    )
    planned.add_argument(
        "--mode", choices=("full", "lora"), help="lora: --lora 64 unless given; full: --lora 0"
    )
    planned.add_argument(
        "--gpu",
        choices=GPUS,
        default="h100",
        help="the GPU to estimate hours for (default: %(default)s)",
    )
    planned.add_argument(  # its earlier name
        "--card", dest="gpu", choices=GPUS, default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )
    planned.add_argument(
        "--utilisation",
        type=float,
        default=0.4,
        help="share of the GPU's peak (default: %(default)s)",
    )
    planned.add_argument(
        "--json", action="store_true", help="print JSON: bytes, operations and hours"
    )
    planned.add_argument(
        "--table",
        action="store_true",
        help="print the README's table of SD3.5-Medium and SDXL for these settings",
    )
    add_settings(planned, Recipe, default="from the preset")
    resume = _command(commands, "resume", "go on with an interrupted run, bit for bit", _resume)
    resume.add_argument("folder", type=Path, metavar="RUN", help="run folder")
    add_device_option(resume)
    sample = _command(
        commands, "sample", "make one picture: a row of seeds for each prompt", _sample
    )
    sample.add_argument("prompt", nargs="+", help="prompts")
    sample.add_argument(
        "--out",
        type=Path,
        default=Path("sample.png"),
        help="picture to write (default: %(default)s)",
    )
    add_model_options(sample, "dp-dmd")
    show = _command(commands, "show", "print the settings that a PNG was generated with", _show)
    show.add_argument("file", type=Path, metavar="FILE.png", help="an image of the workbench")
    add_evaluation_commands(commands, _command)
    stages = _command(
        commands,
        "stages",
        "see and measure what each denoising step decides, for one prompt",
        _stages,
    )
    stages.add_argument("prompt", help="one prompt")
    stages.add_argument(
        "--out",
        type=Path,
        help="folder for report.html, numbers.json and the trajectories, which are taken from "
        "there when they are the same (default: stages/PROMPT)",
    )
    stages.add_argument(
        "--branches",
        type=int,
        default=4,
        help="branches of each parent seed; 0 leaves branching out (default: %(default)s)",
    )
    stages.add_argument(
        "--parents", type=int, default=6, help="seeds that are branched (default: %(default)s)"
    )
    stages.add_argument("--no-swap", action="store_true", help="leave the swap test out")
    stages.add_argument(
        "--no-gradients",
        action="store_true",
        help="leave out the gradients of each student, which need memory to train",
    )
    add_model_options(stages, "teacher,dmd,dp-dmd")
    _command(
        commands,
        "models",
        "list the students that --models takes by name, one line each",
        _list_models,
    )
    export = _command(
        commands,
        "export",
        "write a run's student as a diffusers pipeline or LoRA with a model card",
        _export,
    )
    export.add_argument("folder", type=Path, metavar="RUN", help="run folder")
    export.add_argument("--to", type=Path, required=True, help="folder to write")
    export.add_argument(
        "--lora",
        type=int,
        default=0,
        metavar="RANK",
        help="write a whole student as the nearest adapter of this rank (default: as a pipeline)",
    )
    add_study_commands(commands, _command)
    scenes = commands.add_parser("scenes", help="the embedded world").add_subparsers(
        required=True, metavar="COMMAND"
    )
    make = _command(
        scenes,
        "make-teacher",
        "train the embedded teacher from nothing (hours; resumable)",
        _make_teacher,
    )
    make.add_argument(
        "--out",
        type=Path,
        default=Path("scenes-teacher"),
        help="work folder (default: %(default)s)",
    )
    make.add_argument(
        "--compile",
        action="store_true",
        help="compile the transformer's blocks first (minutes, then a third faster)",
    )
    make.add_argument("--dry-run", action="store_true", help="print the resolved recipe and stop")
    from workbench.scenes.teacher_recipe import TeacherRecipe

    add_settings(make, TeacherRecipe)
    return parser


def _command(commands, name: str, text: str, run) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    return parser
