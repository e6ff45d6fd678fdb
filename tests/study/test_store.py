"""The store on both databases: what is acknowledged is kept and counts once, whatever is repeated or done at the same time."""

import itertools
import secrets
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.study.small_study import DESIGN, answer, answer_all, answers_of, kept, new_id, small_design
from workbench.study.ballots import Choice, Kind
from workbench.study.design import SPOILED
from workbench.study.errors import Conflict, NotKnown, StudyError
from workbench.study.exclusion import excluded
from workbench.study.records import failed_out
from workbench.study.store import Store


def at_once(count: int, call) -> list:
    """The results or errors of `count` calls that start together; call(n)."""
    start = threading.Barrier(count)

    def run(n):
        start.wait()
        try:
            return call(n)
        except StudyError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


# ---- one participant

def test_a_participant_answers_everything_and_it_is_all_there(where):
    with Store.create(where, DESIGN) as store:
        participant, token = store.join(True)
        assert store.participant_of(token) == participant
        told, practice = {}, ""
        for n in itertools.count():
            trial = store.next_trial(participant)
            if trial is None:
                break
            assert trial.practice == (trial.position == 0) and trial.position == n
            told[trial.id] = answers_of(n)
            receipt = store.vote(participant, trial.id, told[trial.id], new_id(), seconds=n)
            assert receipt.trial == trial.id
            practice = trial.id if trial.practice else practice
        progress = store.progress(participant)
        assert (progress.done, progress.total, progress.finished, progress.last) == (8, 8, True, list(told)[-1])
    with Store.open(where) as store:  # after a restart
        assert store.design == DESIGN and store.participant_of(token) == participant and store.next_trial(participant) is None
        del told[practice]
        assert kept(store) == told
        ballots = store.ballots()
        assert [(ballot.position, ballot.criterion) for ballot in ballots] == list(itertools.product(range(1, 9), ("diversity", "quality")))
        assert Counter(ballot.kind for ballot in ballots) == {Kind.REAL: 12, Kind.GOLD: 2, Kind.REPEAT: 2}
        assert all(ballot.participant == participant and ballot.seconds == ballot.position for ballot in ballots)
        by_trial = {ballot.trial: ballot for ballot in ballots}
        (gold,) = [ballot for ballot in by_trial.values() if ballot.kind == Kind.GOLD]
        assert {Choice.LEFT: gold.right, Choice.RIGHT: gold.left}[gold.expected] == SPOILED
        (repeat,) = [ballot for ballot in by_trial.values() if ballot.kind == Kind.REPEAT]
        first = by_trial[repeat.repeats]
        assert (first.left, first.right, first.prompt, first.kind) == (repeat.right, repeat.left, repeat.prompt, Kind.REAL)
        status = store.status()
        assert (status.participants, status.finished, status.skipped, status.reserved, status.full) == (1, 1, 0, 0, False)
        assert status.trials == {"real": 6, "gold": 1, "repeat": 1, "practice": 1} and sum(entry.votes for entry in status.items) == 6


def test_consent_comes_first_and_the_token_is_kept_only_as_a_hash(where):
    with Store.create(where, DESIGN) as store:
        for consent in (False, None, "yes", 1):
            with pytest.raises(StudyError, match="without consent"):
                store.join(consent)
        assert store.status().participants == 0
        joined = [store.join(True) for _ in range(20)]
        assert len({person.token for person in joined}) == len({person.participant for person in joined}) == 20
        assert all(len(person.token) == 32 and person.participant not in person.token for person in joined)
        for token in ("", "x" * 32, joined[0].participant, "' OR 1=1 --", "a\0b", "\ud800", None, 7, joined[0].token.swapcase()):
            with pytest.raises(NotKnown, match="this link belongs to no participant"):
                store.participant_of(token)
        backup = b"" if "://" in where else store.backup(Path(where).with_name("copy.sqlite")).read_bytes()
        assert not any(person.token.encode() in backup for person in joined)


