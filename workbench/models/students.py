"""What can be sampled: teachers and students as `Model`s, saved, opened by name, and listed.

A student is a folder: its network (diffusers format, or a LoRA) and student.json, which says how
to sample it.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from workbench.core.denoiser import Guided
from workbench.core.distiller import Distiller
from workbench.core.learner import full_state_dict
from workbench.core.recipe import same_teacher
from workbench.io.files import FolderError, write_atomically
from workbench.models.backends.lora import LORA_FILE
from workbench.models.backends.pipeline import PipelineBackend
from workbench.models.embedded import EMBEDDED
from workbench.models.model import Model
from workbench.models.published import (
    PUBLISHED,
    Published,
    WholeTimesteps,
    load_published,
    published_of,
    published_revision,
)

STUDENT_FILE = "student.json"


def save_student(distiller: Distiller, folder: Path) -> None:
    """Writes the student's network in half precision (diffusers format; an adapter as a LoRA file)
    and student.json, which says how to sample it. Every process has to call it; the first one
    writes.
    """
    network, recipe = distiller.result(), distiller.recipe
    tensors = {} if recipe.lora else full_state_dict(network)
    if not distiller.accelerator.is_main_process:
        return
    folder.mkdir(exist_ok=True)
    if recipe.lora:
        write_atomically(folder / LORA_FILE, network.save)
    else:
        half = {name: tensor.detach().half().cpu().contiguous() for name, tensor in tensors.items()}
        write_atomically(
            folder / "diffusion_pytorch_model.safetensors",
            lambda part: save_file(half, part, metadata={"format": "pt"}),
        )
        # the teacher's, because sharding changes the name of a network's class
        config = json.loads(distiller.backend.network.to_json_string())
        config.pop("_name_or_path", None)
        write_atomically(
            folder / "config.json", lambda part: part.write_text(json.dumps(config, indent=1))
        )
    info = {
        "method": recipe.method,
        "rounds": distiller.rounds_done,
        "times": distiller.student_times.tolist(),
        "digest": recipe.digest,
        "recipe": asdict(recipe),
    }
    write_atomically(
        folder / STUDENT_FILE, lambda part: part.write_text(json.dumps(info, indent=1))
    )


def load_student(folder: str | Path, backend: PipelineBackend, name: str = "") -> Model:
    """A saved student as a `Model` of `backend`. Raises `FolderError` when it is unreadable or of
    another architecture.
    """
    folder = Path(folder)
    try:
        info = json.loads((folder / STUDENT_FILE).read_text())
        method, times, sampler = (
            info["method"],
            torch.tensor(info["times"]),
            info["recipe"].get("student_sampler", "ode"),
        )
        network = backend.load_network(folder)
    except (
        OSError,
        ValueError,
        RuntimeError,
        SafetensorError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise FolderError(f"cannot load the student in {folder}: {_reason(error)}") from error
    return Model(name or method, backend.denoiser(network), times, info, sampler)


def _reason(error: Exception) -> str:
    return f"{STUDENT_FILE} has no {error}" if isinstance(error, KeyError) else str(error)


def published_model(entry: Published, backend: PipelineBackend, name: str = "") -> Model:
    """A published student as a `Model`, sampled as it was published. Raises `PublishedError`."""
    denoiser, sampling = backend.denoiser(load_published(entry, backend)), entry.sampling
    if sampling.whole_timesteps:
        denoiser = WholeTimesteps(denoiser)
    if entry.guidance != 1:
        denoiser = Guided(denoiser, entry.guidance, backend.encode([""]))
    info = {
        "method": entry.title,
        "teacher": entry.teacher,
        "source": entry.source,
        "revision": published_revision(entry),
        "licence": entry.licence,
        "scheduler": sampling.scheduler,
        "steps": entry.steps,
        "guidance": entry.guidance,
    }
    return Model(
        name or entry.title,
        denoiser,
        sampling.times(backend.schedule, entry.steps),
        info,
        sampling.sampler,
        sampling.fresh,
    )


def open_model(
    source: str | Path, backend: PipelineBackend, name: str = "", teacher: str = "scenes"
) -> Model:
    """A student by the name of a published one, or of one that ships with `teacher`; by a run
    folder, or by a student's folder.

    Raises `PublishedError` or `FolderError`, and ValueError with the nearest names for what is
    none of these.
    """
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
        raise ValueError(
            f"there is no model and no folder called {source}; did you mean {near}? `python -m "
            "workbench models` lists "
            "them"
        )


def shipped_students(teacher: str) -> dict[str, Path]:
    """Names and folders of the students that ship with an embedded teacher; none for another
    teacher.
    """
    found = (
        (EMBEDDED[teacher] / "students").glob(f"*/{STUDENT_FILE}") if teacher in EMBEDDED else ()
    )
    return {path.parent.name: path.parent for path in sorted(found)}


def students_of(teacher: str, runs: str | Path = "runs") -> dict[str, str | Path]:
    """Every student on offer for a teacher, as `open_model` takes it: embedded ones, those that
    others published, and those of the runs folder, newest first.
    """
    trained = {f"run {path.name}": path / "student" for path in list_runs(runs)}
    own = {
        name: path
        for name, path in trained.items()
        if same_teacher(recipe_of_student(path).get("teacher", ""), teacher)
    }
    return shipped_students(teacher) | own | {name: name for name in published_of(teacher)}


def recipe_of_student(folder: Path) -> dict:
    """The recipe that the student of a run folder, or in a folder of its own, was distilled by;
    empty when it cannot be read.
    """
    source = folder / "student" if (folder / "student").is_dir() else folder
    try:
        return dict(json.loads((source / STUDENT_FILE).read_text())["recipe"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def list_runs(folder: str | Path) -> list[Path]:
    """The run folders below `folder` that hold a finished or interim student, newest first."""
    found = [path.parent.parent for path in Path(folder).glob("*/student/student.json")]
    return sorted(found, key=lambda path: -(path / "student" / "student.json").stat().st_mtime)
