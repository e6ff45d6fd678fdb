"""How many participants, prompts and votes a study needs: power by simulation, with the test that
the study will report.

The test is that of `statistics.win_rates`: the mean of the votes against 1/2, clustered by
participant and prompt (`clustering`). Studies of one pair and one criterion are drawn by
`simulation`'s model, all repetitions at once: every participant votes on so many distinct prompts,
filled evenly; rate p and effects on the logit, logit p + u_participant + v_prompt. `rate` is that
of an average person and prompt; over all of them it is nearer to 1/2 (.65 with the default
effects: .63).

What helps: more prompts, before more votes on the same. The sds are assumptions until a pilot
study gives better. Not here: several criteria or pairs (plan with the weakest), exclusions (plan
for who is left), ties (they lower the rate to (1 - ties) rate + ties / 2, and the spread with it).

With 20 votes each the power is, in 20,000 studies (Monte-Carlo error up to .007):

    rate                         .5     .6     .65    .7
    20 participants, 40 prompts  .045   .479   .832   .980
    20 participants, 20 prompts  .044   .362   .693   .924
    30 participants, 60 prompts  .046   .664   .956   .999

Another program (2,000 studies, plain scale, no bound on the variance) had .506, .848, .984; .417,
.734, .934; .693, .962, .998: one to five points more. Of those the logit scale costs one or two,
and the bound next to nothing; the rest is its chance (up to .02) and what it does not tell of
itself. On the plain scale this one has .492, .843, .982 with 40 prompts, and rejects a null in
.047.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import expit, logit

from workbench.study.analysis.clustering import combined, t_statistic
from workbench.study.analysis.statistics import wilson_interval
from workbench.study.errors import StudyError

AT_ONCE = 2_000_000  # cells of participant and prompt in memory


@dataclass(frozen=True)
class Power:
    """The share of simulated studies whose test rejects at the level, either way, and its
    Monte-Carlo 95 % interval.
    """

    participants: int
    prompts: int
    votes_per_participant: int
    rate: float
    power: float
    low: float
    high: float


def power(
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
    rate outside (0, 1), or no repetition.
    """
    if min(participants, prompts) < 2 or not 1 <= votes_per_participant <= prompts:
        raise StudyError(
            f"a study needs 2 or more participants and prompts, and 1 to {prompts} votes of a "
            "participant, one on each prompt; "
            f"not {participants} participants, {prompts} prompts, {votes_per_participant} votes"
        )
    if not 0 < rate < 1 or repetitions < 1 or min(participant_sd, prompt_sd) < 0:
        raise StudyError(
            f"power needs a rate between 0 and 1, sds of 0 or more and a repetition, not {rate}, "
            f"{participant_sd}, {prompt_sd}, "
            f"{repetitions}"
        )
    rng = np.random.default_rng(seed)
    critical = stats.t.isf(level / 2, min(participants, prompts) - 1)
    rejected = 0
    for studies in _parts(repetitions, max(AT_ONCE // (participants * prompts), 1)):
        asked = _asked(studies, participants, prompts, votes_per_participant, rng)
        effects = participant_sd * rng.normal(
            size=(studies, participants, 1)
        ) + prompt_sd * rng.normal(size=(studies, 1, prompts))
        votes = asked & (rng.random(asked.shape) < expit(logit(rate) + effects))
        rejected += int((np.abs(crossed_t(votes, asked)) > critical).sum())
    value, low, high = wilson_interval(rejected, repetitions)
    return Power(participants, prompts, votes_per_participant, rate, value, low, high)


def power_table(
    participants: Iterable[int],
    prompts: Iterable[int],
    votes_per_participant: Iterable[int],
    rates: Iterable[float],
    **settings: float,
) -> list[Power]:
    """`power` at every combination, the last argument varying fastest; those with more votes each
    than prompts are left out.
    """
    prompts, votes_per_participant, rates = list(prompts), list(votes_per_participant), list(rates)
    return [
        power(people, many, votes, rate, **settings)
        for people in participants
        for many in prompts
        for votes in votes_per_participant
        if votes <= many
        for rate in rates
    ]


def crossed_t(votes: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """[R] Student's t of `clustering.crossed_rate`, of studies given as votes [R, P, Q] of 0 and 1
    where asked [R, P, Q]; nan where it has none.

    Equal to what `crossed_rate` finds by statsmodels, a thousand studies at once instead of one.
    """
    n = asked.sum((1, 2))
    mean = votes.sum((1, 2)) / n
    rest = np.where(asked, votes - mean[:, None, None], 0)
    by_participant, by_prompt, by_vote = (
        _between(sums, clusters) / n**2
        for sums, clusters in (
            (rest.sum(2), (asked.any(2)).sum(1)),
            (rest.sum(1), (asked.any(1)).sum(1)),
            (rest.reshape(len(rest), -1), n),
        )
    )
    return t_statistic(
        mean, combined(by_participant + by_prompt - by_vote, by_participant, by_prompt)
    )


def _between(sums: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    return (sums**2).sum(1) * clusters / (clusters - 1)


def _asked(
    studies: int, participants: int, prompts: int, votes: int, rng: np.random.Generator
) -> np.ndarray:
    """[R, P, Q] bool: each participant's prompts, those that fewest were asked before, by chance
    among equals.
    """
    asked = np.zeros((studies, participants, prompts), dtype=bool)
    used = np.zeros((studies, prompts))
    for person in range(participants):
        chosen = np.argsort(used + rng.random(used.shape), axis=1)[:, :votes]
        np.put_along_axis(asked[:, person], chosen, True, axis=1)
        used += asked[:, person]
    return asked


def _parts(total: int, size: int) -> Iterator[int]:
    for start in range(0, total, size):
        yield min(size, total - start)
