"""Graphics cards that a plan can be made for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """Memory in GB, and the data sheet's dense bf16 TFLOP/s."""

    memory: int
    tflops: float


GPUS = {"rtx4090": Gpu(24, 165), "l40s": Gpu(48, 362), "a100": Gpu(80, 312), "h100": Gpu(80, 989)}
# of a card's memory: CUDA's context, what the driver reports less than the name says, fragmentation
# (assumed)
HEADROOM = 0.08
