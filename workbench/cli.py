"""The command line: `workbench COMMAND`, or `python -m workbench COMMAND`.

Each command is in the `commands.py` of its feature; options of recipes and studies are generated
from the dataclasses that hold their defaults.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from workbench.evaluation.commands import EVALUATION_REMAKERS, add_evaluation_commands
from workbench.grid.commands import GRID_REMAKERS, add_grid_commands
from workbench.io.digests import in_full
from workbench.io.settings import Parser
from workbench.models.options import add_device_option
from workbench.stages.commands import STAGES_REMAKERS, add_stages_commands
from workbench.study.commands import STUDY_REMAKERS, add_study_commands
from workbench.training.commands import TRAINING_REMAKERS, add_training_commands
from workbench.ui.commands import add_app_command

REMAKERS = {  # by kind: (file, what made it, device) -> (equal, words)
    **GRID_REMAKERS,
    **TRAINING_REMAKERS,
    **EVALUATION_REMAKERS,
    **STAGES_REMAKERS,
    **STUDY_REMAKERS,
}


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status. User errors end in one line, not a traceback."""
    try:
        options = _parser().parse_args(arguments)
        with in_full(getattr(options, "verify", False)):
            return options.run(options) or 0
    except (ValueError, RuntimeError, OSError) as error:
        print(f"workbench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nworkbench: stopped; all files written so far are kept", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=_program(),
        description="Distil few-step students and measure what that does to diversity.",
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        add_app_command,
        add_training_commands,
        add_grid_commands,
        add_stages_commands,
        add_evaluation_commands,
        add_study_commands,
    ):
        add(commands, _command)
    _add_provenance(commands)
    return parser


def _add_provenance(commands) -> None:
    """The commands on what made a file; each room makes its own kinds again."""
    file = "a PNG, a ZIP, a report, or a table beside one"
    show = _command(commands, "show", "print what made a picture, table or report", _show)
    show.add_argument("file", type=Path, metavar="FILE", help=file)
    again = _command(
        commands, "reproduce", "make a file again and say whether it is equal", _reproduce
    )
    again.add_argument("file", type=Path, metavar="FILE", help=file)
    again.add_argument(
        "--at",
        action="append",
        default=[],
        metavar="NAME=PLACE",
        help="where the teacher or a model is now, if it has moved, such as teacher=FOLDER; it has "
        "to be the same one",
    )
    add_device_option(again)


def _show(options: argparse.Namespace) -> None:
    from workbench.io.provenance import read_made
    from workbench.io.strict_json import to_json

    print(to_json(read_made(options.file), indent=1, ensure_ascii=False))


def _reproduce(options: argparse.Namespace) -> int:
    from workbench.io.provenance import ProvenanceError, moved, read_made, report_in

    made = read_made(options.file)
    kind = made.get("kind", "unknown")
    if kind not in REMAKERS:
        raise ProvenanceError(
            f"{options.file} cannot be made again: it is of the kind “{kind}”, and those that can "
            f"are {', '.join(REMAKERS)}"
        )
    places = dict(one.partition("=")[::2] for one in options.at)
    if not all(places.values()):
        raise ProvenanceError("--at takes NAME=PLACE, such as --at teacher=models/sd35")
    with report_in(options.file, kind) as file:
        equal, words = REMAKERS[kind](file, moved(made, places), options.device)
    print(f"{options.file}: {words}")
    return 0 if equal else 1


def _command(commands, name: str, text: str, run) -> argparse.ArgumentParser:
    """Adds a command: `text` is its line in the list of commands, `run(options)` does it."""
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def _program() -> str:
    as_module = Path(sys.argv[0]).resolve() == Path(__file__).with_name("__main__.py").resolve()
    return "python -m workbench" if as_module else "workbench"


class _Version(argparse.Action):
    """Prints the version, which is looked up only when it is requested."""

    def __init__(self, option_strings: list[str], dest: str, **ignored):
        super().__init__(option_strings, dest, nargs=0, help="print the version and exit")

    def __call__(self, parser, *ignored) -> NoReturn:
        from importlib.metadata import PackageNotFoundError, version  # 30 ms

        try:
            print(f"workbench {version('dp-dmd-workbench')}")
        except PackageNotFoundError:  # a checkout that is not installed
            print("workbench, not installed")
        parser.exit()
