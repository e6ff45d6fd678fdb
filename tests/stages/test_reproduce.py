"""`stages` from the command line: its folder, what its report says of its making, and the same
report again.
"""

import json
import shutil
from pathlib import Path

import pytest

from workbench.cli import main
from workbench.io.files import slug_of
from workbench.stages import commands

WORDS = (
    "--models teacher,dp-dmd --seeds 2 --teacher-steps 2 --branches 2 --parents 2 --no-gradients "
    "--device cpu"
).split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("stages") / "s"
    assert main(["stages", "a circle", *WORDS, "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("name", ["report.html", "numbers.json"])
def test_a_report_is_made_again(name, folder, capsys):
    assert main(["show", str(folder / name)]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["request"]["prompts"] == ["a circle"]
    assert set(made["origin"]["models"]) == {"teacher", "dp-dmd"}
    assert main(["reproduce", str(folder / name)]) == 0
    assert "equal" in capsys.readouterr().out


def test_an_edited_number_is_told(folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "s")
    file = tmp_path / "s" / "numbers.json"
    file.write_text(file.read_text().replace('"seeds": [', '"seeds":  ['))
    assert main(["reproduce", str(file)]) == 1
    assert "was changed since it was written" in capsys.readouterr().err


@pytest.mark.parametrize(
    "prompt",
    ["/somewhere/abs cat", "../../up cat", "a cat / a dog", "猫", "..", " ".join("x" * 150), "CON"],
)
def test_the_default_folder_is_one_below_stages_whatever_the_prompt(
    prompt, monkeypatch, tmp_path, capsys
):
    """Before anything is loaded: the folder that would be used."""
    monkeypatch.chdir(tmp_path)
    seen = []

    def loaded(options):
        raise ValueError("enough")

    def checked(folder, prompts):
        seen.append(folder)

    monkeypatch.setattr(commands, "load_models", loaded)
    monkeypatch.setattr("workbench.stages.analysis.check_folder", checked)
    assert main(["stages", prompt, *WORDS]) == 1
    assert "enough" in capsys.readouterr().err
    (folder,) = seen
    assert folder.parent == Path("stages")
    assert folder.name == slug_of(prompt)
    assert len(folder.name) <= 60
    assert folder.resolve().parent == tmp_path / "stages"


def test_two_prompts_have_two_folders():
    assert slug_of("a cat") != slug_of("a  cat") != slug_of("A cat")
    assert len({slug_of(text) for text in ("猫", "犬", "")}) == 3
