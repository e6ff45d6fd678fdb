"""The command `sample`: one picture, a row of seeds for each prompt and model."""

from __future__ import annotations

import argparse
from pathlib import Path

from workbench.models.options import add_model_options, load_models


def add_grid_commands(commands, command) -> None:
    """Adds the parser; `command` is the command line's way to add one."""
    sample = command(commands, "sample", "make one picture: a row of seeds per prompt", _sample)
    sample.add_argument("prompt", nargs="+", metavar="PROMPT", help="prompts")
    sample.add_argument(
        "--out",
        type=Path,
        default=Path("sample.png"),
        help="picture to write (default: %(default)s)",
    )
    add_model_options(sample, "dp-dmd")


def _sample(options: argparse.Namespace) -> None:
    from workbench.io.png import tile
    from workbench.models.sampling import images_of

    backend, models = load_models(options)
    rows = [
        row
        for model in models
        for row in images_of(model, backend, options.prompt, list(range(options.seeds)))
    ]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    tile(rows).save(options.out)
    print(
        f"{options.out}: {len(models)} models x {len(options.prompt)} prompts x {options.seeds} "
        "seeds"
    )
