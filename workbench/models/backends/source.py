"""Opens a teacher by folder or hub id: reads which pipeline it is, then loads it as the backend of
its family.

Whatever can go wrong on the way has its own `TeacherError`, which says what to do about it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import StableDiffusion3Pipeline, StableDiffusionXLPipeline
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError

from workbench.core.denoiser import Backend
from workbench.io.hub import from_hub
from workbench.models.backends.sd3 import SD3Backend
from workbench.models.backends.sdxl import SDXLBackend

FAMILIES = {
    "StableDiffusion3Pipeline": (StableDiffusion3Pipeline, SD3Backend),
    "StableDiffusionXLPipeline": (StableDiffusionXLPipeline, SDXLBackend),
}

T5_PARTS = ("text_encoder_3", "tokenizer_3")


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
) -> Backend:
    """The backend of a diffusers pipeline of the SD3 or SDXL family, from a folder or a hub id,
    without the parts to `leave_out`.

    With `tiling` images are decoded in overlapping tiles. Raises `TeacherError`.
    """
    index = pipeline_index(str(source))
    name = index.get("_class_name")
    if name not in FAMILIES:
        raise TeacherError(f"{source} is a {name}; a teacher is one of {', '.join(FAMILIES)}")
    pipeline_class, backend_class = FAMILIES[name]
    # a part that model_index.json lists as null (an SD3 teacher may do without T5) has to be named
    # to be left out
    absent = {
        part: None
        for part in T5_PARTS
        if name == "StableDiffusion3Pipeline"
        and (part in leave_out or (index.get(part) or [None])[0] is None)
    }
    try:
        pipeline = pipeline_class.from_pretrained(
            str(source), dtype=dtype, use_safetensors=True, **absent
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise TeacherError(
            f"{source} has a part that cannot be loaded: {error}. If its weights are .bin or "
            ".ckpt files from before "
            "safetensors, load it once with diffusers and save it again with save_pretrained."
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
        return backend_class(
            pipeline, device, resolution, rewrite, rest=_crowded(pipeline, torch.device(device))
        )
    except ValueError as error:
        raise TeacherError(f"{source}: {error}") from error


def _crowded(pipeline, device: torch.device) -> bool:
    """Whether the pipeline would take more than half of a CUDA card: then its text encoders wait
    in the computer's memory.
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
    path = Path(source)
    if path.is_file():
        raise TeacherError(
            f"{source} is a single file; a teacher is a diffusers folder. Convert it once with "
            "the pipeline's "
            "from_single_file and save_pretrained, and give that folder"
        )
    if path.is_dir() and not (path / "model_index.json").is_file():
        raise TeacherError(
            f"{source} holds no diffusers pipeline (no model_index.json); give the folder that "
            "save_pretrained "
            "wrote, or 'scenes' for the embedded teacher"
        )
    found = path / "model_index.json" if path.is_dir() else _from_hub(source)
    try:
        return json.loads(Path(found).read_text())
    except ValueError as error:
        raise TeacherError(
            f"{found} is not readable JSON: {error}; download or save the teacher again"
        ) from error


def _from_hub(source: str) -> str:
    return from_hub(
        source,
        lambda: hf_hub_download(source, "model_index.json"),
        absent=f"{source} is on the hub but holds no diffusers pipeline (no model_index.json); "
        "look for its diffusers version",
        offline=f"{source} is neither a folder here nor in the hub cache, and the hub cannot be "
        "reached: connect to the "
        "network and unset HF_HUB_OFFLINE, or copy the pipeline here and give its folder",
        error=TeacherError,
    )
