"""The students that are open on a backend, closed again when memory for another one is short."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from workbench.core.presets import PRESETS, SCENES
from workbench.core.recipe import same_teacher
from workbench.io.digests import file_digest
from workbench.io.notation import TEACHER
from workbench.models.backends.lora import Adapter
from workbench.models.backends.pipeline import PipelineBackend
from workbench.models.loading import best_device, load_backend
from workbench.models.model import Model, teacher_model
from workbench.models.students import (
    STUDENT_FILE,
    check_model,
    common_recipe,
    open_model,
    recipe_of_student,
    shipped_students,
    student_weights,
)


class ModelCache:
    """The students that are open on a backend, kept while `has_room()` for another network; the
    longest unused one is closed first.
    """

    def __init__(
        self,
        backend: PipelineBackend,
        has_room: Callable[[], bool] | None = None,
        other_teacher: bool = False,
    ):
        """`other_teacher` opens also students that were trained on another teacher."""
        self.backend, self.has_room = backend, has_room or partial(has_memory, backend)
        self.other_teacher = other_teacher
        self.models: dict[tuple, Model] = {}

    def open(self, source: str | Path, name: str) -> Model:
        """The student, opened once. Raises as `open_model` does."""
        key = str(source), name, _state(Path(source))
        if key in self.models:
            self.models[key] = self.models.pop(key)
            return self.models[key]
        # an earlier state of a run that continues
        for old in [old for old in self.models if old[:2] == key[:2]]:
            self._close(old)
        while self.models and not self.has_room():
            self._close(next(iter(self.models)))
        self.models[key] = open_model(source, self.backend, name, other_teacher=self.other_teacher)
        return self.models[key]

    def _close(self, key: tuple) -> None:
        network = self.models.pop(key).network
        if isinstance(network, Adapter) and all(
            model.network is not network for model in self.models.values()
        ):
            self.backend.adapters.drop(network)


def _state(source: Path) -> str:
    """Something that changes with a student's files; empty for one without a folder."""
    folder = source / "student" if (source / "student").is_dir() else source
    if not (folder / STUDENT_FILE).is_file():
        return ""
    return f"{student_weights(folder)} {file_digest(folder / STUDENT_FILE)}"


def has_memory(backend: PipelineBackend) -> bool:
    """Whether a CUDA GPU has memory for one more network like the teacher's, and for evaluating it;
    true of other devices.
    """
    if backend.device.type != "cuda":
        return True
    torch.cuda.empty_cache()  # memory that torch keeps in reserve would count as taken
    network = sum(parameter.nbytes for parameter in backend.network.parameters())
    return torch.cuda.mem_get_info(backend.device)[0] > 2 * network


def model_opener(
    names: Sequence[str],
    teacher: str | None = "",
    *,
    teacher_steps: int = SCENES.teacher_steps,
    guidance: float | None = None,
    resolution: int | None = None,
    device: str | None = "",
    other_teacher: bool = False,
) -> tuple[PipelineBackend, Callable[[str], Model]]:
    """The backend of the models' teacher, and a function that opens one of them by its name.

    Args:
        names: "teacher", run folders, and names of shipped or published students.
        teacher: As in a recipe; empty takes that of the first run named, else scenes.
        teacher_steps: Sampling steps of the teacher.
        guidance: The teacher's; None takes that of the first student's recipe, else of the
            teacher's preset.
        resolution: Side of the images in pixels, 0 the size that the teacher was trained at; None
            takes that of the first run named.
        device: "cuda", "mps" or "cpu"; empty takes the first available.
        other_teacher: Opens also students that were trained on another teacher.

    Raises ValueError for a name that is unknown, and for a teacher that cannot be loaded.
    """
    run, teacher = common_recipe(names, teacher)
    shipped = shipped_students(teacher)
    for name in names:
        if name != TEACHER:
            check_model(name, teacher)
    if resolution is None:
        resolution = run.resolution if run else 0
    backend = load_backend(teacher, device or best_device(), resolution=resolution)
    if guidance is None:
        own = (recipe_of_student(Path(shipped.get(name, name))) for name in names)
        presets = (one for one in PRESETS.values() if same_teacher(one.teacher, teacher))
        guidance = next(filter(None, [*own, *presets]), SCENES).guidance
    cache = ModelCache(backend, other_teacher=other_teacher)

    def open_model(name: str) -> Model:
        if name == TEACHER:
            return teacher_model(backend, teacher_steps, guidance)
        return cache.open(shipped.get(name, name), name)

    return backend, open_model