def test_fifty_that_join_at_once_with_one_id_are_one_participant(where):
    with Store.create(where, DESIGN) as store, Store.open(where) as elsewhere:
        one, other = secrets.token_hex(32), secrets.token_hex(32)
        joined = at_once(50, lambda n: (store, elsewhere)[n % 2].join(True, one))
        assert joined == joined[:1] * 50 and len(joined[0].token) == 32 and one not in joined[0].token
        assert store.status().participants == 1 and store.participant_of(joined[0].token) == joined[0].participant
        answer(store, joined[0].participant)
        assert elsewhere.join(True, one) == joined[0] and store.join(True, other) != joined[0] and store.status().participants == 2
        for wrong in ("1", one.upper() + "x", one[:-1], one + "\n", 7, "' OR 1=1 --"):
            with pytest.raises(StudyError, match="64 hexadecimal digits"):
                store.join(True, wrong)
        with pytest.raises(StudyError, match="without consent"):
            store.join(False, one)


def test_an_id_of_joining_gives_each_study_a_token_of_its_own(tmp_path):
    client_id = secrets.token_hex(32)
    with Store.create(tmp_path / "a", DESIGN) as one, Store.create(tmp_path / "b", small_design(title="Other")) as other:
        assert one.join(True, client_id).token != other.join(True, client_id).token


def test_the_same_open_trial_comes_again_after_a_reload_or_elsewhere(where):
    with Store.create(where, DESIGN) as store, Store.open(where) as elsewhere:
        participant, token = store.join(True)
        trial = store.next_trial(participant)
        assert store.next_trial(participant) == trial == elsewhere.next_trial(elsewhere.participant_of(token))
        assert at_once(8, lambda n: (store, elsewhere)[n % 2].next_trial(participant)) == [trial] * 8
        elsewhere.vote(participant, trial.id, answers_of(0), new_id(), 1.0)
        following = at_once(8, lambda n: (store, elsewhere)[n % 2].next_trial(participant))  # drawn in parallel, and once
        assert following == following[:1] * 8 and following[0].position == 1


def test_a_trial_tells_its_participant_nothing_about_methods(store):
    participant, _ = store.join(True)
    tokens, told = [], ""
    while (trial := store.next_trial(participant)) is not None:
        tokens += [trial.left, trial.right]
        answers = repr(trial) + repr(store.vote(participant, trial.id, answers_of(0), new_id(), 1.0)) + repr(store.progress(participant))
        for random in (trial.left, trial.right, trial.id):  # in which a short name may stand by chance
            answers = answers.replace(random, "")
        told += answers
    assert not any(word in told for word in (*DESIGN.methods, SPOILED, "real", "gold", "repeat", "expected"))
    assert len(set(tokens)) == 18 and all(len(token) == 24 for token in tokens)
    for token in tokens:
        stimulus = store.image_of(token)
        assert stimulus.of in DESIGN.methods and stimulus.method in (stimulus.of, SPOILED) and stimulus.participant == participant
        assert (stimulus.method == SPOILED) <= (stimulus.kind == "gold")
    left, right = (store.image_of(token) for token in tokens[:2])
    assert (left.side, right.side, left.trial) == ("left", "right", right.trial) and left.kind == "practice"
    assert left.method == left.of != right.method == right.of  # a pair as any, that does not teach what a gold trial is
    for token in ("nothing", "", "../x", "a\0", None):
        with pytest.raises(NotKnown, match="no such picture"):
            store.image_of(token)


# ---- submissions

def test_a_repeated_submission_counts_once_and_gets_the_first_receipt(store):
    participant, _ = store.join(True)
    answer(store, participant)
    trial, client_id = store.next_trial(participant), new_id()
    first = store.vote(participant, trial.id, answers_of(1), client_id, 1.0, now=100.0)
    assert first.received == 100.0
    again = at_once(10, lambda n: store.vote(participant, trial.id, answers_of(1), client_id.upper() if n % 2 else client_id, 2.0 + n, now=200.0))
    assert again == [first] * 10 and len(store.ballots()) == 2 and {ballot.seconds for ballot in store.ballots()} == {1.0}
    answer(store, participant)
    assert store.vote(participant, trial.id, answers_of(1), client_id, 1.0) == first  # also long after


def test_a_parallel_first_submission_counts_once(store):
    participant, _ = store.join(True)
    answer(store, participant)
    for n in range(3):
        trial, client_id = store.next_trial(participant), new_id()
        receipts = at_once(8, lambda _: store.vote(participant, trial.id, answers_of(n), client_id, 1.0))
        assert receipts == receipts[:1] * 8 and receipts[0].trial == trial.id
    assert len(store.ballots()) == 6


