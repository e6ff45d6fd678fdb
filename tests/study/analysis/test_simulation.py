"""Simulated studies: the requested numbers and balance, and the true rate against a long
simulation.
"""

import numpy as np
import pytest
from scipy.special import expit

from workbench.study.analysis.simulation import SimulatedStudy, true_rate
from workbench.study.ballots import Choice, TrialKind
from workbench.study.errors import StudyError


def test_a_simulated_study_is_what_was_asked_for():
    settings = dict(
        participants=6,
        prompts=12,
        trials=10,
        ties=0.3,
        skips=0.2,
        careless=1,
        golds=3,
        repeats=4,
        seed=3,
    )
    ballots = SimulatedStudy(**settings).ballots()
    assert (
        ballots
        == SimulatedStudy(**settings).ballots()
        != SimulatedStudy(**settings | {"seed": 4}).ballots()
    )
    assert len(ballots) == 6 * (10 + 3 + 4) * 2
    assert {b.criterion for b in ballots} == {
        "diversity",
        "quality",
    }
    real = [b for b in ballots if b.kind == TrialKind.REAL and b.criterion == "quality"]
    assert {sum(b.prompt == p for b in real) for p in {b.prompt for b in real}} == {
        5
    }  # 60 trials, 12 prompts
    for person in {b.participant for b in real}:
        own = [b for b in real if b.participant == person]
        assert len({b.prompt for b in own}) == 10
        assert sum(b.left == "ours" for b in own) == 5
    first = {b.trial: b for b in real}
    again = [b for b in ballots if b.kind == TrialKind.REPEAT and b.criterion == "quality"]
    assert all(
        (b.left, b.right, b.prompt)
        == (first[b.repeats].right, first[b.repeats].left, first[b.repeats].prompt)
        for b in again
    )
    assert 0 < sum(b.choice == Choice.SKIP for b in real) < 30
    assert len({b.trial for b in ballots}) == 6 * 17
    for wrong in (dict(trials=50), dict(repeats=21), dict(careless=21)):
        with pytest.raises(StudyError, match="no study has"):
            SimulatedStudy(**wrong).ballots()


def test_the_true_rate_is_the_mean_over_people_and_prompts():
    effects = np.random.default_rng(0).normal(0, np.hypot(0.5, 0.8), 400_000)
    assert true_rate(0.7) == pytest.approx(expit(0.7 + effects).mean(), abs=2e-3)
    assert true_rate(0.7, 0.0, 0.0) == pytest.approx(expit(0.7))
    assert true_rate(0.7, ties=1.0) == 0.5 == pytest.approx(true_rate(0.0))
