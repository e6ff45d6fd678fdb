"""The whole analysis of a study, twice: of everyone, and without the participants whom the
pre-registered rule excludes.

Both are always reported, so that nobody can choose after seeing them. Not here: the numbers
(`statistics`, `conduct`, `exclusion`, `agreement`, `bradley_terry`) and their presentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from workbench.study.analysis.agreement import Agreement, agreements
from workbench.study.analysis.bradley_terry import Strengths, strengths
from workbench.study.analysis.conduct import Consistency, SideBias, repeat_consistency, side_bias
from workbench.study.analysis.exclusion import Golds, excluded, gold_results, median_seconds
from workbench.study.analysis.statistics import PairResult, win_rates
from workbench.study.ballots import Ballot
from workbench.study.errors import StudyError


@dataclass(frozen=True)
class Findings:
    """The results of one set of ballots. `strengths` is empty for two methods, and if `unscaled`
    gives a reason.
    """

    pairs: list[PairResult]
    agreement: list[Agreement]
    side_bias: SideBias
    repeats: Consistency
    strengths: list[Strengths]
    unscaled: str = ""


@dataclass(frozen=True)
class Analysis:
    """Findings with and without the excluded participants; these by name with the reasons; golds
    and median seconds of every participant.
    """

    everyone: Findings
    kept: Findings
    excluded: dict[str, tuple[str, ...]]
    golds: dict[str, Golds]
    seconds: dict[str, float]


def analysis(
    ballots: Iterable[Ballot],
    max_gold_failures: int,
    min_seconds: float | None = None,
    max_fast: float | None = None,
    min_side_p: float | None = None,
    level: float = 0.95,
) -> Analysis:
    """All results of a study's ballots, equal for equal arguments; `exclusion.Rule` explains the
    rule (`*design.rule`).

    Works at any time of a study: results that are not determined yet are nan or absent. Raises
    StudyError for ballots that cannot come from one study.
    """
    ballots = list(ballots)
    out = excluded(ballots, max_gold_failures, min_seconds, max_fast, min_side_p)
    kept = [ballot for ballot in ballots if ballot.participant not in out]
    everyone = findings(ballots, level)
    return Analysis(
        everyone,
        findings(kept, level) if out else everyone,
        out,
        gold_results(ballots),
        median_seconds(ballots),
    )


def findings(ballots: Sequence[Ballot], level: float = 0.95) -> Findings:
    """All headline numbers of one set of ballots."""
    pairs = win_rates(ballots, level)
    scale, unscaled = [], ""
    if len({method for pair in pairs for method in (pair.first, pair.second)}) > 2:
        try:
            scale = strengths(ballots, level)
        except StudyError as error:
            unscaled = str(error)
    return Findings(
        pairs,
        agreements(ballots, level),
        side_bias(ballots, level),
        repeat_consistency(ballots, level),
        scale,
        unscaled,
    )
