"""`show` and `reproduce` of the grid's pictures: what made them, and the same again."""

import dataclasses
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.grid.test_generate import painted
from workbench.cli import main
from workbench.grid.export import export_png, export_zip
from workbench.grid.request import GridRequest
from workbench.io.png import compared, png_bytes, read_settings
from workbench.models.loading import load_backend
from workbench.models.students import shipped_students

REQUEST = GridRequest(("a red circle", "a star"), (0, 3), ("teacher", "dp-dmd"), teacher_steps=2)


@pytest.fixture(scope="module")
def grid():
    request = dataclasses.replace(REQUEST, student_steps=2)
    return painted(request, load_backend("scenes"), shipped_students("scenes"))


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    out = tmp_path_factory.mktemp("sample") / "s.png"
    words = "--models teacher,dp-dmd --seeds 2 --teacher-steps 2 --guidance 3 --device cpu"
    assert main(["sample", "a red circle", "a star", *words.split(), "--out", str(out)]) == 0
    return out


def files_of(grid, sample, folder) -> dict:
    """A file of each kind."""
    files = {
        "sheet": (folder / "sheet.png", export_png(grid)),
        "zip": (folder / "grid.zip", export_zip(grid)),
        "cell": (folder / "cell.png", grid.cells[0, "dp-dmd", 3].png),
        "teacher's cell": (folder / "teacher.png", grid.cells[1, "teacher", 0].png),
        "sample": (folder / "sample.png", sample.read_bytes()),
    }
    for path, content in files.values():
        path.write_bytes(content)
    return {kind: path for kind, (path, _) in files.items()}


@pytest.mark.parametrize("kind", ["sheet", "zip", "cell", "teacher's cell", "sample"])
def test_every_picture_is_made_again_bit_for_bit(kind, grid, sample, tmp_path, capsys):
    file = files_of(grid, sample, tmp_path)[kind]
    assert main(["show", str(file)]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["origin"]["teacher"]["source"] == "scenes"
    assert "manual_seed(seed)" in made["noise"]
    assert main(["reproduce", str(file)]) == 0
    assert "equal, bit for bit" in capsys.readouterr().out


def test_a_changed_picture_is_told_by_how_much(sample, tmp_path, capsys):
    pixels = np.array(Image.open(sample))
    pixels[3, 4] = 255 - pixels[3, 4] // 2
    file = tmp_path / "changed.png"
    file.write_bytes(png_bytes(Image.fromarray(pixels), read_settings(sample)))
    assert main(["reproduce", str(file)]) == 1
    printed = capsys.readouterr().out
    assert "not equal: the largest difference is" in printed


def test_what_cannot_be_made_again_is_told(sample, teacher_folder, tmp_path, capsys):
    teacher, out = tmp_path / "teacher", tmp_path / "s.png"
    shutil.copytree(teacher_folder, teacher)
    words = f"--models teacher --teacher {teacher} --seeds 2 --teacher-steps 2 --device cpu --out"
    assert main(["sample", "a red circle", *words.split(), str(out)]) == 0
    assert main(["reproduce", str(out)]) == 0
    capsys.readouterr()
    weights = next((teacher / "transformer").glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1  # a bit in a middle of a weight
    weights.write_bytes(content)
    assert main(["reproduce", str(out)]) == 1
    assert "transformer" in capsys.readouterr().err
    shutil.rmtree(teacher)
    assert main(["reproduce", str(out)]) == 1
    error = capsys.readouterr().err
    assert str(teacher) in error
    assert "cannot be opened" in error
    shutil.copytree(teacher_folder, tmp_path / "moved")
    assert main(["reproduce", str(out), "--at", f"teacher={tmp_path / 'moved'}"]) == 0
    for at, message in (("dmd=x", "nothing called 'dmd' made this file"), ("x", "NAME=PLACE")):
        assert main(["reproduce", str(out), "--at", at]) == 1
        assert message in capsys.readouterr().err


def test_files_that_say_nothing_or_too_little_are_told(tmp_path, capsys):
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    (tmp_path / "plain.csv").write_text("a\n")
    (tmp_path / "old.png").write_bytes(png_bytes(Image.new("RGB", (4, 4)), {"seed": 3}))
    for name, message in (
        ("plain.png", "no settings"),
        ("plain.csv", "does not say what made it"),
        ("old.png", "it is of the kind “unknown”"),
        ("none.png", "No such file"),
    ):
        assert main(["reproduce", str(tmp_path / name)]) == 1
        assert message in capsys.readouterr().err


def test_verdicts():
    before = np.full((2, 3, 3), 100, np.uint8)
    assert compared(before, before) == (True, "equal, bit for bit")
    rounded = before.copy()
    rounded[0, 0, 0] = 101
    equal, words = compared(before, rounded, "torch 1 then, 2 now")
    assert equal
    assert words.startswith("equal to rounding: the largest difference is 1 of 255")
    assert "(torch 1 then, 2 now)" in words
    assert compared(before, before[:1]) == (False, "not equal: 3 x 1 pixels, was 3 x 2")
    far = before.copy()
    far[0, 0, 0] = 90
    assert compared(before, far)[0] is False
    assert read_settings(io.BytesIO(png_bytes(Image.fromarray(before), {"a": 1}))) == {"a": 1}
