"""Teachers and students as `Model`s: saved, opened by name, and listed.

A student is a folder: its network (diffusers format, or a LoRA) and student.json, which says how
to sample it.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from workbench.core.denoiser import Guided
from workbench.core.distiller import Distiller, DivergedError, lower_rate
from workbench.core.learners.torch_learner import full_state_dict
from workbench.core.recipe import Recipe, same_teacher
from workbench.io.files import FolderError, write_atomically
from workbench.io.strict_json import to_json
from workbench.models.backends.lora import LORA_FILE
from workbench.models.backends.parts import changed_parts, files_digest, part_files
from workbench.models.backends.pipeline import PipelineBackend
from workbench.models.embedded import EMBEDDED
from workbench.models.model import Model, StudentInfo
from workbench.models.published import (
    PUBLISHED,
    Published,
    WholeTimesteps,
    load_published,
    published_of,
    published_revision,
    published_weights,
)
from workbench.models.recipes import content_digest, with_found_paths

STUDENT_FILE = "student.json"


def save_student(
    distiller: Distiller, folder: Path, digest: str = "", changes: list[dict] | None = None
) -> None:
    """Writes the student's network in half precision (diffusers format; an adapter as a LoRA file)
    and student.json, which says how to sample it. Must be called on every process; the first one
    writes. `digest` is the recipe's unless given, `changes` are those of a recipe that changed.

    Raises:
        DivergedError: A weight is too large for half precision.
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
        if not all(tensor.isfinite().all() for tensor in half.values()):
            raise DivergedError(
                f"a weight of the student is over {torch.finfo(torch.half).max:g}, the largest "
                "number of half precision",
                lower_rate(recipe, "student"),
            )
        write_atomically(
            folder / "diffusion_pytorch_model.safetensors",
            lambda part: save_file(half, part, metadata={"format": "pt"}),
        )
        # the teacher's, because sharding changes the name of a network's class
        config = json.loads(distiller.backend.network.to_json_string())
        config.pop("_name_or_path", None)
        write_atomically(
            folder / "config.json", lambda part: part.write_text(to_json(config, indent=1))
        )
    info = {
        "method": recipe.method,
        "rounds": distiller.rounds_done,
        "times": distiller.student_times.tolist(),
        "digest": digest or content_digest(recipe, distiller.backend.parts, distiller.prompts),
        "recipe": recipe.to_dict(),
        "teacher": distiller.backend.parts,
    }
    info |= {"changes": changes} if changes else {}
    write_atomically(folder / STUDENT_FILE, lambda part: part.write_text(to_json(info, indent=1)))


def load_student(
    folder: str | Path, backend: PipelineBackend, name: str = "", other_teacher: bool = False
) -> Model:
    """A saved student as a `Model` of `backend`.

    Raises `FolderError` when it is unreadable or of another architecture, and, without
    `other_teacher`, when it was trained on another teacher than the one that is open: an adapter's
    base is then not its own, and every student's prompts and pixels are another's.
    """
    folder = Path(folder)
    try:
        saved = _read(folder)
        if saved is None:
            raise FileNotFoundError(f"there is no {STUDENT_FILE}")
        info, times = saved
        _check_teacher(info, backend, other_teacher)
        network = backend.load_network(folder)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise FolderError(f"cannot load the student in {folder}: {error}") from error
    info = replace(info, weights=student_weights(folder), place=_place(folder))
    sampler = info.recipe.student_sampler if info.recipe else "ode"
    return Model(name or str(info.method), backend.denoiser(network), times, info, sampler)


def _check_teacher(info: StudentInfo, backend: PipelineBackend, other_teacher: bool) -> None:
    changed = changed_parts(info.teacher, backend.parts) if info.teacher else []
    if changed and not other_teacher:
        own = f" ({info.recipe.teacher})" if info.recipe else ""
        raise ValueError(
            f"it was trained on another teacher than the one that is open: {', '.join(changed)} "
            f"differ. Open its own{own} with --teacher, or sample it here all the same with "
            "--accept-other-teacher, which its pictures and tables then say"
        )


def student_weights(folder: Path) -> str:
    """The digest of a student's network, as it is in its folder. Raises OSError."""
    adapter = folder / LORA_FILE
    return files_digest([adapter] if adapter.is_file() else part_files(folder))


def _place(folder: Path) -> str:
    """The name of a student that ships with the package, else the whole path."""
    shipped = any(folder in shipped_students(teacher).values() for teacher in EMBEDDED)
    return folder.name if shipped else str(folder.resolve())