def test_an_id_with_another_content_is_refused_and_changes_nothing(store):
    (participant, _), (other, _) = store.join(True), store.join(True)
    answer(store, participant), answer(store, other)
    trial, client_id = store.next_trial(participant), new_id()
    store.vote(participant, trial.id, answers_of(1), client_id, 1.0)
    following, foreign = store.next_trial(participant), store.next_trial(other)
    for who, which, answers, reason in ((participant, trial, answers_of(2), ""), (participant, trial, {}, "too small"),
                                        (participant, following, answers_of(1), ""), (other, foreign, answers_of(1), "")):
        with pytest.raises(Conflict, match="id was used before"):
            store.vote(who, which.id, answers, client_id, 1.0, reason)
    assert kept(store) == {trial.id: answers_of(1)}
    assert store.next_trial(participant) == following and store.next_trial(other) == foreign  # still open


def test_one_id_of_two_participants_at_once_counts_for_one(store):
    people = [store.join(True).participant for _ in range(6)]
    for participant in people:
        answer(store, participant)
    trials, client_id = [store.next_trial(participant) for participant in people], new_id()
    results = at_once(6, lambda n: store.vote(people[n], trials[n].id, answers_of(n), client_id, 1.0))
    (winner,) = [n for n, result in enumerate(results) if not isinstance(result, Conflict)]
    assert kept(store) == {trials[winner].id: answers_of(winner)}


def test_two_tabs_never_give_two_answers_and_the_refused_one_is_logged(store):
    participant, _ = store.join(True)
    answer(store, participant)
    trial = store.next_trial(participant)
    results = at_once(6, lambda n: store.vote(participant, trial.id, answers_of(n), new_id(), 1.0))
    (winner,) = [n for n, result in enumerate(results) if not isinstance(result, StudyError)]
    assert all(isinstance(result, Conflict) and "answered already" in str(result) for n, result in enumerate(results) if n != winner)
    assert kept(store) == {trial.id: answers_of(winner)}
    refused = [event.data["submission"] for event in store.events() if event.kind == "refused vote" and event.participant == participant]
    assert {entry["trial"] for entry in refused} == {trial.id}
    assert sorted(map(repr, (entry["choices"] for entry in refused))) == sorted(repr(answers_of(n)) for n in range(6) if n != winner)


NO_ANSWERS = [
    ({"answers": {"diversity": "left"}}, "an answer is needed by each of diversity, quality"),
    ({"answers": {**answers_of(0), "style": "left"}}, "by nothing else"),
    ({"answers": {"diversity": "left", "quality": "middle"}}, "quality is answered by left, right, tie, not by 'middle'"),
    ({"answers": {"diversity": "left", "quality": "undone"}}, "not by 'undone'"),
    ({"answers": {"diversity": "left", "quality": "skip"}}, "not by 'skip'"),
    ({"answers": {"diversity": "left", "quality": ["left"]}}, "quality is answered by"),
    ({"answers": None}, "an answer is needed"), ({"answers": {}}, "or a reason to skip"), ({"answers": {}, "skip_reason": " "}, "a reason to skip"),
    ({"skip_reason": "broken"}, "either answered or skipped"),
    ({"answers": {}, "skip_reason": "x" * 1001}, "at most 1000 characters"), ({"answers": {}, "skip_reason": 7}, "at most 1000 characters"),
    ({"client_id": "1"}, "must be a UUID"), ({"client_id": None}, "must be a UUID"),
    ({"seconds": -1}, "seconds must be"), ({"seconds": float("nan")}, "seconds must be"), ({"seconds": "1"}, "seconds must be"),
    ({"trial": "none"}, "no such trial"), ({"trial": "' OR ''='"}, "no such trial"), ({"trial": "\ud800\0"}, "no such trial"),
    ({"participant": "none"}, "no such participant"), ({"participant": None}, "no such participant"),
]


def test_what_is_no_answer_is_refused_and_the_trial_stays_open(store):
    participant, _ = store.join(True)
    trial = store.next_trial(participant)
    vote = {"participant": participant, "trial": trial.id, "answers": answers_of(0), "client_id": new_id(), "seconds": 1.0}
    for changes, message in NO_ANSWERS:
        with pytest.raises(StudyError, match=message):
            store.vote(**(vote | changes))
    for call in (store.next_trial, store.undo, store.progress, lambda nobody: store.shown(nobody, trial.id)):
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
            store.vote(participant, trial.id, {"diversity": "tie", "quality": "left"}, new_id(), 1.0)


