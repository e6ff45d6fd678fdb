"""The database of a study: the schema's revisions, SQLite's settings, backups, and the messages for
a database that cannot be used.
"""

import dataclasses
import json
import socket
import sqlite3
import struct
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, inspect, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tests.support.small_study import DESIGN, answer, answer_all, answers_of, kept, new_id
from workbench.study.errors import Busy, StudyError
from workbench.study.store.database import (
    as_study_errors,
    engine_of,
    network_filesystem,
    schema_revision,
    upgrade,
    without_password,
    writing,
)
from workbench.study.store.schema import SchemaBase, VoteRow
from workbench.study.store.store import Store


@pytest.fixture
def file(tmp_path):
    """The file of a study with one participant who has answered everything, and the answers."""
    path = tmp_path / "study.sqlite"
    with Store.create(path, DESIGN) as store:
        answer_all(store, store.join(True).participant)
        return path, kept(store)


def change(path, statement):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


# ---- its address


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("", ""),
        ("a/study.db", "a/study.db"),
        ("postgresql://me:secret@host:5433/study", "postgresql://me@host:5433/study"),
        ("postgresql://me@host/study", "postgresql://me@host/study"),
        (
            "postgresql+psycopg://host/study?user=me&password=secret&sslmode=require",
            "postgresql+psycopg://host/study?sslmode=require&user=me",
        ),
    ],
)
def test_an_address_is_kept_without_its_password(address, kept):
    assert without_password(address) == kept


def test_an_address_that_is_none_is_told_without_its_password():
    with pytest.raises(StudyError, match="cannot be read; write postgresql://USER") as caught:
        without_password("postgresql://me:secret@host:port/study")
    assert "secret" not in str(caught.value)


@pytest.fixture
def asking():
    """The port of a server that asks for a password as PostgreSQL does, and refuses every one; and
    the passwords it was told.
    """
    told = []

    def message(connection):
        return connection.recv(int.from_bytes(connection.recv(4), "big") - 4)

    def serve(listening):
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                while message(connection)[:2] == b"\x04\xd2":  # may this be encrypted? no
                    connection.sendall(b"N")
                connection.sendall(b"R" + struct.pack(">II", 8, 3))  # the password, please
                if connection.recv(1) == b"p":
                    told.append(message(connection).rstrip(b"\0").decode())
                    error = (
                        b'SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user "me"\0\0'
                    )
                    connection.sendall(b"E" + struct.pack(">I", len(error) + 4) + error)

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield listening.getsockname()[1], told
        listening.shutdown(socket.SHUT_RDWR)


def test_a_password_is_asked_for_and_comes_from_the_environment_or_the_address(asking, monkeypatch):
    pytest.importorskip("psycopg")
    port, told_passwords = asking
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PGPASSFILE", "/nowhere")
    todo = (
        "study.json keeps no password: set the environment variable PGPASSWORD, or give the "
        "whole address, --database"
    )
    with pytest.raises(Busy, match=f"no password supplied.*{todo}"):
        Store.open(f"postgresql://me@127.0.0.1:{port}/study")
    assert told_passwords == []
    with pytest.raises(Busy, match=f"password authentication failed.*{todo}"):
        Store.open(f"postgresql://me:from-the-address@127.0.0.1:{port}/study")
    monkeypatch.setenv("PGPASSWORD", "from-outside")
    with pytest.raises(Busy, match=todo) as caught:
        Store.open(f"postgresql://me@127.0.0.1:{port}/study")
    assert set(told_passwords) == {"from-the-address", "from-outside"}
    assert "from-" not in str(caught.value)


# ---- the schema


def test_the_revisions_make_the_schema_of_the_tables(where):
    engine = engine_of(where, create=True)
    with writing(engine).begin() as connection:
        assert schema_revision(connection) is None
        upgrade(connection)
        upgrade(connection)  # nothing to do
        assert schema_revision(connection) == "0001"
        assert compare_metadata(MigrationContext.configure(connection), SchemaBase.metadata) == []
        looked = inspect(connection)
        for name, table in SchemaBase.metadata.tables.items():  # alembic compares no checks
            checks = {
                constraint.name
                for constraint in table.constraints
                if isinstance(constraint, CheckConstraint)
            }
            assert {check["name"] for check in looked.get_check_constraints(name)} == checks
    engine.dispose()


