"""The picture of a training's panel: what it says of itself, and the same again."""

import shutil

import numpy as np
import pytest
from PIL import Image

from workbench import images_of
from workbench.cli import main
from workbench.io.png import read_settings
from workbench.models.loading import load_backend
from workbench.models.students import open_model
from workbench.training.figures import comparable_readings


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = "--preset scenes-dp-dmd --rounds 2 --batch 2 --sample-every 1 --checkpoint-every 2"
    assert main(["train", *words.split(), "--device", "cpu", "--out", str(folder)]) == 0
    return folder


def test_a_panel_shows_its_seeds_and_is_made_again(run, tmp_path, capsys):
    picture = run / "samples" / "round-000002.png"
    made = read_settings(picture)
    assert made["kind"] == "training panel"
    assert made["round"] == 2
    assert made["seeds"] == list(range(6))
    assert len(made["prompts"]) == 4
    assert "manual_seed(seed)" in made["noise"]
    assert main(["reproduce", str(picture)]) == 0
    assert "equal, bit for bit" in capsys.readouterr().out
    # the student that was saved is the same to half precision
    backend = load_backend("scenes")
    student = open_model(run, backend)
    row = next(images_of(student, backend, made["prompts"][:1], made["seeds"]))
    shown = np.asarray(Image.open(picture)).astype(float)[:64].reshape(64, 6, 64, 3)
    apart = abs(shown.swapaxes(0, 1) / 255 - row.permute(0, 2, 3, 1).numpy())
    assert apart.mean() < 2e-3
    moved = tmp_path / "elsewhere"
    shutil.copytree(run, moved)
    assert main(["reproduce", str(moved / "samples" / "round-000002.png")]) == 0


def test_a_round_without_its_checkpoint_is_told(run, capsys):
    assert main(["reproduce", str(run / "samples" / "round-000001.png")]) == 1
    error = capsys.readouterr().err
    assert "the student of round 1 is no longer in" in error
    assert "round-000002" in error


def test_readings_of_two_measures_are_not_one_curve():
    rows = [
        {"kind": "reading", "round": n, "diversity": 0.3, "feature": feature}
        for n, feature in ((1, "lite0@96"), (2, "lite0@96"), (3, "lite0@224"))
    ]
    assert [row["round"] for row in comparable_readings(rows)] == [3]
    assert len(comparable_readings(rows[:2])) == 2
    assert comparable_readings([]) == []
