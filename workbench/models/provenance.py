"""What a picture or a table says of the teacher and the models that made it, and the way back: the
same models opened again, or the reason why they cannot be.

    made = made_with(backend, models)          # JSON, for `workbench.io.provenance`
    there = reopened(made)                     # elsewhere, later: there.backend, there.models
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from workbench.io.files import FolderError, packages
from workbench.io.notation import TEACHER
from workbench.models.backends.parts import changed_parts
from workbench.models.backends.pipeline import PipelineBackend
from workbench.models.embedded import EMBEDDED
from workbench.models.identity import differences, model_settings
from workbench.models.loading import best_device, load_backend
from workbench.models.model import Model, teacher_model
from workbench.models.students import open_model

OF_MACHINE = ("device", "dtype", "software")  # settings that may be others elsewhere


def made_with(backend: PipelineBackend, models: Iterable[Model]) -> dict:
    """The teacher, the models by name, the device and the packages, as JSON."""
    return {
        "teacher": teacher_of(backend),
        "models": {model.name: how_opened(model, backend) for model in models},
        "device": str(backend.device),
        "packages": packages(),
    }


def teacher_of(backend: PipelineBackend) -> dict:
    """The teacher's `source`, as a recipe names it but absolute, its `resolution` in pixels (0 for
    an embedded one, which has one size), and the digest of each of its `parts`.
    """
    source = str(backend.pipeline.config.get("_name_or_path") or "")
    side = backend.latent_shape[-1] * backend.pipeline.vae_scale_factor
    place, size = str(Path(source).resolve()) if Path(source).is_dir() else source, side
    for name, folder in EMBEDDED.items():
        if Path(source) == folder / "teacher":
            place, size = name, 0
    return {"source": place, "resolution": size, "parts": backend.parts}


def how_opened(model: Model, backend: PipelineBackend) -> dict:
    """The place that the model was opened from, and all that identifies it."""
    return {"place": model.info.place or TEACHER, **model_settings(model, backend)}


class Reopened(NamedTuple):
    """A teacher and models that are opened again; `changes` says what of the machine and of its
    software is another.
    """

    backend: PipelineBackend
    models: dict[str, Model]
    changes: str


def reopened(made: Mapping, device: str | None = None) -> Reopened:
    """The teacher's backend and the models of `made_with`, opened from where they were.

    Raises:
        FolderError: The teacher or a model is no longer there, or is another one now; says which
            and what of it.
    """
    if not made.get("teacher", {}).get("source"):
        raise FolderError("the teacher that made this was not noted, so it cannot be made again")
    teacher, wanted = made["teacher"], made["device"]
    device = device or (wanted if _available(wanted) else best_device())
    try:
        backend = load_backend(teacher["source"], device, resolution=teacher["resolution"])
    except (ValueError, OSError, RuntimeError) as error:
        raise FolderError(
            f"the teacher that made this was {teacher['source']}, which cannot be opened "
            f"(if it has moved, give --at teacher=PLACE): {error}"
        ) from error
    if changed := changed_parts(teacher["parts"], backend.parts):
        raise FolderError(
            f"the teacher in {teacher['source']} is another one now than the one that made this: "
            f"{', '.join(changed)} differ"
        )
    models = {
        name: _opened(name, how, backend, teacher["source"]) for name, how in made["models"].items()
    }
    return Reopened(backend, models, _changes(made, backend))


def _opened(name: str, how: Mapping, backend: PipelineBackend, teacher: str) -> Model:
    """The model `name`, sampled as `how` says."""
    place = how["place"]
    try:
        if place == TEACHER:
            model = teacher_model(backend, how["steps"], how["guidance"])
        else:  # on another teacher, if it was so at first
            model = open_model(place, backend, name, teacher, bool(how.get("trained_on_other")))
    except (ValueError, OSError, RuntimeError) as error:
        raise FolderError(
            f"{name} was opened from {place}, which cannot be opened now (if it has moved, give "
            f"--at with its name): {error}"
        ) from error
    if how["times"] != model.times.tolist():  # other steps than as trained
        model = replace(model, times=torch.tensor(how["times"]))
    now = model_settings(model, backend)
    known = {key: how[key] for key in now if key in how}
    if changed := [key for key in differences(known, now) if key not in OF_MACHINE]:
        raise FolderError(
            f"{name} in {place} is another model now than the one that made this: "
            + ", ".join(f"{key} is {now.get(key)}, was {known.get(key)}" for key in changed)
        )
    return model


def _changes(made: Mapping, backend: PipelineBackend) -> str:
    before = {"device": made["device"], **made["packages"]}
    now = {"device": str(backend.device), **packages()}
    return ", ".join(
        f"{name} {before.get(name, 'none')} then, {now.get(name, 'none')} now"
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    )


def _available(device: str) -> bool:
    return not device.startswith("cuda") or torch.cuda.is_available()