def test_an_upgrade_that_fails_leaves_nothing(tmp_path):
    path = tmp_path / "study.sqlite"
    engine = engine_of(path, create=True)

    def fail_after_upgrade():
        with writing(engine).begin() as connection:
            upgrade(connection)
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        fail_after_upgrade()
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == []
    engine.dispose()


def test_a_database_of_a_newer_program_is_left_alone(where):
    with Store.create(where, DESIGN) as store, store._writer.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for use in (lambda: Store.open(where), lambda: Store.create(where, DESIGN)):
        with pytest.raises(
            StudyError,
            match=r"has the schema 9999, which is newer than this program .0001.: update the "
            "program",
        ):
            use()


def test_a_database_with_other_tables_is_left_alone(tmp_path):
    path = tmp_path / "other.sqlite"
    change(path, "CREATE TABLE vote (id INTEGER)")
    with pytest.raises(
        StudyError,
        match=r"tables that do not belong to a study .vote.; give the study its own database",
    ):
        Store.create(path, DESIGN)
    with pytest.raises(StudyError, match="there is no study in"):
        Store.open(path)


def test_a_design_that_was_altered_is_told(file):
    path, _ = file
    design = json.loads(DESIGN.to_json())
    change(path, f"UPDATE study SET design = '{json.dumps(design | {'max_gold_failures': 9})}'")
    with pytest.raises(StudyError, match=f"design of the study {DESIGN.digest} was altered"):
        Store.open(path)
    change(
        path, f"UPDATE study SET design = '{json.dumps(design, indent=4)}'"
    )  # the same in other clothes
    with Store.open(path) as store:
        assert store.design == DESIGN


def test_the_tables_themselves_refuse_a_second_live_vote(store):
    participant, _ = store.join(True)
    trial = store.next_trial(participant)
    store.vote(participant, trial.id, answers_of(0), new_id(), 1.0)
    row = {
        "trial": trial.id,
        "criterion": "quality",
        "choice": "left",
        "skip_reason": "",
        "seconds": 1.0,
        "received": 1.0,
    }
    for wrong in (
        {"revision": 0, "client_id": new_id()},
        {"revision": 1, "client_id": new_id(), "trial": "none"},
        {"revision": 1, "client_id": new_id(), "choice": "middle"},
    ):
        with pytest.raises(IntegrityError), Session(store._writer) as session, session.begin():
            session.add(VoteRow(**(row | wrong)))


# ---- SQLite


def test_sqlite_is_set_for_votes_that_stay(file):
    engine = engine_of(file[0])
    with engine.connect() as connection:
        expected = {
            "journal_mode": "wal",
            "synchronous": 2,
            "foreign_keys": 1,
            "busy_timeout": 30_000,
        }
        assert {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in expected
        } == expected
    engine.dispose()


def test_a_file_becomes_wal_when_its_other_writer_is_done(file):
    path, before = file
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN IMMEDIATE")
        opened = []
        opener = threading.Thread(target=lambda: opened.append(Store.open(path)))
        opener.start()
        time.sleep(0.3)
        assert opener.is_alive()
        assert not opened
        other.execute("COMMIT")
        opener.join(10)
    with opened[0] as store, closing(sqlite3.connect(path)) as later:
        assert later.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert kept(store) == before


