"""Bradley-Terry: a published example, the closed form for two methods, and the coverage of
intervals on studies of known truth.
"""

import math

import numpy as np
import pytest
from scipy.special import logit

from workbench.study.analysis.bradley_terry import scores, strengths
from workbench.study.analysis.simulation import SimulatedStudy, true_rate
from workbench.study.ballots import Ballot, Choice
from workbench.study.errors import StudyError


def votes(*outcomes):
    """Of ("a>b", "b=c") and so on: one ballot each, on a 3 x 4 grid of participants and prompts."""
    return [
        Ballot(
            str(n),
            f"p{n % 3}",
            f"q{n % 4}",
            "quality",
            outcome[0],
            outcome[2],
            {">": Choice.LEFT, "<": Choice.RIGHT, "=": Choice.TIE, "?": Choice.SKIP}[outcome[1]],
        )
        for n, outcome in enumerate(outcomes)
    ]


def test_the_worked_example_of_wikipedia():
    """ "Bradley-Terry model", section "Worked example of solution procedure": teams A to D, 22
    games.
    """
    wins = np.array([[0, 2, 0, 1], [3, 0, 5, 0], [0, 3, 0, 1], [4, 0, 3, 0]], dtype=float)
    found, regularised = scores(wins)
    assert np.exp(found) == pytest.approx([0.640, 1.043, 0.660, 2.270], abs=6e-4)
    assert not regularised


def test_two_methods_give_the_logit_of_the_win_rate():
    (found,) = strengths(votes(*["a>b"] * 12, *["b>a"] * 3, *["a=b"] * 2, "a?b"))
    assert found.preferred("a", to="b") == pytest.approx(13 / 17)
    assert list(found.scores) == [
        "a",
        "b",
    ]
    assert found.scores["a"].value == pytest.approx(logit(13 / 17) / 2) == -found.scores["b"].value
    assert found.scores["a"].low < found.scores["a"].value < found.scores["a"].high


def test_expected_wins_are_the_observed_ones():
    rng = np.random.default_rng(0)
    wins = rng.integers(1, 20, (6, 6)) * (1 - np.eye(6))
    found, _ = scores(wins)
    expected = (wins + wins.T) / (1 + np.exp(found[None, :] - found[:, None]))
    assert expected.sum(1) == pytest.approx(wins.sum(1))
    assert found.sum() == pytest.approx(0)


def test_a_method_that_wins_all_gets_a_finite_score_and_it_is_said():
    (found,) = strengths(votes(*["a>b"] * 6, *["b>c", "c>b", "b>c"] * 2, *["a>c"] * 3))
    assert found.regularised
    assert list(found.scores) == ["a", "b", "c"]
    assert all(map(math.isfinite, found.scores["a"]))
    wins = np.array([[0, 6, 3], [0, 0, 4], [0, 2, 0.0]])
    halves = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    assert [found.scores[m].value for m in "abc"] == pytest.approx(
        list(scores(wins + halves)[0]), abs=1e-6
    )


def test_methods_that_were_never_joined_have_no_scale():
    with pytest.raises(
        StudyError, match=r"never compared with each other.* use the pairs' win rates"
    ):
        strengths(votes("a>b", "b>a", "c>d", "d>c"))


def test_one_participant_has_no_interval_and_no_votes_no_scores():
    alone = [vote for vote in votes(*["a>b", "b>c", "c>a"] * 8) if vote.participant == "p0"]
    assert all(
        math.isnan(score.low) and math.isnan(score.high)
        for score in strengths(alone)[0].scores.values()
    )
    assert strengths([]) == [] == strengths(votes("a?b"))


def test_equal_arguments_give_equal_intervals_by_criterion():
    ballots = SimulatedStudy(
        {"y": dict(a=0.0, b=1.0, c=2.0), "x": dict(a=2.0, b=1.0, c=0.0)},
        participants=6,
        prompts=10,
        trials=20,
    ).ballots()
    found = strengths(ballots, resamples=50)
    assert found == strengths(ballots, resamples=50) != strengths(ballots, resamples=50, seed=1)
    assert [s.criterion for s in found] == ["x", "y"]
    assert (
        list(found[0].scores)
        == [
            "a",
            "b",
            "c",
        ]
        == list(found[1].scores)[::-1]
    )


def test_intervals_cover_the_truth():
    """Truth: the scores that fit the win rates over all people and prompts. People differ much
    here, so drawing votes again would not do.
    """
    strength = dict(a=0.0, b=0.4, c=1.0)
    truth, _ = scores(
        np.array(
            [
                [
                    0 if a == b else true_rate(strength[a] - strength[b], participant_sd=1.2)
                    for b in "abc"
                ]
                for a in "abc"
            ]
        )
    )
    covered, width = np.zeros(3), 0.0
    for seed in range(60):
        ballots = SimulatedStudy(
            {"q": strength}, participants=12, prompts=30, trials=20, participant_sd=1.2, seed=seed
        ).ballots()
        (found,) = strengths(ballots, resamples=60, seed=seed)
        ends = np.array([found.scores[method] for method in "abc"])
        covered += (ends[:, 1] <= truth) & (truth <= ends[:, 2])
        width += (ends[:, 2] - ends[:, 1]).mean() / 60
    assert (covered >= 0.88 * 60).all()
    assert width < 1.1
