"""The picture of a training's panel made again, from the checkpoint of its round."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from workbench.io.files import FolderError
from workbench.io.png import compared, tile
from workbench.io.provenance import Remade
from workbench.models.loading import best_device
from workbench.training.inputs import run_distiller
from workbench.training.run import Run
from workbench.training.train import panel_model, read_panel


def remake_panel(path: Path, made: Mapping, device: str | None) -> Remade:
    """The student of that round on the panel again.

    Raises:
        FolderError: The run is no longer there, is another one, or has not kept that checkpoint.
    """
    beside = path.resolve().parent.parent  # a run moves as a whole
    run = Run.open(beside if (beside / "manifest.json").is_file() else made["run"])
    if run.digest != made["digest"]:
        raise FolderError(
            f"{run.path} is a run of another recipe ({run.digest}) than the one that made "
            f"{path} ({made['digest']})"
        )
    checkpoint = run.path / "checkpoints" / f"round-{made['round']:06d}.pt"
    if not checkpoint.is_file():
        kept = ", ".join(file.stem for file in run.checkpoints()) or "none"
        raise FolderError(
            f"the student of round {made['round']} is no longer in {run.path}, whose checkpoints "
            f"are {kept}: train its recipe again, with a larger --keep"
        )
    distiller = run_distiller(run, device or best_device())
    distiller.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
    rows, _ = read_panel(panel_model(distiller), distiller.backend, distiller.prompts)
    before = np.asarray(Image.open(path))
    now = str(distiller.backend.device)
    changes = "" if now == made["device"] else f"{made['device']} then, {now} now"
    return compared(before, np.asarray(tile(rows)), changes)
