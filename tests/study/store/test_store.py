"""The store on both databases: joining, a participant's trials, the log, and creating and opening a
study.
"""

import itertools
import secrets
from collections import Counter
from pathlib import Path

import pytest

from tests.support.small_study import (
    DESIGN,
    answer,
    answers_of,
    at_once,
    kept,
    new_id,
    small_design,
)
from workbench.study.ballots import Choice, TrialKind
from workbench.study.design import SPOILED
from workbench.study.errors import NotKnown, StudyError
from workbench.study.store.store import Store

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
            assert trial.practice == (trial.position == 0)
            assert trial.position == n
            told[trial.id] = answers_of(n)
            receipt = store.vote(participant, trial.id, told[trial.id], new_id(), seconds=n)
            assert receipt.trial == trial.id
            practice = trial.id if trial.practice else practice
        progress = store.progress(participant)
        assert (progress.done, progress.total, progress.finished, progress.last) == (
            8,
            8,
            True,
            list(told)[-1],
        )
    with Store.open(where) as store:  # after a restart
        assert store.design == DESIGN
        assert store.participant_of(token) == participant
        assert store.next_trial(participant) is None
        del told[practice]
        assert kept(store) == told
        ballots = store.ballots()
        assert [(ballot.position, ballot.criterion) for ballot in ballots] == list(
            itertools.product(range(1, 9), ("diversity", "quality"))
        )
        assert Counter(ballot.kind for ballot in ballots) == {
            TrialKind.REAL: 12,
            TrialKind.GOLD: 2,
            TrialKind.REPEAT: 2,
        }
        assert all(
            ballot.participant == participant and ballot.seconds == ballot.position
            for ballot in ballots
        )
        by_trial = {ballot.trial: ballot for ballot in ballots}
        (gold,) = [ballot for ballot in by_trial.values() if ballot.kind == TrialKind.GOLD]
        assert {Choice.LEFT: gold.right, Choice.RIGHT: gold.left}[gold.expected] == SPOILED
        (repeat,) = [ballot for ballot in by_trial.values() if ballot.kind == TrialKind.REPEAT]
        first = by_trial[repeat.repeats]
        assert (first.left, first.right, first.prompt, first.kind) == (
            repeat.right,
            repeat.left,
            repeat.prompt,
            TrialKind.REAL,
        )
        status = store.status()
        assert (
            status.participants,
            status.finished,
            status.skipped,
            status.reserved,
            status.full,
        ) == (1, 1, 0, 0, False)
        assert status.trials == {"real": 6, "gold": 1, "repeat": 1, "practice": 1}
        assert sum(entry.votes for entry in status.items) == 6


def test_consent_comes_first_and_the_token_is_kept_only_as_a_hash(where):
    with Store.create(where, DESIGN) as store:
        for consent in (False, None, "yes", 1):
            with pytest.raises(StudyError, match="without consent"):
                store.join(consent)
        assert store.status().participants == 0
        joined = [store.join(True) for _ in range(20)]
        assert (
            len({person.token for person in joined})
            == len({person.participant for person in joined})
            == 20
        )
        assert all(
            len(person.token) == 32 and person.participant not in person.token for person in joined
        )
        for token in (
            "",
            "x" * 32,
            joined[0].participant,
            "' OR 1=1 --",
            "a\0b",
            "\ud800",
            None,
            7,
            joined[0].token.swapcase(),
        ):
            with pytest.raises(NotKnown, match="this link belongs to no participant"):
                store.participant_of(token)
        backup = (
            b""
            if "://" in where
            else store.backup(Path(where).with_name("copy.sqlite")).read_bytes()
        )
        assert not any(person.token.encode() in backup for person in joined)


def test_fifty_that_join_at_once_with_one_id_are_one_participant(where):
    with Store.create(where, DESIGN) as store, Store.open(where) as elsewhere:
        one, other = secrets.token_hex(32), secrets.token_hex(32)
        joined = at_once(50, lambda n: (store, elsewhere)[n % 2].join(True, one))
        assert joined == joined[:1] * 50
        assert len(joined[0].token) == 32
        assert one not in joined[0].token
        assert store.status().participants == 1
        assert store.participant_of(joined[0].token) == joined[0].participant
        answer(store, joined[0].participant)
        assert elsewhere.join(True, one) == joined[0]
        assert store.join(True, other) != joined[0]
        assert store.status().participants == 2
        for wrong in ("1", one.upper() + "x", one[:-1], one + "\n", 7, "' OR 1=1 --"):
            with pytest.raises(StudyError, match="64 random hexadecimal digits"):
                store.join(True, wrong)
        with pytest.raises(StudyError, match="without consent"):
            store.join(False, one)


