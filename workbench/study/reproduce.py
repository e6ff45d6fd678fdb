"""A study's report made again, from the votes beside it."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path

from workbench.io.files import packages
from workbench.io.provenance import Remade, compared_numbers, text_digest
from workbench.io.strict_json import to_json
from workbench.io.tables import guarded
from workbench.study.ballots import Ballot, Choice, TrialKind
from workbench.study.design import StudyDesign
from workbench.study.errors import StudyError
from workbench.study.report import write_study_report

VOTES, RESULTS = "votes.csv", "results.csv"


def remake_study_report(path: Path, made: Mapping, device: str | None) -> Remade:
    """The verdict on a report's numbers, computed again from the votes.

    Raises:
        StudyError: The votes are not beside it, or not as they were.
    """
    votes = _as_written(path if made[VOTES] == _digest(path) else path.parent / VOTES, made[VOTES])
    design = StudyDesign.from_json(to_json(made["design"]))
    with tempfile.TemporaryDirectory() as folder:
        write_study_report(Path(folder), design, ballots_in(votes), reference=made["reference"])
        after = (Path(folder) / RESULTS).read_bytes().decode()
    same = text_digest(after) == made[RESULTS]
    before = after if same else _as_written(path.parent / RESULTS, made[RESULTS])
    changes = "" if packages() == made["packages"] else "with other packages"
    return compared_numbers(_numbers(before), _numbers(after), same, changes)


def ballots_in(text: str) -> list[Ballot]:
    """The ballots of a votes.csv."""
    kinds = {
        "choice": Choice,
        "kind": TrialKind,
        "expected": lambda cell: Choice(cell) if cell else None,
        "seconds": float,
        "position": int,
    }
    names = [field.name for field in dataclasses.fields(Ballot)]
    return [
        Ballot(**{name: kinds.get(name, str)(_unguarded(row[name])) for name in names})
        for row in csv.DictReader(io.StringIO(text, newline=""))
    ]


def _unguarded(cell: str) -> str:
    """The cell before `guarded` marked it as text."""
    return cell[1:] if cell[:1] == "'" and guarded(cell[1:]) == cell else cell


def _numbers(text: str) -> dict[str, float | None]:
    """Every number of a results.csv by its line's names."""
    found = {}
    for row in csv.DictReader(io.StringIO(text, newline="")):
        names = [row[name] for name in ("number", "method", "against", "criterion", "participants")]
        for bound in ("value", "low", "high", "p"):
            name = f"{bound} of {', '.join(filter(None, names))}"
            found[name] = _number(row[bound])
    return found


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _digest(path: Path) -> str:
    return text_digest(path.read_bytes().decode())


def _as_written(path: Path, digest: str) -> str:
    """A file's text. Raises `StudyError` unless it is the one with this digest."""
    if not path.is_file():
        raise StudyError(f"{path}, which belongs to this report, is not beside it: put it there")
    if _digest(path) != digest:
        raise StudyError(f"{path} is not the file that this report was made from: put that there")
    return path.read_bytes().decode()
