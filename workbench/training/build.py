"""From a recipe to its training: prompts, objective, and the `Distiller` with three networks."""

from __future__ import annotations

from functools import partial

from accelerate import PartialState
from tqdm import tqdm

from workbench.core.denoiser import Backend
from workbench.core.distiller import Distiller
from workbench.core.objectives import Objective, dmd, dmd_gan, dmd_lpips, dp_dmd, dp_dmd_no_stop
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
    """The method column of Table 1."""
    if recipe.method == "dmd":
        return dmd(recipe.normaliser)
    if recipe.method == "dmd_lpips":
        return dmd_lpips(new_distance(recipe.distance, device), recipe.lpips, recipe.normaliser)
    if recipe.method == "dmd_gan":
        return dmd_gan(recipe.gan, recipe.critic, recipe.normaliser)
    method = {"dp_dmd": dp_dmd, "dp_dmd_no_stop": dp_dmd_no_stop}[recipe.method]
    return method(recipe.lam, recipe.k, recipe.anchor, recipe.normaliser)


def new_distiller(recipe: Recipe, device: str = "cpu") -> Distiller:
    """A distiller at round 0, with the teacher loaded and the prompts checked."""
    backend = load_backend(
        recipe.teacher, device, recipe.precision, recipe.resolution, recipe.tiling == "on"
    )
    prompts = load_prompts(recipe, backend)
    if recipe.embeddings:
        with PartialState(cpu=device == "cpu").main_process_first():
            backend = CachedBackend(
                backend,
                prompts,
                recipe.embeddings,
                partial(tqdm, desc="prompt embeddings", unit="shard"),
            )
    return Distiller(recipe, backend, new_objective(recipe, device), prompts)
