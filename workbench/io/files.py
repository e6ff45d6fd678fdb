"""Whole files: written atomically, in a folder that one process at a time writes to."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


def slug(text: str) -> str:
    """Letters and digits of a text, for a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].rstrip("-") or "untitled"


PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "peft", "gradio")


class FolderError(RuntimeError):
    """A run folder that cannot be written or read; the message says which file and what to do."""


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """While nobody else works in `folder`, which is made if need be. Raises `FolderError` where
    somebody does, here or in another process; one that was killed does not any more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(
        folder / ".lock", thread_local=False
    )  # the app goes on with a generator in whichever thread is free
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise FolderError(
            f"somebody is at work in {folder} already: stop that first, or choose another folder"
        ) from error
    except (
        OSError,
        NotImplementedError,
    ):  # a filesystem without locks: better unguarded than not at all
        pass
    try:
        yield
    finally:
        lock.release()


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """`write(temporary path)`, flush, rename to `path`. Raises `FolderError`, having removed the
    part, when the disk is full.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # two processes may write one path
    try:
        write(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, RuntimeError) as error:
        part.unlink(missing_ok=True)
        raise FolderError(
            f"cannot write {path}: {error}. Free some disk space, then resume; earlier files are "
            "whole."
        ) from error


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
