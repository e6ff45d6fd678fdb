"""Opens a study's folder: study.json names the study and its database, and both must still belong
together.

    study.json      {"title": ..., "digest": ..., "database": ...}; no password
    study.db        the votes, unless the database is at an address
    stimuli.json    which sheet shows which prompt and method (`server.pictures`)

Knows neither models nor evaluations, so that serving and reading a study start quickly. Not here:
creating one (`stimuli`).
"""

from __future__ import annotations

import json
from pathlib import Path

from workbench.study.design import StudyDesign
from workbench.study.errors import StudyError
from workbench.study.server.pictures import digest_of_sheets
from workbench.study.store.store import Store

STUDY_FILE = "study.json"


def open_study(folder: Path, database: str = "") -> Store:
    """The study in a folder; `database` replaces the address in study.json, for example to add a
    password.

    Raises `StudyError` if there is no study, the database is another study's, or stimuli.json was
    changed. (`Pictures` checks the files of the pictures before they are shown: votes can be read
    without them.)
    """
    try:
        saved = json.loads((folder / STUDY_FILE).read_text(encoding="utf-8-sig"))
        digest, database = saved["digest"], database or saved["database"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"{folder} holds no study ({error}); create one with `python -m workbench study create`"
        ) from error
    store = Store.open(database or folder / "study.db")
    try:
        _check_frozen(folder, digest, store.design)
    except BaseException:
        store.close()
        raise
    return store


def _check_frozen(folder: Path, digest: str, design: StudyDesign) -> None:
    if design.digest != digest:
        raise StudyError(
            f"{folder} belongs to the study {digest}, but its database holds the study "
            f"{design.digest}: give the database of this folder, or the folder of that study"
        )
    file = folder / "stimuli.json"
    if not design.pictures or not file.exists():
        return
    try:
        saved = json.loads(file.read_text(encoding="utf-8-sig"))
        digest_of_file = digest_of_sheets(saved["sheets"], saved["sha256"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StudyError(
            f"{file} cannot be read ({error}); restore it from a copy of the folder"
        ) from error
    if digest_of_file != design.pictures:
        raise StudyError(
            f"{file} does not belong to the study {digest}: its pictures were changed after it was "
            "created. Restore the folder from a copy, or create a new study"
        )
