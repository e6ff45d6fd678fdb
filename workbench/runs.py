"""A run folder: what was asked, what happened, and all that is needed to go on.

    manifest.json               recipe and its digest, versions, git commit, device, command, start
    metrics.jsonl               one JSON object a line, only ever appended to
    samples/round-000040.png    grids of a fixed panel of prompts and seeds
    checkpoints/round-000050.pt the last `keep` states
    student/                    the network to sample (diffusers format) and student.json

Every file but metrics.jsonl is written under another name, flushed to disk and renamed: an interruption at any instant leaves the
earlier one whole. A resumed run repeats the rounds since its checkpoint, bit for bit, so later rows of metrics.jsonl replace
equal earlier ones when read.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from workbench.recipe import Recipe

PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "peft", "gradio")


class RunError(RuntimeError):
    """A run folder that cannot be written or read; the message says which file and what to do."""


class Run:
    """A run folder at `path`. `Run.create` starts one, `Run.open` reads one; both raise `RunError` when they cannot."""

    def __init__(self, path: Path, manifest: dict):
        self.path, self.manifest = path, manifest

    @classmethod
    def create(cls, path: str | Path, recipe: Recipe, device: str) -> "Run":
        path = Path(path)
        if (path / "manifest.json").exists():
            raise RunError(f"{path} already holds a run; resume it, or choose another folder")
        manifest = {"recipe": json.loads(recipe.to_json()), "digest": recipe.digest, "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                    "command": sys.argv, "device": device, "git": _git_commit(), "python": platform.python_version(),
                    "platform": platform.platform(), "versions": {name: version(name) for name in PACKAGES}}
        for folder in ("samples", "checkpoints"):
            (path / folder).mkdir(parents=True, exist_ok=True)
        write_whole(path / "manifest.json", lambda part: part.write_text(json.dumps(manifest, indent=1)))
        return cls(path, manifest)

    @classmethod
    def at(cls, path: str | Path, recipe: Recipe, device: str) -> "Run":
        """The run of `recipe` at `path`, opened if it is there and created if not. Raises `RunError` for a run of another recipe."""
        if not (Path(path) / "manifest.json").exists():
            return cls.create(path, recipe, device)
        run = cls.open(path)
        if run.recipe != recipe:
            raise RunError(f"{path} holds a run of another recipe ({run.manifest['digest']}, not {recipe.digest}); choose another folder")
        return run

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        path = Path(path)
        try:
            return cls(path, json.loads((path / "manifest.json").read_text()))
        except FileNotFoundError as error:
            raise RunError(f"{path} holds no run (no manifest.json)") from error
        except json.JSONDecodeError as error:
            raise RunError(f"{path / 'manifest.json'} is not readable JSON: {error}") from error

    @property
    def recipe(self) -> Recipe:
        return Recipe.from_json(json.dumps(self.manifest["recipe"]))

    def log(self, **row) -> None:
        """Appends one row to metrics.jsonl; a half line left by an interruption is closed first."""
        path = self.path / "metrics.jsonl"
        try:
            with path.open("ab+") as file:
                if file.tell() and not _ends_with_newline(file):
                    file.write(b"\n")
                file.write((json.dumps(row) + "\n").encode())
        except OSError as error:
            raise RunError(f"cannot append to {path}: {error.strerror}") from error

    def metrics(self) -> list[dict]:
        """The rows of metrics.jsonl, the last one of each (kind, round, update); unfinished lines are left out."""
        path = self.path / "metrics.jsonl"
        rows = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            rows[row.get("kind"), row.get("round"), row.get("update")] = row
        return list(rows.values())

    def checkpoints(self) -> list[Path]:
        """Whole checkpoints, oldest first."""
        return sorted((self.path / "checkpoints").glob("round-*.pt"))

    def save_checkpoint(self, state: dict, done: int, keep: int) -> Path:
        """Saves `state` as of round `done`, then removes all but the last `keep`. A failure leaves the earlier ones alone."""
        path = self.path / "checkpoints" / f"round-{done:06d}.pt"
        write_whole(path, lambda part: torch.save(state, part))
        for old in self.checkpoints()[:-keep]:
            old.unlink()
        return path

    def load_checkpoint(self) -> dict | None:
        """The last checkpoint's state, None when there is none yet."""
        found = self.checkpoints()
        if not found:
            return None
        try:
            return torch.load(found[-1], map_location="cpu", weights_only=True, mmap=True)  # processes share its memory
        except Exception as error:  # torch raises many types for a damaged file
            earlier = f"to go on from {found[-2].name}" if len(found) > 1 else "to start again from round 0"
            raise RunError(f"cannot read the checkpoint {found[-1]} ({type(error).__name__}: {error}); delete it {earlier}") from error


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While nobody else works in `folder`, which is made if need be. Raises `RunError` where somebody does, here or in another process; one
    that was killed does not any more."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", thread_local=False)  # the app goes on with a generator in whichever thread is free
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise RunError(f"somebody is at work in {folder} already: stop that first, or choose another folder") from error
    except (OSError, NotImplementedError):  # a filesystem without locks: better unguarded than not at all
        pass
    try:
        yield
    finally:
        lock.release()


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """`write(temporary path)`, flush, rename to `path`. Raises `RunError`, having removed the part, when the disk is full."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # two processes may write one path
    try:
        write(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, RuntimeError) as error:
        part.unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error}. Free some disk space, then resume; earlier files are whole.") from error


def list_runs(folder: str | Path) -> list[Path]:
    """The run folders below `folder` that hold a finished or interim student, newest first."""
    found = [path.parent.parent for path in Path(folder).glob("*/student/student.json")]
    return sorted(found, key=lambda path: -(path / "student" / "student.json").stat().st_mtime)


def _ends_with_newline(file) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    try:
        result = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
