"""Loads the backend of a recipe's teacher, and checks prompts against it."""

from __future__ import annotations

import torch

from workbench.core.denoiser import Backend
from workbench.models.backends.parts import folder_parts
from workbench.models.backends.pipeline import PipelineBackend
from workbench.models.backends.source import T5_PARTS, open_teacher, pipeline_folder
from workbench.models.embedded import EMBEDDED, load_scenes

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def best_device() -> str:
    """The first available one of cuda, mps and cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_backend(
    teacher: str = "scenes",
    device: str = "cpu",
    precision: str = "bf16",
    resolution: int = 0,
    tiling: bool = False,
) -> PipelineBackend:
    """The backend of a recipe's `teacher`: an embedded one, or a pipeline by folder or hub id, on
    a GPU in the recipe's precision. Raises ValueError for a teacher that cannot be loaded, and for
    a missing GPU.
    """
    if str(device).startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"there is no {device} here, or this torch was built without CUDA: give another "
            "--device, such as cpu"
        )
    if teacher in EMBEDDED:
        if resolution or tiling:
            raise ValueError(
                f"{teacher} is an embedded teacher, which has one size: leave resolution and "
                "tiling as they are"
            )
        return load_scenes(EMBEDDED[teacher] / "teacher", device)
    dtype = DTYPES[precision] if str(device).startswith("cuda") else torch.float32
    return open_teacher(teacher, device, dtype, resolution or None, tiling=tiling)


def teacher_parts(teacher: str) -> dict[str, str]:
    """What a recipe's teacher is made of, without loading it: the digest of each part. Of a hub id
    that is not in the cache yet nothing is known: {}.

    Raises ValueError for a folder that holds no pipeline.
    """
    if teacher in EMBEDDED:
        return folder_parts(EMBEDDED[teacher] / "teacher", T5_PARTS)
    try:
        return folder_parts(pipeline_folder(teacher))
    except OSError:
        return {}


def check_prompt(backend: Backend, prompt: str) -> None:
    """Raises ValueError when the backend cannot take the prompt as it is."""
    backend.rewrite(prompt)
    count = len(backend.tokenizer(prompt).input_ids)
    if count > backend.max_tokens:
        raise ValueError(
            f"{count} tokens, over the encoder's limit of {backend.max_tokens}: shorten the prompt"
        )
