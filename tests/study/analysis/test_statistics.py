"""Win rates, their intervals and the sign test: counts by hand, statsmodels against arithmetic,
coverage on studies of known truth.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logit

from workbench.study.analysis.clustering import clustered_rate, crossed_rate
from workbench.study.analysis.simulation import SimulatedStudy, true_rate
from workbench.study.analysis.statistics import sign_test, wilson_interval, win_rates
from workbench.study.ballots import Ballot, Choice, TrialKind
from workbench.study.errors import StudyError

L, R, T, S = Choice.LEFT, Choice.RIGHT, Choice.TIE, Choice.SKIP


def ballot(choice, participant="ann", prompt="a fox", trial=None, left="a", right="b", **more):
    criterion, trial = (
        more.pop("criterion", "quality"),
        trial or f"{participant} {prompt} {left} {right}",
    )
    return Ballot(trial, participant, prompt, criterion, left, right, choice, **more)


def test_votes_are_counted_by_method_not_by_side_and_golds_and_repeats_are_no_votes():
    votes = [
        ballot(L),
        ballot(R, prompt="a hill"),
        ballot(R, "bob", left="b", right="a"),
        ballot(T, "bob", "a hill"),
        ballot(S, "cy"),
        ballot(L, prompt="x", kind=TrialKind.GOLD, expected=L),
        ballot(L, trial="again", kind=TrialKind.REPEAT, repeats="ann a fox a b"),
    ]
    (result,) = win_rates(votes)
    assert (result.criterion, result.first, result.second) == ("quality", "a", "b")
    assert (result.first_wins, result.second_wins, result.ties, result.skips) == (2, 1, 1, 1)
    assert (result.participants, result.prompts) == (2, 2)
    assert result.half.value == 2.5 / 4
    assert result.decided.value == 2 / 3 == result.wilson.value
    assert result.majorities == (
        1,
        1,
        0,
        1.0,
    )  # two for a on the fox; one against it, and a tie, on the hill


def test_results_come_by_criterion_and_pair_and_turn_round():
    votes = [
        ballot(choice, who, prompt, left=left, right=right, criterion=criterion)
        for criterion in ("quality", "diversity")
        for left, right in (("c", "a"), ("b", "c"), ("a", "b"))
        for who, prompt, choice in (
            ("ann", "x", L),
            ("ann", "y", R),
            ("bob", "x", L),
            ("bob", "y", L),
            ("bob", "z", T),
        )
    ]
    results = win_rates(votes)
    assert [(r.criterion, r.first, r.second) for r in results] == [
        (c, *p) for c in ("diversity", "quality") for p in ("ab", "ac", "bc")
    ]
    ac = results[1]
    ca = ac.of("c")
    assert (ac.first_wins, ca.first, ca.first_wins, ca.majorities[:3]) == (
        1,
        "c",
        3,
        (1, 0, 2),
    )
    assert ac.of("a") is ac
    assert ca.half.value == 0.7
    assert ca.half.low == 1 - ac.half.high
    assert ca.half.p == ac.half.p
    assert ca.of("a").half == pytest.approx(ac.half)
    with pytest.raises(StudyError, match="the pair a, c does not include b"):
        ac.of("b")


def test_the_two_way_variance_is_that_of_the_formula():
    rng = np.random.default_rng(0)
    people, prompts = rng.integers(0, 6, 80), rng.integers(0, 9, 80)
    values = (rng.random(80) < 0.1 + 0.1 * people + 0.05 * prompts) * 1.0
    rest = values - values.mean()

    def variance(names):
        groups = sorted(set(names))
        return (
            len(groups)
            / (len(groups) - 1)
            * sum(rest[[n == g for n in names]].sum() ** 2 for g in groups)
            / 80**2
        )

    one, other, cells = (
        variance(list(people)),
        variance(list(prompts)),
        variance(list(zip(people, prompts))),
    )
    rate = crossed_rate(values, list(people), [f"prompt {q}" for q in prompts])
    expected = math.sqrt(one + other - cells)
    assert expected**2 > max(one, other)
    mean = values.mean()
    assert rate.value == pytest.approx(mean)
    half = 2.570581835636314  # Student's t, 5 degrees of freedom: the tables' 2.571
    assert (
        logit(rate.high) - logit(mean)
        == pytest.approx(half * expected / (mean * (1 - mean)))
        == pytest.approx(logit(mean) - logit(rate.low))
    )
    alone = clustered_rate(values, list(people))
    assert logit(alone.high) - logit(mean) == pytest.approx(
        half * math.sqrt(one) / (mean * (1 - mean))
    )


def test_the_variance_used_is_never_less_than_a_one_way_one():
    """Opposite answers everywhere cancel by participant and by prompt: the two-way variance is
    negative there.
    """
    people, prompts = np.repeat(range(4), 6), np.tile(range(6), 4)
    values = (people + prompts) % 2 * 1.0
    values[:3] = 1.0
    one_way = clustered_rate(values, people), clustered_rate(values, prompts)
    rate = crossed_rate(values, people, prompts)
    assert rate.low <= one_way[0].low
    assert rate.low < one_way[1].low
    assert not math.isnan(rate.p)


def test_an_interval_holds_one_half_just_where_the_test_does_not_reject():
    for seed in range(40):
        (result,) = win_rates(
            SimulatedStudy(
                {"q": {"a": 0.7, "b": 0.0}},
                participants=8,
                prompts=15,
                trials=10,
                ties=0.2,
                seed=seed,
            ).ballots()
        )
        for rate in (result.half, result.decided):
            assert (rate.p < 0.05) == (not rate.low <= 0.5 <= rate.high)
            assert 0 < rate.low < rate.value < rate.high < 1


def test_what_one_sample_cannot_tell_is_nan():
    many = [
        ballot(choice, f"p{i}", f"q{j}")
        for i, j, choice in ((0, 0, L), (0, 1, R), (1, 0, L), (1, 1, L), (2, 0, R))
    ]
    for votes, value in (
        ([v for v in many if v.participant == "p0"], 0.5),
        ([v for v in many if v.prompt == "q0"], 2 / 3),
        ([replace(v, choice=L) for v in many], 1.0),
        ([replace(v, choice=T) for v in many], 0.5),
        (many[:1], 1.0),
    ):
        half = win_rates(votes)[0].half
        assert half.value == pytest.approx(value)
        assert all(map(math.isnan, half[1:]))
    (skipped,) = win_rates([ballot(S)])
    assert skipped.skips == 1
    assert skipped.participants == 0
    assert all(map(math.isnan, (*skipped.half, *skipped.wilson, skipped.majorities.p)))
    assert win_rates([]) == []
    assert not math.isnan(win_rates(many)[0].half.low)


def test_a_method_that_won_every_vote_has_a_one_sided_bound():
    votes = [ballot(L, f"p{i}", f"q{j}") for i in range(10) for j in range(6)]
    (result,) = win_rates(votes)
    assert result.unanimous.independent == pytest.approx(0.05 ** (1 / 60))  # 0.951
    # six votes share neither person nor prompt
    assert result.unanimous.certain == pytest.approx(0.05 ** (1 / 6))
    assert result.of("b").unanimous == result.unanimous
    (lost,) = win_rates([replace(vote, choice=R) for vote in votes])
    assert lost.unanimous == result.unanimous
    for one in (replace(votes[0], choice=R), replace(votes[0], choice=T)):
        assert win_rates([one, *votes[1:]])[0].unanimous is None
    assert win_rates([replace(vote, choice=T) for vote in votes])[0].unanimous is None
    assert win_rates([replace(vote, choice=S) for vote in votes])[0].unanimous is None
    assert win_rates([vote for vote in votes if vote.participant == "p0"])[0].unanimous is None
    # person 0 on all prompts, and everyone on prompt 0: two votes that share nothing
    star = [vote for vote in votes if vote.participant == "p0" or vote.prompt == "q0"]
    assert win_rates(star)[0].unanimous.certain == pytest.approx(0.05 ** (1 / 2))


def test_ballots_that_no_study_has_are_refused():
    with pytest.raises(StudyError, match="compares a with itself"):
        win_rates([ballot(L, right="a")])
    with pytest.raises(StudyError, match="two votes by quality; leave out the superseded one"):
        win_rates([ballot(L), ballot(R)])


def test_the_sign_test_is_the_binomial_one_of_prompts():
    votes = [ballot(L, prompt=f"first {n}") for n in range(9)] + [ballot(R, prompt="second")]
    votes += [
        ballot(choice, who, "even") for who, choice in (("ann", L), ("bob", R), ("cy", T))
    ] + [ballot(T, prompt="tied")]
    assert sign_test(votes, "a") == (9, 1, 2, pytest.approx(22 / 1024))  # 2 (1 + 10) / 2^10
    assert sign_test(votes, "b")[:3] == (1, 9, 2)
    assert math.isnan(sign_test(votes[-1:], "a").p)


def test_wilsons_interval_is_the_textbooks():
    assert wilson_interval(81, 263) == pytest.approx(
        (0.30798, 0.2553, 0.3662), abs=1e-4
    )  # Newcombe 1998, Table I
    assert wilson_interval(0, 10)[:2] == (0, 0)
    assert all(map(math.isnan, wilson_interval(0, 0)))


@pytest.mark.parametrize(
    ("rate", "people", "prompts", "ties"),
    [(0.5, 8, 20, 0.0), (0.65, 20, 40, 0.2), (0.8, 12, 40, 0.0)],
)
def test_intervals_cover_the_truth_where_naive_ones_do_not(rate, people, prompts, ties):
    truth, decided, studies = true_rate(logit(rate), ties=ties), true_rate(logit(rate)), 250
    results = [
        win_rates(
            SimulatedStudy(
                {"q": {"a": logit(rate), "b": 0.0}},
                participants=people,
                prompts=prompts,
                ties=ties,
                seed=seed,
            ).ballots()
        )[0]
        for seed in range(studies)
    ]
    assert sum(r.half.low <= truth <= r.half.high for r in results) >= 0.925 * studies
    assert sum(r.decided.low <= decided <= r.decided.high for r in results) >= 0.925 * studies
    assert sum(r.wilson.low <= decided <= r.wilson.high for r in results) <= 0.89 * studies
    assert np.mean([r.half.value for r in results]) == pytest.approx(truth, abs=0.02)


def test_a_true_null_is_rejected_at_the_level():
    results = [
        win_rates(SimulatedStudy({"q": {"a": 0.0, "b": 0.0}}, seed=1000 + seed).ballots())[0]
        for seed in range(300)
    ]
    naive = np.mean([not r.wilson.low <= 0.5 <= r.wilson.high for r in results])
    assert np.mean([r.half.p < 0.05 for r in results]) < 0.08
    assert naive > 0.16
