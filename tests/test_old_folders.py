"""Folders that version 0.1 wrote are opened by this one, and say the same.

`tests/data/0.1` was written by the command line of 0.1.0 (`train --lora 1`, `evaluate`, `stages`,
`study create` with a few votes); study.sql is the dump of its SQLite file.
"""

import csv
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from workbench import images_of
from workbench.cli import main
from workbench.io.png import tile
from workbench.models.loading import load_backend
from workbench.models.students import open_model
from workbench.training.run import Run

OLD = Path(__file__).parent / "data" / "0.1"


@pytest.fixture
def old(tmp_path, monkeypatch):
    """A copy to work in, the current folder."""
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def numbers_of(evaluation):
    with (evaluation / "numbers.csv").open(newline="") as file:
        return {(row["model"], row["number"]): row for row in csv.DictReader(file)}


def test_a_run_keeps_its_recipe_and_digest(old):
    run = Run.open(old / "run")
    assert run.recipe.digest == run.manifest["digest"]
    assert [row["update"] for row in run.metrics() if row["kind"] == "student"] == [1, 2]


def test_a_student_is_listed_and_sampled_as_it_was(old):
    from PIL import Image, ImageChops

    words = ["sample", "a circle", "--models", "run", "--seeds", "1", "--out", "now.png"]
    assert main(words) == 0
    backend = load_backend("scenes")
    # 0.1 drew a noise for each prompt and seed, as `evaluate` does
    rows = images_of(open_model("run", backend), backend, ["a circle"], [0], noise="per-prompt")
    now = tile(list(rows))
    difference = ImageChops.difference(now, Image.open(old / "sample.png").convert("RGB"))
    assert (
        max(high for _, high in difference.getextrema()) <= 3
    )  # another processor, other roundings


def test_an_evaluation_is_measured_again_to_the_same_numbers(old):
    """Its intervals were the bootstrap's of two prompts, and are Student's, far wider."""
    before = numbers_of(old / "evaluation")
    words = ["evaluate", "--rescore", "--out", "evaluation", "--metrics", "diversity,spread,vendi"]
    assert main(words) == 0
    after = numbers_of(old / "evaluation")
    assert after.keys() == before.keys()
    for key, row in before.items():
        again = after[key]
        assert float(again["value"]) == pytest.approx(float(row["value"]), abs=1e-6)
        assert (again["low"] == "") == (row["low"] == "")
        if row["low"]:
            assert float(again["low"]) < float(row["low"])
            assert float(row["high"]) < float(again["high"])


def test_the_stages_of_an_earlier_version_are_kept_and_recorded_anew(old, capsys):
    """Nothing says of which weights the old ones are."""
    before = json.loads((old / "stages" / "numbers.json").read_text())
    files = {path: path.read_bytes() for path in (old / "stages" / "trajectories").iterdir()}
    words = ["stages", "a circle", "--models", "teacher,run", "--seeds", "2", "--no-gradients"]
    words += ["--teacher-steps", "3", "--branches", "0", "--no-swap", "--out", "stages"]
    assert main(words) == 0
    after = json.loads((old / "stages" / "numbers.json").read_text())
    assert after.keys() <= before.keys()
    (earlier,) = (old / "stages" / "earlier").iterdir()
    for path, content in files.items():
        assert (earlier / "trajectories" / path.name).read_bytes() == content
    assert json.loads((earlier / "numbers.json").read_text()) == before
    assert (old / "stages" / "report.html").is_file()


def test_a_study_exports_the_same_bytes(old):
    with sqlite3.connect(old / "study" / "study.db") as database:
        database.executescript((old / "study" / "study.sql").read_text())
    database.close()
    assert main(["study", "export", "study", "--to", "votes.csv"]) == 0
    assert (old / "votes.csv").read_bytes() == (old / "study" / "votes.csv").read_bytes()
    assert main(["study", "report", "study"]) == 0
    assert (old / "study" / "report" / "report.html").is_file()
