"""Side bias, repeats, golds, times, exclusion and notices, by hand and on simulated studies; the
analysis with and without the excluded.
"""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from workbench.study.analysis.conduct import repeat_consistency, side_bias
from workbench.study.analysis.exclusion import (
    SIDES,
    Rule,
    breaches,
    chance_of_passing,
    excluded,
    gold_results,
    median_seconds,
    one_sidedness,
)
from workbench.study.analysis.findings import analysis
from workbench.study.analysis.notices import FAST, SIDE, notice
from workbench.study.analysis.simulation import SimulatedStudy
from workbench.study.ballots import Ballot, Choice, TrialKind
from workbench.study.design import StudyDesign
from workbench.study.errors import StudyError

L, R, T, S = Choice.LEFT, Choice.RIGHT, Choice.TIE, Choice.SKIP


def ballot(choice, participant="ann", prompt="a fox", trial=None, left="a", right="b", **more):
    criterion, trial = (
        more.pop("criterion", "quality"),
        trial or f"{participant} {prompt} {left} {right}",
    )
    return Ballot(trial, participant, prompt, criterion, left, right, choice, **more)


def test_side_bias_is_found_and_not_made_up():
    def p(bias, seed):
        return side_bias(
            SimulatedStudy(side_bias=bias, participants=12, trials=16, seed=seed).ballots()
        ).share

    assert np.mean([p(0.0, seed).p < 0.05 for seed in range(200)]) < 0.1
    biased = [p(0.8, seed) for seed in range(20)]
    assert all(share.value > 0.5 and share.p < 0.05 for share in biased)
    counted = side_bias(
        [
            ballot(L),
            ballot(R, "bob"),
            ballot(L, "cy"),
            ballot(T, "dan"),
            ballot(S, "eve"),
            ballot(L, prompt="g", kind=TrialKind.GOLD),
        ]
    )
    assert (counted.left, counted.right) == (2, 1)
    assert counted.share.value == pytest.approx(2 / 3)
    assert math.isnan(side_bias([]).share.value)


def repeated(first, again, who="ann"):
    return [
        ballot(first, who, trial="1"),
        ballot(again, who, trial="2", left="b", right="a", kind=TrialKind.REPEAT, repeats="1"),
    ]


def test_repeats_are_consistent_by_method():
    votes = (
        repeated(L, R)
        + repeated(L, L, "bob")
        + repeated(T, T, "cy")
        + repeated(T, L, "dan")
        + repeated(S, L, "eve")
        + repeated(R, L, "flo")
    )
    found = repeat_consistency(
        votes + [ballot(L, "gil", trial="2", kind=TrialKind.REPEAT, repeats="1")]
    )
    assert (found.same, found.repeats, found.left_out) == (3, 5, 2)
    assert found.share.value == 0.6
    assert found.chance == pytest.approx(0.7**2 / 2 + 0.3**2)  # 3 ties of 10 answers
    assert not math.isnan(found.share.low)
    assert repeat_consistency([]).chance == 0.5
    with pytest.raises(StudyError, match="trial 2 of b and c cannot repeat trial 1 of a and b"):
        repeat_consistency(
            [
                votes[0],
                ballot(L, trial="2", left="b", right="c", kind=TrialKind.REPEAT, repeats="1"),
            ]
        )


def test_careless_repeats_are_at_chance_and_decided_ones_above():
    careless = repeat_consistency(
        SimulatedStudy(participants=60, careless=60, ties=0.3, repeats=10, seed=1).ballots()
    )
    assert careless.share.low < careless.chance < careless.share.high
    assert careless.chance == pytest.approx(0.335, abs=0.02)
    alike = repeat_consistency(
        SimulatedStudy(participants=30, prompt_sd=3.0, repeats=10, seed=1).ballots()
    )
    assert alike.share.low > alike.chance == 0.5


def test_golds_are_counted_by_trial_and_the_rule_names_its_reasons():
    def gold(choice, who, trial, **more):
        return ballot(
            choice, who, trial=trial, kind=TrialKind.GOLD, expected=more.pop("expected", L), **more
        )

    votes = [
        gold(L, "ann", "1"),
        gold(L, "ann", "1", criterion="diversity"),
        gold(T, "ann", "2"),
        gold(S, "ann", "3"),
        gold(R, "bob", "1"),
        gold(R, "bob", "1", criterion="diversity"),
        gold(R, "bob", "2"),
        gold(R, "cy", "1", expected=None),
        ballot(L, "dan", seconds=2.0),
    ]
    golds = gold_results(votes)
    assert [(g.failed, g.answered, g.skipped) for g in golds.values()] == [
        (1, 2, 1),
        (2, 2, 0),
        (0, 0, 0),
        (0, 0, 0),
    ]
    assert next(iter(golds)) == "ann"
    assert excluded(votes, max_gold_failures=2) == {}
    assert excluded(votes, 1) == {"bob": ("failed 2 of 2 gold trials, more than 1",)}
    quick = excluded([*votes, ballot(L, "bob", prompt="x", seconds=0.4)], 1, min_seconds=3)
    assert quick["dan"] == ("median answer in 2.0 s, under 3 s",)
    assert len(quick["bob"]) == 2


def one_person(choices, criterion="quality", seconds=9.0):
    return [
        ballot(choice, prompt=f"{n}", criterion=criterion, seconds=seconds, position=n + 1)
        for n, choice in enumerate(choices)
    ]


