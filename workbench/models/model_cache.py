"""The students that are open on a backend, closed again when memory for another one is short."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from workbench.io.digests import file_digest
from workbench.models.backends.lora import Adapter
from workbench.models.backends.pipeline import PipelineBackend
from workbench.models.model import Model
from workbench.models.students import STUDENT_FILE, open_model, student_weights


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
