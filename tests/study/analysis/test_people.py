"""Whom the default rule excludes: the simulation of the documentation, in small, and its people."""

from collections import Counter
from dataclasses import replace

import pytest

from workbench.study.analysis.exclusion import GOLD, SIDES, TIME, Rule
from workbench.study.analysis.people import (
    CARELESS,
    HONEST,
    caught,
    simulated_ballots,
    trials_of_people,
)
from workbench.study.ballots import Choice, TrialKind
from workbench.study.design import StudyDesign

DESIGN = StudyDesign(
    "Simulated", ("one", "other"), tuple(f"prompt {n}" for n in range(40)), (0, 1, 2, 3)
)
PEOPLE = 300


@pytest.fixture(scope="module")
def found():
    return {one.person.name: one for one in caught(DESIGN, (*HONEST, *CARELESS), PEOPLE)}


@pytest.mark.parametrize("person", CARELESS, ids=lambda person: person.name)
def test_the_default_rule_finds_the_careless(found, person):
    assert found[person.name].high >= 0.95
    assert found[person.name].share >= 0.93


@pytest.mark.parametrize("person", HONEST, ids=lambda person: person.name)
def test_the_default_rule_leaves_the_honest(found, person):
    assert found[person.name].low <= 0.02
    assert found[person.name].share <= 0.03


def test_who_always_presses_one_key_never_passes(found):
    for name in ("always left", "always right", "fast and always left"):
        assert found[name].share == 1
        assert found[name].parts[GOLD] == found[name].parts[SIDES] == 1
    assert found["fast and random"].parts[TIME] > 0.75


def test_the_rule_of_earlier_versions_let_a_single_key_pass_by_construction():
    earlier = replace(DESIGN, gold=2, late_gold=False)
    for one in caught(earlier, CARELESS[:2], 100, Rule(1)):
        assert one.share == 0


def test_people_answer_the_trials_that_a_study_gives_them():
    trials = trials_of_people(DESIGN, 30)
    for own in trials:
        assert Counter(trial.kind for trial in own) == {"real": 20, "gold": 8, "repeat": 2}
        sides = [trial.expected for trial in own if trial.kind == "gold"]
        assert all(set(sides[n : n + 2]) == {Choice.LEFT, Choice.RIGHT} for n in range(0, 8, 2))
    late = [trial.position > 15 for own in trials for trial in own if trial.kind == "gold"]
    assert 0.7 < sum(late) / len(late) < 0.85  # three quarters in the second half
    ballots = simulated_ballots(DESIGN, CARELESS[0], trials)
    assert ballots == simulated_ballots(DESIGN, CARELESS[0], trials)
    assert {ballot.choice for ballot in ballots} == {Choice.LEFT}
    assert len(ballots) == 30 * 30 * 2
    golds = [ballot for ballot in ballots if ballot.kind == TrialKind.GOLD]
    assert {ballot.expected for ballot in golds if ballot.criterion == "diversity"} == {None}


def test_a_tired_person_is_honest_until_then():
    tired = next(one for one in CARELESS if one.until == 0.5 and one.seconds < 5)
    ballots = simulated_ballots(DESIGN, tired, trials_of_people(DESIGN, 200))
    right = {True: [], False: []}
    for ballot in ballots:
        if ballot.expected:
            right[ballot.position <= 15].append(ballot.choice == ballot.expected)
    assert sum(right[True]) / len(right[True]) > 0.95
    assert 0.4 < sum(right[False]) / len(right[False]) < 0.6
    early = sorted(ballot.seconds for ballot in ballots if ballot.position <= 15)
    late = sorted(ballot.seconds for ballot in ballots if ballot.position > 15)
    assert early[len(early) // 2] > 6 * late[len(late) // 2]
