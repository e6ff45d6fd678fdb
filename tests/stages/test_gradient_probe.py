"""Probing students of every kind: where student and fake network come from, and what the figure of
it says.
"""

import math
from dataclasses import replace

import pytest
import torch

from tests.support.pipelines import tiny_pipeline
from tests.support.scenes_world import write_world
from workbench.cli import main
from workbench.core.denoiser import Guided
from workbench.core.seeds import grid_noise
from workbench.models.backends.lora import merged_state
from workbench.models.backends.networks import base_state
from workbench.models.backends.sd3 import SD3Backend
from workbench.models.embedded import load_scenes
from workbench.models.model import teacher_model
from workbench.models.students import open_model
from workbench.stages.gradient_probe import probe
from workbench.stages.report import gradient_figure

FEW = dict(batches=2, fake_updates=2)


@pytest.fixture(scope="module")
def run(teacher_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe") / "run"
    assert (
        main(
            [
                "train",
                "--preset",
                "scenes-dp-dmd",
                "--teacher",
                str(teacher_folder),
                "--prompts",
                str(teacher_folder / "prompts.txt"),
                "--rounds",
                "2",
                "--batch",
                "2",
                "--teacher-steps",
                "4",
                "--k",
                "2",
                "--student-steps",
                "3",
                "--sample-every",
                "0",
                "--lora",
                "2",
                "--precision",
                "fp32",
                "--out",
                str(folder),
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    return folder


def last(events):
    events = list(events)
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert events[-1].done == pytest.approx(1)
    return events[-1]


def test_a_shipped_student_gets_a_fake_network(tmp_path):
    world = write_world(tmp_path)
    backend = load_scenes(world / "teacher")
    source = world / "students" / "dp-dmd"
    before = {name: tensor.clone() for name, tensor in base_state(backend.network).items()}
    model = open_model(source, backend, "dp-dmd")
    found = last(probe(model, source, backend, "scenes", "a circle", **FEW))
    assert found.fake == "fitted for 2 updates"
    assert list(found.reaches) == [
        "dmd",
        "dp_dmd_no_stop",
        "dp_dmd",
    ]
    assert found.reaches["dp_dmd"].norms["dmd"].shape == (2, 4)
    assert not found.reaches["dp_dmd"].norms["dmd"][:, 0].any()
    assert all(
        torch.equal(tensor, before[name]) for name, tensor in base_state(backend.network).items()
    )
    assert not any(parameter.requires_grad for parameter in model.network.parameters())


def test_a_runs_student_comes_with_its_fake_network(run, teacher_folder):
    backend = SD3Backend(tiny_pipeline())
    model = open_model(run, backend, "mine")
    found = last(probe(model, run, backend, str(teacher_folder), "a red circle", **FEW))
    assert found.fake == "of round 2"
    assert len(backend.network.peft_config) == 1
    again = last(
        probe(
            open_model(run / "student", backend, "mine"),
            run / "student",
            backend,
            str(teacher_folder),
            "a red circle",
            **FEW,
        )
    )
    assert torch.equal(found.reaches["dmd"].norms["dmd"], again.reaches["dmd"].norms["dmd"])


def test_an_adapter_is_merged_where_there_is_no_run(run, teacher_folder, tmp_path):
    (run / "student").rename(tmp_path / "alone")
    try:
        backend = SD3Backend(tiny_pipeline())
        model = open_model(tmp_path / "alone", backend, "alone")
        whole = backend.new_network()
        whole.load_state_dict(merged_state(model.network))
        x, t = grid_noise(backend.latent_shape, [0, 1]), torch.tensor([1.0, 0.4])
        condition = backend.encode(["a star", "two stars"])
        with torch.no_grad():
            torch.testing.assert_close(
                backend.denoiser(whole.eval())(x, t, condition).raw,
                model.denoiser(x, t, condition).raw,
                rtol=1e-4,
                atol=1e-5,
            )
        found = last(
            probe(
                model,
                tmp_path / "alone",
                backend,
                str(teacher_folder),
                "a red circle",
                methods=("dp_dmd",),
                **FEW,
            )
        )
        assert found.fake == "fitted for 2 updates"
        assert found.reaches["dp_dmd"].norms["diversity"].shape == (2, 3)
    finally:
        (tmp_path / "alone").rename(run / "student")


@pytest.mark.parametrize(
    "changes",
    [{"sampler": "multistep"}, {"sampler": "renoise", "renoise_fraction": 0.9}, {"guided": True}],
    ids=str,
)
def test_students_that_are_sampled_as_none_is_trained_are_refused(run, teacher_folder, changes):
    backend = SD3Backend(tiny_pipeline())
    model = open_model(run, backend, "mine")
    if changes.pop("guided", False):
        changes = {"denoiser": Guided(model.denoiser, 3.0, backend.encode([""]))}
    with pytest.raises(
        ValueError, match="mine is sampled in a way that no student is trained in here"
    ):
        next(probe(replace(model, **changes), run, backend, str(teacher_folder), "a red circle"))


def test_a_renoising_student_is_measured_with_its_sampler(tmp_path):
    world = write_world(tmp_path)
    backend, source = load_scenes(world / "teacher"), world / "students" / "dmd"
    plain = open_model(source, backend, "dmd")
    found = [
        last(
            probe(
                replace(plain, sampler=sampler),
                source,
                backend,
                "scenes",
                "a circle",
                methods=("dmd",),
                **FEW,
            )
        )
        for sampler in ("ode", "renoise")
    ]
    norms = [one.reaches["dmd"].norms["dmd"] for one in found]
    assert not torch.allclose(*norms)


def test_a_teacher_has_no_such_gradients(backend):
    with pytest.raises(ValueError, match="choose one"):
        next(probe(teacher_model(backend), "teacher", backend, "scenes", "a circle"))


def test_the_figure_shows_which_gradient_reaches_which_step(run, teacher_folder):
    backend = SD3Backend(tiny_pipeline())
    found = last(
        probe(
            open_model(run, backend, "mine"),
            run,
            backend,
            str(teacher_folder),
            "a red circle",
            **FEW,
        )
    )
    figure = gradient_figure(found)["gradients"]
    plain, open_, stopped = figure.data
    assert list(plain.y) == ["DMD"]
    assert list(stopped.y) == ["diversity", "DMD"]
    assert list(stopped.x) == [1, 2, 3]
    assert stopped.text[1][0] == "0"
    assert "does not reach step 1" in stopped.hovertext[1][0]
    assert open_.text[1][0] != "0"
    assert "cosine of DMD and diversity" in figure.layout.xaxis2.title.text
    assert "cosine" not in figure.layout.xaxis3.title.text
    assert [note.text for note in figure.layout.annotations if note.text == "stop"] == ["stop"]
    cosine = found.reaches["dp_dmd_no_stop"].cosines["dmd", "diversity"]
    assert math.isnan(float(cosine[0, 1]))
    assert abs(float(cosine[0, 0])) <= 1
