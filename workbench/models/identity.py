"""A model's identity as text and digests: how it is sampled, and which weights it holds."""

from __future__ import annotations

import hashlib

from torch import nn

from workbench.core.denoiser import Guided
from workbench.models.backends.networks import base_state
from workbench.models.backends.pipeline import PipelineBackend
from workbench.models.model import Model


def model_settings(model: Model) -> dict:
    """The settings that a cell records of its model: how it was sampled, the recipe's digest, and a
    digest of its weights.
    """
    guided = isinstance(model.denoiser, Guided)
    return {
        "steps": len(model.times) - 1,
        "times": model.times.tolist(),
        "sampler": model.sampler,
        "evaluations": model.evaluations,
        "guidance": model.denoiser.guidance if guided else 1.0,
        "method": model.info.method,
        "digest": model.info.digest,
        "weights": weights_digest(model.network) if model.network is not None else None,
    }


def parts_digest(backend: PipelineBackend) -> str:
    """12 hexadecimal digits of the teacher's other networks: text encoders and autoencoder."""
    parts = {
        name: part
        for name, part in backend.pipeline.components.items()
        if isinstance(part, nn.Module) and part is not backend.network
    }
    return hashlib.sha256(
        "".join(name + weights_digest(part) for name, part in sorted(parts.items())).encode()
    ).hexdigest()[:12]


def weights_digest(network: nn.Module) -> str:
    """12 hexadecimal digits of the first 64 values of every tensor: they change with training, and
    are cheap for large networks.
    """
    digest = hashlib.sha256()
    for name, tensor in base_state(network).items():
        digest.update(name.encode() + tensor.flatten()[:64].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]
