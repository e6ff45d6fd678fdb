"""Going on by other settings, or from an earlier checkpoint: the way out after a divergence."""

import json
import re

import pytest
import torch

from tests.training.test_run import assert_equal, recipe, state_of
from workbench.cli import main
from workbench.core.distiller import DivergedError
from workbench.core.recipe import Recipe
from workbench.io.files import FolderError
from workbench.models.students import load_student
from workbench.training.build import new_distiller
from workbench.training.changes import CHANGEABLE, change, parsed
from workbench.training.run import Run
from workbench.training.train import train


@pytest.fixture
def run(teacher_folder, tmp_path):
    """Two rounds of a run of four, as an interruption leaves it."""
    started = Run.create(tmp_path / "run", recipe(teacher_folder, keep=4), "cpu")
    events = train(started)
    while len(started.checkpoints()) < 2:
        next(events)
    events.close()
    return started


def rounds(run, kind="student"):
    return [row["round"] for row in run.metrics() if row["kind"] == kind]


def test_a_changed_run_trains_by_the_new_setting_and_says_so(run):
    before = torch.load(run.checkpoints()[-1], weights_only=True)
    first = run.recipe
    change(run, ["student_rate=1e-5", "rounds=3"])
    list(train(run))
    again = Run.open(run.path)
    assert again.recipe == parsed(["student_rate=1e-5", "rounds=3"], first)
    (entry,) = again.manifest["changes"]
    assert entry["from_round"] == 2
    assert entry["settings"] == {"rounds": [4, 3], "student_rate": [1e-3, 1e-5]}
    assert again.manifest["digest"] != again.digest == entry["digest"]
    assert again.digest != again.recipe.digest  # it is not the run of its last recipe
    saved = json.loads((run.path / "student" / "student.json").read_text())
    assert saved["digest"] == again.digest
    assert saved["recipe"]["student_rate"] == 1e-5
    assert saved["changes"] == [entry]
    # the optimiser's rate is the new one, its moments are the old ones
    by_hand = new_distiller(again.recipe)
    by_hand.load_state_dict(before)
    assert by_hand.learners["student"].optimizer.param_groups[0]["lr"] == 1e-5
    list(by_hand.round())
    state = state_of(run)
    assert_equal(state["student"]["network"], dict(by_hand.state_dict()["student"]["network"]))
    moved = max(
        float((state["student"]["network"][name] - tensor).abs().max())
        for name, tensor in before["student"]["network"].items()
    )
    assert 0 < moved < 5e-5


def test_going_back_alone_repeats_the_run_bit_for_bit_and_deletes_nothing(run):
    list(train(run))
    whole, losses = state_of(run), [row["losses"] for row in run.metrics()]
    digest = run.digest
    change(run, checkpoint="round-000001")
    assert rounds(run) == [1]
    aside = run.path / "set-aside-1" / "checkpoints"
    assert [path.stem for path in sorted(aside.iterdir())] == [f"round-{n:06d}" for n in (2, 3, 4)]
    list(train(run))
    assert_equal(state_of(run), whole)
    assert [row["losses"] for row in run.metrics()] == losses
    assert Run.open(run.path).digest == digest


def test_a_change_behind_the_round_that_a_run_goes_back_to_no_longer_counts(run):
    change(run, ["student_rate=1e-5"])
    change(run, ["student_rate=1e-3", "clip=0.5"], "1")
    (entry,) = Run.open(run.path).manifest["changes"]
    assert (entry["from_round"], entry["settings"]) == (1, {"clip": [1.0, 0.5]})
    assert run.recipe.student_rate == 1e-3
    assert rounds(run) == [1]
    change(run, ["clip=0"], "round-000000.pt")
    list(train(run))
    assert rounds(run) == [1, 2, 3, 4]
    assert len(list(run.path.glob("set-aside-*"))) == 2


def test_the_precision_may_change_to_and_from_fp16(run):
    for precision in ("fp16", "fp32"):
        change(run, [f"precision={precision}", f"rounds={run.recipe.rounds + 1}"])
        list(train(run))
    assert [list(entry["settings"]) for entry in run.manifest["changes"]] == [
        ["rounds", "precision"],
        ["rounds", "precision"],
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["student_rate"], "write NAME=VALUE"),
        (["student_rat=1"], "no setting student_rat; did you mean student_rate"),
        (["student_rate=fast"], "student_rate = 'fast' is not a number"),
        (["rounds=1.5"], "rounds = '1.5' is not a whole number"),
        (["student_rate=nan"], "student_rate = nan is not a finite number"),
        (["fake-rate=inf"], "fake_rate = inf is not a finite number"),
        (["student_rate=-1"], "student_rate = -1.0 is outside its range"),
        (["student_rate=0"], "student_rate = 0 leaves the student as it is"),
        (["precision=fp8"], "precision = 'fp8' is not one of"),
        (["offload=yes"], "offload must be bool"),
        (["clip=1"], "clip is 1.0 already"),
        (["rounds=1"], "rounds = 1, but 2 are done"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused_and_nothing_changes(run, words, told):
    before = (run.path / "manifest.json").read_bytes(), (run.path / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match=re.escape(told)):
        change(run, words)
    with pytest.raises(FolderError, match=r"no checkpoint round-000009; there are: round-000001, "):
        change(run, [], "round-000009")
    after = (run.path / "manifest.json").read_bytes(), (run.path / "metrics.jsonl").read_bytes()
    assert before == after


@pytest.mark.parametrize("name", [name for name in Recipe().to_dict() if name not in CHANGEABLE])
def test_any_other_setting_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"{name} cannot change in the middle of a run; train a"):
        parsed([f"{name}=1"], Recipe())


