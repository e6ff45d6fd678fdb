"""Sweeps of tiny runs on an untrained world, in processes and in this one."""

import json
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.support.timing import seconds
from workbench.cli import main
from workbench.core.presets import SCENES
from workbench.models.embedded import EMBEDDED
from workbench.training.run import Run
from workbench.training.sweep import Scoring, Sweep

TINY = replace(
    SCENES,
    rounds=1,
    batch=2,
    teacher_steps=2,
    k=1,
    student_steps=2,
    sample_every=0,
    checkpoint_every=1,
    precision="fp32",
)
DMD, WILD = (
    replace(TINY, method="dmd"),
    replace(TINY, student_rate=1e30, fake_rate=1e30, clip=0.0, rounds=3),
)
SCORING = Scoring(limit=2, seeds=2, metrics=("diversity",))


@pytest.fixture(scope="module", autouse=True)
def untrained(world):
    """This process and those that it starts open the untrained world."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_SCENES", str(world))
        patch.setitem(EMBEDDED, "scenes", world)
        yield


@pytest.fixture(scope="module")
def swept(untrained, tmp_path_factory):
    """A sweep that has run to its end, and its steps: two labels are one run, and one run
    diverges.
    """
    sweep = Sweep(
        {"DMD": DMD, "the same": replace(DMD), "wild": WILD},
        tmp_path_factory.mktemp("sweep"),
        scoring=SCORING,
        processes=3,
    )
    return sweep, list(sweep.run())


def children() -> list[psutil.Process]:
    """This process's children that run the workbench."""
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and child.cmdline()[1:3] == ["-m", "workbench"]
    ]


def copy_scores(source: Path, folder: Path) -> None:
    """What a sweep below `folder` takes for done."""
    (folder / source.name).mkdir()
    (folder / source.name / "scores.json").write_bytes((source / "scores.json").read_bytes())


def test_equal_recipes_are_one_run(swept):
    sweep, steps = swept
    assert sweep.runs("DMD") == sweep.runs("the same")
    assert sweep.scored["DMD"] == sweep.scored["the same"]
    assert len(list(sweep.folder.glob("*/manifest.json"))) == 2
    assert steps[-1].total == DMD.rounds + WILD.rounds
    (numbers,) = sweep.scored["DMD"]
    assert numbers["diversity lite0"] >= 0
    assert numbers["evaluations"] == 2
    assert numbers["seconds"] > 0


def test_the_steps_count_the_rounds_of_all_runs(swept):
    _, steps = swept
    assert steps[-1].done == steps[-1].total
    assert {step.what for step in steps} == {"rounds"}
    assert all(0 <= step.done <= step.total for step in steps)


def test_a_run_that_diverges_is_listed_and_the_others_are_scored(swept):
    sweep, _ = swept
    ((folder, reason),) = sweep.failures.items()
    assert [Path(folder)] == sweep.runs("wild")
    assert sweep.scored["wild"] == []
    assert reason.startswith("workbench: round")
    assert "is not finite" in reason
    assert "_rate = 1e+30 is probably too high" in reason


def test_the_teacher_is_scored_once_for_all(swept):
    sweep, _ = swept
    assert sweep.teacher["evaluations"] == 4
    assert sweep.teacher["seconds"] == 0
    assert sweep.teacher["diversity lite0"] >= 0


def test_finished_runs_are_not_started_again(swept):
    done, _ = swept
    sweep = replace(done, recipes={"DMD": DMD}, failures={})
    before = {file: file.stat().st_mtime_ns for file in sweep.folder.rglob("*")}
    (step,) = sweep.run()
    assert (step.done, step.total) == (1, 1)
    assert not sweep.failures
    assert {file: file.stat().st_mtime_ns for file in sweep.folder.rglob("*")} == before


TIMES = ("seconds", "milliseconds")


def timeless(numbers: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in numbers.items() if name not in TIMES}


def test_a_sweep_in_this_process_has_the_same_results(swept, tmp_path):
    other, _ = swept
    sweep = replace(other, folder=tmp_path, main=main, failures={})
    steps = list(sweep.run())
    assert (steps[-1].done, steps[-1].total) == (4, 4)
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    ((mine,), (theirs,)) = sweep.scored["DMD"], other.scored["DMD"]
    assert timeless(mine) == timeless(theirs)
    assert timeless(sweep.teacher) == timeless(other.teacher)
    assert all(mine[name] > 0 for name in TIMES)
    ((folder, reason),) = sweep.failures.items()
    assert [Path(folder)] == sweep.runs("wild")
    theirs = other.runs("wild")[0]
    assert reason.replace(folder, "") == other.failures[str(theirs)].replace(str(theirs), "")


