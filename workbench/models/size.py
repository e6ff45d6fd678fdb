"""The size of a pipeline's weights, read from the headers of its files before any is loaded."""

from __future__ import annotations

import functools
import json
import struct
from math import prod
from pathlib import Path

from huggingface_hub import list_repo_files, parse_safetensors_file_metadata, snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

PARTS = ("transformer", "unet", "vae", "text_encoder", "text_encoder_2", "text_encoder_3")


@functools.cache
def parameters_of(source: str) -> dict[str, int]:
    """Parameters of each part of a diffusers pipeline, from its folder, the hub's cache, or the
    hub; empty if none of them tells. Files of a variant (such as fp16) are left out: they repeat
    the others.
    """
    folder = Path(source)
    try:
        if not folder.is_dir():
            folder = Path(snapshot_download(source, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return _on_hub(source)
    files = {str(path.relative_to(folder)): path for path in folder.glob("*/*.safetensors")}
    return _sum({name: _count(files[name]) for name in _plain(files)}) or _on_hub(source)


def _on_hub(source: str) -> dict[str, int]:
    try:
        names = [
            name
            for name in list_repo_files(source)
            if name.count("/") == 1 and name.endswith(".safetensors")
        ]
        return _sum(
            {
                name: sum(parse_safetensors_file_metadata(source, name).parameter_count.values())
                for name in _plain(names)
            }
        )
    except Exception:  # an unreachable hub raises many types, and a size is only advice
        return {}


def _plain(names) -> list[str]:
    """`unet/diffusion_pytorch_model.safetensors` and its numbered shards, but neither
    `...model.fp16.safetensors` nor other folders.
    """
    return [
        name
        for name in names
        if Path(name).parent.name in PARTS
        and "." not in Path(name).name.removesuffix(".safetensors")
    ]


def _sum(counts: dict[str, int]) -> dict[str, int]:
    parts: dict[str, int] = {}
    for name, count in counts.items():
        part = Path(name).parent.name
        parts[part] = parts.get(part, 0) + count
    return parts


def _count(path: Path) -> int:
    """Numbers in a safetensors file: 8 bytes of length, then a JSON header with every tensor's
    shape.
    """
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return sum(prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
