"""One answer of a study as the analysis sees it: participant, pictures compared, criterion and
choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Choice(str, Enum):
    """An answer to a trial by one criterion."""

    LEFT = "left"
    RIGHT = "right"
    TIE = "tie"
    SKIP = "skip"


class TrialKind(str, Enum):
    """The purpose of a trial."""

    REAL = "real"
    GOLD = "gold"  # has a right answer
    REPEAT = "repeat"  # an earlier trial of the participant again, with exchanged sides


@dataclass(frozen=True)
class Ballot:
    """A vote that counts: not superseded by a later one, not of a practice trial. `left` and
    `right` are methods.
    """

    trial: str  # opaque; one per trial of a participant, shared by its criteria
    participant: str
    prompt: str
    criterion: str
    left: str
    right: str
    choice: Choice
    kind: TrialKind = TrialKind.REAL
    expected: Choice | None = None  # for a gold trial
    repeats: str = ""  # for a repeat: the original trial
    seconds: float = 0.0  # from the pictures' appearance to the answer
    position: int = 0  # in the participant's order

    @property
    def winner(self) -> str | None:
        """The method that was preferred; None for a tie or a skipped trial."""
        return {Choice.LEFT: self.left, Choice.RIGHT: self.right}.get(self.choice)

    @property
    def pair(self) -> tuple[str, str]:
        """The two methods in alphabetical order."""
        first, second = sorted((self.left, self.right))
        return first, second
