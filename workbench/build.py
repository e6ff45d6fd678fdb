"""Wires everything: names to backends, recipes to distillers, folders to models that can be sampled."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from workbench.backends.embedding_cache import CachedBackend
from workbench.backends.lora import LORA_FILE
from workbench.backends.published import PUBLISHED, Published, WholeTimesteps, load_published
from workbench.backends.scenes import WEIGHTS, load_scenes
from workbench.backends.source import open_teacher
from workbench.denoiser import Backend, Condition, Denoiser, Guided
from workbench.distiller import Distiller
from workbench.learner import whole_state
from workbench.metrics.perceptual import new_distance
from workbench.objectives import Objective, dmd, dmd_gan, dmd_lpips, dp_dmd, dp_dmd_no_stop
from workbench.presets import SCENES
from workbench.prompts import read_prompts
from workbench.recipe import Recipe
from workbench.runs import RunError, list_runs, write_whole
from workbench.sampler import Stage, sample
from workbench.scenes.grammar import draw_requests
from workbench.seeds import grid_renoise

STUDENT_FILE = "student.json"
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class Model:
    """Something to sample: a denoiser, the times and the sampler it is sampled with, and what to call it."""

    name: str
    denoiser: Denoiser
    times: Tensor
    info: dict  # recipe, digest and the like, as text
    sampler: str = "ode"  # or "renoise", or "multistep", see `workbench.sampler`
    fresh: float = 1.0

    def stages(self, noise: Tensor, condition: Condition, seeds: list[int]) -> Iterator[Stage]:
        """The stages from initial `noise`, one seed a row; the seeds also name the noise between steps."""
        renoise = grid_renoise(tuple(noise.shape[1:]), seeds) if self.sampler == "renoise" else None
        return sample(self.denoiser, noise, condition, self.times, renoise, self.fresh, self.sampler == "multistep")

    def sampled(self, noise: Tensor, condition: Condition, seeds: list[int]) -> Tensor:
        """The latents at the end of `stages`."""
        *_, last = self.stages(noise, condition, seeds)
        return last.x_s

    @property
    def evaluations(self) -> int:
        """Network evaluations for one image (NFEs)."""
        guided = isinstance(self.denoiser, Guided) and self.denoiser.guidance != 1
        return (len(self.times) - 1) * (2 if guided else 1)


def best_device() -> str:
    """cuda, else mps, else cpu: the first that is there."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_backend(teacher: str = "scenes", device: str = "cpu", precision: str = "bf16", resolution: int = 0,
                 tiling: bool = False) -> Backend:
    """The backend of a recipe's `teacher`: the embedded one, or a pipeline by folder or hub id, on a GPU in the recipe's precision."""
    if teacher == "scenes":
        return load_scenes(device=device)
    dtype = DTYPES[precision] if str(device).startswith("cuda") else torch.float32
    return open_teacher(teacher, device, dtype, resolution or None, tiling=tiling)


def load_prompts(recipe: Recipe, backend: Backend) -> list[str]:
    """The recipe's prompt file, each prompt checked against the encoder; or 4,096 captions of the embedded world."""
    if not recipe.prompts:
        if recipe.teacher != "scenes":
            raise ValueError("a teacher other than scenes needs a prompt file: set prompts")
        return [request.text for request in draw_requests(4096, seed=1)]
    return read_prompts(recipe.prompts, lambda prompt: check_prompt(backend, prompt))


def check_prompt(backend: Backend, prompt: str) -> None:
    """Raises ValueError when the backend cannot take the prompt as it is."""
    backend.rewrite(prompt)
    count = len(backend.pipeline.tokenizer(prompt).input_ids)
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


def teacher_model(backend: Backend, steps: int = SCENES.teacher_steps, guidance: float = SCENES.guidance) -> Model:
    """The teacher under guidance, on the grid that its diffusers pipeline would take."""
    denoiser = Guided(backend.denoiser(backend.network), guidance, backend.encode([""]))
    return Model("teacher", denoiser, backend.schedule.sampling_times(steps, "diffusers"), {"steps": steps, "guidance": guidance})


