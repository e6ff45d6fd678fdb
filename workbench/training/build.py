"""From a recipe to its training: prompts, objective, and the `Distiller` with three networks."""

from __future__ import annotations

from functools import partial

from accelerate import PartialState
from tqdm import tqdm

from workbench.core.denoiser import Backend
from workbench.core.distiller import Distiller
from workbench.core.methods import METHODS, Tools
from workbench.core.objectives import Objective
from workbench.core.recipe import Recipe
from workbench.io.prompt_file import read_prompts
from workbench.metrics.perceptual import new_distance
from workbench.models.backends.embedding_cache import CachedBackend
from workbench.models.embedded import EMBEDDED
from workbench.models.loading import check_prompt, load_backend
from workbench.scenes.grammar import draw_requests


def load_prompts(recipe: Recipe, backend: Backend) -> list[str]:
    """The recipe's prompt file, each prompt checked against the encoder; or 4,096 captions of the
    embedded world.
    """
    if not recipe.prompts:
        if recipe.teacher not in EMBEDDED:
            raise ValueError("a teacher that is not embedded needs a prompt file: set prompts")
        return [request.text for request in draw_requests(4096, seed=1)]
    return read_prompts(recipe.prompts, lambda prompt: check_prompt(backend, prompt))


def new_objective(recipe: Recipe, device: str = "cpu") -> Objective:
    """The objective of the recipe's method, on `device`."""
    tools = Tools(device, partial(new_distance, recipe.distance, device))
    return METHODS[recipe.method].build(recipe, tools)


def new_distiller(
    recipe: Recipe, device: str = "cpu", prompts: list[str] | None = None
) -> Distiller:
    """A distiller at round 0, with the teacher loaded and the prompts checked; `prompts` take the
    place of the recipe's prompt file.
    """
    backend = load_backend(
        recipe.teacher, device, recipe.precision, recipe.resolution, recipe.tiling
    )
    prompts = load_prompts(recipe, backend) if prompts is None else prompts
    if recipe.embeddings:
        with PartialState(cpu=device == "cpu").main_process_first():
            backend = CachedBackend(
                backend,
                prompts,
                recipe.embeddings,
                partial(tqdm, desc="prompt embeddings", unit="shard"),
            )
    return Distiller(recipe, backend, new_objective(recipe, device), prompts)
