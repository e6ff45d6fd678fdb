"""The first and the last line of a notebook: its machine and versions, and its wall time."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass

import plotly.io as pio
import torch

from workbench.io.files import PACKAGES, version
from workbench.lab.pictures import COLUMN_WIDTH

IN_LAB = "plotly_mimetype"  # JupyterLab draws it without a script from the network


@dataclass(frozen=True)
class NotebookSession:
    """A running notebook."""

    begun: float

    def end(self) -> None:
        """Prints the wall time since `begin`."""
        minutes, seconds = divmod(round(time.perf_counter() - self.begun), 60)
        print(f"wall time: {minutes} min {seconds} s")


def begin(seed: int = 0, device: str = "cpu") -> NotebookSession:
    """Seeds torch, and prints the seed, the device and the versions."""
    torch.manual_seed(seed)
    pio.renderers.default = os.environ.get("PLOTLY_RENDERER", IN_LAB)
    pio.renderers["png"].width = COLUMN_WIDTH
    on = (
        f"{torch.cuda.get_device_name(device)} ({device})"
        if device.startswith("cuda")
        else f"{device}, {torch.get_num_threads()} threads"
    )
    print(
        f"seed {seed}; {on}; Python {platform.python_version()}; "
        + ", ".join(f"{name} {version(name)}" for name in PACKAGES + ("plotly",))
    )
    return NotebookSession(time.perf_counter())
