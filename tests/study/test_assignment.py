"""The assignment of trials: kinds and their order, balanced sides, no item twice, even filling; as
pure functions, without a database.
"""

from collections import Counter, defaultdict

import pytest

from tests.support.small_study import small_design
from workbench.study.assignment import (
    GOLD,
    PRACTICE,
    REAL,
    REPEAT,
    Given,
    NextTrial,
    next_trial,
    order,
)
from workbench.study.ballots import Choice
from workbench.study.design import REPEAT_GAP, SPOILED, StudyDesign

LONG = small_design(trials=20, gold=3, repeats=3)


def given_trials(
    design: StudyDesign,
    participant: str,
    filled: Counter | None = None,
    skipped: tuple[int, ...] = (),
) -> list[NextTrial]:
    """All trials of a participant who answers everything, or skips at some positions; `filled`
    counts the answers.
    """
    filled, given = Counter() if filled is None else filled, []
    while (trial := next_trial(design, participant, given, filled)) is not None:
        skip = trial.position in skipped
        given.append(Given(f"{participant}-{trial.position}", trial, skip))
        filled[trial.item] += trial.kind == REAL and not skip
    return [entry.content for entry in given]


def test_a_participant_gets_what_the_design_says_and_no_item_twice():
    for n in range(20):
        trials = given_trials(LONG, f"p{n}")
        assert [trial.position for trial in trials] == list(range(27))
        assert trials[0].kind == PRACTICE
        assert Counter(trial.kind for trial in trials) == {
            PRACTICE: 1,
            REAL: 20,
            GOLD: 3,
            REPEAT: 3,
        }
        real = [trial for trial in trials if trial.kind == REAL]
        assert len({trial.item for trial in real}) == 20
        for trial in real:
            item = LONG.items[trial.item]
            assert {trial.left, trial.right} == set(item.pair)
            assert LONG.prompts[trial.prompt] == item.prompt
            assert trial.expected is None


def test_every_item_can_be_given():
    design = small_design(trials=24)
    assert {trial.item for trial in given_trials(design, "p") if trial.kind == REAL} == set(
        range(24)
    )


def test_sides_are_balanced_in_blocks_of_two_within_participant_and_pair():
    both_ways = Counter()
    for n in range(60):
        sides = defaultdict(list)
        for trial in given_trials(LONG, f"p{n}"):
            if trial.kind == REAL:
                sides[LONG.items[trial.item].pair].append(trial.left)
        for pair, lefts in sides.items():
            blocks = [lefts[k : k + 2] for k in range(0, len(lefts) - 1, 2)]
            assert all(set(block) == set(pair) for block in blocks)
            both_ways.update(block[0] == pair[0] for block in blocks)
    assert 0.4 < both_ways[True] / both_ways.total() < 0.6  # 540 blocks: 4.6 standard errors


def test_a_participants_pairs_and_prompts_take_turns():
    trials = [LONG.items[trial.item] for trial in given_trials(LONG, "p") if trial.kind == REAL]
    assert sorted(Counter(item.pair for item in trials).values()) == [6, 7, 7]
    assert set(Counter(item.prompt for item in trials).values()) == {2, 3}


def test_gold_trials_show_a_spoiled_sheet_beside_its_own_method():
    right = Counter()
    for n in range(200):
        sheets = [trial for trial in given_trials(LONG, f"p{n}") if trial.kind == GOLD]
        for trial in sheets:
            assert SPOILED in (trial.left, trial.right)
            assert trial.item is None
            assert trial.expected == (Choice.LEFT if trial.right == SPOILED else Choice.RIGHT)
        shown = [
            (trial.left if trial.right == SPOILED else trial.right, trial.prompt)
            for trial in sheets
        ]
        assert len(set(shown)) == 3
        assert {method for method, _ in shown} == set(LONG.methods)
        gold = [trial.expected for trial in sheets if trial.kind == GOLD]
        assert set(gold[:2]) == {Choice.LEFT, Choice.RIGHT}
        right[gold[0]] += 1
    assert 70 < right[Choice.LEFT] < 130  # of 200: 4.2 standard errors


def test_practice_is_a_pair_as_any_and_comes_no_other_time():
    left = Counter()
    for n in range(200):
        practice, *others = given_trials(LONG, f"p{n}")
        item = LONG.items[practice.item]
        assert {practice.left, practice.right} == set(item.pair)
        assert SPOILED not in item.pair
        assert LONG.prompts[practice.prompt] == item.prompt
        assert practice.expected is None
        assert practice.item not in [trial.item for trial in others]
        left[practice.left == item.pair[0]] += 1
    assert 70 < left[True] < 130  # of 200: 4.2 standard errors


