"""What can be sampled: teachers and students as `Model`s, saved, opened by name, and listed.

A student is a folder: its network (diffusers format, or a LoRA) and student.json, which says how to sample it.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from workbench.backends.lora import LORA_FILE, Adapter
from workbench.backends.published import PUBLISHED, Published, WholeTimesteps, load_published, published_of, revision_of
from workbench.backends.scenes import EMBEDDED
from workbench.denoiser import Backend, Condition, Denoiser, Guided
from workbench.distiller import Distiller
from workbench.learner import whole_state
from workbench.presets import SCENES
from workbench.recipe import same_teacher
from workbench.runs import RunError, list_runs, write_whole
from workbench.sampler import Stage, sample
from workbench.seeds import grid_renoise

STUDENT_FILE = "student.json"


@dataclass(frozen=True)
class Model:
    """Something to sample: a denoiser, the times and the sampler it is sampled with, and what to call it."""

    name: str
    denoiser: Denoiser
    times: Tensor
    info: dict  # recipe, digest and the like, as text
    sampler: str = "ode"  # or "renoise", or "multistep", see `workbench.sampler`
    fresh: float = 1.0

    def stages(self, noise: Tensor, condition: Condition, seeds: list[int], taken: int = 0) -> Iterator[Stage]:
        """The stages from initial `noise`, one seed a row; the seeds also name the noise between steps, the first of which is that
        behind step `taken` + 1."""
        draw = grid_renoise(tuple(noise.shape[1:]), seeds)
        renoise = (lambda index: draw(taken + index)) if self.sampler == "renoise" else None
        return sample(self.denoiser, noise, condition, self.times, renoise, self.fresh, self.sampler == "multistep")

    def sampled(self, noise: Tensor, condition: Condition, seeds: list[int], taken: int = 0) -> Tensor:
        """The latents at the end of `stages`."""
        *_, last = self.stages(noise, condition, seeds, taken)
        return last.x_s

    @property
    def network(self) -> nn.Module | None:
        """The diffusers network or the adapter behind it; an exact denoiser has none."""
        return getattr(self.denoiser.denoiser if isinstance(self.denoiser, Guided) else self.denoiser, "network", None)

    @property
    def evaluations(self) -> int:
        """Network evaluations for one image (NFEs)."""
        guided = isinstance(self.denoiser, Guided) and self.denoiser.guidance != 1
        return (len(self.times) - 1) * (2 if guided else 1)


class Residents:
    """The students that are open on a backend, kept while there is `room()` for another network; the longest unused goes first."""

    def __init__(self, backend: Backend, room: Callable[[], bool] | None = None):
        self.backend, self.room = backend, room or partial(has_room, backend)
        self.models: dict[tuple, Model] = {}

    def open(self, source: str | Path, name: str) -> Model:
        """Raises as `open_model` does."""
        written = Path(source) / STUDENT_FILE
        key = str(source), name, written.stat().st_mtime_ns if written.is_file() else 0
        if key in self.models:
            self.models[key] = self.models.pop(key)
            return self.models[key]
        for old in [old for old in self.models if old[:2] == key[:2]]:  # an earlier state of a run that goes on
            self._close(old)
        while self.models and not self.room():
            self._close(next(iter(self.models)))
        self.models[key] = open_model(source, self.backend, name)
        return self.models[key]

    def _close(self, key: tuple) -> None:
        network = self.models.pop(key).network
        if isinstance(network, Adapter) and all(model.network is not network for model in self.models.values()):
            self.backend.adapters.drop(network)


def has_room(backend: Backend) -> bool:
    """Whether a CUDA card has memory for one more network like the teacher's, and for working with it. Other devices always have."""
    if backend.device.type != "cuda":
        return True
    torch.cuda.empty_cache()  # what torch holds back would count as taken
    network = sum(parameter.nbytes for parameter in backend.network.parameters())
    return torch.cuda.mem_get_info(backend.device)[0] > 2 * network


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
        config = json.loads(distiller.backend.network.to_json_string())
        config.pop("_name_or_path", None)
        write_whole(folder / "config.json", lambda part: part.write_text(json.dumps(config, indent=1)))
    info = {"method": recipe.method, "rounds": distiller.rounds_done, "times": distiller.student_times.tolist(),
            "digest": recipe.digest, "recipe": asdict(recipe)}
    write_whole(folder / STUDENT_FILE, lambda part: part.write_text(json.dumps(info, indent=1)))