def test_nobody_answers_opens_or_sees_someone_elses_trial(store):
    (one, _), (other, _) = store.join(True), store.join(True)
    trial = store.next_trial(one)
    for call in (lambda: store.vote(other, trial.id, answers_of(0), new_id(), 1.0), lambda: store.undo(other, trial.id),
                 lambda: store.shown(other, trial.id)):
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
    assert (status.skipped, status.trials["real"], sum(entry.votes for entry in status.items)) == (1, 0, 0)
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
    assert list(kept(store)) == ids[1:2] and store.progress(participant).last == ids[1]
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
        assert kept(store) == {trial.id: answers_of(n)} and store.undo(participant, trial.id) == trial and not store.ballots()


def test_a_repeated_undo_goes_back_once(store):
    participant, _ = store.join(True)
    ids, client_id = [answer(store, participant, n) for n in range(4)], new_id()
    assert {trial.id for trial in at_once(6, lambda n: store.undo(participant, client_id=client_id))} == {ids[3]}
    assert {trial.id for trial in at_once(6, lambda n: store.undo(participant, ids[3]))} == {ids[3]}  # another tab: open already
    assert list(kept(store)) == ids[1:3]
    with pytest.raises(Conflict, match="only the trial that was answered last"):
        store.undo(participant, ids[1])
    answer(store, participant, 5)
    store.undo(participant, ids[3], client_id)  # the first one, arriving late
    assert kept(store)[ids[3]] == answers_of(5)
    with pytest.raises(Conflict, match="id was used before"):
        store.vote(participant, store.next_trial(participant).id, answers_of(0), client_id, 1.0)


def test_who_had_finished_has_not_after_an_undo(store):
    participant, _ = store.join(True)
    ids = answer_all(store, participant)
    assert len(ids) == 9 and store.status().finished == 1
    assert store.undo(participant).id == ids[-1] and not store.progress(participant).finished and store.status().finished == 0
    assert answer_all(store, participant) == ids[-1:] and store.status().finished == 1


def test_undo_and_vote_at_once_end_in_one_of_both_orders(store):
    participant, _ = store.join(True)
    answer(store, participant)
    for n in range(6):
        trial = store.next_trial(participant)
        store.vote(participant, trial.id, answers_of(n), new_id(), 1.0)
        opened, voted = at_once(2, lambda k: store.vote(participant, trial.id, answers_of(n + 1), new_id(), 1.0) if k
                                else store.undo(participant, trial.id))
        assert opened == trial
        assert kept(store).get(trial.id) == (None if isinstance(voted, Conflict) else answers_of(n + 1))
        if isinstance(voted, Conflict):
            store.vote(participant, trial.id, answers_of(n), new_id(), 1.0)


# ---- reservations and even filling

def test_an_expired_reservation_counts_no_more_and_its_answer_still_does(tmp_path):
    design = small_design(methods=("a", "b"), pairs=(), prompts=("one", "two"), trials=1, gold=0, repeats=0, expires_minutes=10)
    with Store.create(tmp_path / "study.sqlite", design) as store:
        def begun(now):
            participant = store.join(True).participant
            answer(store, participant, now=now)
            return participant, store.next_trial(participant, now)

        def counts(now):
            return {entry.item.prompt: (entry.votes, entry.reserved) for entry in store.status(now).items}

        slow, first = begun(0.0)
        _, second = begun(1.0)
        assert {first.prompt, second.prompt} == {"one", "two"} and set(counts(599.0).values()) == {(0, 1)}
        assert counts(600.0)[first.prompt] == (0, 0) and counts(600.0)[second.prompt] == (0, 1)
        _, instead = begun(600.5)
        assert instead.prompt == first.prompt  # given away
        store.vote(slow, first.id, answers_of(3), new_id(), 1.0, now=1000.0)
        assert kept(store) == {first.id: answers_of(3)} and counts(1000.0)[first.prompt] == (1, 1)


def test_who_comes_back_late_goes_on_with_the_same_trial_reserved_anew(store):
    participant, _ = store.join(True)
    answer(store, participant, now=0.0)
    trial = store.next_trial(participant, 0.0)
    assert store.status(1e6).reserved == 0
    assert store.next_trial(participant, 1e6) == trial
    kind = store.image_of(trial.left).kind
    assert store.status(1e6 + 1799).reserved == (kind == "real") and store.status(1e6 + 1800).reserved == 0


