"""What a run trains on: noted by content, compared when it continues, kept when it moves."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from workbench.cli import main
from workbench.core.presets import SCENES
from workbench.io.files import FolderError
from workbench.models.students import recipe_of_student
from workbench.training.inputs import kept_prompts, prompt_changes
from workbench.training.run import Run
from workbench.training.train import train

PROMPTS = ["a red circle", "two stars", "a blue shape"]
TINY = replace(
    SCENES,
    rounds=2,
    batch=2,
    fake_updates_per_round=1,
    teacher_steps=2,
    k=1,
    student_steps=2,
    sample_every=0,
    checkpoint_every=1,
    precision="fp32",
)


@pytest.fixture
def files(teacher_folder, tmp_path, monkeypatch):
    """A work folder with a teacher and a prompt file, both named by relative paths."""
    work = tmp_path / "work"
    shutil.copytree(teacher_folder, work / "teach")
    (work / "p.txt").write_text("\n".join(PROMPTS))
    monkeypatch.chdir(work)
    return work


def begun(files) -> Run:
    """A run that was interrupted after its first round."""
    run = Run.create("run", replace(TINY, teacher="teach", prompts="p.txt"), "cpu")
    for _ in train(run):
        if run.checkpoints():
            break
    assert len(run.checkpoints()) == 1
    return Run.open("run")


def losses(run: Run) -> list[dict]:
    return [row["losses"] for row in run.metrics()]


def test_an_edited_prompt_file_is_refused_and_named(files):
    run = begun(files)
    (files / "p.txt").write_text("three stars\ntwo stars\na blue shape\n")
    with pytest.raises(FolderError) as refused:
        list(train(run))
    for word in (
        "p.txt changed since round 1",
        "1 of 3 differ, first prompt 1: “a red circle” is now “three stars”",
        "--accept-changed-prompts",
        "new folder",
    ):
        assert word in str(refused.value)
    assert len(run.checkpoints()) == 1
    (files / "p.txt").write_text("\r\n".join(["", *PROMPTS, ""]))  # the same prompts
    list(train(run))
    assert len(run.checkpoints()) == 2


def test_an_accepted_change_is_noted_and_the_earlier_prompts_are_kept(files, capsys):
    begun(files)
    (files / "p.txt").write_text("three stars\n")
    assert main(["resume", "run", "--device", "cpu"]) == 1
    assert "3 prompts became 1" in capsys.readouterr().err
    assert main(["resume", "run", "--device", "cpu", "--accept-changed-prompts"]) == 0
    run = Run.open("run")
    (entry,) = run.manifest["changes"]
    assert entry["from_round"] == 1
    assert entry["inputs"]["changed"]["prompts"].startswith("3 prompts became 1")
    assert kept_prompts(run) == ["three stars"]
    assert json.loads((run.path / "prompts-until-round-000001.json").read_text()) == PROMPTS
    student = json.loads((run.path / "student" / "student.json").read_text())
    assert student["digest"] == run.digest == entry["digest"] != run.manifest["digest"]
    list(train(run))  # and is not asked again


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder"])
def test_a_changed_teacher_is_refused_by_its_part(files, part):
    run = begun(files)
    (weights,) = (files / "teach" / part).glob("*.safetensors")
    tensors = load_file(weights)
    name = max(tensors, key=lambda name: tensors[name].numel())
    tensors[name].view(-1)[-1] += 1e-3
    save_file(tensors, weights, metadata={"format": "pt"})
    named = rf"teach changed since round 1 of run: {part}\. .*--accept-changed-teacher"
    with pytest.raises(FolderError, match=named):
        list(train(run))
    list(train(run, accepted=("teacher",)))
    assert Run.open("run").manifest["changes"][0]["inputs"]["changed"] == {"teacher": part}


def test_a_run_continues_to_the_same_losses_from_anywhere(files, tmp_path, monkeypatch):
    """From another folder, after it has moved, and without its prompt file."""
    run = begun(files)
    list(train(run))
    expected, moved = losses(run), []
    for change in ("another folder", "moved together", "without the prompt file"):
        shutil.rmtree("run")
        monkeypatch.chdir(files)
        begun(files)
        place = files
        if change == "moved together":
            place = tmp_path / "moved"
            monkeypatch.chdir(tmp_path)
            shutil.move(files, place)
        elif change == "without the prompt file":
            (files / "p.txt").unlink()
        monkeypatch.chdir("/")
        again = Run.open(place / "run")
        list(train(again))
        assert losses(again) == expected, change
        moved.append(recipe_of_student(place / "run").teacher)
        if change == "moved together":
            shutil.move(place, files)
        monkeypatch.chdir(files)
    assert [Path(path).name for path in moved] == ["teach"] * 3


def test_a_missing_teacher_is_said_of_which_run(files, monkeypatch):
    run = begun(files)
    shutil.move(files / "teach", files.parent / "away")
    with pytest.raises(FolderError, match=r"^run: there is no folder .*/teach"):
        list(train(run))


def test_other_software_is_noted(files):
    run = begun(files)
    run.update(inputs=run.manifest["inputs"] | {"software": {"torch": "1.0"}})
    list(train(Run.open("run")))
    (entry,) = Run.open("run").manifest["changes"]
    assert "torch 1.0 -> " in entry["inputs"]["changed"]["software"]


def test_a_run_of_an_earlier_version_continues_and_says_what_it_cannot_vouch_for(files):
    run = begun(files)
    del run.manifest["inputs"]
    run.update()
    (run.path / "prompts.json").unlink()
    list(train(Run.open("run")))
    (entry,) = Run.open("run").manifest["changes"]
    assert entry["inputs"]["changed"] == {"inputs": "not known before this round"}
    assert kept_prompts(run) == PROMPTS


def test_the_first_difference_of_two_lists():
    assert prompt_changes(["a", "b"], ["a", "c"]) == "1 of 2 differ, first prompt 2: “b” is now “c”"
    assert prompt_changes(["a"], ["a", "b"]) == "1 prompts became 2"
