"""Wires recipes: names to backends, recipes to distillers."""

from __future__ import annotations

from functools import partial

import torch
from accelerate import PartialState
from tqdm import tqdm

from workbench.backends.embedding_cache import CachedBackend
from workbench.backends.scenes import EMBEDDED, load_scenes
from workbench.backends.source import open_teacher
from workbench.denoiser import Backend
from workbench.distiller import Distiller
from workbench.metrics.perceptual import new_distance
from workbench.objectives import Objective, dmd, dmd_gan, dmd_lpips, dp_dmd, dp_dmd_no_stop
from workbench.prompts import read_prompts
from workbench.recipe import Recipe
from workbench.scenes.grammar import draw_requests

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def best_device() -> str:
    """cuda, else mps, else cpu: the first that is there."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_backend(teacher: str = "scenes", device: str = "cpu", precision: str = "bf16", resolution: int = 0,
                 tiling: bool = False) -> Backend:
    """The backend of a recipe's `teacher`: an embedded one, or a pipeline by folder or hub id, on a GPU in the recipe's precision. Raises
    ValueError for what cannot be loaded, and for a GPU that is not there."""
    if str(device).startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"there is no {device} here, or this torch was built without CUDA: give another --device, such as cpu")
    if teacher in EMBEDDED:
        if resolution or tiling:
            raise ValueError(f"{teacher} is an embedded teacher, which knows one size: leave resolution and tiling as they are")
        return load_scenes(EMBEDDED[teacher] / "teacher", device)
    dtype = DTYPES[precision] if str(device).startswith("cuda") else torch.float32
    return open_teacher(teacher, device, dtype, resolution or None, tiling=tiling)


def load_prompts(recipe: Recipe, backend: Backend) -> list[str]:
    """The recipe's prompt file, each prompt checked against the encoder; or 4,096 captions of the embedded world."""
    if not recipe.prompts:
        if recipe.teacher not in EMBEDDED:
            raise ValueError("a teacher that is not embedded needs a prompt file: set prompts")
        return [request.text for request in draw_requests(4096, seed=1)]
    return read_prompts(recipe.prompts, lambda prompt: check_prompt(backend, prompt))


def check_prompt(backend: Backend, prompt: str) -> None:
    """Raises ValueError when the backend cannot take the prompt as it is."""
    backend.rewrite(prompt)
    count = len(backend.tokenizer(prompt).input_ids)
    if count > backend.max_tokens:
        raise ValueError(f"{count} tokens, over the encoder's limit of {backend.max_tokens}: shorten the prompt")


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
    backend = load_backend(recipe.teacher, device, recipe.precision, recipe.resolution, recipe.tiling == "on")
    prompts = load_prompts(recipe, backend)
    if recipe.embeddings:
        with PartialState(cpu=device == "cpu").main_process_first():
            backend = CachedBackend(backend, prompts, recipe.embeddings, partial(tqdm, desc="prompt embeddings", unit="shard"))
    return Distiller(recipe, backend, new_objective(recipe, device), prompts)