def test_practice_takes_an_item_that_needs_no_votes():
    filled = Counter(dict.fromkeys(range(0, 24, 2), 1))
    assert {next_trial(LONG, f"p{n}", [], filled).item for n in range(200)} == set(filled)


def test_who_all_join_at_once_leave_no_item_empty():
    """20 people practise while one item has a vote, then answer in turn: whoever practised an item
    does not get it, so they must not all have had the same.
    """
    filled, people = Counter({9: 1}), {f"p{n}": [] for n in range(20)}
    design = small_design()
    for _ in range(len(order(design, "p0"))):
        for person, given in people.items():
            trial = next_trial(design, person, given, filled)
            given.append(Given(f"{person}-{len(given)}", trial))
            filled[trial.item] += trial.kind == REAL
    votes = [filled[n] for n in range(24)]
    assert sum(votes) == 121
    assert max(votes) - min(votes) <= 1


def test_practice_comes_again_where_every_item_is_needed():
    practice, *others = given_trials(small_design(trials=24), "p")
    assert practice.item in [trial.item for trial in others if trial.kind == REAL]


def test_repeats_exchange_the_sides_of_an_earlier_real_trial():
    for n in range(50):
        trials = given_trials(LONG, f"p{n}")
        repeats = [trial for trial in trials if trial.kind == REPEAT]
        assert len({trial.repeats for trial in repeats}) == 3
        for trial in repeats:
            first = trials[int(trial.repeats.split("-")[1])]
            assert first.kind == REAL
            assert trial.position - first.position >= REPEAT_GAP
            assert (trial.left, trial.right, trial.item, trial.prompt) == (
                first.right,
                first.left,
                first.item,
                first.prompt,
            )


def test_a_skipped_trial_is_repeated_only_if_there_is_no_other():
    kinds = order(LONG, "p")
    skipped = tuple(n for n, kind in enumerate(kinds) if kind == REAL)
    some = given_trials(LONG, "p", skipped=skipped[::2])
    assert all(
        int(trial.repeats.split("-")[1]) in skipped[1::2] for trial in some if trial.kind == REPEAT
    )
    assert sum(trial.kind == REPEAT for trial in given_trials(LONG, "p", skipped=skipped)) == 3


def test_gold_and_repeats_are_spread_over_the_positions():
    design = small_design(trials=20, gold=2, repeats=2)
    places = {GOLD: Counter(), REPEAT: Counter()}
    for n in range(400):
        kinds = order(design, f"p{n}")[1:]
        gold = [k for k, kind in enumerate(kinds) if kind == GOLD]
        assert gold[0] <= 12 <= gold[1] + 1  # one in each half
        for k, kind in enumerate(kinds):
            if kind in places:
                places[kind][k] += 1
    assert min(places[GOLD][k] for k in range(1, 23)) > 10
    assert max(places[GOLD].values()) < 80
    assert min(places[REPEAT]) >= 4
    assert len(places[REPEAT]) > 15


@pytest.mark.parametrize(
    ("trials", "gold", "repeats"),
    [(3, 0, 1), (1, 2, 1), (2, 1, 2), (3, 0, 3), (5, 5, 5), (24, 0, 24), (1, 0, 0), (4, 20, 3)],
)
def test_every_design_that_is_accepted_can_be_carried_out(trials, gold, repeats):
    design = small_design(trials=trials, gold=gold, repeats=repeats)
    for n in range(10):
        counts = Counter(trial.kind for trial in given_trials(design, f"p{n}"))
        assert (counts[REAL], counts[GOLD], counts[REPEAT]) == (trials, gold, repeats)


def test_equal_arguments_give_equal_trials_and_others_do_not():
    assert given_trials(LONG, "p") == given_trials(LONG, "p")
    orders = {tuple(trial.item for trial in given_trials(LONG, f"p{n}")) for n in range(20)}
    assert len(orders) == 20
    assert given_trials(LONG, "p") != given_trials(
        small_design(trials=20, gold=3, repeats=3, seed=1), "p"
    )


def test_one_after_another_participants_fill_the_items_evenly():
    filled: Counter = Counter()
    for n in range(12):  # 12 x 6 = 72 = 3 for each of 24 items
        given_trials(small_design(), f"p{n}", filled)
    assert set(filled[item] for item in range(24)) == {3}


def test_the_first_item_is_any():
    firsts = Counter(
        next(trial.item for trial in given_trials(LONG, f"p{n}") if trial.kind == REAL)
        for n in range(600)
    )
    assert len(firsts) == 24
    assert max(firsts.values()) < 50
