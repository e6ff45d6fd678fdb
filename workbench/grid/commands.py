"""The commands `sample`, one picture with a row of seeds per prompt and model, and `show`."""

from __future__ import annotations

import argparse
import json

from workbench.models.options import load_models


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


def _show(options: argparse.Namespace) -> None:
    from workbench.io.png import read_settings

    print(json.dumps(read_settings(options.file), indent=1, ensure_ascii=False))
