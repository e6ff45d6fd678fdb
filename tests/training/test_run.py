"""Run folders: nothing written is lost by a kill, a full disk or a damaged file."""

import json
import os
import resource
import signal

import pytest
import torch

from tests.support.processes import command, forked
from workbench.cli import main
from workbench.core.recipe import Recipe
from workbench.io.files import FolderError, exclusive_lock, write_atomically
from workbench.models.recipes import content_digest
from workbench.models.students import load_student
from workbench.training.build import new_distiller
from workbench.training.inputs import kept_prompts
from workbench.training.run import Run
from workbench.training.train import PanelMeasurement, train


def recipe(teacher_folder, **changes):
    settings = dict(
        teacher=str(teacher_folder),
        prompts=str(teacher_folder / "prompts.txt"),
        rounds=4,
        batch=2,
        fake_updates_per_round=1,
        teacher_steps=4,
        k=2,
        student_steps=2,
        student_rate=1e-3,
        fake_rate=1e-3,
        checkpoint_every=1,
        keep=2,
        sample_every=0,
        precision="fp32",
    )
    return Recipe(**(settings | changes))


def state_of(run):
    return torch.load(run.checkpoints()[-1], weights_only=True)


def assert_equal(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            assert_equal(x, y)
    else:
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_a_run_keeps_its_recipe_log_checkpoints_samples_and_student(teacher_folder, tmp_path):
    run = Run.create(tmp_path / "run", recipe(teacher_folder, sample_every=2), "cpu")
    events = list(train(run))
    again = Run.open(tmp_path / "run")
    assert again.recipe == recipe(teacher_folder, sample_every=2)
    assert again.manifest["digest"] == content_digest(
        run.recipe, again.manifest["inputs"]["teacher"], kept_prompts(again)
    )
    assert again.manifest["versions"]["torch"] == torch.__version__
    assert [path.name for path in run.checkpoints()] == ["round-000003.pt", "round-000004.pt"]
    readings = [event for event in events if isinstance(event, PanelMeasurement)]
    assert [r.round for r in readings] == [2, 4]
    assert all(r.picture.exists() and 0 <= r.diversity < 1.2 for r in readings)
    rows = run.metrics()
    assert [row["round"] for row in rows if row["kind"] == "student"] == [1, 2, 3, 4]
    assert "dmd" in rows[1]["losses"]
    assert "dmd" not in rows[0]["losses"]
    student = load_student(run.path / "student", new_distiller(run.recipe).backend)
    assert (
        str(teacher_folder) not in (run.path / "student" / "config.json").read_text()
    )  # a student can be given away
    assert student.evaluations == 2
    assert student.info.rounds == 4
    assert student.times.tolist() == pytest.approx([1, 0.75, 0])


def killed_while_saving(folder):
    """Trains the run, in a process that is killed with half of its third checkpoint written."""
    save, saved = torch.save, []

    def torn(state, path):
        if len(saved) == 2:
            save(state, path)
            os.truncate(path, os.path.getsize(path) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        saved.append(save(state, path))

    torch.save = torn
    list(train(Run.open(folder)))


def test_kill_in_the_middle_of_a_checkpoint_then_resume_is_bit_exact(teacher_folder, tmp_path):
    whole = Run.create(tmp_path / "whole", recipe(teacher_folder), "cpu")
    list(train(whole))
    run = Run.create(tmp_path / "killed", recipe(teacher_folder), "cpu")
    killed = forked(tmp_path / "log", killed_while_saving, run.path)
    killed.join()
    assert killed.exitcode == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert [path.name for path in run.checkpoints()] == ["round-000001.pt", "round-000002.pt"]
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "student", "rou')  # what a kill in the middle of a row leaves
    assert len(list(train(run))) == 4  # rounds 3 and 4, two updates each
    assert_equal(state_of(run), state_of(whole))
    timeless, expected = (
        [{k: v for k, v in row.items() if k != "seconds"} for row in one.metrics()]
        for one in (run, whole)
    )
    assert timeless == expected


def test_a_full_disk_is_a_clear_error_and_loses_no_earlier_checkpoint(teacher_folder, tmp_path):
    run = Run.create(tmp_path / "run", recipe(teacher_folder), "cpu")
    steps = train(run)
    for step in steps:
        if step.round == 3:
            break
    before = {path: path.read_bytes() for path in run.checkpoints()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))  # no file may grow beyond 200 kB
    try:
        with pytest.raises(
            FolderError, match=r"cannot write .*round-000003.pt.*Free some disk space"
        ):
            list(steps)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.read_bytes() for path in run.checkpoints()} == before
    assert not list(run.path.rglob("*.part"))
    assert list(train(run))[-1].round == 4


def test_a_damaged_checkpoint_names_the_file_and_the_earlier_one(teacher_folder, tmp_path):
    run = Run.create(tmp_path / "run", recipe(teacher_folder, rounds=2), "cpu")
    list(train(run))
    last = run.checkpoints()[-1]
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(
        FolderError,
        match=r"cannot read the checkpoint .*round-000002.pt.*delete it to continue from "
        "round-000001.pt",
    ):
        list(train(run))
    last.unlink()
    assert list(train(run))[-1].round == 2


def test_a_folder_with_a_run_is_never_overwritten(teacher_folder, tmp_path):
    Run.create(tmp_path / "run", recipe(teacher_folder), "cpu")
    with pytest.raises(FolderError, match="already holds a run; resume it"):
        Run.create(tmp_path / "run", recipe(teacher_folder), "cpu")
    with pytest.raises(FolderError, match="holds no run"):
        Run.open(tmp_path / "nothing")


