"""The picture of the command `sample`: a row of images per model and prompt, with what made it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from workbench.core.denoiser import Backend
from workbench.io.png import png_bytes, tile
from workbench.models.model import Model
from workbench.models.provenance import Reopened, made_with
from workbench.models.sampling import NOISE_OF_SEED, images_of, sampled_together


def sample_picture(
    models: list[Model], backend: Backend, prompts: list[str], seeds: list[int]
) -> tuple[bytes, list[dict]]:
    """A PNG with its settings in it, and the model, prompt and seeds of each of its rows.

    Raises:
        NotFiniteError: An image is not finite; with its model, prompt and seed.
    """
    rows = [
        {"model": model.name, "prompt": prompt, "seeds": seeds}
        for model in models
        for prompt in prompts
    ]
    settings = {
        "kind": "samples",
        "prompts": prompts,
        "seeds": seeds,
        "noise": NOISE_OF_SEED,
        "rows": rows,
        "batch": sampled_together(backend.latent_shape),
        "origin": made_with(backend, models),
    }
    return png_bytes(_picture(models, backend, settings), settings), rows


def remade_samples(settings: Mapping, there: Reopened) -> np.ndarray:
    """The pixels [H, W, 3] of the picture with these settings, made again. Raises as
    `sample_picture` does.
    """
    return np.asarray(_picture(list(there.models.values()), there.backend, settings))


def _picture(models: list[Model], backend: Backend, settings: Mapping) -> Image.Image:
    return tile(
        [
            row
            for model in models
            for row in images_of(
                model, backend, settings["prompts"], settings["seeds"], settings["batch"]
            )
        ]
    )
