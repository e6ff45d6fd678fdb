"""Krippendorff's alpha: his own worked examples, closed forms, and the coverage of intervals on
studies of known truth.
"""

import math

import numpy as np
import pytest
from scipy.special import expit, logit

from workbench.study.analysis.agreement import agreements, nominal_alpha
from workbench.study.analysis.simulation import SimulatedStudy
from workbench.study.ballots import Ballot, Choice

# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability": D (4 observers, 12 units, missing
# data), A (2 observers, 10 units)
FOUR = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
TWO = ["0100000000", "1110010010"]


def units(observers):
    return [[answer for answer in unit if answer != "."] for unit in zip(*observers)]


def test_krippendorffs_examples():
    assert nominal_alpha(units(FOUR)).value == pytest.approx(0.743, abs=5e-4)
    assert nominal_alpha(units(TWO)).value == pytest.approx(0.095, abs=5e-4)
    assert nominal_alpha(units(FOUR) + [["1"], []]) == nominal_alpha(
        units(FOUR)
    )  # a unit of one answer pairs with nothing


def test_two_answers_a_unit_give_the_closed_form():
    """alpha = 1 - (n - 1) d / (2 n_a n_b / 2), d of U units apart, n = 2 U."""
    found = nominal_alpha(["aa"] * 5 + ["bb"] * 3 + ["ab"] * 2)
    assert found.value == pytest.approx(1 - 19 * (2 * 2) / (2 * 12 * 8))
    assert nominal_alpha(["aa", "bb", "bb"])[0] == 1
    assert nominal_alpha(["xy", "yx"]).value == -0.5


def test_the_interval_is_the_jackknifes():
    data = units(FOUR)
    found, without = (
        nominal_alpha(data),
        np.array([nominal_alpha(data[:n] + data[n + 1 :]).value for n in range(11)]),
    )
    half = 2.228138851964939 * math.sqrt(
        10 / 11 * ((without - without.mean()) ** 2).sum()
    )  # Student's t, 10 degrees of freedom
    assert found.low == pytest.approx(found.value - half)
    assert found.high == min(found.value + half, 1)


def test_the_interval_is_wider_where_people_vary_too():
    """Variances of alpha without each prompt, each person and each answer, by leaving them out."""
    rng = np.random.default_rng(0)
    answers = {
        (person, unit): "ab"[int(rng.random() < 0.2 + 0.15 * unit)]
        for person in range(5)
        for unit in range(4)
        if (person, unit) != (2, 3)
    }

    def value(kept):
        return nominal_alpha([[a for (_, u), a in kept.items() if u == v] for v in range(4)]).value

    def spread(groups):
        found = np.array(
            [value({k: a for k, a in answers.items() if k not in group}) for group in groups]
        )
        return ((found - found.mean()) ** 2).sum() * (len(found) - 1) / len(found)

    prompts = spread([[k for k in answers if k[1] == unit] for unit in range(4)])
    people = spread([[k for k in answers if k[0] == person] for person in range(5)])
    both = prompts + people - spread([[key] for key in answers])
    units = [[(p, a) for (p, u), a in answers.items() if u == unit] for unit in range(4)]
    found = nominal_alpha(
        [[a for _, a in unit] for unit in units], 0.95, [[p for p, _ in unit] for unit in units]
    )
    half = 3.182446305284263 * math.sqrt(max(both, prompts, people))  # Student's t, 3
    assert found.value == pytest.approx(value(answers))
    assert found.low == pytest.approx(found.value - half)
    assert found.high == pytest.approx(min(found.value + half, 1))


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ([], math.nan),
        (["a", ""], math.nan),
        (["aa", "aaa"], math.nan),
        (["ab"], 0),
        (["ab", "ab"], -0.5),
        (["aa"] * 9 + ["ab"], 0),
    ],
)
def test_what_the_units_cannot_tell_is_nan(data, value):
    found = nominal_alpha(data)
    assert found.value == pytest.approx(value, nan_ok=True)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_answers_are_methods_and_pairs_are_apart():
    def vote(who, prompt, left, right, choice):
        return Ballot(f"{who} {prompt} {left} {right}", who, prompt, "quality", left, right, choice)

    ab = [
        vote(
            who,
            prompt,
            *(("a", "b") if who == "ann" else ("b", "a")),
            Choice.LEFT if (who == "ann") == (prompt == "x") else Choice.RIGHT,
        )
        for who in ("ann", "bob")
        for prompt in ("x", "y")
    ]  # both prefer a on x and b on y, on other sides
    bc = [
        vote("ann", "x", "b", "c", Choice.TIE),
        vote("bob", "x", "c", "b", Choice.TIE),
        vote("ann", "y", "b", "c", Choice.LEFT),
        vote("bob", "y", "b", "c", Choice.SKIP),
        vote("cy", "y", "b", "c", Choice.LEFT),
    ]
    first, second = agreements(ab + bc)
    assert (first.pair, first.units, first.answers, first.alpha.value) == (("a", "b"), 2, 4, 1)
    assert (second.pair, second.units, second.answers, second.alpha.value) == (("b", "c"), 2, 4, 1)


def true_alpha(difference, participant_sd, prompt_sd):
    """Of all people and prompts: 1 - E[pi (1 - pi)] / (m (1 - m)), pi a prompt's rate over people
    and m its mean.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    weights = weights / weights.sum()
    pi = weights @ expit(difference + participant_sd * nodes[:, None] + prompt_sd * nodes)
    return 1 - (pi * (1 - pi)) @ weights / ((pi @ weights) * (1 - pi @ weights))


@pytest.mark.parametrize("prompt_sd", [0.8, 2.0])
def test_intervals_cover_the_truth(prompt_sd):
    truth, found = true_alpha(logit(0.65), 0.5, prompt_sd), []
    for seed in range(200):
        ballots = SimulatedStudy(
            {"q": {"a": logit(0.65), "b": 0.0}},
            participants=20,
            prompts=40,
            prompt_sd=prompt_sd,
            seed=seed,
        ).ballots()
        found.append(agreements(ballots)[0].alpha)
    assert np.mean([alpha.low <= truth <= alpha.high for alpha in found]) >= 0.88
    assert np.mean([alpha.value for alpha in found]) == pytest.approx(truth, abs=0.02)
    assert np.mean([alpha.high - alpha.low for alpha in found]) < 0.3
