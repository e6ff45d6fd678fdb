"""Whole files: written atomically, in a folder that one process at a time writes to."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError


def slug(text: str) -> str:
    """The letters and digits of a text, for a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].rstrip("-") or "untitled"


def slug_of(text: str) -> str:
    """The slug and a digest of the whole text: short, without a separator, and one text's alone."""
    return f"{slug(text)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "peft", "gradio")


class FolderError(RuntimeError):
    """A folder or file that cannot be written or read; the message names it and the way out."""


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Holds an exclusive lock on `folder`, which is created if need be. Raises `FolderError` if it
    is in use, here or in another process; a process that was killed holds no lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # not of a thread: the app continues a generator in whichever thread is free
    lock = FileLock(folder / ".lock", thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise FolderError(
            f"{folder} is in use already: stop that first, or choose another folder"
        ) from error
    except (OSError, NotImplementedError):
        pass  # a filesystem without locks: better unguarded than not at all
    try:
        yield
    finally:
        lock.release()


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """`write(temporary path)`, flush, rename to `path`. Raises `FolderError`, having removed the
    temporary file, when it cannot be written (such as on a full disk).
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # two processes may write one path
    try:
        write(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, RuntimeError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise FolderError(
            f"cannot write {path}: {error}. Free some disk space, then resume; earlier files are "
            "whole."
        ) from error


def file_to_write(text: str) -> Path:
    """The path of a file that a command is told to write, as the `type` of its option: a place
    where none can be written is a `FolderError` now, not after the work.
    """
    path = Path(text)
    if path.is_dir():
        raise FolderError(f"{path} is a folder: give the name of a file in it")
    _check_place(path)
    return path


def folder_to_write(text: str) -> Path:
    """The same for a folder, which may exist."""
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise FolderError(f"{path} is a file: give the name of a folder")
    _check_place(path / "file")
    return path


def _check_place(path: Path) -> None:
    """Raises `FolderError` where `path` and its missing folders could not be created."""
    try:
        existing = next(folder for folder in path.absolute().parents if folder.exists())
    except OSError as error:  # a name that is too long
        raise FolderError(f"{path} cannot be written: {error.strerror}") from error
    if not existing.is_dir():
        raise FolderError(f"{path} cannot be written: {existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise FolderError(f"{path} cannot be written: {existing} is not writable")


def packages() -> dict[str, str]:
    """The versions of Python and of the packages that determine results."""
    found = {name: version(name) for name in ("dp-dmd-workbench", *PACKAGES)}
    return {"python": platform.python_version()} | {name: one for name, one in found.items() if one}


def keep_earlier(folder: Path, digest: str, names: Iterable[str]) -> None:
    """Moves files and folders of `folder` into its earlier/`digest`, where they stay when others
    take their place.
    """
    earlier = folder / "earlier" / digest
    earlier.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (earlier / name).is_dir():  # kept before, under the same digest
            shutil.rmtree(earlier / name)
        (folder / name).replace(earlier / name)


def version(package: str) -> str | None:
    """The installed version of a package; None if it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
