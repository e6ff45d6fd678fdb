"""The power planner: its test is the report's, its level and power are the expected ones."""

import numpy as np
import pytest
from scipy.stats import t

from workbench.study.analysis.power import Power, crossed_t, power, power_table
from workbench.study.analysis.simulation import SimulatedStudy
from workbench.study.analysis.statistics import win_rates
from workbench.study.errors import StudyError


@pytest.mark.parametrize(
    ("people", "prompts", "trials"), [(6, 9, 9), (10, 30, 7), (5, 40, 3)]
)  # all on all, some on all, prompts nobody saw
def test_the_test_is_the_one_of_the_report(people, prompts, trials):
    for seed in range(5):
        ballots = SimulatedStudy(
            {"q": {"a": 1.0, "b": 0.0}},
            participants=people,
            prompts=prompts,
            trials=trials,
            seed=seed,
        ).ballots()
        votes = np.zeros((1, people, prompts), dtype=bool)
        asked = votes.copy()
        for vote in ballots:
            cell = 0, int(vote.participant[1:]), int(vote.prompt.split()[1])
            asked[cell], votes[cell] = True, vote.winner == "a"
        statistic = abs(float(crossed_t(votes, asked)[0]))
        (result,) = win_rates(ballots)
        assert 2 * t.sf(statistic, min(result.participants, result.prompts) - 1) == pytest.approx(
            result.half.p
        )


def plan(participants: int, prompts: int, votes: int, rate: float, **settings) -> Power:
    return power(
        participants=participants,
        prompts=prompts,
        votes_per_participant=votes,
        rate=rate,
        **settings,
    )


def test_a_null_is_rejected_at_the_level():
    for people, prompts, votes in ((20, 40, 20), (8, 20, 20)):
        assert plan(people, prompts, votes, rate=0.5, repetitions=4000).power < 0.058
    assert 0.08 < plan(20, 40, 20, rate=0.5, repetitions=4000, level=0.1).power < 0.115


@pytest.mark.parametrize(
    ("rate", "prompts", "known"),
    [(0.6, 40, 0.506), (0.65, 40, 0.848), (0.7, 40, 0.984), (0.65, 20, 0.734)],
)
def test_power_is_near_the_one_simulated_independently(rate, prompts, known):
    """By another program: two-way clustered on the plain scale, whose power is a little higher
    (module docstring).
    """
    found = plan(20, prompts, 20, rate, repetitions=4000)
    assert known - 0.06 < found.power < known + 0.02
    assert found.low < found.power < found.high


def test_independent_votes_give_the_binomial_tests_power():
    """Without effects .60 needs 199 votes for 80 %; the clustered test knows nothing of that, and
    pays for it with a few points.
    """
    assert (
        0.68
        < plan(20, 20, 10, 0.6, participant_sd=0.0, prompt_sd=0.0, repetitions=4000).power
        < 0.8
    )


def test_equal_arguments_give_equal_power_and_parts_do_not_matter_to_its_size():
    assert (
        plan(10, 20, 10, 0.6, repetitions=200)
        == plan(10, 20, 10, 0.6, repetitions=200)
        != plan(10, 20, 10, 0.6, repetitions=200, seed=1)
    )
    large = plan(200, 300, 2, 0.5, repetitions=70)  # two parts
    assert large.power < 0.2
    assert 0 <= large.low < large.high


def test_a_table_has_every_plan_that_can_be():
    table = power_table([10, 20], [20, 40], [10, 30], [0.6, 0.7], repetitions=300)
    assert [(p.participants, p.prompts, p.votes_per_participant) for p in table[::2]] == [
        (10, 20, 10),
        (10, 40, 10),
        (10, 40, 30),
        (20, 20, 10),
        (20, 40, 10),
        (20, 40, 30),
    ]
    assert all(
        low.rate == 0.6 and high.power > low.power for low, high in zip(table[::2], table[1::2])
    )
    assert table[1].power < table[3].power < table[-1].power  # more prompts, more of everything


@pytest.mark.parametrize(
    "refused",
    [
        (1, 20, 10, 0.6),
        (10, 1, 1, 0.6),
        (10, 20, 21, 0.6),
        (10, 20, 0, 0.6),
        (10, 20, 10, 1.0),
    ],
)
def test_plans_that_cannot_be_are_refused(refused):
    with pytest.raises(StudyError, match=r"a study needs|power needs"):
        plan(*refused)


def test_an_effect_below_zero_is_refused():
    with pytest.raises(StudyError, match="power needs"):
        plan(10, 20, 10, 0.6, participant_sd=-1.0)
