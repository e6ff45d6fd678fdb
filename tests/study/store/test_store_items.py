"""The items of a study, on both databases: reserved for a while, filled evenly, and given again if
votes of the excluded do not count.
"""

from tests.support.small_study import (
    answer,
    answer_all,
    answers_of,
    at_once,
    kept,
    new_id,
    small_design,
)
from workbench.study.analysis.exclusion import excluded
from workbench.study.design import SPOILED
from workbench.study.store.records import failed_out
from workbench.study.store.store import Store

# ---- reservations and even filling


def test_an_expired_reservation_counts_no_more_and_its_answer_still_does(tmp_path):
    design = small_design(
        methods=("a", "b"),
        pairs=(),
        prompts=("one", "two"),
        trials=1,
        gold=0,
        repeats=0,
        expires_minutes=10,
    )
    with Store.create(tmp_path / "study.sqlite", design) as store:

        def begun(now):
            participant = store.join(True).participant
            answer(store, participant, now=now)
            return participant, store.next_trial(participant, now)

        def counts(now):
            return {
                entry.item.prompt: (entry.votes, entry.reserved)
                for entry in store.status(now).items
            }

        slow, first = begun(0.0)
        _, second = begun(1.0)
        assert {first.prompt, second.prompt} == {"one", "two"}
        assert set(counts(599.0).values()) == {(0, 1)}
        assert counts(600.0)[first.prompt] == (0, 0)
        assert counts(600.0)[second.prompt] == (0, 1)
        _, instead = begun(600.5)
        assert instead.prompt == first.prompt  # given away
        store.vote(slow, first.id, answers_of(3), new_id(), 1.0, now=1000.0)
        assert kept(store) == {first.id: answers_of(3)}
        assert counts(1000.0)[first.prompt] == (1, 1)


def test_who_comes_back_late_goes_on_with_the_same_trial_reserved_anew(store):
    participant, _ = store.join(True)
    answer(store, participant, now=0.0)
    trial = store.next_trial(participant, 0.0)
    assert store.status(1e6).reserved == 0
    assert store.next_trial(participant, 1e6) == trial
    kind = store.image_of(trial.left).kind
    assert store.status(1e6 + 1799).reserved == (kind == "real")
    assert store.status(1e6 + 1800).reserved == 0


def test_thirty_at_once_fill_the_items_evenly_though_some_leave(where):
    """24 items, 20 people with 6 real trials: 5 votes for each item. Ten leave after two to four
    trials with one open, which expires.

    Counts may differ by two: who has had all of the emptiest items gets another."""
    design = small_design(votes_per_item=5)
    with Store.create(where, design) as store:

        def leave(n):
            participant = store.join(True).participant
            for _ in range(2 + n % 3):
                answer(store, participant, now=0.0)
            store.next_trial(participant, now=0.0)

        assert at_once(10, leave) == [None] * 10
        early = sum(entry.votes for entry in store.status(0.0).items)
        reserved = [entry.votes + entry.reserved for entry in store.status(0.0).items]
        assert max(reserved) - min(reserved) <= 2
        assert sum(reserved) > early

        def stay(n):
            participant = store.join(True).participant
            while answer(store, participant, now=2000.0):
                pass

        assert at_once(20, stay) == [None] * 20
        votes = [entry.votes for entry in store.status(2000.0).items]
        assert sum(votes) == early + 120
        assert max(votes) - min(votes) <= 2
        assert store.status(2000.0).full
        assert store.status(2000.0).finished == 20


def test_no_participant_of_a_filled_study_is_turned_away(tmp_path):
    with Store.create(tmp_path / "study.sqlite", small_design(votes_per_item=1)) as store:
        for _ in range(4):
            assert len(answer_all(store, store.join(True).participant)) == 9
        assert store.status().full
        assert len(answer_all(store, store.join(True).participant)) == 9


# ---- the excluded


def answer_golds(store, participant, right, count=None):
    """Answers everything, or `count` trials, the golds rightly or not."""
    ids = []
    while len(ids) != count and (trial := store.next_trial(participant)):
        left, side = store.image_of(trial.left), "left"
        if left.kind == "gold":
            side = "right" if (left.method == SPOILED) == right else "left"
        store.vote(participant, trial.id, {"diversity": "left", "quality": side}, new_id(), 5.0)
        ids.append(trial.id)
    return ids


def test_the_votes_of_the_excluded_are_told_and_their_items_go_to_others(where):
    """24 items and 4 people with 6 real trials: one is excluded for a failed gold, and all 24
    items get a vote that counts with a fifth.
    """
    design = small_design(max_gold_failures=0, votes_per_item=1)
    with Store.create(where, design) as store:
        for n in range(4):
            answer_golds(store, store.join(True).participant, right=n > 0)
        status = store.status()
        assert status.excluded == 1
        assert not status.full
        assert [
            sum(entry.votes for entry in status.items),
            sum(entry.counted for entry in status.items),
        ] == [24, 18]
        assert {entry.counted for entry in status.items} == {0, 1}
        assert max(entry.votes for entry in status.items) == 2
        for _ in range(2):
            answer_golds(store, store.join(True).participant, right=True)
        status = store.status()
        assert status.full
        assert status.excluded == 1
        assert sum(entry.counted for entry in status.items) == 30


def test_an_undone_gold_counts_the_participant_in_again(tmp_path):
    design = small_design(max_gold_failures=0)
    with Store.create(tmp_path / "study.sqlite", design) as store:
        participant = store.join(True).participant
        while store.image_of(store.next_trial(participant).left).kind != "gold":
            answer(store, participant)
        before = sum(entry.counted for entry in store.status().items)
        answer_golds(store, participant, right=False, count=1)
        with store._reading() as session:
            assert failed_out(session, design) == [participant]
        assert store.status().excluded == 1
        assert sum(entry.counted for entry in store.status().items) == 0
        store.undo(participant)
        assert store.status().excluded == 0
        answer_golds(store, participant, right=True, count=1)
        assert store.status().excluded == 0
        assert sum(entry.counted for entry in store.status().items) == before


def test_the_assignment_knows_the_same_failures_as_the_rule(where):
    """Answers of all kinds, skips too: who is out by golds for the assignment is who is out for
    the analysis.
    """
    design = small_design(gold=5, max_gold_failures=2)
    with Store.create(where, design) as store:
        for n in range(12):
            participant, k = store.join(True).participant, 0
            while trial := store.next_trial(participant):
                k += 1
                if (n + k) % 5 == 0:
                    store.vote(participant, trial.id, {}, new_id(), 1.0, skip_reason="why not")
                else:
                    store.vote(participant, trial.id, answers_of(n * k), new_id(), 1.0)
        with store._reading() as session:
            out = failed_out(session, design)
        assert sorted(out) == sorted(excluded(store.ballots(), 2))
        assert 0 < len(out) < 12


def test_who_answers_too_fast_is_told_and_keeps_the_items(tmp_path):
    with Store.create(
        tmp_path / "study.sqlite", small_design(min_seconds=2, max_gold_failures=9)
    ) as store:
        answer_all(store, store.join(True).participant)  # 1.5 s each
        status = store.status()
        assert status.excluded == 1
        assert sum(entry.votes for entry in status.items) == 6
        assert not any(entry.counted for entry in status.items)
        with store._reading() as session:
            assert failed_out(session, store.design) == []
