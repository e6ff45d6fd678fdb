"""Real and embedded model families behind `workbench.denoiser.Backend`; the only modules that know integer timesteps."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from transformers.utils import logging

logging.set_verbosity_error()  # torchvision is optional in this project: that it is missing is no news


def load_like(network: nn.Module, kind: type, folder: str | Path) -> nn.Module:
    """A frozen fp32 network of the diffusers class `kind` from `folder`. Raises ValueError when its tensors are not `network`'s."""
    found = kind.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    ours, theirs = ({name: tensor.shape for name, tensor in module.state_dict().items()} for module in (network, found))
    if ours != theirs:
        raise ValueError("it has another architecture than this teacher; choose the teacher that it was distilled from")
    return found.eval().requires_grad_(False)
