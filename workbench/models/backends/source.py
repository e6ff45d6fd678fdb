"""Opens a teacher by folder or hub id: reads its kind of pipeline, then loads it as the backend of
its family.

Every mistake on the way has its own `TeacherError`, which says what to do about it. A family of
your own is one line in a plug-in:

    FAMILIES.register("MyPipeline", Family(lambda: (MyPipeline, MyBackend)))
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError

from workbench.core.registry import Registry
from workbench.io.hub import from_hub
from workbench.models.backends.parts import folder_parts, part_names, weight_variant
from workbench.models.backends.pipeline import PipelineBackend

T5_PARTS = ("text_encoder_3", "tokenizer_3")


@dataclass(frozen=True)
class Family:
    """A kind of teacher. `classes` imports its diffusers pipeline class, and the class that makes a
    `PipelineBackend` of a loaded pipeline (as `SD3Backend` does); `optional` parts may be missing.
    """

    classes: Callable[[], tuple[Any, Callable[..., PipelineBackend]]]
    optional: tuple[str, ...] = ()


def _sd3() -> tuple[Any, Callable[..., PipelineBackend]]:
    from diffusers import StableDiffusion3Pipeline

    from workbench.models.backends.sd3 import SD3Backend

    return StableDiffusion3Pipeline, SD3Backend


def _sdxl() -> tuple[Any, Callable[..., PipelineBackend]]:
    from diffusers import StableDiffusionXLPipeline

    from workbench.models.backends.sdxl import SDXLBackend

    return StableDiffusionXLPipeline, SDXLBackend


# by the pipeline's class name in model_index.json
FAMILIES = Registry(
    "teacher family",
    {
        "StableDiffusion3Pipeline": Family(_sd3, optional=T5_PARTS),
        "StableDiffusionXLPipeline": Family(_sdxl),
    },
)


class TeacherError(ValueError):
    """A teacher that cannot be opened; the message names the cause and the way out."""


def open_teacher(
    source: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    resolution: int | None = None,
    rewrite: Callable[[str], str] = str,
    leave_out: tuple[str, ...] = (),
    tiling: bool = False,
) -> PipelineBackend:
    """The backend of a diffusers pipeline of one of the `FAMILIES`, from a folder or a hub id,
    without the parts to `leave_out`.

    With `tiling` images are decoded in overlapping tiles. Raises `TeacherError`.
    """
    folder, index = pipeline_folder(str(source)), pipeline_index(str(source))
    family = family_of(index, source)
    # a part that model_index.json lists as null (an SD3 teacher may do without T5) has to be named
    # to be left out
    absent = {
        part: None
        for part in family.optional
        if part in leave_out or (index.get(part) or [None])[0] is None
    }
    pipeline_class, backend_class = family.classes()
    try:
        variant = None
        if Path(source).is_dir():
            _check_folders(
                folder, [name for name in part_names(index) if name not in absent], family
            )
            variant = weight_variant(folder)
        pipeline = pipeline_class.from_pretrained(
            str(source), dtype=dtype, use_safetensors=True, variant=variant, **absent
        )
    except (OSError, ValueError, SafetensorError) as error:
        if isinstance(error, TeacherError):
            raise
        raise TeacherError(
            f"{source} has a part that cannot be loaded: {error}.{_advice(folder)}"
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    if tiling:
        vae = pipeline.vae
        vae.enable_tiling()  # its own tiles are as large as the images it was made for
        vae.tile_sample_min_size, vae.tile_latent_min_size = (
            vae.tile_sample_min_size // 2,
            vae.tile_latent_min_size // 2,
        )
    try:
        backend = backend_class(
            pipeline, device, resolution, rewrite, rest=_crowded(pipeline, torch.device(device))
        )
        backend.made_of(folder_parts(folder, absent))
        return backend
    except ValueError as error:
        raise TeacherError(f"{source}: {error}") from error


def _check_folders(folder: Path, parts: list[str], family: Family) -> None:
    """Raises `TeacherError` for a part without a folder of its own."""
    missing = [name for name in parts if not (folder / name).is_dir()]
    if not missing:
        return
    listed = " and ".join(f"{name}/" for name in missing)
    way_out = (
        f"or leave {'it' if len(missing) == 1 else 'them'} out: write [null, null] for "
        f"{' and '.join(missing)} in model_index.json"
        if set(missing) <= set(family.optional)
        else "which this kind of teacher cannot do without"
    )
    raise TeacherError(
        f"{folder} lacks {listed}, which its model_index.json lists: download what is missing, "
        f"{way_out}"
    )


def _advice(folder: Path) -> str:
    """What to do about weights in an old format, if there are such."""
    if not any(path.suffix in (".bin", ".ckpt") for path in folder.glob("*/*")):
        return " Download or save the teacher again."
    return (
        " Its weights are .bin or .ckpt files from before safetensors: load it once with diffusers "
        "and save it again with save_pretrained."
    )


def family_of(index: dict, source: str | Path) -> Family:
    """The family of a pipeline by its model_index.json. Raises `TeacherError` if it is unknown."""
    name = str(index.get("_class_name"))
    if name not in FAMILIES:
        failed = "".join(f"; {failure}" for failure in FAMILIES.failures)
        known = ", ".join(FAMILIES)
        raise TeacherError(f"{source} is a {name}; a teacher is one of {known}{failed}")
    return FAMILIES[name]


def _crowded(pipeline, device: torch.device) -> bool:
    """Whether the pipeline would take more than half of a CUDA GPU: then its text encoders wait in
    the computer's memory.
    """
    if device.type != "cuda":
        return False
    parts = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    return (
        sum(p.nbytes for part in parts for p in part.parameters())
        > torch.cuda.get_device_properties(device).total_memory / 2
    )


def pipeline_index(source: str) -> dict:
    """The model_index.json of a folder or of a hub repository."""
    file = pipeline_folder(source) / "model_index.json"
    try:
        return json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise TeacherError(
            f"{file} is not readable JSON: {error}; download or save the teacher again"
        ) from error


def pipeline_folder(source: str) -> Path:
    """The folder of a pipeline here, or of a hub repository in the hub's cache."""
    path = Path(source)
    if path.is_file():
        raise TeacherError(
            f"{source} is a single file; a teacher is a diffusers folder. Convert it once with the "
            "pipeline's from_single_file and save_pretrained, and give that folder"
        )
    if path.is_dir() and not (path / "model_index.json").is_file():
        raise TeacherError(
            f"{source} holds no diffusers pipeline (no model_index.json); give the folder that "
            "save_pretrained wrote, or 'scenes' for the embedded teacher"
        )
    return path if path.is_dir() else Path(_from_hub(source)).parent


def _from_hub(source: str) -> str:
    return from_hub(
        source,
        lambda: hf_hub_download(source, "model_index.json"),
        absent=f"{source} is on the hub but holds no diffusers pipeline (no model_index.json); "
        "look for its diffusers version",
        offline=f"{source} is neither a folder here nor in the hub cache, and the hub cannot be "
        "reached: connect to the network and unset HF_HUB_OFFLINE, or copy the pipeline here and "
        "give its folder",
        error=TeacherError,
    )
