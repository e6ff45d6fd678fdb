"""Digests of content: what a file or a JSON value *is*, whatever its name and place.

Reading 20 GB of weights takes as long as the disk takes, so a file's digest is kept in the user's
cache, with the file's size and time of change. A file that has kept both is not read again. What
that shortcut cannot see is a change that keeps size and time (a tool that sets the time back,
damage on the disk); `in_full`, or `--verify` on the command line, reads every file.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from workbench.io.files import FolderError, write_atomically
from workbench.io.strict_json import to_json

# A file that changed less than this before it was read could change again within one tick of the
# file system's clock, so its digest is not kept.
SETTLED = 2.0  # seconds
THREADS = 4  # files read at a time: one thread reaches about 1 GB/s
CHUNK = 2**20  # bytes
LENGTH = 12  # hexadecimal digits of a short digest
_read_all: ContextVar[bool] = ContextVar("read_all", default=False)


def cache_folder() -> Path:
    """The user's cache folder of the workbench: $XDG_CACHE_HOME or ~/.cache, and its name there."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "dp-dmd-workbench"


@contextmanager
def in_full(wanted: bool = True) -> Iterator[None]:
    """Within it every file is read, also one that has kept its size and time."""
    token = _read_all.set(wanted)
    try:
        yield
    finally:
        _read_all.reset(token)


def reads_in_full() -> bool:
    """Whether every file is to be read, also one that has kept its size and time."""
    return _read_all.get()


def short_digest(value: Any) -> str:
    """12 hexadecimal digits of a JSON value; the order of an object's keys does not matter."""
    text = to_json(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:LENGTH]


def file_digests(paths: Iterable[str | Path]) -> list[str]:
    """The SHA-256 of each file, in the order given. Raises OSError for one that cannot be read."""
    read_all, paths = _read_all.get(), list(paths)
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(lambda path: _file_digest(Path(path), read_all), paths))


def file_digest(path: str | Path) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits. Raises OSError if it cannot be read."""
    return _file_digest(Path(path), _read_all.get())


def _file_digest(path: Path, read_all: bool) -> str:
    path = path.resolve()
    state, record = path.stat(), _record(path)
    known = [str(path), state.st_size, state.st_mtime_ns]
    if not read_all:
        try:
            *before, digest = json.loads(record.read_text())
            if before == known:
                return digest
        except (OSError, ValueError, TypeError):
            pass
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            sha.update(chunk)
    digest = sha.hexdigest()
    if time.time() - state.st_mtime > SETTLED:
        try:
            record.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(record, lambda part: part.write_text(to_json([*known, digest])))
        except (OSError, FolderError):  # a cache that cannot be written to costs time only
            pass
    return digest


def _record(path: Path) -> Path:
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:24]
    return cache_folder() / "digests" / f"{name}.json"