def test_a_rate_that_diverges_is_named_with_a_way_out_that_works(teacher_folder, tmp_path, capsys):
    wild = recipe(teacher_folder, student_rate=1000.0, rounds=3)
    run = Run.create(tmp_path / "run", wild, "cpu")
    with pytest.raises(DivergedError) as diverged:
        list(train(run))
    message = str(diverged.value)
    assert "student_rate = 1000 is probably too high" in message
    assert "There is no checkpoint yet" in message
    assert run.checkpoints() == []  # none that diverges again is called good
    command = re.search(r"`python -m workbench (.*?)`", message)[1].split()
    assert command == ["resume", str(run.path), "--set", "student_rate=1e-05"]
    assert main([*command, "--device", "cpu"]) == 0
    assert "3 rounds" in capsys.readouterr().out
    assert rounds(Run.open(run.path)) == [1, 2, 3]


def test_a_bad_checkpoint_of_an_earlier_version_names_the_one_before(run, capsys):
    state = torch.load(run.checkpoints()[-1], weights_only=True)
    for tensor in state["student"]["network"].values():
        tensor += 1000
    run.save_checkpoint(state | {"counters": state["counters"] | {"rounds_done": 3}}, 3, 9)
    assert main(["resume", str(run.path), "--device", "cpu"]) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "round-000003.pt is not good" in message
    assert "student_rate = 0.001 is probably too high" in message
    command = re.search(r"`python -m workbench (.*?)`", message)[1].split()
    assert command[2:4] == ["--from-checkpoint", "round-000002"]
    assert main([*command, "--device", "cpu"]) == 0
    assert rounds(Run.open(run.path)) == [1, 2, 3, 4]


def spoil(module, value):
    """An optimiser's hook that gives the module's first weight a value after each step."""

    def hook(*ignored):
        next(module.parameters()).data.view(-1)[0] = value

    return hook


@pytest.mark.parametrize("network", ["student", "fake"])
def test_a_weight_that_is_not_finite_after_the_last_update_is_seen(
    teacher_folder, tmp_path, network
):
    run = Run.create(tmp_path / "run", recipe(teacher_folder, rounds=1), "cpu")
    distiller = new_distiller(run.recipe)
    learner = distiller.learners[network]
    learner.optimizer.register_step_post_hook(spoil(learner.bare, float("nan")))
    told = (
        f"round 1: the {network} network's largest weight is not finite.*{network}_rate = .*"
        f"resume .* --set {network}_rate=0.0001"
    )
    with pytest.raises(DivergedError, match=told):
        list(train(run, distiller))
    assert not (run.path / "student").exists()
    assert run.checkpoints() == []


def test_finite_weights_whose_output_is_not_are_no_good_checkpoint(teacher_folder, tmp_path):
    settings = recipe(teacher_folder, rounds=1, student_rate=1e30, sample_every=1)
    run = Run.create(tmp_path / "run", settings, "cpu")
    with pytest.raises(DivergedError, match=r"after round 1: .* is not finite.*student_rate = 1e"):
        list(train(run))
    assert not (run.path / "student").exists()
    assert not list((run.path / "samples").iterdir())


def test_a_weight_too_large_for_half_precision_is_not_saved_as_infinite(
    teacher_folder, tmp_path, monkeypatch, backend
):
    run = Run.create(tmp_path / "run", recipe(teacher_folder, rounds=1), "cpu")
    distiller = new_distiller(run.recipe)
    monkeypatch.setattr(distiller, "check", lambda: None)
    learner = distiller.learners["student"]
    learner.optimizer.register_step_post_hook(spoil(learner.bare, 7e4))
    with pytest.raises(DivergedError, match="over 65504, the largest number of half precision"):
        list(train(run, distiller))
    list(train(run))
    weights = load_student(run.path / "student", backend).network.parameters()
    assert all(weight.isfinite().all() for weight in weights)
