"""Votes and undoing them, on both databases: an acknowledged vote counts once, whatever is repeated
or done in parallel.
"""

from functools import partial

import pytest

from tests.support.small_study import (
    answer,
    answer_all,
    answers_of,
    at_once,
    kept,
    new_id,
    small_design,
)
from workbench.study.ballots import Choice
from workbench.study.errors import Conflict, NotKnown, StudyError
from workbench.study.store.store import Store

# ---- submissions


def test_a_repeated_submission_counts_once_and_gets_the_first_receipt(store):
    participant, _ = store.join(True)
    answer(store, participant)
    trial, client_id = store.next_trial(participant), new_id()
    first = store.vote(participant, trial.id, answers_of(1), client_id, 1.0, now=100.0)
    assert first.received == 100.0
    again = at_once(
        10,
        lambda n: store.vote(
            participant,
            trial.id,
            answers_of(1),
            client_id.upper() if n % 2 else client_id,
            2.0 + n,
            now=200.0,
        ),
    )
    assert again == [first] * 10
    assert len(store.ballots()) == 2
    assert {ballot.seconds for ballot in store.ballots()} == {1.0}
    answer(store, participant)
    assert (
        store.vote(participant, trial.id, answers_of(1), client_id, 1.0) == first
    )  # also long after


def test_a_parallel_first_submission_counts_once(store):
    participant, _ = store.join(True)
    answer(store, participant)
    for n in range(3):
        trial, client_id = store.next_trial(participant), new_id()
        submission = (participant, trial.id, answers_of(n), client_id, 1.0)
        receipts = at_once(8, lambda _, submission=submission: store.vote(*submission))
        assert receipts == receipts[:1] * 8
        assert receipts[0].trial == trial.id
    assert len(store.ballots()) == 6


def test_an_id_with_another_content_is_refused_and_changes_nothing(store):
    (participant, _), (other, _) = store.join(True), store.join(True)
    answer(store, participant), answer(store, other)
    trial, client_id = store.next_trial(participant), new_id()
    store.vote(participant, trial.id, answers_of(1), client_id, 1.0)
    following, foreign = store.next_trial(participant), store.next_trial(other)
    for who, which, answers, reason in (
        (participant, trial, answers_of(2), ""),
        (participant, trial, {}, "too small"),
        (participant, following, answers_of(1), ""),
        (other, foreign, answers_of(1), ""),
    ):
        with pytest.raises(Conflict, match="id was used before"):
            store.vote(who, which.id, answers, client_id, 1.0, reason)
    assert kept(store) == {trial.id: answers_of(1)}
    assert store.next_trial(participant) == following
    assert store.next_trial(other) == foreign


def test_one_id_of_two_participants_at_once_counts_for_one(store):
    people = [store.join(True).participant for _ in range(6)]
    for participant in people:
        answer(store, participant)
    trials, client_id = [store.next_trial(participant) for participant in people], new_id()
    results = at_once(
        6, lambda n: store.vote(people[n], trials[n].id, answers_of(n), client_id, 1.0)
    )
    (winner,) = [n for n, result in enumerate(results) if not isinstance(result, Conflict)]
    assert kept(store) == {trials[winner].id: answers_of(winner)}


def test_two_tabs_never_give_two_answers_and_the_refused_one_is_logged(store):
    participant, _ = store.join(True)
    answer(store, participant)
    trial = store.next_trial(participant)
    results = at_once(6, lambda n: store.vote(participant, trial.id, answers_of(n), new_id(), 1.0))
    (winner,) = [n for n, result in enumerate(results) if not isinstance(result, StudyError)]
    assert all(
        isinstance(result, Conflict) and "answered already" in str(result)
        for n, result in enumerate(results)
        if n != winner
    )
    assert kept(store) == {trial.id: answers_of(winner)}
    refused = [
        event.data["submission"]
        for event in store.events()
        if event.kind == "refused vote" and event.participant == participant
    ]
    assert {entry["trial"] for entry in refused} == {trial.id}
    assert sorted(map(repr, (entry["choices"] for entry in refused))) == sorted(
        repr(answers_of(n)) for n in range(6) if n != winner
    )