def test_a_sweep_in_this_process_starts_no_process_and_prints_nothing(tmp_path, capfd):
    sweep = Sweep({"DMD": DMD}, tmp_path, scoring=SCORING, main=main)
    for _ in sweep.run():
        assert children() == []
    assert capfd.readouterr().out == ""
    assert "1 rounds" in (sweep.runs("DMD")[0] / "log.txt").read_text()


def test_an_interruption_of_a_sweep_in_this_process_is_raised(tmp_path):
    sweep = Sweep({"DMD": DMD}, tmp_path, scoring=SCORING, main=lambda command: 130)
    with pytest.raises(KeyboardInterrupt):
        list(sweep.run())


def test_scores_of_another_scoring_are_not_taken(swept):
    sweep, _ = swept
    for other in (replace(SCORING, seeds=3), replace(SCORING, metrics=("diversity", "spread"))):
        rescored = replace(sweep, scoring=other)
        assert rescored.scored["DMD"] == []
        assert rescored.teacher == {}


def test_a_teacher_of_another_size_is_another_one(swept):
    sweep, _ = swept
    assert replace(sweep, recipes={"large": replace(DMD, resolution=128)}).teacher == {}


def test_a_run_that_cannot_start_is_listed_and_the_others_are_scored(swept, tmp_path):
    done, _ = swept
    sweep = Sweep(
        {"DMD": DMD, "another": TINY, "wild": WILD}, tmp_path, scoring=SCORING, processes=3
    )
    _, (damaged,), (blocked,) = (sweep.runs(label) for label in sweep.recipes)
    copy_scores(done.runs("DMD")[0], tmp_path)
    copy_scores(*done.folder.glob("teacher-*"), tmp_path)
    damaged.mkdir()
    (damaged / "manifest.json").write_text("{")
    blocked.write_text("a file where a folder should be")
    assert list(sweep.run())[-1].done == 5
    assert sweep.scored["DMD"] == done.scored["DMD"]
    assert "is not readable JSON" in sweep.failures[str(damaged)]
    assert blocked.name in sweep.failures[str(blocked)]
    assert len(sweep.failures) == 2


def test_stopping_leaves_no_process_and_the_next_run_continues_from_the_checkpoint(swept, tmp_path):
    copy_scores(*swept[0].folder.glob("teacher-*"), tmp_path)
    recipe = replace(TINY, rounds=100_000, keep=1)
    sweep = Sweep({"long": recipe}, tmp_path, scoring=SCORING, processes=2)
    (folder,) = sweep.runs("long")
    first, _ = _until_a_checkpoint(sweep, folder)
    begun = len(_rounds(folder))
    _, rounds = _until_a_checkpoint(sweep, folder, above=first)
    assert min(rounds[begun:]) == first + 1  # not from the first round again
    assert not sweep.failures
    assert json.loads((folder / "manifest.json").read_text())["recipe"] == recipe.to_dict()


def _until_a_checkpoint(sweep, folder, above=0):
    """Lets the sweep run until there is a checkpoint of a round above `above`, and stops it; the
    last one's round, and all rounds logged.
    """
    deadline = time.monotonic() + seconds(300)
    with closing(sweep.run()) as steps:
        for _ in steps:
            assert not sweep.failures, sweep.failures
            assert time.monotonic() < deadline
            if _last(folder) > above:
                assert len(children()) >= 1
                break
    assert children() == []
    return _last(folder), _rounds(folder)


def _last(folder: Path) -> int:
    return max(
        (int(file.stem.split("-")[1]) for file in (folder / "checkpoints").glob("round-*.pt")),
        default=0,
    )


def _rounds(folder: Path) -> list[int]:
    """The round of each row, also of repeated rounds."""
    return [
        json.loads(line)["round"]
        for line in (folder / "metrics.jsonl").read_text().splitlines()
        if line.endswith("}")
    ]


def test_a_killed_process_is_listed_with_advice(tmp_path):
    sweep = Sweep({"long": replace(TINY, rounds=100_000)}, tmp_path, scoring=SCORING, processes=2)
    (folder,) = sweep.runs("long")
    for _ in sweep.run():
        for child in children():
            if str(folder) in child.cmdline():
                child.kill()
    assert "killed by SIGKILL" in sweep.failures[str(folder)]
    assert sweep.scored["long"] == []
    assert sweep.teacher


def test_a_sweep_of_nothing_is_refused(tmp_path):
    for recipes, seeds in (({}, (0,)), ({"DMD": DMD}, ())):
        with pytest.raises(ValueError, match="give at least one of each"):
            Sweep(recipes, tmp_path, seeds)


def test_the_runs_are_those_of_the_recipes_with_each_training_seed(swept, tmp_path):
    sweep = Sweep({"DMD": DMD}, tmp_path, seeds=(0, 1))
    assert [run.name for run in sweep.runs("DMD")] == [DMD.digest, replace(DMD, seed=1).digest]
    done, _ = swept
    assert Run.open(done.runs("DMD")[0]).recipe == DMD
