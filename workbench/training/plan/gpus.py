"""GPUs that a plan can be made for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """Memory in GB, and the data sheet's dense bf16 TFLOP/s."""

    memory: int
    tflops: float


GPUS = {"rtx4090": Gpu(24, 165), "l40s": Gpu(48, 362), "a100": Gpu(80, 312), "h100": Gpu(80, 989)}
# the share of a GPU's memory for CUDA's context, memory missing from the nominal size, and
# fragmentation (assumed)
HEADROOM = 0.08