def save_student(distiller: Distiller, folder: Path) -> None:
    """Writes the student's network in half precision (diffusers format; an adapter as a LoRA file) and student.json, which says how
    to sample it. Every process has to call it; the first one writes."""
    network, recipe = distiller.result(), distiller.recipe
    tensors = {} if recipe.lora else whole_state(network)
    if not distiller.accelerator.is_main_process:
        return
    folder.mkdir(exist_ok=True)
    if recipe.lora:
        write_whole(folder / LORA_FILE, network.save)
    else:
        half = {name: tensor.detach().half().cpu().contiguous() for name, tensor in tensors.items()}
        write_whole(folder / "diffusion_pytorch_model.safetensors", lambda part: save_file(half, part, metadata={"format": "pt"}))
        # the teacher's, because sharding changes the name of a network's class
        config = {name: value for name, value in json.loads(distiller.backend.network.to_json_string()).items() if name != "_name_or_path"}
        write_whole(folder / "config.json", lambda part: part.write_text(json.dumps(config, indent=1)))
    info = {"method": recipe.method, "rounds": distiller.rounds_done, "times": distiller.student_times.tolist(),
            "digest": recipe.digest, "recipe": asdict(recipe)}
    write_whole(folder / STUDENT_FILE, lambda part: part.write_text(json.dumps(info, indent=1)))


def load_student(folder: str | Path, backend: Backend, name: str = "") -> Model:
    """A saved student as a `Model` of `backend`. Raises `RunError` when it is unreadable or of another architecture."""
    folder = Path(folder)
    try:
        info = json.loads((folder / STUDENT_FILE).read_text())
        network = backend.load_network(folder)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise RunError(f"cannot load the student in {folder}: {error}") from error
    sampler = info["recipe"].get("student_sampler", "ode")
    return Model(name or info["method"], backend.denoiser(network), torch.tensor(info["times"]), info, sampler)


def published_model(entry: Published, backend: Backend, name: str = "") -> Model:
    """A published student as a `Model`, sampled as it was published. Raises `PublishedError`."""
    denoiser, sampling = backend.denoiser(load_published(entry, backend)), entry.sampling
    if sampling.whole_timesteps:
        denoiser = WholeTimesteps(denoiser)
    if entry.guidance != 1:
        denoiser = Guided(denoiser, entry.guidance, backend.encode([""]))
    info = {"method": entry.title, "teacher": entry.teacher, "source": entry.source, "licence": entry.licence,
            "scheduler": sampling.scheduler, "steps": entry.steps, "guidance": entry.guidance}
    return Model(name or entry.title, denoiser, sampling.times(backend.schedule, entry.steps), info, sampling.sampler, sampling.fresh)


def open_model(source: str | Path, backend: Backend, name: str = "") -> Model:
    """A student by the name of a published or a shipped one, by a run folder, or by a student's folder.

    Raises `PublishedError` or `RunError`, and ValueError with the nearest names for what is none of these."""
    shipped, path = shipped_students(), Path(source)
    if str(source) in PUBLISHED:
        return published_model(PUBLISHED[str(source)], backend, name or str(source))
    if str(source) not in shipped and not path.is_dir():
        known = [*shipped, *PUBLISHED]
        near = ", ".join(difflib.get_close_matches(str(source), known, 3, 0.4) or known)
        raise ValueError(f"there is no model and no folder called {source}; did you mean {near}? `python -m workbench models` lists "
                         "them")
    folder = shipped.get(str(source)) or (path / "student" if (path / "student").is_dir() else path)
    return load_student(folder, backend, name or str(source))


def shipped_students() -> dict[str, Path]:
    """Names and folders of the embedded students."""
    return {path.parent.name: path.parent for path in sorted((WEIGHTS / "students").glob(f"*/{STUDENT_FILE}"))}


def found_students(runs: str | Path = "runs") -> dict[str, Path]:
    """Names and folders of every student on offer: the embedded ones, then those of the runs folder, newest first.

    Those that others published for a teacher are `workbench.backends.published.published_of(teacher)`."""
    return shipped_students() | {f"run {path.name}": path / "student" for path in list_runs(runs)}