NO_ANSWERS = [
    ({"answers": {"diversity": "left"}}, "an answer is needed by each of diversity, quality"),
    ({"answers": {**answers_of(0), "style": "left"}}, "by no other criterion"),
    (
        {"answers": {"diversity": "left", "quality": "middle"}},
        "quality is answered by left, right, tie, not by 'middle'",
    ),
    ({"answers": {"diversity": "left", "quality": "undone"}}, "not by 'undone'"),
    ({"answers": {"diversity": "left", "quality": "skip"}}, "not by 'skip'"),
    ({"answers": {"diversity": "left", "quality": ["left"]}}, "quality is answered by"),
    ({"answers": None}, "an answer is needed"),
    ({"answers": {}}, "or a reason to skip"),
    ({"answers": {}, "skip_reason": " "}, "a reason to skip"),
    ({"skip_reason": "broken"}, "either answered or skipped"),
    ({"answers": {}, "skip_reason": "x" * 1001}, "at most 1000 characters"),
    ({"answers": {}, "skip_reason": 7}, "at most 1000 characters"),
    ({"client_id": "1"}, "must be a UUID"),
    ({"client_id": None}, "must be a UUID"),
    ({"seconds": -1}, "seconds must be"),
    ({"seconds": float("nan")}, "seconds must be"),
    ({"seconds": "1"}, "seconds must be"),
    ({"trial": "none"}, "no such trial"),
    ({"trial": "' OR ''='"}, "no such trial"),
    ({"trial": "\ud800\0"}, "no such trial"),
    ({"participant": "none"}, "no such participant"),
    ({"participant": None}, "no such participant"),
]


def test_what_is_no_answer_is_refused_and_the_trial_stays_open(store):
    participant, _ = store.join(True)
    trial = store.next_trial(participant)
    vote = {
        "participant": participant,
        "trial": trial.id,
        "answers": answers_of(0),
        "client_id": new_id(),
        "seconds": 1.0,
    }
    for changes, message in NO_ANSWERS:
        with pytest.raises(StudyError, match=message):
            store.vote(**(vote | changes))
    for call in (
        store.next_trial,
        store.undo,
        store.progress,
        lambda nobody: store.shown(nobody, trial.id),
    ):
        for nobody in ("none", None, "\ud800\0"):
            with pytest.raises(NotKnown, match="no such participant"):
                call(nobody)
    assert store.next_trial(participant) == trial
    store.vote(**vote)


def test_ties_are_refused_where_they_are_switched_off(tmp_path):
    with Store.create(tmp_path / "study.sqlite", small_design(ties=False)) as store:
        participant, _ = store.join(True)
        trial = store.next_trial(participant)
        with pytest.raises(StudyError, match="diversity is answered by left, right, not by 'tie'"):
            store.vote(
                participant, trial.id, {"diversity": "tie", "quality": "left"}, new_id(), 1.0
            )


def test_nobody_answers_opens_or_sees_someone_elses_trial(store):
    (one, _), (other, _) = store.join(True), store.join(True)
    trial = store.next_trial(one)
    for call in (
        lambda: store.vote(other, trial.id, answers_of(0), new_id(), 1.0),
        lambda: store.undo(other, trial.id),
        lambda: store.shown(other, trial.id),
    ):
        with pytest.raises(NotKnown, match="this participant has no such trial"):
            call()
    store.vote(one, trial.id, answers_of(0), new_id(), 1.0)
    with pytest.raises(StudyError, match="no answer to undo"):
        store.undo(other)


