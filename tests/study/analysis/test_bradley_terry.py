"""Bradley-Terry: a published example, the closed form for two methods, degenerate votes, and the
jackknife. How often the intervals cover is in `test_interval_coverage`.
"""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logit

from workbench.study.analysis.bradley_terry import scores, strengths
from workbench.study.analysis.simulation import SimulatedStudy
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
    assert found.preferred("a", to="b").value == pytest.approx(13 / 17)
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


def test_a_method_that_wins_all_has_an_order_but_no_interval():
    (found,) = strengths(votes(*["a>b"] * 6, *["b>c", "c>b", "b>c"] * 2, *["a>c"] * 3))
    assert found.regularised
    assert list(found.scores) == ["a", "b", "c"]
    wins = np.array([[0, 6, 3], [0, 0, 4], [0, 2, 0.0]])
    halves = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    assert [found.scores[m].value for m in "abc"] == pytest.approx(
        list(scores(wins + halves)[0]), abs=1e-6
    )
    for score in (*found.scores.values(), *found.differences.values()):
        assert math.isfinite(score.value)
        assert math.isnan(score.low)
        assert math.isnan(score.high)


def unanimous_study():
    """10 people on 6 prompts and 3 pairs: a always wins, b always beats c."""
    return [
        Ballot(f"{person} {prompt} {pair}", person, prompt, "quality", *pair, Choice.LEFT)
        for person in (f"p{n}" for n in range(10))
        for prompt in (f"q{n}" for n in range(6))
        for pair in (("a", "b"), ("a", "c"), ("b", "c"))
    ]


def test_a_score_without_a_maximum_is_not_given_a_narrow_interval():
    """The bootstrap of the regularised fit gave a: 4.11 with an interval 3e-14 wide. Its curvature
    is that of 60.5 wins to 0.5: a standard error of 0.746.
    """
    (found,) = strengths(unanimous_study())
    assert found.scores["a"].value == pytest.approx(4.1111337)
    assert all(math.isnan(end) for score in found.scores.values() for end in score[1:])
    assert all(math.isnan(end) for end in found.preferred("a", to="b")[1:])


def test_the_interval_is_the_exact_jackknifes_to_first_order():
    """Leaving out one person after the other and fitting again, with choix alone."""
    ballots = SimulatedStudy(
        {"q": dict(a=0.0, b=0.5, c=1.0)}, participants=30, prompts=30, trials=30, seed=3
    ).ballots()

    def fitted(kept):
        wins = np.zeros((3, 3))
        for vote in kept:
            won, lost = vote.pair if vote.winner == vote.pair[0] else vote.pair[::-1]
            wins["abc".index(won), "abc".index(lost)] += 1
        return scores(wins)[0]

    def spread(name):
        groups = sorted({name(vote) for vote in ballots})
        found = [fitted([vote for vote in ballots if name(vote) != group]) for group in groups]
        moved = np.array(found) - fitted(ballots)
        return (moved**2).sum(0) * (len(groups) - 1) / len(groups)

    people, prompts = (
        spread(lambda vote: vote.participant),
        spread(lambda vote: vote.prompt),
    )
    cells = spread(lambda vote: (vote.participant, vote.prompt))
    both = people + prompts - cells
    assert (both > cells).all()
    freedom = both**2 / (people**2 / 29 + prompts**2 / 29 + cells**2 / (len(ballots) - 1))
    half = stats.t.ppf(0.975, np.maximum(freedom, 29)) * np.sqrt(both)
    (found,) = strengths(ballots)
    for method, expected in zip("abc", half):
        score = found.scores[method]
        assert score.high - score.value == pytest.approx(expected, rel=0.03)
        assert score.value - score.low == pytest.approx(expected, rel=0.03)


def test_differences_turn_round_and_become_probabilities():
    (found,) = strengths(
        SimulatedStudy({"q": dict(a=0.0, b=0.5, c=1.0)}, trials=40, seed=1).ballots()
    )
    there, back = found.differences["c", "a"], found.differences["a", "c"]
    assert there == pytest.approx((-back.value, -back.high, -back.low))
    assert there.value == pytest.approx(found.scores["c"].value - found.scores["a"].value)
    rate = found.preferred("c", to="a")
    assert rate == pytest.approx(tuple(expit(there)))
    assert 0 < rate.low < rate.value < rate.high < 1


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


def test_ties_alone_have_no_interval_and_a_method_that_only_ties_has_one():
    ties = [dataclasses.replace(vote, choice=Choice.TIE) for vote in unanimous_study()]
    (found,) = strengths(ties)
    assert [score.value for score in found.scores.values()] == pytest.approx([0, 0, 0])
    assert all(math.isnan(end) for score in found.scores.values() for end in score[1:])
    ballots = SimulatedStudy({"q": dict(a=0.5, b=0.0, c=0.0)}, trials=30, seed=2).ballots()
    tied = [
        dataclasses.replace(vote, choice=Choice.TIE) if "c" in vote.pair else vote
        for vote in ballots
    ]
    (found,) = strengths(tied)
    assert not found.regularised
    assert all(score.low < score.value < score.high for score in found.scores.values())


def test_one_person_who_alone_joins_the_methods_leaves_no_interval():
    ballots = SimulatedStudy({"q": dict(a=0.5, b=0.0, c=0.2)}, trials=30, seed=2).ballots()
    kept = [vote for vote in ballots if "c" not in vote.pair or vote.participant == "p003"]
    (found,) = strengths(kept)
    assert not found.regularised
    assert all(math.isnan(end) for score in found.scores.values() for end in score[1:])


def test_scores_come_by_criterion_the_strongest_first():
    ballots = SimulatedStudy(
        {"y": dict(a=0.0, b=1.0, c=2.0), "x": dict(a=2.0, b=1.0, c=0.0)},
        participants=6,
        prompts=10,
        trials=20,
    ).ballots()
    found = strengths(ballots)
    assert [s.criterion for s in found] == ["x", "y"]
    assert list(found[0].scores) == ["a", "b", "c"] == list(found[1].scores)[::-1]
