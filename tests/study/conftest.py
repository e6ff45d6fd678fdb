"""Fixtures: a database for a study, in SQLite and in PostgreSQL (a server of the tests' own, if
Debian's is installed), and images of two methods.
"""

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.setup import postgresql_programs
from tests.support.small_study import DESIGN, PROMPTS
from workbench.study.store.store import Store

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgresql_server():
    """The address of a new PostgreSQL server on this host, without a database's name."""
    pytest.importorskip("psycopg")
    programs, folder = postgresql_programs(), Path(tempfile.mkdtemp(prefix="study-pg-", dir="/tmp"))
    owner = {}
    if os.geteuid() == 0:  # PostgreSQL does not run as root
        owner = {"user": "postgres", "group": "postgres", "extra_groups": []}
        shutil.chown(folder, "postgres", "postgres")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def call(program: str, *arguments: str) -> None:
        subprocess.run(
            [str(programs / program), *arguments],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            **owner,
        )

    data = str(folder / "data")
    try:
        call("initdb", "-D", data, "-A", "trust", "-U", "postgres", "--encoding=UTF8", "--no-sync")
        call(
            "pg_ctl",
            "-D",
            data,
            "-w",
            "-l",
            str(folder / "log"),
            "-o",
            f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off "
            "-c max_connections=200",
            "start",
        )
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}"
        finally:
            call("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgresql(postgresql_server):
    """The address of a new, empty database."""
    import psycopg

    name = f"study{next(_numbers)}"
    with psycopg.connect(f"{postgresql_server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{postgresql_server}/{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, tmp_path):
    """Where a study can be made: a path, or an address."""
    return (
        str(tmp_path / "study.sqlite")
        if request.param == "sqlite"
        else request.getfixturevalue("postgresql")
    )


@pytest.fixture
def store(where):
    """A new study of the small design."""
    with Store.create(where, DESIGN) as made:
        yield made


@pytest.fixture
def folders(tmp_path):
    """Two methods' images: of method n, image k of prompt p is filled with (n, p, k)."""
    for n, method in enumerate(("one", "two")):
        for p, prompt in enumerate(PROMPTS):
            place = tmp_path / method / f"prompt-{p}"
            place.mkdir(parents=True)
            (place / "prompt.txt").write_text(prompt)
            for k in range(5):
                Image.fromarray(np.full((32, 32, 3), (n * 90, p * 60, k * 40), np.uint8)).save(
                    place / f"{k}.png"
                )
    return {method: tmp_path / method for method in ("one", "two")}