def test_an_id_of_joining_gives_each_study_a_token_of_its_own(tmp_path):
    client_id = secrets.token_hex(32)
    with (
        Store.create(tmp_path / "a", DESIGN) as one,
        Store.create(tmp_path / "b", small_design(title="Other")) as other,
    ):
        assert one.join(True, client_id).token != other.join(True, client_id).token


def test_the_same_open_trial_comes_again_after_a_reload_or_elsewhere(where):
    with Store.create(where, DESIGN) as store, Store.open(where) as elsewhere:
        participant, token = store.join(True)
        trial = store.next_trial(participant)
        assert (
            store.next_trial(participant)
            == trial
            == elsewhere.next_trial(elsewhere.participant_of(token))
        )
        assert (
            at_once(8, lambda n: (store, elsewhere)[n % 2].next_trial(participant)) == [trial] * 8
        )
        elsewhere.vote(participant, trial.id, answers_of(0), new_id(), 1.0)
        following = at_once(
            8, lambda n: (store, elsewhere)[n % 2].next_trial(participant)
        )  # drawn in parallel, and once
        assert following == following[:1] * 8
        assert following[0].position == 1


def test_a_trial_tells_its_participant_nothing_about_methods(store):
    participant, _ = store.join(True)
    tokens, told = [], ""
    while (trial := store.next_trial(participant)) is not None:
        tokens += [trial.left, trial.right]
        answers = (
            repr(trial)
            + repr(store.vote(participant, trial.id, answers_of(0), new_id(), 1.0))
            + repr(store.progress(participant))
        )
        for random in (
            trial.left,
            trial.right,
            trial.id,
        ):  # in which a short name may stand by chance
            answers = answers.replace(random, "")
        told += answers
    assert not any(
        word in told for word in (*DESIGN.methods, SPOILED, "real", "gold", "repeat", "expected")
    )
    assert len(set(tokens)) == 18
    assert all(len(token) == 24 for token in tokens)
    for token in tokens:
        stimulus = store.image_of(token)
        assert stimulus.of in DESIGN.methods
        assert stimulus.method in (stimulus.of, SPOILED)
        assert stimulus.participant == participant
        assert (stimulus.method == SPOILED) <= (stimulus.kind == "gold")
    left, right = (store.image_of(token) for token in tokens[:2])
    assert (left.side, right.side, left.trial) == (
        "left",
        "right",
        right.trial,
    )
    assert left.kind == "practice"
    assert (
        left.method == left.of != right.method == right.of
    )  # a pair as any, that does not teach what a gold trial is
    for token in ("nothing", "", "../x", "a\0", None):
        with pytest.raises(NotKnown, match="no such picture"):
            store.image_of(token)


# ---- the log, and what is not a study


def test_events_are_kept_in_their_order(store):
    participant, _ = store.join(True)
    trial = store.next_trial(participant)
    store.shown(participant, trial.id, now=5.0)
    store.log(participant, "hidden", {"seconds": 3.5, "text": "\ud800\0ü"}, now=7.0)
    store.log(None, "served", {})
    first, second = store.events()
    assert (first.participant, first.kind, first.data, first.time) == (
        participant,
        "hidden",
        {"seconds": 3.5, "text": "\ud800\0ü"},
        7.0,
    )
    assert (second.participant, second.kind) == (None, "served")
    for arguments, message in (
        ((participant, "x", {"a": object()}), "must be JSON-serialisable"),
        ((participant, "", {}), "1 to 64 characters"),
        ((participant, "x", {"a": "y" * 20_000}), "at most 20000"),
        (("nobody", "x", {}), "no such participant"),
    ):
        with pytest.raises(StudyError, match=message):
            store.log(*arguments)
    assert len(store.events()) == 2


def test_a_study_is_made_once_and_opened_where_it_is(where):
    with pytest.raises(StudyError, match=r"there is no study in .*; create one first"):
        Store.open(where)
    with Store.create(where, DESIGN) as store:
        store.join(True)
    with pytest.raises(StudyError, match=f"there is a study already .{DESIGN.digest}."):
        Store.create(where, small_design(title="another"))
    with Store.open(where) as store:
        assert store.design == DESIGN
        assert store.status().participants == 1


def test_of_several_who_make_a_study_at_once_one_does(where):
    made = at_once(5, lambda n: Store.create(where, small_design(title=f"study {n}")))
    (store,) = [result for result in made if isinstance(result, Store)]
    assert all("there is a study already" in str(result) for result in made if result is not store)
    with store, Store.open(where) as opened:
        assert opened.design == store.design
