"""Prompt embeddings computed once and kept on disk, so that training needs no text encoder in
memory (SD3.5's T5 alone is 9.5 GB).

    folder/<encoder digest>/<digest of the shard's prompts>.safetensors      SHARD prompts each, with a checksum of its bytes

A shard is written whole or not at all; one that does not open, or whose bytes are not those of its
checksum, is made again. The encoder's digest covers the weights, the token limits and the
pipeline's class: another encoder, another folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from workbench.core.denoiser import Backend, Condition
from workbench.io.files import write_atomically
from workbench.models.backends.pipeline import text_encoders

SHARD = 64  # prompts; 170 MB for SD3.5
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class CachedBackend:
    """A backend whose `encode` reads prompts that were encoded before; everything else is the
    backend's own.
    """

    def __init__(
        self,
        backend: Backend,
        prompts: list[str],
        folder: str | Path,
        progress: Callable[[Iterable], Iterable] = iter,
    ):
        """Encodes what is not on disk yet, then frees the text encoders. `progress` may watch the
        shards go by (tqdm).
        """
        self._backend, self._place, self._shards = backend, {}, {}
        path = Path(folder) / encoder_digest(backend)
        path.mkdir(parents=True, exist_ok=True)
        distinct = ["", *dict.fromkeys(prompt for prompt in prompts if prompt)]
        for start in progress(range(0, len(distinct), SHARD)):
            part = distinct[start : start + SHARD]
            file = path / f"{_digest(part)}.safetensors"
            if not _whole(file):
                tensors = {
                    name: tensor.cpu().contiguous()
                    for name, tensor in backend.encode(part).tensors.items()
                }
                write_atomically(
                    file,
                    lambda target: save_file(
                        tensors, target, metadata={"checksum": _checksum(tensors)}
                    ),
                )
            self._place |= {prompt: (file, row) for row, prompt in enumerate(part)}
        free_text_encoders(backend)

    def __getattr__(self, name: str):
        return getattr(self._backend, name)

    def encode(self, prompts: list[str]) -> Condition:
        """Raises ValueError for a prompt that was not in the list."""
        for prompt in prompts:
            if prompt not in self._place:
                raise ValueError(
                    f"{prompt!r} is not among the cached prompts, and the text encoders are "
                    "freed; add it to the "
                    "prompt file"
                )
        return Condition.cat([self._row(*self._place[prompt]) for prompt in prompts]).to(
            self._backend.device
        )

    def _row(self, file: Path, row: int) -> Condition:
        if file not in self._shards:  # a mapped file costs no memory of its own
            self._shards[file] = safe_open(file, "pt")
        shard = self._shards[file]
        return Condition({name: shard.get_slice(name)[row : row + 1] for name in shard.keys()})


def free_text_encoders(backend: Backend) -> None:
    """Drops the pipeline's text encoders from memory."""
    for name in text_encoders(backend.pipeline):
        setattr(backend.pipeline, name, None)
    backend.resting.clear()  # which hold on to them
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def encoder_digest(backend: Backend) -> str:
    """16 hexadecimal digits that change with the text encoders (each tensor's first values, and
    the sum of its bits, which is exact on every device), the token limits, the image size, the
    pipeline's class, or what it makes of an empty prompt.
    """
    pipeline, digest = backend.pipeline, hashlib.sha256()
    digest.update(
        json.dumps(
            [
                type(pipeline).__name__,
                backend.max_tokens,
                getattr(backend, "empty_tokens", 0),
                backend.latent_shape,
                pipeline.config.get("force_zeros_for_empty_prompt"),
            ]
        ).encode()
    )
    for name, encoder in text_encoders(pipeline).items():
        for key, tensor in encoder.state_dict().items():
            bits = tensor.view(INTEGERS[tensor.element_size()]).sum(dtype=torch.int64)
            digest.update(
                f"{name} {key} {tuple(tensor.shape)} {tensor.dtype} {bits}".encode()
                + _bytes(tensor.flatten()[:16])
            )
    return digest.hexdigest()[:16]


def _whole(file: Path) -> bool:
    try:
        with safe_open(file, "pt") as shard:
            return (shard.metadata() or {}).get("checksum") == _checksum(
                {name: shard.get_tensor(name) for name in shard.keys()}
            )
    except (FileNotFoundError, SafetensorError):
        return False


def _checksum(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + _bytes(tensors[name]))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()


def _digest(prompts: list[str]) -> str:
    return hashlib.sha256(json.dumps(prompts).encode()).hexdigest()[:24]
