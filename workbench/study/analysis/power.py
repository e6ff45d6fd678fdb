"""How many participants, prompts and votes a study needs: power by simulation, with the test that
the study will report.

The test is that of `statistics.win_rates`: the mean of the votes against 1/2, clustered by
participant and prompt (`clustering`). Studies of one pair and one criterion are drawn from
`simulation`'s model, many at a time: every participant votes on the same number of distinct
prompts, filled evenly, with logit p + u_participant + v_prompt for a rate p. `rate` is for an
average person and prompt; over all of them it is nearer to 1/2 (.65 with the default effects
becomes .63).

More prompts help more than more votes on the same prompts. The sds are assumptions until a pilot
study gives better ones. Not here: several criteria or pairs (plan with the weakest), exclusions
(plan for the remaining participants), ties (they lower the rate to (1 - ties) rate + ties / 2, and
the spread too).

The power with 20 votes each, in 20,000 studies (Monte Carlo error up to .007):

    rate                         .5     .6     .65    .7
    20 participants, 40 prompts  .045   .479   .832   .980
    20 participants, 20 prompts  .044   .362   .693   .924
    30 participants, 60 prompts  .046   .664   .956   .999

Another program (2,000 studies, plain scale, no bound on the variance) had .506, .848, .984; .417,
.734, .934; .693, .962, .998: one to five points more. The logit scale accounts for one or two of
them, the bound for almost none; the rest is its Monte Carlo error (up to .02) and undocumented. On
the plain scale this program has .492, .843, .982 with 40 prompts, and rejects a null in .047.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import expit, logit

from workbench.study.analysis.clustering import combined, t_statistic
from workbench.study.analysis.statistics import wilson_interval
from workbench.study.errors import StudyError

MOST_CELLS = 2_000_000  # of participant and prompt, in memory


@dataclass(frozen=True)
class Power:
    """The share of simulated studies whose two-sided test rejects at the level, and its 95 % Monte
    Carlo interval.
    """

    participants: int
    prompts: int
    votes_per_participant: int
    rate: float
    power: float
    low: float
    high: float


def power(
    *,
    participants: int,
    prompts: int,
    votes_per_participant: int,
    rate: float,
    participant_sd: float = 0.5,
    prompt_sd: float = 0.8,
    repetitions: int = 1000,
    seed: int = 0,
    level: float = 0.05,
) -> Power:
    """The power of a study of one pair at a true `rate`; at rate .5 the test's true level. Equal
    for equal arguments.

    Raises StudyError for fewer than 2 participants or prompts, more votes each than prompts, a
    rate outside (0, 1), a negative sd, or no repetition.
    """
    if min(participants, prompts) < 2 or not 1 <= votes_per_participant <= prompts:
        raise StudyError(
            f"a study needs 2 or more participants and prompts, and 1 to {prompts} votes per "
            f"participant, at most one per prompt; not {participants} participants, {prompts} "
            f"prompts, {votes_per_participant} votes"
        )
    if not 0 < rate < 1 or repetitions < 1 or min(participant_sd, prompt_sd) < 0:
        raise StudyError(
            f"power needs a rate between 0 and 1, sds of 0 or more and at least one repetition, "
            f"not {rate}, {participant_sd}, {prompt_sd}, {repetitions}"
        )
    rng = np.random.default_rng(seed)
    critical = stats.t.isf(level / 2, min(participants, prompts) - 1)
    rejected = 0
    for studies in _batches(repetitions, max(MOST_CELLS // (participants * prompts), 1)):
        shown = _shown_prompts(studies, participants, prompts, votes_per_participant, rng)
        effects = participant_sd * rng.normal(
            size=(studies, participants, 1)
        ) + prompt_sd * rng.normal(size=(studies, 1, prompts))
        votes = shown & (rng.random(shown.shape) < expit(logit(rate) + effects))
        rejected += int((np.abs(crossed_t(votes, shown)) > critical).sum())
    value, low, high = wilson_interval(rejected, repetitions)
    return Power(participants, prompts, votes_per_participant, rate, value, low, high)


def power_table(
    participants: Iterable[int],
    prompts: Iterable[int],
    votes_per_participant: Iterable[int],
    rates: Iterable[float],
    **settings: Any,
) -> list[Power]:
    """`power` for every combination, the last argument varying fastest, without those that have
    more votes each than prompts.
    """
    prompts, votes_per_participant, rates = list(prompts), list(votes_per_participant), list(rates)
    return [
        power(
            participants=people,
            prompts=many,
            votes_per_participant=votes,
            rate=rate,
            **settings,
        )
        for people in participants
        for many in prompts
        for votes in votes_per_participant
        if votes <= many
        for rate in rates
    ]


def crossed_t(votes: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """[R] Student's t as in `clustering.crossed_rate`, for studies given as votes [R, P, Q] of 0
    and 1 where shown [R, P, Q]; nan if undefined.

    Equal to the result of statsmodels in `crossed_rate`, for thousands of studies together.
    """
    n = shown.sum((1, 2))
    mean = votes.sum((1, 2)) / n
    rest = np.where(shown, votes - mean[:, None, None], 0)
    by_participant, by_prompt, by_vote = (
        _between(sums, clusters) / n**2
        for sums, clusters in (
            (rest.sum(2), (shown.any(2)).sum(1)),
            (rest.sum(1), (shown.any(1)).sum(1)),
            (rest.reshape(len(rest), -1), n),
        )
    )
    return t_statistic(
        mean, combined(by_participant + by_prompt - by_vote, by_participant, by_prompt)
    )


def _between(sums: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    return (sums**2).sum(1) * clusters / (clusters - 1)


def _shown_prompts(
    studies: int, participants: int, prompts: int, votes: int, rng: np.random.Generator
) -> np.ndarray:
    """[R, P, Q] bool: each participant's prompts, the least used first, at random among equals."""
    shown = np.zeros((studies, participants, prompts), dtype=bool)
    used = np.zeros((studies, prompts))
    for person in range(participants):
        chosen = np.argsort(used + rng.random(used.shape), axis=1)[:, :votes]
        np.put_along_axis(shown[:, person], chosen, True, axis=1)
        used += shown[:, person]
    return shown


def _batches(total: int, size: int) -> Iterator[int]:
    for start in range(0, total, size):
        yield min(size, total - start)
