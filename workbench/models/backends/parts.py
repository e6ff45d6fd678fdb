"""What a teacher is made of: a digest of each part of its pipeline, from its folder or from memory.

    {"pipeline": "3f2a...", "scheduler": "9c1e...", "text_encoder": ..., "transformer": ...}

A part's digest covers its weights in full (every tensor's name, shape, dtype and bits), its
configuration, and the files of its tokenizer. What a file or a folder is called, and when it was
written, are no part of it; nor are entries of a configuration that begin with "_", in which
libraries note their versions and paths.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from workbench.io.digests import LENGTH, file_digests, short_digest
from workbench.models.backends.networks import base_state

Parts = Mapping[str, str]
PIPELINE = "pipeline"  # the part that model_index.json is
# model.safetensors, model.fp16.safetensors, model.fp16-00001-of-00002.safetensors
WEIGHTS = re.compile(r"(?P<stem>[^.]+?)(\.(?P<variant>[A-Za-z0-9_]+))?(-\d+-of-\d+)?\.safetensors")
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes
TEXT = {".json", ".txt", ".model", ".jinja"}
BY_VALUE = ("config.json", "tokenizer.json")  # how names of such files end
# indexes of sharded weights, which the weights themselves make superfluous; notes on a student
NO_PART = re.compile(r".*\.index\.json|student\.json")


def folder_parts(folder: str | Path, left_out: Collection[str] = ()) -> dict[str, str]:
    """The digests of the parts of a pipeline's folder, without those that are `left_out`. Of
    weights in several variants those without a name count, as diffusers loads them; weights that
    are cut into other files count as other weights.

    Raises OSError or ValueError for files that cannot be read.
    """
    folder = Path(folder)
    index = json.loads((folder / "model_index.json").read_text("utf-8"))
    names = [name for name in part_names(index) if name not in left_out]
    parts = {PIPELINE: _pipeline_digest(index["_class_name"], index, names)}
    return parts | {name: files_digest(part_files(folder / name)) for name in names}


def part_names(index: Mapping[str, Any]) -> list[str]:
    """The parts that a model_index.json lists, sorted, without those that it leaves out by null."""
    return sorted(name for name, value in index.items() if _is_part(value) and value[0] is not None)


def memory_parts(pipeline: Any) -> dict[str, str]:
    """The digests of the parts of a pipeline in memory, whatever folder it came from: those of the
    folder that it would be saved in.
    """
    present = sorted(name for name, part in pipeline.components.items() if part is not None)
    kind, config = type(pipeline).__name__, dict(pipeline.config)
    parts = {PIPELINE: _pipeline_digest(kind, config, present)}
    return parts | {name: part_digest(pipeline.components[name]) for name in present}


def part_digest(part: Any) -> str:
    """The digest of a part in memory: that of the files it would be saved in."""
    with tempfile.TemporaryDirectory() as folder:
        if any(".lora_" in name for name in getattr(part, "state_dict", dict)()):
            own = {name: tensor.cpu().contiguous() for name, tensor in base_state(part).items()}
            save_file(own, Path(folder) / "adapted.safetensors", metadata={"format": "pt"})
            (Path(folder) / "config.json").write_text(part.to_json_string())
        else:
            part.save_pretrained(folder)
        return files_digest(part_files(Path(folder)))


def weights_digest(network: nn.Module) -> str:
    """The digest of all bits of a network in memory, under the names they have without adapters."""
    digest = hashlib.sha256()
    for name, tensor in sorted(base_state(network).items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()[:LENGTH]


def checksum(network: nn.Module) -> int:
    """A number that changes with a network's weights, for telling whether they are still the same
    in memory: 3 GB/s on a CPU, a matter of milliseconds on a GPU, where its tensors stay.
    """
    result = 0
    for tensor in base_state(network).values():
        if tensor.device.type == "cpu":
            result = zlib.crc32(_bytes(tensor), result)
        else:
            result = hash((result, *_weighted_sums(tensor)))
    return result


def _weighted_sums(tensor: Tensor) -> list[int]:
    """Sums of a tensor's bits by rows and by columns, each weighted by its place."""
    bits = tensor.detach().contiguous().view(INTEGERS[tensor.element_size()])
    bits = bits.reshape(len(bits) if bits.ndim > 1 else 1, -1)
    sums = (bits.sum(axis, dtype=torch.int64) for axis in (0, 1))
    return [int((one * torch.arange(1, len(one) + 1, device=one.device)).sum()) for one in sums]


def changed_parts(before: Parts, after: Parts) -> list[str]:
    """The names of the parts that differ, or that only one of two teachers has."""
    names = sorted(before.keys() | after.keys())
    return [name for name in names if before.get(name) != after.get(name)]


def weight_variant(folder: Path) -> str | None:
    """The variant of the weights that are to be loaded ("fp16"), None for those without a name.

    Raises:
        ValueError: A part has its weights in several variants, none of them without a name.
    """
    variants: set[str] = set()
    for part in (path for path in folder.iterdir() if path.is_dir()):
        names = {match["variant"] for match in _weights(part).values()}
        if names and None not in names:
            variants |= names
    if len(variants) > 1:
        raise ValueError(
            f"its weights are there in several variants ({', '.join(sorted(variants))}), and not "
            "in the usual one: keep one variant"
        )
    return next(iter(variants), None)


def _weights(folder: Path) -> dict[Path, re.Match[str]]:
    found = ((path, WEIGHTS.fullmatch(path.name)) for path in sorted(folder.iterdir()))
    return {path: match for path, match in found if match}


def part_files(folder: Path) -> list[Path]:
    """The files that a part, or a student's network, is loaded from."""
    weights = _weights(folder)
    usual = [path for path, match in weights.items() if match["variant"] is None]
    texts = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix in TEXT and not path.name.startswith(".")
    ]
    return [path for path in texts if not NO_PART.fullmatch(path.name)] + (usual or list(weights))


def files_digest(files: list[Path]) -> str:
    """Of configurations and tokenizers by value, of weights by content, of other files by name
    too.
    """
    values = {path: _value(path) for path in files if path.name.endswith(BY_VALUE)}
    plain = [path for path in files if path not in values]
    entries: list[Any] = list(values.values())
    for path, digest in zip(plain, file_digests(plain), strict=True):
        entries.append(["" if path.suffix == ".safetensors" else path.name, digest])
    return short_digest(entries)


def _value(path: Path) -> dict[str, Any]:
    value = _public(json.loads(path.read_text("utf-8")))
    if path.name == "tokenizer.json":  # what its last call left there, and every call sets anew
        value = {key: one for key, one in value.items() if key not in ("padding", "truncation")}
    return value


def _pipeline_digest(kind: str, index: Mapping[str, Any], names: list[str]) -> str:
    """Of the kind of pipeline and of its parts, and of its settings."""
    kept = {
        name: list(value) if _is_part(value) else value
        for name, value in index.items()
        if name in names or (not name.startswith("_") and not _is_part(value))
    }
    return short_digest({"_class_name": kind, **kept})


def _is_part(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2


def _public(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if not name.startswith("_")}


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return memoryview(flat.view(torch.uint8).numpy())
