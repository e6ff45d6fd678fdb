"""The database of a study: SQLite in a local file, or PostgreSQL at an address; its settings,
schema, errors and backup.

SQLite runs in WAL mode with synchronous=FULL, so that committed data survive a killed process and
a power failure. Writing transactions take the write lock when they begin: none ever has to give up
half way, and waiting for 30 seconds suffices for hundreds of writers. WAL needs memory that all
processes share, so the file must not be on a network filesystem; several hosts share PostgreSQL.

Only alembic's revisions create and upgrade the schema, each upgrade in one transaction. Not here:
the stored data (`store`).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from workbench.study.errors import Busy, StudyError

WAIT = 30  # seconds, for another writer
NETWORK = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "ncpfs",
    "afs",
    "ceph",
    "lustre",
    "gpfs",
    "beegfs",
    "glusterfs",
    "fuse.sshfs",
    "fuse.glusterfs",
    "fuse.s3fs",
    "fuse.gcsfuse",
    "fuse.rclone",
)
SECRETS = ("password", "sslpassword")  # keys in an address's query
PASSWORD = (
    "study.json keeps no password: set the environment variable PGPASSWORD, or give the whole "
    "address, --database "
    "postgresql://USER:PASSWORD@HOST/NAME"
)
SCHEMA_LOCK = 0x5374756479  # PostgreSQL's advisory lock for creating or upgrading the schema
_one_upgrade = threading.Lock()  # alembic's context is global


def engine_of(where: str | Path, create: bool = False) -> Engine:
    """An engine for a file or an address. Raises `StudyError` if no database can be there or,
    without `create`, if there is none.

    Its transactions see a snapshot of the database; those of `writing(engine)` see what others
    have committed.
    """
    url = _url(str(where))
    if url.get_backend_name() == "sqlite":
        return _sqlite(Path(url.database or ""), create)
    try:
        return create_engine(url, pool_pre_ping=True, isolation_level="REPEATABLE READ")
    except ModuleNotFoundError as error:
        raise StudyError(
            'a study in PostgreSQL needs its driver: pip install "dp-dmd-workbench[postgresql]"'
        ) from error


def writing(engine: Engine) -> Engine:
    """The engine for transactions that write. In SQLite they begin with the write lock; in
    PostgreSQL each statement sees all earlier commits, so reads after a lock are current.
    """
    if engine.dialect.name == "sqlite":
        return engine.execution_options(writing=True)
    return engine.execution_options(isolation_level="READ COMMITTED")


def without_password(where: str) -> str:
    """An address in the given form without its password, to be kept in a file; "" for none."""
    if "://" not in where:
        return where
    url = _parsed(where).difference_update_query(SECRETS)
    return URL.create(
        url.drivername, url.username, None, url.host, url.port, url.database, url.query
    ).render_as_string()


def _parsed(where: str) -> URL:
    try:
        return make_url(where)
    except (ArgumentError, ValueError) as error:
        raise StudyError(
            "the database's address cannot be read; write postgresql://USER:PASSWORD@HOST/NAME, "
            "or the path of a file"
        ) from error


def _url(where: str) -> URL:
    url = _parsed(where) if "://" in where else URL.create("sqlite", database=where)
    if url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() != "sqlite":
        raise StudyError(
            f"a study is kept in SQLite or PostgreSQL, not in {url.get_backend_name()}; give a "
            "file's path, or postgresql://..."
        )
    if url.database in (None, "", ":memory:") or url.query:
        raise StudyError("a study needs a lasting file: give only its path")
    return url


def _sqlite(path: Path, create: bool) -> Engine:
    if not create and not path.is_file():
        raise StudyError(f"there is no study in {path}; create one first")
    if path.is_dir():
        raise StudyError(f"{path} is a folder; give the path of a file")
    mounts = Path("/proc/mounts")
    kind = (
        network_filesystem(path.resolve(), mounts.read_text(errors="replace"))
        if mounts.is_file()
        else None
    )
    if kind:
        raise StudyError(
            f"{path} lies on a network filesystem ({kind}), where SQLite can lose votes: put it "
            "on a local disk, or use PostgreSQL"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"cannot make the folder of {path}: {error.strerror}") from error
    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": WAIT})
    event.listen(engine, "connect", _settings)
    event.listen(engine, "begin", _begin)
    return engine


def _settings(connection: sqlite3.Connection, _record: object) -> None:
    # transactions begin when `_begin` says so, not when Python's driver guesses
    connection.isolation_level = None
    for setting in (f"busy_timeout = {WAIT * 1000}", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {setting}")
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        _switch_to_wal(connection)


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """SQLite refuses this immediately beside another writer, whatever the busy_timeout, so this
    tries again for that time.
    """
    until = time.monotonic() + WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(
        "BEGIN IMMEDIATE" if connection.get_execution_options().get("writing") else "BEGIN"
    )


def network_filesystem(path: Path, mounts: str) -> str | None:
    """The type of the network filesystem that holds `path`, None for a local one; `mounts` is the
    text of /proc/mounts.
    """
    best, kind = -1, None
    for line in mounts.splitlines():
        _, point, found, *_ = line.split(" ")
        point = Path(point.encode().decode("unicode_escape"))  # a space is \040 in it
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), found
    return kind if kind in NETWORK else None


def _alembic(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option(
        "script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%")
    )
    config.attributes["connection"] = connection
    return config


def schema_revision(connection: Connection) -> str | None:
    """The schema's revision in this database, None without a schema."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Brings the schema up to a revision, within the connection's transaction. Raises `StudyError`
    for a schema newer than this program.
    """
    scripts = ScriptDirectory.from_config(_alembic())
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({SCHEMA_LOCK})"))
    found = schema_revision(connection)
    if found is None and (strangers := inspect(connection).get_table_names()):
        raise StudyError(
            "this database already has tables that do not belong to a study "
            f"({', '.join(sorted(strangers)[:3])}); give the study its own database"
        )
    if found not in {None, *(script.revision for script in scripts.walk_revisions())}:
        raise StudyError(
            f"this study's database has the schema {found}, which is newer than this program "
            f"({scripts.get_current_head()}): "
            "update the program, and leave the database alone"
        )
    if found != scripts.get_current_head():
        with _one_upgrade:
            command.upgrade(_alembic(connection), revision)


def backup_sqlite(engine: Engine, path: Path) -> None:
    """A complete copy of the database while it is in use, by SQLite's backup, under another name
    until it is complete. Raises `StudyError`.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.unlink(missing_ok=True)
        with engine.connect() as connection, closing(sqlite3.connect(part)) as copy:
            original = connection.connection.driver_connection
            assert isinstance(original, sqlite3.Connection)
            original.backup(copy)
            if (result := copy.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
                raise StudyError(f"the copy is damaged: {result}")
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, sqlite3.Error, StudyError) as error:
        part.unlink(missing_ok=True)
        raise StudyError(
            f"cannot back up to {path}: {error}. Give a folder with room on a local disk"
        ) from error


@contextmanager
def as_study_errors() -> Iterator[None]:
    """Turns the database's errors into `StudyError`s that say what to do, without statements or
    values, which may be confidential.
    """
    try:
        yield
    except (OperationalError, PoolTimeout) as error:
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        remedy = (
            PASSWORD if "password" in reason else "check its disk and its server, then try again"
        )
        raise Busy(f"the study's database does not answer ({reason}); {remedy}") from error
    except IntegrityError as error:
        raise StudyError(
            "the study's database refused a contradiction; load the trial again and answer that"
        ) from error
    # closed, read-only, broken: repeating the request after a repair loses nothing
    except DBAPIError as error:
        raise Busy(
            f"the study's database cannot be used: {str(error.orig).strip().splitlines()[0]}"
        ) from error