def test_thirty_at_once_fill_the_items_evenly_though_some_leave(where):
    """24 items, 20 people with 6 real trials: 5 votes for each item. Ten leave after two to four trials with one open, which expires.

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
        assert max(reserved) - min(reserved) <= 2 and sum(reserved) > early

        def stay(n):
            participant = store.join(True).participant
            while answer(store, participant, now=2000.0):
                pass

        assert at_once(20, stay) == [None] * 20
        votes = [entry.votes for entry in store.status(2000.0).items]
        assert sum(votes) == early + 120 and max(votes) - min(votes) <= 2
        assert store.status(2000.0).full and store.status(2000.0).finished == 20


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
    """24 items and 4 people with 6 real trials: one is excluded for a failed gold, and all 24 items get a vote that counts with a fifth."""
    design = small_design(max_gold_failures=0, votes_per_item=1)
    with Store.create(where, design) as store:
        for n in range(4):
            answer_golds(store, store.join(True).participant, right=n > 0)
        status = store.status()
        assert status.excluded == 1 and not status.full
        assert [sum(entry.votes for entry in status.items), sum(entry.counted for entry in status.items)] == [24, 18]
        assert {entry.counted for entry in status.items} == {0, 1} and max(entry.votes for entry in status.items) == 2  # one item was given again
        for _ in range(2):
            answer_golds(store, store.join(True).participant, right=True)
        status = store.status()
        assert status.full and status.excluded == 1 and sum(entry.counted for entry in status.items) == 30


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
        assert store.status().excluded == 1 and sum(entry.counted for entry in store.status().items) == 0
        store.undo(participant)
        assert store.status().excluded == 0
        answer_golds(store, participant, right=True, count=1)
        assert store.status().excluded == 0 and sum(entry.counted for entry in store.status().items) == before


def test_the_assignment_knows_the_same_failures_as_the_rule(where):
    """Answers of all kinds, skips too: who is out by golds for the assignment is who is out for the analysis."""
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
        assert sorted(out) == sorted(excluded(store.ballots(), 2)) and 0 < len(out) < 12


def test_who_answers_too_fast_is_told_and_keeps_the_items(tmp_path):
    with Store.create(tmp_path / "study.sqlite", small_design(min_seconds=2, max_gold_failures=9)) as store:
        answer_all(store, store.join(True).participant)  # 1.5 s each
        status = store.status()
        assert status.excluded == 1 and sum(entry.votes for entry in status.items) == 6 and not any(entry.counted for entry in status.items)
        with store._reading() as session:
            assert failed_out(session, store.design) == []


# ---- the log, and what is not a study

def test_events_are_kept_in_their_order(store):
    participant, _ = store.join(True)
    trial = store.next_trial(participant)
    store.shown(participant, trial.id, now=5.0)
    store.log(participant, "hidden", {"seconds": 3.5, "text": "\ud800\0ü"}, now=7.0)
    store.log(None, "served", {})
    first, second = store.events()
    assert (first.participant, first.kind, first.data, first.time) == (participant, "hidden", {"seconds": 3.5, "text": "\ud800\0ü"}, 7.0)
    assert (second.participant, second.kind) == (None, "served")
    for arguments, message in (((participant, "x", {"a": object()}), "what JSON can hold"), ((participant, "", {}), "1 to 64 characters"),
                               ((participant, "x", {"a": "y" * 20_000}), "at most 20000"), (("nobody", "x", {}), "no such participant")):
        with pytest.raises(StudyError, match=message):
            store.log(*arguments)
    assert len(store.events()) == 2


def test_a_study_is_made_once_and_opened_where_it_is(where):
    with pytest.raises(StudyError, match="there is no study in .*; create one first"):
        Store.open(where)
    with Store.create(where, DESIGN) as store:
        store.join(True)
    with pytest.raises(StudyError, match=f"there is a study already .{DESIGN.digest}."):
        Store.create(where, small_design(title="another"))
    with Store.open(where) as store:
        assert store.design == DESIGN and store.status().participants == 1


def test_of_several_who_make_a_study_at_once_one_does(where):
    made = at_once(5, lambda n: Store.create(where, small_design(title=f"study {n}")))
    (store,) = [result for result in made if isinstance(result, Store)]
    assert all("there is a study already" in str(result) for result in made if result is not store)
    with store, Store.open(where) as opened:
        assert opened.design == store.design
