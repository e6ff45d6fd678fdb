"""One answer of a study as the analysis sees it: who compared what, by which criterion, and how it
was answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Choice(str, Enum):
    LEFT = "left"
    RIGHT = "right"
    TIE = "tie"
    SKIP = "skip"


class TrialKind(str, Enum):
    REAL = "real"
    GOLD = "gold"  # has a right answer
    REPEAT = "repeat"  # an earlier trial of the same participant again, sides exchanged


@dataclass(frozen=True)
class Ballot:
    """A vote that counts (no vote that a later one superseded, none of a practice trial). `left`
    and `right` are methods.
    """

    trial: str  # opaque, one for each trial of a participant; its criteria share it
    participant: str
    prompt: str
    criterion: str
    left: str
    right: str
    choice: Choice
    kind: TrialKind = TrialKind.REAL
    expected: Choice | None = None  # of a gold trial
    repeats: str = ""  # of a repeat: the trial that it repeats
    seconds: float = 0.0  # from the pictures' appearance to the answer
    position: int = 0  # in the participant's order

    @property
    def winner(self) -> str | None:
        """The method that was preferred; None for a tie or a skipped trial."""
        return {Choice.LEFT: self.left, Choice.RIGHT: self.right}.get(self.choice)

    @property
    def pair(self) -> tuple[str, str]:
        """The two methods in alphabetical order."""
        return tuple(sorted((self.left, self.right)))