def test_a_skip_is_of_the_whole_trial_and_leaves_the_item_to_others(store):
    participant, _ = store.join(True)
    answer(store, participant)
    while store.image_of((trial := store.next_trial(participant)).left).kind != "real":
        answer(store, participant)
    store.vote(participant, trial.id, {}, new_id(), 2.0, skip_reason="  picture\0s broken \ud800")
    ballots = [ballot for ballot in store.ballots() if ballot.trial == trial.id]
    assert [ballot.choice for ballot in ballots] == [Choice.SKIP] * 2
    status = store.status()
    assert (status.skipped, status.trials["real"], sum(entry.votes for entry in status.items)) == (
        1,
        0,
        0,
    )
    assert store.undo(participant) == trial


# ---- undo


def test_undo_opens_the_last_answer_and_keeps_all_that_was_said(store):
    participant, _ = store.join(True)
    with pytest.raises(StudyError, match="there is no answer to undo yet"):
        store.undo(participant)
    ids = [answer(store, participant, n) for n in range(4)]
    following = store.next_trial(participant)
    assert store.undo(participant).id == ids[3] == store.next_trial(participant).id
    assert store.undo(participant).id == ids[2] == store.next_trial(participant).id  # two steps
    assert list(kept(store)) == ids[1:2]
    assert store.progress(participant).last == ids[1]
    for again in (7, 8):
        assert answer(store, participant, again) == ids[again - 5]
    assert store.next_trial(participant) == following
    assert kept(store) == {ids[1]: answers_of(1), ids[2]: answers_of(7), ids[3]: answers_of(8)}


def test_undo_and_redo_many_times_leave_one_live_vote(store):
    participant, _ = store.join(True)
    answer(store, participant)
    trial = store.next_trial(participant)
    for n in range(12):
        store.vote(participant, trial.id, answers_of(n), new_id(), 1.0)
        assert kept(store) == {trial.id: answers_of(n)}
        assert store.undo(participant, trial.id) == trial
        assert not store.ballots()


def test_a_repeated_undo_goes_back_once(store):
    participant, _ = store.join(True)
    ids, client_id = [answer(store, participant, n) for n in range(4)], new_id()
    assert {
        trial.id for trial in at_once(6, lambda n: store.undo(participant, client_id=client_id))
    } == {ids[3]}
    assert {trial.id for trial in at_once(6, lambda n: store.undo(participant, ids[3]))} == {
        ids[3]
    }  # another tab: open already
    assert list(kept(store)) == ids[1:3]
    with pytest.raises(Conflict, match="only the last answered trial"):
        store.undo(participant, ids[1])
    answer(store, participant, 5)
    store.undo(participant, ids[3], client_id)  # the first one, arriving late
    assert kept(store)[ids[3]] == answers_of(5)
    with pytest.raises(Conflict, match="id was used before"):
        store.vote(participant, store.next_trial(participant).id, answers_of(0), client_id, 1.0)


def test_who_had_finished_has_not_after_an_undo(store):
    participant, _ = store.join(True)
    ids = answer_all(store, participant)
    assert len(ids) == 9
    assert store.status().finished == 1
    assert store.undo(participant).id == ids[-1]
    assert not store.progress(participant).finished
    assert store.status().finished == 0
    assert answer_all(store, participant) == ids[-1:]
    assert store.status().finished == 1


def test_undo_and_vote_at_once_end_in_one_of_both_orders(store):
    participant, _ = store.join(True)
    answer(store, participant)
    for n in range(6):
        trial = store.next_trial(participant)
        store.vote(participant, trial.id, answers_of(n), new_id(), 1.0)
        calls = (
            partial(store.undo, participant, trial.id),
            partial(store.vote, participant, trial.id, answers_of(n + 1), new_id(), 1.0),
        )
        opened, voted = at_once(2, lambda k, calls=calls: calls[k]())
        assert opened == trial
        assert kept(store).get(trial.id) == (
            None if isinstance(voted, Conflict) else answers_of(n + 1)
        )
        if isinstance(voted, Conflict):
            store.vote(participant, trial.id, answers_of(n), new_id(), 1.0)
