"""A run folder: the recipe, the history, and the state to resume from.

    manifest.json               recipe and its digest, versions, git commit, device, command, start,
                                and digests of what it trains on (`workbench.training.inputs`)
    prompts.json                the prompts it trains on
    metrics.jsonl               one JSON object per line, only appended to
    samples/round-000040.png    grids of a fixed panel of prompts and seeds
    checkpoints/round-000050.pt the last `keep` states
    student/                    the network to sample (diffusers format) and student.json

Every file but metrics.jsonl is written under another name, flushed to disk and renamed: an
interruption at any time leaves the earlier version whole. A resumed run repeats the rounds since
its checkpoint, bit for bit, so later rows of metrics.jsonl replace equal earlier ones when read.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import torch

from workbench.core.methods import check_trains
from workbench.core.recipe import Recipe
from workbench.io.files import PACKAGES, FolderError, version, write_atomically
from workbench.io.strict_json import to_json
from workbench.models.recipes import with_absolute_paths, with_found_paths
from workbench.training.changes import changed_digest, changed_recipe


class Run:
    """A run folder at `path`. `Run.create` starts one, `Run.open` reads one; both raise
    `FolderError` if they cannot.
    """

    def __init__(self, path: Path, manifest: dict):
        self.path, self.manifest = path, manifest

    @classmethod
    def create(cls, path: str | Path, recipe: Recipe, device: str) -> Run:
        """A new run at `path`. Raises `FolderError` if the folder holds one, and ValueError for
        settings by which a term of the loss vanishes.
        """
        check_trains(recipe)
        path, recipe = Path(path), with_absolute_paths(recipe)
        if (path / "manifest.json").exists():
            raise FolderError(f"{path} already holds a run; resume it, or choose another folder")
        manifest = {
            "recipe": recipe.to_dict(),
            "digest": recipe.digest,
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "command": sys.argv,
            "device": device,
            "git": _git_commit(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "versions": {name: version(name) for name in PACKAGES},
        }
        for folder in ("samples", "checkpoints"):
            (path / folder).mkdir(parents=True, exist_ok=True)
        write_atomically(
            path / "manifest.json", lambda part: part.write_text(to_json(manifest, indent=1))
        )
        return cls(path, manifest)

    @classmethod
    def at(cls, path: str | Path, recipe: Recipe, device: str) -> Run:
        """The run of `recipe` at `path`, opened if it exists and created if not. Raises
        `FolderError` for a run of another recipe.
        """
        if not (Path(path) / "manifest.json").exists():
            return cls.create(path, recipe, device)
        run = cls.open(path)
        recipe = with_absolute_paths(recipe)
        if run.recipe != recipe:
            raise FolderError(
                f"{path} holds a run of another recipe ({run.digest}, not "
                f"{recipe.digest}); choose another folder"
            )
        return run

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """The run at `path`. Raises `FolderError` if there is none, or its manifest is damaged."""
        file = Path(path) / "manifest.json"
        try:
            run = cls(Path(path), json.loads(file.read_text(encoding="utf-8")))
            if "method" not in run.manifest["recipe"]:
                raise KeyError("method")
            run.recipe  # noqa: B018  raises if it cannot be read
        except FileNotFoundError as error:
            raise FolderError(f"{path} holds no run (no manifest.json)") from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise FolderError(f"{file} is not readable JSON: {error}") from error
        except ValueError as error:  # a setting or a method that this version does not know
            raise FolderError(f"{file}: {error}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise FolderError(
                f"{file} has no whole recipe ({type(error).__name__}: {error}), so it is damaged "
                "or another program's: take it from a backup, or train again in a new folder"
            ) from error
        return run

    @property
    def recipe(self) -> Recipe:
        """The recipe that the run came to (see `workbench.training.changes`), its files where they
        are now (see `workbench.models.recipes`).
        """
        return with_found_paths(changed_recipe(self.manifest), self.path)

    @property
    def digest(self) -> str:
        """The digest of that recipe, and of how the run came to it."""
        return changed_digest(self.manifest)

    def update(self, **entries) -> None:
        """Replaces entries of the manifest."""
        self.manifest |= entries
        write_atomically(
            self.path / "manifest.json",
            lambda part: part.write_text(to_json(self.manifest, indent=1)),
        )

    def log(self, **row) -> None:
        """Appends one row to metrics.jsonl; a half line left by an interruption is closed first."""
        path = self.path / "metrics.jsonl"
        try:
            with path.open("ab+") as file:
                if file.tell() and not _ends_with_newline(file):
                    file.write(b"\n")
                file.write((to_json(row) + "\n").encode())
        except OSError as error:
            raise FolderError(f"cannot append to {path}: {error.strerror}") from error

    def metrics(self) -> list[dict]:
        """The rows of metrics.jsonl, the last one of each (kind, round, update), without damaged
        and unfinished lines, and without rounds that the run went back behind.
        """
        path = self.path / "metrics.jsonl"
        rows = {}
        for line in path.read_bytes().splitlines() if path.exists() else ():
            try:
                row = json.loads(line)
                key = row.get("kind"), row.get("round"), row.get("update")
                if row.get("kind") == "change":
                    rows = {
                        old: kept for old, kept in rows.items() if (old[1] or 0) <= row["round"]
                    }
                else:
                    rows[key] = row
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # half a line, broken bytes, or no object
        return list(rows.values())

    def checkpoints(self) -> list[Path]:
        """Whole checkpoints, oldest first."""
        return sorted((self.path / "checkpoints").glob("round-*.pt"))

    def save_checkpoint(self, state: dict, done: int, keep: int) -> Path:
        """Saves `state` as of round `done`, then removes all but the last `keep`. A failure leaves
        the earlier ones alone.
        """
        path = self.path / "checkpoints" / f"round-{done:06d}.pt"
        write_atomically(path, lambda part: torch.save(state, part))
        for old in self.checkpoints()[:-keep]:
            old.unlink()
        return path

    def load_checkpoint(self) -> dict | None:
        """The last checkpoint's state, None before the first. Raises `FolderError` for a damaged
        one.
        """
        checkpoints = self.checkpoints()
        if not checkpoints:
            return None
        last = checkpoints[-1]
        try:  # mmap: processes share its memory
            return torch.load(last, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # torch raises many types for a damaged file
            earlier = (
                f"to continue from {checkpoints[-2].name}"
                if len(checkpoints) > 1
                else "to start again from round 0"
            )
            raise FolderError(
                f"cannot read the checkpoint {last} ({type(error).__name__}: {error}); "
                f"delete it {earlier}"
            ) from error


def _ends_with_newline(file) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _git_commit() -> str | None:
    try:
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
