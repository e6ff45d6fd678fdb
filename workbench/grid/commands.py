"""The commands `sample`, one picture with a row of seeds per prompt and model, and `show`."""

from __future__ import annotations

import argparse
from pathlib import Path

from workbench.io.strict_json import to_json
from workbench.models.options import add_model_options, load_models, refuse_ignored_options


def add_grid_commands(commands, command) -> None:
    """Adds the parsers; `command` is the command line's way to add one."""
    sample = command(commands, "sample", "make one picture: a row of seeds per prompt", _sample)
    sample.add_argument("prompt", nargs="+", metavar="PROMPT", help="prompts")
    sample.add_argument(
        "--out",
        type=Path,
        default=Path("sample.png"),
        help="picture to write (default: %(default)s)",
    )
    add_model_options(sample, "dp-dmd")
    show = command(commands, "show", "print the settings that a PNG was generated with", _show)
    show.add_argument("file", type=Path, metavar="FILE.png", help="an image of the workbench")


def _sample(options: argparse.Namespace) -> None:
    from workbench.io.png import tile
    from workbench.io.prompt_text import clean_prompt
    from workbench.models.sampling import images_of

    refuse_ignored_options(options)
    options.prompt = [clean_prompt(prompt) for prompt in options.prompt]
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


def _show(options: argparse.Namespace) -> None:
    from workbench.io.png import read_settings

    print(to_json(read_settings(options.file), indent=1, ensure_ascii=False))