def load_student(folder: str | Path, backend: Backend, name: str = "") -> Model:
    """A saved student as a `Model` of `backend`. Raises `RunError` when it is unreadable or of another architecture."""
    folder = Path(folder)
    try:
        info = json.loads((folder / STUDENT_FILE).read_text())
        method, times, sampler = info["method"], torch.tensor(info["times"]), info["recipe"].get("student_sampler", "ode")
        network = backend.load_network(folder)
    except (OSError, ValueError, RuntimeError, SafetensorError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"cannot load the student in {folder}: {_reason(error)}") from error
    return Model(name or method, backend.denoiser(network), times, info, sampler)


def _reason(error: Exception) -> str:
    return f"{STUDENT_FILE} has no {error}" if isinstance(error, KeyError) else str(error)


def published_model(entry: Published, backend: Backend, name: str = "") -> Model:
    """A published student as a `Model`, sampled as it was published. Raises `PublishedError`."""
    denoiser, sampling = backend.denoiser(load_published(entry, backend)), entry.sampling
    if sampling.whole_timesteps:
        denoiser = WholeTimesteps(denoiser)
    if entry.guidance != 1:
        denoiser = Guided(denoiser, entry.guidance, backend.encode([""]))
    info = {"method": entry.title, "teacher": entry.teacher, "source": entry.source, "revision": revision_of(entry), "licence": entry.licence,
            "scheduler": sampling.scheduler, "steps": entry.steps, "guidance": entry.guidance}
    return Model(name or entry.title, denoiser, sampling.times(backend.schedule, entry.steps), info, sampling.sampler, sampling.fresh)


def open_model(source: str | Path, backend: Backend, name: str = "", teacher: str = "scenes") -> Model:
    """A student by the name of a published one, or of one that ships with `teacher`; by a run folder, or by a student's folder.

    Raises `PublishedError` or `RunError`, and ValueError with the nearest names for what is none of these."""
    check_model(source, teacher)
    shipped, path = shipped_students(teacher), Path(source)
    if str(source) in PUBLISHED:
        return published_model(PUBLISHED[str(source)], backend, name or str(source))
    folder = shipped.get(str(source)) or (path / "student" if (path / "student").is_dir() else path)
    return load_student(folder, backend, name or str(source))


def check_model(source: str | Path, teacher: str = "scenes") -> None:
    """Raises ValueError, with the nearest names, for what `open_model` cannot know."""
    known = [*shipped_students(teacher), *PUBLISHED]
    if str(source) not in known and not Path(source).is_dir():
        near = ", ".join(difflib.get_close_matches(str(source), known, 3, 0.4) or known)
        raise ValueError(f"there is no model and no folder called {source}; did you mean {near}? `python -m workbench models` lists "
                         "them")


def shipped_students(teacher: str) -> dict[str, Path]:
    """Names and folders of the students that ship with an embedded teacher; none for another teacher."""
    found = (EMBEDDED[teacher] / "students").glob(f"*/{STUDENT_FILE}") if teacher in EMBEDDED else ()
    return {path.parent.name: path.parent for path in sorted(found)}


def students_of(teacher: str, runs: str | Path = "runs") -> dict[str, str | Path]:
    """Every student on offer for a teacher, as `open_model` takes it: embedded ones, those that others published, and those of the
    runs folder, newest first."""
    trained = {f"run {path.name}": path / "student" for path in list_runs(runs)}
    own = {name: path for name, path in trained.items() if same_teacher(recipe_of_student(path).get("teacher", ""), teacher)}
    return shipped_students(teacher) | own | {name: name for name in published_of(teacher)}


def recipe_of_student(folder: Path) -> dict:
    """The recipe that the student of a run folder, or in a folder of its own, was distilled by; empty when it cannot be read."""
    source = folder / "student" if (folder / "student").is_dir() else folder
    try:
        return dict(json.loads((source / STUDENT_FILE).read_text())["recipe"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
