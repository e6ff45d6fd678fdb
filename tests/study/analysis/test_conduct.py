"""Side bias, repeats, golds, times and exclusion, by hand and on simulated studies; the analysis
with and without the excluded.
"""

import math

import numpy as np
import pytest

from workbench.study.analysis.conduct import repeat_consistency, side_bias
from workbench.study.analysis.exclusion import excluded, gold_results, median_seconds
from workbench.study.analysis.findings import analysis
from workbench.study.analysis.simulation import SimulatedStudy
from workbench.study.ballots import Ballot, Choice, TrialKind
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
