"""`show` and `reproduce` of what an evaluation writes: images, reports and tables."""

import json
import shutil

import pytest

from workbench.cli import main
from workbench.evaluation.commands import EVALUATION_REMAKERS
from workbench.io.provenance import compared_numbers, read_made

FILES = ("report.html", "report.md", "report.tex", "numbers.csv", "by_prompt.csv", "numbers.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation") / "e"
    words = "--models teacher,dmd --limit 2 --seeds 2 --teacher-steps 2 --metrics diversity"
    assert main(["evaluate", *words.split(), "--device", "cpu", "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("name", FILES)
def test_every_file_says_what_made_it(name, folder, capsys):
    assert main(["show", str(folder / name)]) == 0
    made = json.loads(capsys.readouterr().out)
    (one,) = made["evaluations"]
    assert one["about"]["teacher"]["source"] == "scenes"
    assert one["images"]["dmd"]["place"] == "dmd"
    assert len(one["request"]["prompts"]["prompts"]) == 2
    assert made["numbers"][0]["numbers"]["diversity lite0"]["mean"] > 0


@pytest.mark.parametrize("name", ["report.html", "report.tex", "numbers.csv"])
def test_a_table_is_made_again_letter_for_letter(name, folder, capsys):
    assert main(["reproduce", str(folder / name)]) == 0
    assert "equal, letter for letter" in capsys.readouterr().out


def test_an_exported_report_is_unpacked(folder, tmp_path, capsys):
    (tmp_path / "report").mkdir()
    for name in FILES:
        shutil.copy(folder / name, tmp_path / "report")
    archive = shutil.make_archive(str(tmp_path / "evaluation"), "zip", tmp_path / "report")
    assert main(["show", archive]) == 0
    assert main(["reproduce", archive]) == 0
    assert "equal, letter for letter" in capsys.readouterr().out


def test_an_edited_report_is_told(folder, tmp_path, capsys):
    text = (folder / "report.md").read_text()
    (tmp_path / "report.md").write_text(text.replace("# Evaluation", "# My evaluation"))
    assert main(["reproduce", str(tmp_path / "report.md")]) == 1
    assert "the numbers are equal, the text is not" in capsys.readouterr().out
    shutil.copytree(folder, tmp_path / "e")
    table = tmp_path / "e" / "numbers.csv"
    table.write_text(table.read_text().replace("0.", "1."))
    for command in ("show", "reproduce"):
        assert main([command, str(table)]) == 1
        assert "was changed since it was written" in capsys.readouterr().err


def test_a_changed_model_is_named(folder, tmp_path, capsys):
    made = read_made(folder / "report.md")
    made["evaluations"][0]["images"]["dmd"]["settings"]["digest"] = "another"
    with pytest.raises(RuntimeError, match=r"dmd in dmd is another model now.*digest"):
        EVALUATION_REMAKERS["evaluation"](folder / "report.md", made, "cpu")


def test_an_image_is_made_again_alone(folder, capsys):
    image = next(folder.glob("images/dmd-*/*/seed-0001.png"))
    assert main(["reproduce", str(image)]) == 0
    assert "sampled alone" in capsys.readouterr().out
    made = read_made(image)
    assert made["noise"] == "per-prompt"
    assert made["noise_seed"] > 1000  # that of this prompt and seed, not 1


def test_numbers_are_compared_one_by_one():
    before = {"div of a": 0.2, "div of b": 0.3, "low of b": None}
    assert compared_numbers(before, before, True).equal
    assert not compared_numbers(before, before, False).equal
    rounded = compared_numbers(before, before | {"div of a": 0.20001}, False, "cuda then, cpu now")
    assert rounded.equal
    assert "1 of 3 numbers differ, most of all div of a: 0.20001, was 0.2" in rounded.words
    assert "(cuda then, cpu now)" in rounded.words
    assert not compared_numbers(before, before | {"div of b": 0.31}, False).equal
    assert not compared_numbers(before, before | {"low of b": 0.1}, False).equal
    assert not compared_numbers(before, {"div of a": 0.2}, False).equal
