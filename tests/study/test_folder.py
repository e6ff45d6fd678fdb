"""A study's folder: what it freezes, and which database belongs to it."""

import dataclasses
import hashlib
import json
import shutil

import pytest
from PIL import Image

from tests.support.small_study import PROMPTS
from workbench.study.design import LATER
from workbench.study.errors import StudyError
from workbench.study.folder import open_study
from workbench.study.server.app import study_app
from workbench.study.server.pictures import Pictures
from workbench.study.stimuli import create_study, render_sheets, samples_of_folders
from workbench.study.store.store import Store

SETTINGS = {"title": "A study", "trials": 3, "gold": 1, "repeats": 0}


def test_what_is_shown_is_frozen_with_the_design(folders, tmp_path):
    place = tmp_path / "study"
    with create_study(place, samples_of_folders(folders), SETTINGS) as store:
        digest = store.design.digest
    stimuli = json.loads((place / "stimuli.json").read_text())
    for file, sha256 in stimuli["sha256"].items():
        assert hashlib.sha256((place / "stimuli" / file).read_bytes()).hexdigest() == sha256
    Pictures(place).check(("one", "two"), PROMPTS)
    again = render_sheets(samples_of_folders(folders), tmp_path / "again")  # under other names
    with open_study(place) as store:
        assert store.design.pictures == again != ""
        assert store.design.digest == digest
    Image.new("RGB", (32, 32), (1, 2, 3)).save(folders["one"] / "prompt-0" / "0.png")
    assert render_sheets(samples_of_folders(folders), tmp_path / "other") != again
    shutil.copy(tmp_path / "other" / "stimuli.json", place / "stimuli.json")
    with pytest.raises(
        StudyError,
        match=f"stimuli.json does not belong to the study {digest}: its pictures were changed "
        "after it was created",
    ):
        open_study(place)
    (place / "stimuli.json").write_text("{}")
    with pytest.raises(StudyError, match=r"stimuli.json cannot be read"):
        open_study(place)
    (place / "stimuli.json").unlink()
    open_study(place).close()  # its votes can be had without the pictures
    (place / "study.json").write_text(
        json.dumps(json.loads((place / "study.json").read_text()) | {"digest": "0123456789ab"})
    )
    with pytest.raises(
        StudyError,
        match=f"belongs to the study 0123456789ab, but its database holds the study {digest}: "
        "give the database of this",
    ):
        open_study(place)


def test_a_study_that_was_made_before_pictures_were_frozen_opens(folders, tmp_path):
    place = tmp_path / "study"
    with create_study(
        place,
        samples_of_folders(folders),
        SETTINGS,
    ) as store:
        design = dataclasses.replace(store.design, **LATER)
    (place / "study.db").unlink()
    Store.create(place / "study.db", design).close()
    (place / "study.json").write_text(
        json.dumps({"title": "A study", "digest": design.digest, "database": ""})
    )
    (place / "stimuli.json").write_text(
        json.dumps({"sheets": json.loads((place / "stimuli.json").read_text())["sheets"]})
    )
    with open_study(place) as store:
        assert store.design.min_seconds is None
        assert not store.design.pictures
        study_app(store, place)


def test_a_password_is_kept_nowhere(folders, tmp_path, monkeypatch):
    """Without a server: what stands for a database is a file, whatever its address."""
    address, place = "postgresql://me:secret-word@127.0.0.1/study", tmp_path / "study"
    create, opened = Store.create, []

    def made(where, design):
        opened.append(where)
        return create(tmp_path / "db", design)

    monkeypatch.setattr(Store, "create", made)
    monkeypatch.setattr(
        Store, "open", lambda where, to=Store.open: opened.append(where) or to(tmp_path / "db")
    )
    create_study(
        place,
        samples_of_folders(folders),
        SETTINGS,
        address,
    ).close()
    open_study(place).close()
    open_study(place, address).close()
    assert opened == [address, "postgresql://me@127.0.0.1/study", address]
    assert not any(
        b"secret-word" in path.read_bytes() for path in place.rglob("*") if path.is_file()
    )


def test_a_study_is_made_once_and_opened_again(folders, tmp_path):
    place = tmp_path / "study"
    with create_study(place, samples_of_folders(folders), SETTINGS) as store:
        digest = store.design.digest
    with open_study(place) as store:
        assert store.design.digest == digest
        assert store.design.prompts == PROMPTS
        assert store.design.seeds == (0, 1, 2, 3, 4)
    with pytest.raises(StudyError, match="already holds a study, which stays unchanged"):
        create_study(place, samples_of_folders(folders), SETTINGS)
    with pytest.raises(StudyError, match="trials = 9 is more than the 3 items"):
        create_study(tmp_path / "other", samples_of_folders(folders), SETTINGS | {"trials": 9})
    assert not (tmp_path / "other").exists()  # nothing was rendered for nothing
    with pytest.raises(StudyError, match=r"holds no study .* study create"):
        open_study(tmp_path)
