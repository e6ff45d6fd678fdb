"""What a participant is told, once and at the time, about answers that look careless: that they
came very fast, or that they were many times the same side.

A notice is a function of the answers so far, so it is told again after a lost reply or on another
device, until the next answer, and the report knows who was told. It says nothing about golds, and
excludes nobody: that is `exclusion`.
"""

from __future__ import annotations

from collections.abc import Sequence

from workbench.study.analysis.exclusion import Rule
from workbench.study.ballots import Ballot, Choice

FAST, SIDE = "fast", "side"
FAST_IN_A_ROW, SIDE_IN_A_ROW = 3, 8  # answered trials; an honest coin has 8 in a row in a tenth


def notice(ballots: Sequence[Ballot], rule: Rule) -> tuple[int, str] | None:
    """The position of the trial after whose answer one participant was told something, and FAST or
    SIDE; None if nothing was. A part of the rule that is switched off is not told of.
    """
    trials: dict[int, list[Ballot]] = {}
    for ballot in ballots:
        if ballot.choice != Choice.SKIP:
            trials.setdefault(ballot.position, []).append(ballot)
    fast, side, last = 0, 0, None
    for position, votes in sorted(trials.items()):
        fast = fast + 1 if max(vote.seconds for vote in votes) < (rule.min_seconds or 0) else 0
        chosen = {vote.choice for vote in votes}
        one = chosen.pop() if len(chosen) == 1 and Choice.TIE not in chosen else None
        side, last = (side + 1 if one == last else 1) if one else 0, one
        if fast == FAST_IN_A_ROW:
            return position, FAST
        if side == SIDE_IN_A_ROW and rule.min_side_p is not None:
            return position, SIDE
    return None