def _read(folder: Path) -> tuple[StudentInfo, Tensor] | None:
    """The origin and the times [N + 1] of the student in `folder`; None without a student.json.

    Raises:
        ValueError: The file is there but unreadable, or lacks something.
    """
    try:
        saved = json.loads((folder / STUDENT_FILE).read_text())
        names = {item.name for item in fields(Recipe)}
        # other versions may have had other settings; those that are missing had today's defaults
        recipe = Recipe(**{key: saved["recipe"][key] for key in saved["recipe"] if key in names})
        recipe = with_found_paths(recipe, folder)
        info = StudentInfo(
            saved["method"],
            recipe,
            saved.get("digest"),
            saved.get("rounds"),
            teacher=saved.get("teacher") or {},
        )
        return info, torch.tensor(saved["times"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except KeyError as error:
        raise ValueError(f"{STUDENT_FILE} has no {error}") from error
    except (OSError, TypeError, AttributeError) as error:
        raise ValueError(f"{STUDENT_FILE} is unreadable: {error}") from error


def published_model(entry: Published, backend: PipelineBackend, name: str = "") -> Model:
    """A published student as a `Model`, sampled as it was published. Raises `PublishedError`."""
    denoiser, sampling = backend.denoiser(load_published(entry, backend)), entry.sampling
    if sampling.whole_timesteps:
        denoiser = WholeTimesteps(denoiser)
    if entry.guidance != 1:
        denoiser = Guided(denoiser, entry.guidance, backend.encode([""]))
    info = StudentInfo(
        entry.title,
        source=entry.source,
        revision=published_revision(entry),
        weights=published_weights(entry),
        licence=entry.licence,
        place=next((key for key, known in PUBLISHED.items() if known is entry), ""),
    )
    return Model(
        name or entry.title,
        denoiser,
        sampling.times(backend.schedule, entry.steps),
        info,
        sampling.sampler,
        sampling.renoise_fraction,
    )


def open_model(
    source: str | Path,
    backend: PipelineBackend,
    name: str = "",
    teacher: str = "scenes",
    other_teacher: bool = False,
) -> Model:
    """A student by the name of a published one, or of one that ships with `teacher`; by a run
    folder, or by a student's folder. `other_teacher` as for `load_student`.

    Raises `PublishedError` or `FolderError`, and ValueError with the nearest names for a source
    that is none of these.
    """
    check_model(source, teacher)
    shipped, path = shipped_students(teacher), Path(source)
    if str(source) in PUBLISHED:
        return published_model(PUBLISHED[str(source)], backend, name or str(source))
    folder = shipped.get(str(source)) or (path / "student" if (path / "student").is_dir() else path)
    return load_student(folder, backend, name or str(source), other_teacher)


def check_model(source: str | Path, teacher: str = "scenes") -> None:
    """Raises ValueError, with the nearest names, for a source that `open_model` cannot know."""
    known = [*shipped_students(teacher), *PUBLISHED]
    if str(source) not in known and not Path(source).is_dir():
        near = ", ".join(difflib.get_close_matches(str(source), known, 3, 0.4) or known)
        raise ValueError(
            f"there is no model and no folder called {source}; did you mean {near}? "
            "`python -m workbench models` lists them"
        )


def shipped_students(teacher: str) -> dict[str, Path]:
    """Names and folders of the students that ship with an embedded teacher; none for another
    teacher.
    """
    if teacher not in EMBEDDED:
        return {}
    files = sorted((EMBEDDED[teacher] / "students").glob(f"*/{STUDENT_FILE}"))
    return {file.parent.name: file.parent for file in files}


def students_of(teacher: str, runs: str | Path = "runs") -> dict[str, str | Path]:
    """Every student on offer for a teacher, as `open_model` takes it: embedded ones, those that
    others published, and those of the runs folder, newest first. An unreadable run is left out.
    """
    own = {
        f"run {path.name}": path / "student" for path in list_runs(runs) if _is_of(path, teacher)
    }
    return shipped_students(teacher) | own | {name: name for name in published_of(teacher)}


def _is_of(run: Path, teacher: str) -> bool:
    try:
        recipe = recipe_of_student(run)
    except FolderError:
        return False
    return recipe is not None and same_teacher(recipe.teacher, teacher)


def recipe_of_student(folder: Path) -> Recipe | None:
    """The recipe of the student in a run folder, or in a student's folder; None when there is no
    student. Raises `FolderError` for an unreadable one.
    """
    source = folder / "student" if (folder / "student").is_dir() else folder
    try:
        saved = _read(source)
    except ValueError as error:
        raise FolderError(f"cannot read the student in {source}: {error}") from error
    return saved[0].recipe if saved else None


def common_recipe(names: Sequence[str], teacher: str | None = "") -> tuple[Recipe | None, str]:
    """The recipe of the first run among `names`, if there is one, and the teacher to open: the
    given one, else that recipe's, else scenes. Raises `FolderError` for an unreadable run.
    """
    run = next(filter(None, (recipe_of_student(Path(name)) for name in names)), None)
    return run, teacher or (run.teacher if run else "scenes")


def list_runs(folder: str | Path) -> list[Path]:
    """The run folders below `folder` that hold a finished or interim student, newest first."""
    runs = [path.parent.parent for path in Path(folder).glob(f"*/student/{STUDENT_FILE}")]
    return sorted(runs, key=lambda path: -(path / "student" / STUDENT_FILE).stat().st_mtime)
