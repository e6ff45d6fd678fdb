"""PostgreSQL only: several hosts (processes here) sharing one study, and the messages for backups
and for an absent server. All other tests of the store run on PostgreSQL too, through the fixtures
`where` and `store`.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from tests.support.small_study import DESIGN, answer, answer_all, answers_of, kept, new_id
from workbench.study.errors import Busy, StudyError
from workbench.study.store import records
from workbench.study.store.database import writing
from workbench.study.store.store import Store


def test_a_backup_names_postgresqls_own_way(postgresql, tmp_path):
    with (
        Store.create(postgresql, DESIGN) as store,
        pytest.raises(StudyError, match="pg_dump --format=custom"),
    ):
        store.backup(tmp_path / "copy")


def test_a_server_that_is_not_there_is_told_without_the_password():
    with pytest.raises(Busy, match=r"does not answer .* check its disk and its server") as caught:
        Store.open("postgresql://me:secret-word@127.0.0.1:9/study")
    assert "secret-word" not in str(caught.value)


def test_a_database_that_is_not_there_is_told(postgresql_server):
    with pytest.raises(StudyError, match='database "absent" does not exist'):
        Store.open(f"{postgresql_server}/absent")


def test_a_connection_that_was_cut_is_made_again_and_nothing_counts_twice(postgresql):
    with Store.create(postgresql, DESIGN) as store, Store.open(postgresql) as elsewhere:
        participant = store.join(True).participant
        answer(store, participant)
        trial, client_id = store.next_trial(participant), new_id()
        first = store.vote(participant, trial.id, answers_of(2), client_id, 1.0)
        with elsewhere._engine.connect() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
                    "current_database() "
                    "AND pid <> pg_backend_pid()"
                )
            )
        assert store.vote(participant, trial.id, answers_of(2), client_id, 1.0) == first
        assert kept(store) == {trial.id: answers_of(2)}


def test_two_hosts_that_draw_at_once_reserve_different_items(postgresql):
    """24 participants of two stores draw their first real trial at once: each of the 24 items is
    reserved once.
    """
    with Store.create(postgresql, DESIGN) as one, Store.open(postgresql) as other:
        people = [one.join(True).participant for _ in range(24)]

        def begin(n):
            store = (one, other)[n % 2]
            while store.image_of(store.next_trial(people[n]).left).kind != "real":
                answer(store, people[n])

        with ThreadPoolExecutor(12) as pool:
            list(pool.map(begin, range(24)))
        assert {entry.reserved for entry in one.status().items} == {1}
        assert len(answer_all(other, people[0])) > 0
        assert one.progress(people[0]).finished


def test_a_trial_that_is_answered_while_items_are_counted_counts_once(postgresql):
    with Store.create(postgresql, DESIGN) as store, Store.open(postgresql) as elsewhere:
        participant = elsewhere.join(True).participant
        while elsewhere.image_of((trial := elsewhere.next_trial(participant)).left).kind != "real":
            answer(elsewhere, participant)
        votes = iter([lambda: elsewhere.vote(participant, trial.id, answers_of(0), new_id(), 1.0)])
        with Session(writing(store._engine)) as session:
            connection = session.connection()
            event.listen(connection, "after_cursor_execute", lambda *_: next(votes, lambda: None)())
            counted = records.taken_by_item(session, 0.0)
        assert list(counted.values()) == [1]
        assert store.status().trials["real"] == 1


def test_what_is_read_is_of_one_moment(postgresql):
    with Store.create(postgresql, DESIGN) as store, Store.open(postgresql) as elsewhere:
        with store._reading() as session:
            assert records.status_of(session, DESIGN, 0.0).participants == 0
            elsewhere.join(True)
            assert records.status_of(session, DESIGN, 0.0).participants == 0
        assert store.status().participants == 1
