"""A benchmark's numbers with what produced them, as a JSON file that docs/results.md is generated
from.

    {"name": "phenomenon", "command": "python benchmarks/phenomenon.py ...",
     "commit": "...", "date": "2026-01-31T12:00:00+00:00", "machine": "...",
     "protocol": {setting: value}, "recipes": {label: {"digest": "...", "recipe": {...}}},
     "rows": [{column: cell as text}], "scores": [{column: number}]}

`rows` is the table as it is printed, one dict per row with equal keys; `scores` holds the numbers
that it summarises.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from workbench.core.recipe import Recipe
from workbench.io.files import PACKAGES, version
from workbench.io.strict_json import to_json

ROOT = Path(__file__).parents[1]


def write_record(
    folder: Path,
    name: str,
    protocol: dict | str,
    recipes: dict[str, Recipe],
    rows: list[dict],
    scores: list[dict],
    **of_page: object,
) -> Path:
    """Writes folder/NAME.json and returns its path. `of_page` are optional keys that
    docs/make_results.py reads, such as `title`.
    """
    script, *arguments = sys.argv
    record = {
        "name": name,
        "command": shlex.join(["python", f"benchmarks/{Path(script).name}", *arguments]),
        "commit": git_commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "protocol": protocol,
        "recipes": {
            label: {"digest": recipe.digest, "recipe": asdict(recipe)}
            for label, recipe in recipes.items()
        },
        "rows": rows,
        "scores": scores,
    } | of_page
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(to_json(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def git_commit() -> str:
    """The commit of this checkout, with "+" if tracked files differ from it; "" outside git."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout

    changed = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "HEAD").strip() + ("+" if changed else "")


def machine() -> str:
    """Cores, processor, Python and packages."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, "
        f"Python {platform.python_version()}, {packages}"
    )


def as_markdown(rows: list[dict]) -> str:
    """A table with the rows' keys as its head."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
