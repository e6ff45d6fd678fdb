"""The tasks of a `StageAnalysis`, and the result of each kind of task."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from workbench.metrics.diversity import Interval
from workbench.stages.bands import BandPower
from workbench.stages.branching import Split
from workbench.stages.commitment import Commitment


@dataclass(frozen=True)
class Record:
    """Sample the model, keep the trajectory and measure it."""

    model: str

    @property
    def needs(self) -> tuple[str, ...]:
        """The models whose trajectories it uses."""
        return ()

    def __str__(self) -> str:
        return f"the passes of {self.model}"


@dataclass(frozen=True)
class Branch:
    """Continue after step `step` with fresh noise."""

    model: str
    step: int

    @property
    def needs(self) -> tuple[str, ...]:
        """The model whose trajectory it branches."""
        return (self.model,)

    def __str__(self) -> str:
        return f"{self.model} branched after step {self.step}"


@dataclass(frozen=True)
class Swap:
    """The first `step` of the common steps by one model, the rest by another."""

    first: str
    then: str
    step: int

    @property
    def needs(self) -> tuple[str, ...]:
        """Both models: the ends of a swap are their recorded passes."""
        return self.first, self.then

    def alone(self, levels: int) -> str | None:
        """The model that takes every step, if one does: with `levels` noise levels step 0 is `then`
        alone, the last one `first` alone.
        """
        return {0: self.then, levels - 1: self.first}.get(self.step)

    def __str__(self) -> str:
        return f"{self.first} for {self.step} steps, then {self.then}"


Task = Record | Branch | Swap


@dataclass(frozen=True)
class StageMeasurement:
    """Measurements of recorded passes of N steps: commitment on the full and the low-passed
    pictures, band power, the length [N, S] of each step in the latents and, on scenes, whether each
    factor is settled ([N, S] bool by factor).
    """

    full: Commitment
    low: Commitment
    bands: BandPower
    moved: Tensor
    factors: dict


@dataclass(frozen=True)
class Mixed:
    """The result of a `Swap`: images [S, 3, H, W] in [0, 1], Eq. (9) over the seeds, and on scenes
    the share of correct images.
    """

    images: Tensor
    diversity: Interval
    correct: float | None


TaskResult = StageMeasurement | Split | Mixed