def test_a_vote_waits_for_another_writer_and_readers_wait_for_nobody(file):
    path, before = file
    with Store.open(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        participant = store.join(True).participant
        answer(store, participant)
        trial = store.next_trial(participant)
        other.execute("BEGIN IMMEDIATE")
        voter = threading.Thread(
            target=store.vote, args=(participant, trial.id, answers_of(0), new_id(), 1.0)
        )
        voter.start()
        time.sleep(0.3)
        assert voter.is_alive()
        assert kept(store) == before
        other.execute("COMMIT")
        voter.join(10)
        assert kept(store) == before | {trial.id: answers_of(0)}


def test_a_lock_that_never_ends_is_told_and_the_same_can_be_sent_again(file):
    path, before = file
    with Store.open(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        participant = store.join(True).participant
        answer(store, participant)
        trial, client_id = store.next_trial(participant), new_id()
        with store._engine.connect() as connection:  # the one that the pool will give
            connection.exec_driver_sql("PRAGMA busy_timeout = 50")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy, match=r"does not answer .database is locked.; .* try again"):
            store.vote(participant, trial.id, answers_of(0), client_id, 1.0)
        other.execute("COMMIT")
        store.vote(participant, trial.id, answers_of(0), client_id, 1.0)
        assert kept(store) == before | {trial.id: answers_of(0)}


def test_a_backup_while_votes_come_in_is_a_whole_study(file, tmp_path):
    path, before = file
    with Store.open(path) as store:
        stop, told_ids = threading.Event(), []

        def vote():
            while not stop.is_set():
                told_ids.extend(answer_all(store, store.join(True).participant))

        voter = threading.Thread(target=vote)
        voter.start()
        while len(told_ids) < 9:
            time.sleep(0.01)
        at_least = set(told_ids)
        copy = store.backup(tmp_path / "copy.sqlite")
        stop.set()
        voter.join()
        with Store.open(copy) as backup:
            answered = kept(backup)
            assert before.items() <= answered.items() <= kept(store).items()
            assert len(at_least - answered.keys()) == sum(
                1 for trial in at_least if trial not in kept(store)
            )  # those for practice
            assert len(answer_all(backup, backup.join(True).participant)) == 9
        for place, message in (
            (copy, "exists already"),
            (path, "exists already"),
            (tmp_path / "none" / "copy", "cannot back up to"),
        ):
            with pytest.raises(StudyError, match=message):
                store.backup(place)
        assert not list(tmp_path.glob("*.part*"))


def test_a_file_that_is_no_database_is_told(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be taken for one" * 20)
    for use in (lambda: Store.open(path), lambda: Store.create(path, DESIGN)):
        with pytest.raises(StudyError, match="file is not a database"):
            use()
    assert path.read_text().startswith("not a database")
    with pytest.raises(StudyError, match="is a folder"):
        Store.create(tmp_path, DESIGN)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (":memory:", "needs a lasting file"),
        ("sqlite://", "needs a lasting file"),
        ("sqlite:///a?mode=memory", "give only its path"),
        ("mysql://host/name", "SQLite or PostgreSQL, not in mysql"),
        ("post gres://", "cannot be read"),
        ("http:/x://", "cannot be read"),
    ],
)
def test_an_address_of_something_else_is_told(where, message):
    with pytest.raises(StudyError, match=message):
        Store.open(where)


def test_the_address_of_a_file_is_a_path_too(file):
    with Store.open(f"sqlite:///{file[0]}") as store:
        assert kept(store) == file[1]


def test_a_network_filesystem_is_recognised():
    mounts = "\n".join(
        (
            "/dev/a / ext4 rw 0 0",
            "host:/x /home nfs4 rw 0 0",
            "/dev/b /home/local\\040disk xfs rw 0 0",
            "tmpfs /tmp tmpfs rw 0 0",
            "//h/s /tmp/s cifs rw 0 0",
        )
    )
    kinds = {
        place: network_filesystem(Path(place), mounts)
        for place in (
            "/a.sqlite",
            "/home/me/a.sqlite",
            "/home/local disk/a.sqlite",
            "/homes/a.sqlite",
            "/tmp/a.sqlite",
            "/tmp/s/a.sqlite",
        )
    }
    assert kinds == {
        "/a.sqlite": None,
        "/home/me/a.sqlite": "nfs4",
        "/home/local disk/a.sqlite": None,
        "/homes/a.sqlite": None,
        "/tmp/a.sqlite": None,
        "/tmp/s/a.sqlite": "cifs",
    }


# ---- errors


def test_an_error_of_the_database_shows_no_values(store):
    with (
        pytest.raises(StudyError) as caught,
        as_study_errors(),
        store._writer.begin() as connection,
    ):
        connection.execute(
            text(
                "INSERT INTO participant VALUES ('a', 'secret-value', 'c', 1, NULL), ('b', "
                "'secret-value', 'c', 1, NULL)"
            )
        )
    assert "secret-value" not in str(caught.value)


def test_without_the_driver_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as if it were not installed
    with pytest.raises(StudyError, match=r'pip install "dp-dmd-workbench\[postgresql\]"'):
        Store.open("postgresql://host/name")


def test_a_status_can_be_written_as_json(store):
    assert json.loads(json.dumps(dataclasses.asdict(store.status())))["items"][0][0] == {
        "pair": ["dmd", "dp_dmd"],
        "prompt": "prompt 0",
    }
