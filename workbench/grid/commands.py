"""The command `sample`: one picture with a row of seeds per prompt and model."""

from __future__ import annotations

import argparse
from pathlib import Path

from workbench.io.files import FolderError, file_to_write, write_atomically
from workbench.io.notation import format_seeds
from workbench.models.options import add_model_options, check_counts, load_models


def add_grid_commands(commands, command) -> None:
    """Adds the parsers; `command` is the command line's way to add one."""
    sample = command(commands, "sample", "make one picture: a row of seeds per prompt", _sample)
    sample.add_argument("prompt", nargs="+", metavar="PROMPT", help="prompts")
    sample.add_argument(
        "--out",
        type=_picture_to_write,
        default=Path("sample.png"),
        help="PNG to write; it carries its settings, see show (default: %(default)s)",
    )
    add_model_options(sample, "dp-dmd")


def _picture_to_write(text: str) -> Path:
    """The path with its ending. Raises FolderError as `file_to_write`, and for another format."""
    path = file_to_write(text)
    if not path.suffix:
        path = file_to_write(f"{text}.png")
    if path.suffix.lower() != ".png":
        raise FolderError(
            f"{path} does not end in .png: the picture is a PNG, which carries its settings"
        )
    return path


def _sample(options: argparse.Namespace) -> None:
    from workbench.grid.samples import sample_picture
    from workbench.io.prompt_text import clean_prompt

    check_counts(options)
    options.prompt = [clean_prompt(prompt) for prompt in options.prompt]
    backend, models = load_models(options)
    content, rows = sample_picture(models, backend, options.prompt, list(range(options.seeds)))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(options.out, lambda part: part.write_bytes(content))
    for number, row in enumerate(rows, 1):
        print(
            f"row {number}: {row['model']}, “{row['prompt']}”, seeds {format_seeds(row['seeds'])}"
        )
    print(f"{options.out}: {len(rows)} rows of {options.seeds} seeds")


def _remake(kind: str):
    def remake(path: Path, made: dict, device: str | None):
        from workbench.grid.reproduce import REMAKERS  # torch

        return REMAKERS[kind](path, made, device)

    return remake


GRID_REMAKERS = {kind: _remake(kind) for kind in ("samples", "cell", "seed grid")}
