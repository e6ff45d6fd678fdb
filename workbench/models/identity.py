"""What a number or a picture is of: the model, its teacher, and the software, by content.

One place for every cache and every folder that continues: two models with equal `model_settings`
give equal pictures from equal noise, and a folder that holds others makes them anew or refuses.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from workbench.core.denoiser import Guided
from workbench.io.files import version
from workbench.models.backends.parts import Parts, changed_parts, weights_digest
from workbench.models.backends.pipeline import PipelineBackend
from workbench.models.model import Model

SOFTWARE = ("torch", "diffusers", "transformers", "peft")  # packages that change pixels


def model_settings(model: Model, backend: PipelineBackend) -> dict:
    """Everything that determines an image but its prompt and its noise: how the model is sampled
    and decoded, the recipe's digest, what the model and its teacher hold, and the software.
    """
    guided = isinstance(model.denoiser, Guided)
    settings = {
        "steps": len(model.times) - 1,
        "times": model.times.tolist(),
        "sampler": model.sampler,
        "evaluations": model.evaluations,
        "guidance": model.denoiser.guidance if guided else 1.0,
        "fresh": model.renoise_fraction,
        "method": model.info.method,
        "digest": model.info.digest,
        "weights": model_weights(model, backend),
        "teacher_parts": backend.parts,
        "latent_shape": list(backend.latent_shape),
        "tiling": bool(getattr(backend.pipeline.vae, "use_tiling", False)),
        "device": torch.device(backend.device).type,
        "dtype": str(next(backend.network.parameters()).dtype).removeprefix("torch."),
        "software": software(),
    }
    if other := other_teacher(model, backend.parts):
        settings["trained_on_other"] = other
    if model.info.recipe and not model.info.teacher:
        settings["trained_on_unknown"] = True
    return settings


def model_weights(model: Model, backend: PipelineBackend) -> str | None:
    """The digest of a student's own weights: of its file, or of what is in memory if it has none.
    None for the teacher, whose weights are one of its parts, and without a network.
    """
    if model.info.weights:
        return model.info.weights
    if model.network is None or model.network is backend.network:
        return None
    return weights_digest(model.network)


def other_teacher(model: Model, parts: Parts) -> list[str]:
    """The parts of this teacher in which it differs from the one that the student was trained on;
    none if they are equal, or if that is not known.
    """
    return changed_parts(model.info.teacher, parts) if model.info.teacher else []


def differences(before: Mapping, after: Mapping) -> list[str]:
    """The names of the settings in which two `model_settings` differ; of a teacher its parts."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    one, other = (settings.get("teacher_parts") or {} for settings in (before, after))
    if "teacher_parts" in names and isinstance(one, Mapping):
        at = names.index("teacher_parts")
        names[at : at + 1] = [f"the teacher's {part}" for part in changed_parts(one, other)]
    return names


def software() -> dict[str, str]:
    """The versions of the packages that change pixels."""
    return {name: found for name in SOFTWARE if (found := version(name))}
