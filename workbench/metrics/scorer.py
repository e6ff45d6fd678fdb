"""What gives one image and its prompt a number: quality, preference, prompt following. One file a
scorer, one network in memory at a time.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Scorer(Protocol):
    """A loaded scorer."""

    # name, source and revision, and every setting that changes the number: two protocols are never
    # compared
    protocol: str

    def score(self, images: Tensor, prompts: list[str]) -> Tensor:
        """[B] fp32 on the CPU, of images [B, 3, H, W] in [0, 1] and their prompts; nan where an
        image could not be scored.
        """
