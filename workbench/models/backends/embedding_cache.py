"""Prompt embeddings computed once and kept on disk, so that training needs no text encoder in
memory (SD3.5's T5 alone is 9.5 GB).

    folder/<encoder digest>/<digest of the prompts>.safetensors      SHARD prompts and a checksum

A shard is written whole or not at all; one that does not open, or whose bytes do not match its
checksum, is encoded again. The encoder's digest covers weights, tokenizers, token limits and the
pipeline's kind: another encoder, another folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from workbench.core.denoiser import Condition
from workbench.io.digests import short_digest
from workbench.io.files import write_atomically
from workbench.io.strict_json import to_json
from workbench.models.backends.parts import PIPELINE
from workbench.models.backends.pipeline import PipelineBackend, text_encoders

SHARD = 64  # prompts; 170 MB for SD3.5
TEXT_PARTS = (PIPELINE, "text_encoder", "tokenizer")  # how the names of those parts begin


class CachedBackend:
    """A backend whose `encode` reads prompts that were encoded before; everything else is the
    backend's own.
    """

    def __init__(
        self,
        backend: PipelineBackend,
        prompts: list[str],
        folder: str | Path,
        progress: Callable[[Iterable], Iterable] = iter,
    ):
        """Encodes prompts that are not on disk yet, then frees the text encoders. `progress` may
        watch the shards go by (tqdm).
        """
        self.device, self.network, self.schedule = backend.device, backend.network, backend.schedule
        self.latent_shape, self.feature_width = backend.latent_shape, backend.feature_width
        self.max_tokens, self.tokenizer = backend.max_tokens, backend.tokenizer
        self.rewrite, self.denoiser, self.compile = (
            backend.rewrite,
            backend.denoiser,
            backend.compile,
        )
        self.new_network, self.load_network = backend.new_network, backend.load_network
        self.decode, self.pixels, self.features = backend.decode, backend.pixels, backend.features
        self.pipeline, self.adapters = backend.pipeline, backend.adapters
        self.resting, self.empty_tokens = backend.resting, backend.empty_tokens
        self.parts, self.made_of = backend.parts, backend.made_of  # before the encoders are freed
        self._rows: dict[str, tuple[Path, int]] = {}  # of each prompt
        self._shards: dict[Path, Any] = {}
        path = Path(folder) / encoder_digest(backend)
        path.mkdir(parents=True, exist_ok=True)
        distinct = ["", *dict.fromkeys(prompt for prompt in prompts if prompt)]
        for start in progress(range(0, len(distinct), SHARD)):
            shard = distinct[start : start + SHARD]
            file = path / f"{_digest(shard)}.safetensors"
            if not _whole(file):
                _write_shard(file, backend.encode(shard))
            self._rows |= {prompt: (file, row) for row, prompt in enumerate(shard)}
        free_text_encoders(backend)

    def encode(self, prompts: list[str]) -> Condition:
        """The cached condition of the prompts. Raises ValueError for a prompt that was not in the
        list.
        """
        for prompt in prompts:
            if prompt not in self._rows:
                raise ValueError(
                    f"{prompt!r} is not among the cached prompts, and the text encoders are freed; "
                    "add it to the prompt file"
                )
        return Condition.cat([self._row(*self._rows[prompt]) for prompt in prompts]).to(self.device)

    def _row(self, file: Path, row: int) -> Condition:
        if file not in self._shards:  # a mapped file costs no memory of its own
            self._shards[file] = safe_open(file, "pt")
        shard = self._shards[file]
        return Condition({name: shard.get_slice(name)[row : row + 1] for name in shard.keys()})


def _write_shard(file: Path, condition: Condition) -> None:
    tensors = {name: tensor.cpu().contiguous() for name, tensor in condition.tensors.items()}
    metadata = {"checksum": _checksum(tensors)}
    write_atomically(file, lambda part: save_file(tensors, part, metadata=metadata))


def free_text_encoders(backend: PipelineBackend) -> None:
    """Drops the pipeline's text encoders from memory."""
    for name in text_encoders(backend.pipeline):
        setattr(backend.pipeline, name, None)
    backend.resting.clear()  # which hold on to them
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def encoder_digest(backend: PipelineBackend) -> str:
    """Hexadecimal digits that change with the text encoders and their tokenizers (see
    `workbench.models.backends.parts`), the token limits, the image size, and the pipeline's kind
    and settings, such as its treatment of an empty prompt.
    """
    text = {name: part for name, part in backend.parts.items() if name.startswith(TEXT_PARTS)}
    limits = [backend.max_tokens, backend.empty_tokens, list(backend.latent_shape)]
    dtypes = {name: str(part.dtype) for name, part in text_encoders(backend.pipeline).items()}
    return short_digest([text, limits, dtypes])


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
    return hashlib.sha256(to_json(prompts).encode()).hexdigest()[:24]