@pytest.mark.parametrize(
    ("choices", "p"),
    [
        ([], 1.0),
        ([L], 1.0),
        ([L] * 10, 2 / 2**10),
        ([R] * 11, 2 / 2**11),
        ([L] * 10 + [R] + [T] * 5 + [S] * 3, 2 * 12 / 2**11),
        ([L, R] * 5, 1.0),
    ],
)
def test_one_sidedness_is_the_exact_binomial_p(choices, p):
    left, right, found = one_sidedness(one_person(choices))
    assert (left, right) == (choices.count(L), choices.count(R))
    assert found == pytest.approx(p)
    if choices:
        assert found == pytest.approx(float(binomtest(left, left + right).pvalue))
    both = [*one_person(choices), *one_person([L, R] * 5, "diversity")]
    assert one_sidedness(both)[2] == pytest.approx(min(1, 2 * p))  # the worse of two criteria


def test_each_part_of_the_rule_excludes_with_its_reason():
    quick, always = [1.0] * 4 + [9.0] * 16, one_person([L] * 25 + [R] * 3)
    votes = [ballot(T, prompt=f"{n}", seconds=s) for n, s in enumerate(quick)]
    assert excluded(votes, 1, 1.5, max_fast=0.2) == {}
    assert excluded(votes, 1, 1.5, max_fast=0.19) == {
        "ann": ("4 of 20 answers in under 1.5 s, more than 19 %",)
    }
    assert excluded(votes, 1, 1.5) == {}  # the median is not
    assert excluded(always, 1, min_side_p=0.001) == {"ann": ("chose the left side 25 of 28 times",)}
    assert excluded(always, 1, min_side_p=1e-6) == excluded(always, 1) == {}
    assert breaches([*always, *one_person([L] * 28, "other", 0.1)], Rule(1, 1.5, 0.2, 0.001)) == {
        "ann": {SIDES: "chose the left side 28 of 28 times"}
    }  # a trial takes as long as its last answer


def test_a_coin_passes_gold_questions_as_computed():
    assert chance_of_passing(8, 1) == 9 / 256
    assert chance_of_passing(2, 1) == 0.75
    assert chance_of_passing(0, 1) == chance_of_passing(2, 5) == 1


def test_ten_answers_in_two_seconds_on_one_side_are_excluded_and_told():
    """The person of the report that led to this rule: 2.4 s for ten questions, the left side 25
    times of 28, no repeat answered alike, one gold question of two failed.
    """
    votes = one_person([L] * 25 + [R] * 3, seconds=0.24)
    design = StudyDesign("t", ("a", "b"), tuple("pqrstuvw"), (0,), trials=8, repeats=0)
    assert excluded(votes, *design.rule)["ann"] == (
        "28 of 28 answers in under 1.5 s, more than 15 %",
        "chose the left side 25 of 28 times",
    )
    assert notice(votes, design.rule) == (3, FAST)


def test_a_notice_comes_once_after_the_answer_that_gave_rise_to_it():
    rule = Rule(1, 1.5, 0.2, 0.001)
    assert notice([], rule) is None
    fast = one_person([L, R, T, R], seconds=1.0)
    assert notice(fast[:2], rule) is None
    assert notice(fast[:3], rule) == notice(fast, rule) == (3, FAST)
    assert notice(fast, Rule(1)) is None  # a study without this part of the rule
    sided = one_person([L] * 9)
    assert notice(sided[:7], rule) is None
    assert notice(sided[:8], rule) == notice(sided, rule) == (8, SIDE)
    assert notice(sided, Rule(1, 1.5)) is None
    for between in (R, T):
        assert notice(one_person([L] * 7 + [between] + [L] * 7), rule) is None
    assert notice(one_person([L] * 4 + [S] + [L] * 4), rule) == (9, SIDE)
    mixed = [*one_person([L] * 9), *one_person([R] * 9, "diversity")]
    assert notice(mixed, rule) is None
    assert notice([*one_person([L] * 9), *one_person([T] * 9, "diversity")], rule) is None


def test_seconds_are_medians_of_trials():
    votes = [
        ballot(L, prompt=p, seconds=s, criterion=c)
        for p, s, c in (("x", 4, "quality"), ("x", 6, "diversity"), ("y", 9, "quality"))
    ]
    assert median_seconds(
        [*votes, ballot(S, prompt="z", seconds=1), ballot(S, "bob", seconds=1)]
    ) == {"ann": 7.5}


def test_an_analysis_stands_with_and_without_the_careless():
    scores = {"diversity": {"ours": 1.5, "theirs": 0.0, "third": 0.5}}
    ballots = SimulatedStudy(
        scores, participants=16, careless=6, golds=8, repeats=3, trials=30, prompts=30, seed=2
    ).ballots()
    found = analysis(ballots, max_gold_failures=2, min_seconds=3.0)
    assert sorted(found.excluded) == [f"p{n:03}" for n in range(10, 16)]
    assert len(found.golds) == len(found.seconds) == 16
    everyone, kept = (f.pairs[0] for f in (found.everyone, found.kept))
    assert (everyone.participants, kept.participants) == (
        16,
        10,
    )
    assert 0.5 < everyone.half.value < kept.half.value
    assert list(found.kept.strengths[0].scores) == ["ours", "third", "theirs"]
    assert found.kept.repeats.repeats == 30
    assert found == analysis(ballots, 2, 3.0)
    two = analysis([b for b in ballots if "third" not in b.pair], max_gold_failures=8)
    assert two.everyone is two.kept
    assert not two.everyone.strengths
    assert not two.everyone.unscaled
    nobody = analysis(ballots, max_gold_failures=-1)
    assert len(nobody.excluded) == 16
    assert nobody.kept.pairs == []
    assert math.isnan(nobody.kept.side_bias.share.value)
    apart = analysis([ballot(L), ballot(R, left="c", right="d", prompt="x")], 0)
    assert "never compared with each other" in apart.everyone.unscaled
    assert len(apart.everyone.pairs) == 2
    assert analysis([], 0).everyone.pairs == []