def test_a_run_at_a_folder_is_created_then_opened_and_another_recipe_is_refused(
    teacher_folder, tmp_path
):
    folder, wanted = tmp_path / "new" / "run", recipe(teacher_folder)
    created = Run.at(folder, wanted, "cpu")
    assert created.recipe == wanted
    assert Run.open(folder).manifest == created.manifest
    created.log(kind="student", round=1, update=1)
    again = Run.at(str(folder), recipe(teacher_folder), "cpu")
    assert again.manifest == created.manifest
    assert len(again.metrics()) == 1
    other = recipe(teacher_folder, seed=1)
    with pytest.raises(
        FolderError,
        match=f"run holds a run of another recipe .{wanted.digest}, not {other.digest}.; choose "
        "another folder",
    ):
        Run.at(folder, other, "cpu")
    assert Run.open(folder).recipe == wanted
    (folder / "manifest.json").write_text("{")
    with pytest.raises(FolderError, match="is not readable JSON"):
        Run.at(folder, wanted, "cpu")


def test_a_run_is_trained_by_one_at_a_time(teacher_folder, tmp_path):
    run = Run.create(tmp_path / "run", recipe(teacher_folder), "cpu")
    events = train(run)
    next(events)
    with pytest.raises(FolderError, match="run is in use already: stop that first"):
        next(train(run))
    other = forked(tmp_path / "log", command, "resume", str(run.path), "--device", "cpu")
    other.join()
    assert other.exitcode == 1
    assert "is in use already" in (tmp_path / "log").read_text()
    events.close()
    assert len(list(train(run))) == 8
    assert len(run.checkpoints()) == 2


def test_work_continues_if_nothing_can_be_locked(tmp_path):
    (tmp_path / ".lock").mkdir()
    with exclusive_lock(tmp_path), exclusive_lock(tmp_path):
        assert tmp_path.is_dir()


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, lambda part: part.write_text("old"))

    def fail(part):
        part.write_text("new")
        raise OSError(28, "No space left on device")

    with pytest.raises(FolderError, match="No space left"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_student_of_another_architecture_is_refused(teacher_folder, tmp_path, backend):
    run = Run.create(tmp_path / "run", recipe(teacher_folder, rounds=1), "cpu")
    list(train(run))
    folder = run.path / "student"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_layers": 1}))
    with pytest.raises(FolderError, match=r"another architecture|cannot load"):
        load_student(folder, backend)
    (folder / "student.json").unlink()
    with pytest.raises(FolderError, match="cannot load the student"):
        load_student(folder, backend)


@pytest.mark.parametrize(
    "manifest",
    [
        "{}",
        "[]",
        "null",
        "3",
        '{"recipe": null}',
        '{"recipe": []}',
        '{"recipe": {}}',
        '{"recipe": 1}',
    ]
    + ['{"recipe": {"method": "dmd"}, "changes": [{}]}', "", "{", "\udcff"],
)
def test_a_manifest_that_is_none_is_named_in_one_line(tmp_path, manifest, capsys):
    (tmp_path / "manifest.json").write_text(manifest, errors="surrogateescape")
    with pytest.raises(FolderError, match=r"manifest.json (has no whole recipe|is not readable)"):
        Run.open(tmp_path)
    assert main(["resume", str(tmp_path), "--device", "cpu"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"workbench: {tmp_path}")


def test_a_manifest_of_another_version_says_what_it_does_not_know(tmp_path):
    (tmp_path / "manifest.json").write_text('{"recipe": {"method": "dmd", "ronds": 3}}')
    with pytest.raises(FolderError, match=r"manifest.json: unknown setting 'ronds'; did you mean"):
        Run.open(tmp_path)


def test_damaged_lines_of_the_log_are_left_out(teacher_folder, tmp_path):
    run = Run.create(tmp_path / "run", recipe(teacher_folder), "cpu")
    run.log(kind="student", round=1, update=1, losses={"dmd": 0.5}, grad_norm=float("inf"))
    with (run.path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"kind": "stu\xffdent", "round": 2}\n\0\0\0\n[1]\n"x"\n3\n')
        file.write(b'{"kind": "change"}\n{"kind": [1], "round": 2}\n')
        file.write(
            b'{"kind": "fake", "round": 2, "update": 9, "grad_norm": Infinity}\n{"kind": "st'
        )
    run.log(kind="student", round=2, update=2)
    rows = run.metrics()
    assert [(row["kind"], row["round"]) for row in rows] == [
        ("student", 1),
        ("fake", 2),
        ("student", 2),
    ]
    assert rows[0]["grad_norm"] is None  # JSON has no infinity
    assert rows[1]["grad_norm"] == float("inf")  # as earlier versions wrote it


def test_a_run_whose_term_vanishes_is_not_begun_but_opened(teacher_folder, tmp_path):
    one_step = recipe(teacher_folder, student_steps=1)
    with pytest.raises(ValueError, match=r"Eq. \(8\)"):
        Run.create(tmp_path / "new", one_step, "cpu")
    assert not (tmp_path / "new").exists()
    old = Run.create(tmp_path / "old", recipe(teacher_folder), "cpu")
    manifest = old.manifest | {"recipe": one_step.to_dict(), "digest": one_step.digest}
    (old.path / "manifest.json").write_text(json.dumps(manifest))
    assert Run.open(old.path).recipe == one_step
    with pytest.raises(ValueError, match=r"Eq. \(8\)"):
        list(train(Run.open(old.path)))
