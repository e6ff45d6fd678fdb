"""What an examination does, task by task, and what each kind of task finds."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from workbench.metrics.diversity import Interval
from workbench.stages.bands import BandPower
from workbench.stages.branching import Split
from workbench.stages.commitment import Commitment


@dataclass(frozen=True)
class Record:
    """Samples the model, keeps the trajectory, and reads it."""

    model: str

    @property
    def needs(self) -> tuple[str, ...]:
        """The models whose trajectories have to be there."""
        return ()

    def __str__(self) -> str:
        return f"the passes of {self.model}"


@dataclass(frozen=True)
class Branch:
    """Goes on from behind step `step` with fresh noise."""

    model: str
    step: int

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.model,)

    def __str__(self) -> str:
        return f"{self.model} branched behind step {self.step}"


@dataclass(frozen=True)
class Swap:
    """The first `step` of the common steps by one model, the rest by another."""

    first: str
    then: str
    step: int

    @property
    def needs(self) -> tuple[str, ...]:
        return self.first, self.then

    def __str__(self) -> str:
        return f"{self.first} for {self.step} steps, then {self.then}"


Task = Record | Branch | Swap


@dataclass(frozen=True)
class StageMeasurement:
    """What recorded passes of N steps show: commitment on the full and the low-passed pictures,
    band power, the length [N, S] of each step in the latents and, on scenes, what is settled ([N,
    S] bool by factor).
    """

    full: Commitment
    low: Commitment
    bands: BandPower
    moved: Tensor
    factors: dict


@dataclass(frozen=True)
class Mixed:
    """What a `Swap` makes: images [S, 3, H, W] in [0, 1], Eq. (9) over the seeds, and on scenes
    the share that is right.
    """

    images: Tensor
    diversity: Interval
    correct: float | None


TaskResult = StageMeasurement | Split | Mixed
