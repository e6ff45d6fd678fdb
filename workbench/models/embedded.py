"""The embedded teachers: pipelines whose weights ship with the package, and whose prompts are
checked by the grammar of scenes.

torch and diffusers are imported when a teacher is loaded: the table of teachers is read without.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.scenes.grammar import parse

if TYPE_CHECKING:
    import torch

    from workbench.models.backends.pipeline import PipelineBackend

# the shipped ones, or those of another embedded world that was made with the same command
WEIGHTS = Path(
    os.environ.get("WORKBENCH_SCENES") or Path(__file__).parents[1] / "scenes" / "weights"
)

# a recipe's teacher -> the folder with teacher/ and students/: the flow teacher, and its twin that
# predicts eps
EMBEDDED = {"scenes": WEIGHTS, "scenes-eps": WEIGHTS / "eps"}


def load_scenes(
    folder: str | Path = WEIGHTS / "teacher", device: torch.device | str = "cpu"
) -> PipelineBackend:
    """An embedded teacher's backend; its `encode` raises `GrammarError` for captions outside the
    grammar.
    """
    import diffusers.utils.logging
    import transformers.utils.logging

    from workbench.models.backends.source import T5_PARTS, open_teacher

    for logging in (diffusers.utils.logging, transformers.utils.logging):
        logging.disable_progress_bar()  # it loads in no time
    try:
        return open_teacher(
            folder,
            device,
            rewrite=lambda prompt: parse(prompt).text if prompt else "",
            leave_out=T5_PARTS,
        )
    finally:
        for logging in (diffusers.utils.logging, transformers.utils.logging):
            logging.enable_progress_bar()
