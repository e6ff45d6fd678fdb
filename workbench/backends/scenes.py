"""The embedded scenes teacher: an SD3 pipeline whose weights ship with the package, and whose prompts are checked by its grammar."""

from __future__ import annotations

import os
from pathlib import Path

import diffusers.utils.logging
import torch
import transformers.utils.logging

from workbench.backends.sd3 import SD3Backend
from workbench.denoiser import Condition
from workbench.scenes.grammar import parse

# the shipped ones, or those of another embedded world that was made with the same command
WEIGHTS = Path(os.environ.get("WORKBENCH_SCENES") or Path(__file__).parents[1] / "scenes" / "weights")


class ScenesBackend(SD3Backend):
    """The `SD3Backend` of the embedded teacher; `encode` raises `GrammarError` for captions outside the grammar."""

    @classmethod
    def load(cls, folder: str | Path = WEIGHTS / "teacher", device: torch.device | str = "cpu",
             dtype: torch.dtype = torch.float32) -> "ScenesBackend":
        for logging in (diffusers.utils.logging, transformers.utils.logging):
            logging.disable_progress_bar()  # it loads in a blink
        try:
            return super().load(folder, device, dtype)
        finally:
            for logging in (diffusers.utils.logging, transformers.utils.logging):
                logging.enable_progress_bar()

    def encode(self, prompts: list[str]) -> Condition:
        return super().encode([parse(prompt).text if prompt else "" for prompt in prompts])
