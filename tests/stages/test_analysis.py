"""An analysis on an untrained embedded world: its tasks, its results, and its unfinished tasks."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import SD3Transformer2DModel
from safetensors.torch import load_file, save_file
from torch.nn.modules.module import register_module_forward_pre_hook

from tests.support.distilling import spying
from workbench.grid.generate import model_loader
from workbench.grid.request import GridRequest
from workbench.io.progress import Progress
from workbench.metrics.lite0 import Lite0
from workbench.models.backends.lora import LORA_FILE
from workbench.models.embedded import load_scenes
from workbench.models.model_cache import ModelCache
from workbench.stages.analysis import (
    StageAnalysis,
    as_recorded,
    branch_steps,
    save_trajectories,
    saved_trajectories,
)
from workbench.stages.report import (
    branching_figure,
    numbers_of,
    stage_figures,
    strip_figures,
    swap_figures,
    write_stage_report,
)
from workbench.stages.tasks import Branch, Record, Swap
from workbench.stages.trajectory import Trajectory, trajectory_bytes

REQUEST = GridRequest(("a red circle",), (0, 3, 7), ("teacher", "dmd"), teacher_steps=5)


def small():
    return Lite0.load(32)


@pytest.fixture(scope="module")
def backend(world):
    return load_scenes(world / "teacher")


@pytest.fixture
def open_model(world, backend):
    return model_loader(
        REQUEST,
        backend,
        {"dmd": world / "students" / "dmd", "dp-dmd": world / "students" / "dp-dmd"},
    )


def new_analysis(backend, open_model, request=REQUEST, **settings) -> StageAnalysis:
    return StageAnalysis(
        request, backend, open_model, **{"branches": 2, "parents": 2, "feature": small} | settings
    )


def done(analysis: StageAnalysis) -> list:
    return [event for event in analysis.run() if not isinstance(event, Progress)]


def test_everything_is_done_in_order_and_adds_up(backend, open_model):
    analysis = new_analysis(backend, open_model)
    events = list(analysis.run())
    tasks = [event for event in events if not isinstance(event, Progress)]
    assert tasks == analysis.tasks
    assert not analysis.unfinished
    assert not analysis.failures
    assert tasks[:2] == [Record("teacher"), Record("dmd")]
    assert [
        task.step for task in tasks if isinstance(task, Branch) and task.model == "teacher"
    ] == [0, 1, 2, 3, 4]
    assert [task for task in tasks if isinstance(task, Swap)] == [
        Swap(*pair, step) for pair in (("teacher", "dmd"), ("dmd", "teacher")) for step in range(5)
    ]
    parts = [event.done for event in events if isinstance(event, Progress)]
    assert parts == sorted(parts)
    assert parts[-1] == pytest.approx(1)
    reading = analysis.results[Record("dmd")]
    assert reading.full.fixed.shape == (4,)
    assert float(reading.full.fixed[-1]) == pytest.approx(1, abs=1e-3)
    assert torch.equal(
        analysis.results[Swap("teacher", "dmd", 0)].images, analysis.pictures["dmd"].final
    )
    assert torch.equal(
        analysis.results[Swap("teacher", "dmd", 4)].images,
        analysis.results[Swap("dmd", "teacher", 0)].images,
    )
    numbers = json.loads(json.dumps(numbers_of(analysis)))
    assert numbers["feature"] == "lite0@32"
    assert set(numbers["models"]) == {"teacher", "dmd"}
    assert len(numbers["swaps"]) == 10
    assert numbers["models"]["dmd"]["settled_at"].keys() == {
        "background",
        "position",
        "size",
        "colour",
        "shape",
    }


def test_a_stopped_analysis_keeps_its_results_and_continues(backend, open_model):
    analysis = new_analysis(backend, open_model)
    events = analysis.run()
    next(event for event in events if event == Branch("teacher", 1))
    events.close()
    assert Record("dmd") in analysis.results
    assert Branch("teacher", 2) not in analysis.results
    assert any("teacher branched after step 2" in line for line in analysis.unfinished)
    assert any("more like these" in line for line in analysis.unfinished)
    strip, whole = strip_figures(analysis), new_analysis(backend, open_model)
    assert strip.keys() >= {"strip", "commitment"}
    assert not swap_figures(analysis)
    assert not {Record("teacher"), Record("dmd"), Branch("teacher", 0), Branch("teacher", 1)} & set(
        done(analysis)
    )
    done(whole)
    assert not analysis.unfinished
    assert numbers_of(analysis) == numbers_of(whole)


def test_seeds_that_were_recorded_before_a_stop_are_not_recorded_again(backend, open_model):
    looks = []
    request = replace(REQUEST, seeds=tuple(range(12)), models=("dmd",))  # two batches
    analysis = new_analysis(
        backend,
        spying(open_model, lambda x, t: looks.append(len(x))),
        request,
        branches=0,
        swaps=False,
    )
    for _ in analysis.run():
        if "dmd" in analysis.trajectories:
            break
    assert analysis.trajectories["dmd"].seeds == tuple(range(6))
    assert len(looks) == 5
    done(analysis)
    assert analysis.trajectories["dmd"].seeds == tuple(range(12))
    assert sum(looks) == 4 * 12 + 6


def test_a_model_that_does_not_open_leaves_the_others(backend, open_model):
    analysis = new_analysis(
        backend, open_model, replace(REQUEST, models=("teacher", "gone", "dmd"))
    )
    done(analysis)
    assert len(analysis.unfinished) == 1
    assert "the passes of gone" in analysis.unfinished[0]
    assert "no longer on offer" in analysis.unfinished[0]
    assert Swap("dmd", "teacher", 2) in analysis.results
    assert not any("gone" in str(task) for task in analysis.results)


def test_without_its_passes_a_model_is_neither_branched_nor_swapped(backend, open_model):
    def fail(x_t, t):
        raise RuntimeError("the GPU fell off")

    analysis = new_analysis(backend, spying(open_model, fail), replace(REQUEST, models=("dmd",)))
    assert done(analysis) == [Record("dmd")]
    assert analysis.unfinished[0] == "the passes of dmd: the GPU fell off"
    assert not any("'" in line for line in analysis.unfinished)


def test_a_model_that_changes_meanwhile_is_not_mixed_with_its_earlier_self(backend, world):
    source = {"dmd": world / "students" / "dmd"}
    analysis = new_analysis(backend, lambda name: model_loader(REQUEST, backend, source)(name))
    events = analysis.run()
    next(event for event in events if event == Record("dmd"))
    events.close()
    source["dmd"] = world / "students" / "dp-dmd"  # other weights
    write_student_like(source["dmd"])
    done(analysis)
    assert any("dmd has changed since this began" in line for line in analysis.unfinished)
    assert not any(isinstance(task, Swap) and 0 < task.step < 4 for task in analysis.results)


def write_student_like(folder):
    path = folder / "diffusion_pytorch_model.safetensors"
    save_file(
        {name: tensor + 0.01 for name, tensor in load_file(path).items()},
        path,
        metadata={"format": "pt"},
    )


def test_adapters_that_do_not_fit_beside_each_other_are_opened_one_by_one(backend, world, tmp_path):
    """If only one student fits, each is closed for the next; a closed adapter would run as the bare
    teacher.
    """
    students = {}
    for number, name in enumerate(("one", "two")):
        torch.manual_seed(number)
        adapter = backend.new_network(lora=2)
        with torch.no_grad():
            for weight in adapter.weights.values():
                weight.add_(0.5 * torch.randn_like(weight))
        students[name] = tmp_path / name
        students[name].mkdir()
        adapter.save(students[name] / LORA_FILE)
        backend.adapters.drop(adapter)
        (students[name] / "student.json").write_text(
            (world / "students" / "dmd" / "student.json").read_text()
        )
    request = replace(REQUEST, models=("one", "two"))
    tight, roomy = (
        new_analysis(
            backend, model_loader(request, backend, students, ModelCache(backend, room)), request
        )
        for room in (lambda: False, lambda: True)
    )
    done(tight), done(roomy)
    assert not tight.unfinished
    assert not roomy.unfinished
    assert tight.results.keys() == roomy.results.keys()
    for task, found in roomy.results.items():
        if isinstance(task, Swap):
            torch.testing.assert_close(tight.results[task].images, found.images, atol=0.02, rtol=0)
    assert not torch.equal(tight.trajectories["one"].x0, tight.trajectories["two"].x0)


def test_a_failure_is_listed_and_can_be_retried(backend, open_model):
    broken = []

    def fail():
        if broken:
            raise RuntimeError("no memory")
        return small()

    broken.append(1)
    analysis = new_analysis(backend, open_model, feature=fail, swaps=False)
    done(analysis)
    assert Record("teacher") in analysis.results
    assert "dmd branched after step 0: no memory" in analysis.unfinished
    broken.clear()
    assert done(analysis) == [task for task in analysis.tasks if isinstance(task, Branch)]
    assert not analysis.unfinished


def test_more_than_fits_is_cut_and_said(backend, open_model):
    each = sum(trajectory_bytes(backend.latent_shape, steps, 1) for steps in (5, 4))
    analysis = new_analysis(
        backend,
        open_model,
        replace(REQUEST, seeds=(0, 1, 2, 3, 4)),
        memory=3 * each,
        branches=0,
        swaps=False,
    )
    done(analysis)
    assert analysis.seeds == (0, 1, 2)
    assert analysis.trajectories["dmd"].seeds == (0, 1, 2)
    assert len(analysis.unfinished) == 1
    assert "seeds 3, 4" in analysis.unfinished[0]
    assert "GiB" in analysis.unfinished[0]


def test_saved_trajectories_are_taken_where_they_are_the_same(backend, open_model, tmp_path):
    analysis = new_analysis(backend, open_model, branches=0, swaps=False)
    done(analysis)
    save_trajectories(analysis.trajectories, tmp_path)
    known, evaluations = saved_trajectories(tmp_path), []
    assert [one.model for one in known] == ["dmd", "teacher"]
    hook = register_module_forward_pre_hook(
        lambda module, _: (
            evaluations.append(1) if isinstance(module, SD3Transformer2DModel) else None
        )
    )
    try:
        again = new_analysis(backend, open_model, branches=0, swaps=False, existing=known)
        done(again)
        assert not evaluations
        assert numbers_of(again) == numbers_of(analysis)
        other, request = (
            model_loader(replace(REQUEST, teacher_steps=6), backend, {}),
            replace(REQUEST, models=("teacher",)),
        )
        done(new_analysis(backend, other, request, branches=0, swaps=False, existing=known))
        assert len(evaluations) == 6  # other steps, another pass
    finally:
        hook.remove()


def test_a_trajectory_of_another_image_size_is_not_taken(backend, open_model):
    analysis = new_analysis(backend, open_model, branches=0, swaps=False)
    done(analysis)
    half = [
        replace(one, x0=one.x0[..., :4, :4], x_t=one.x_t[..., :4, :4])
        for one in analysis.trajectories.values()
    ]
    again = new_analysis(backend, open_model, branches=0, swaps=False, existing=half)
    done(again)
    assert again.trajectories["dmd"].x0.shape == analysis.trajectories["dmd"].x0.shape
    assert not again.unfinished


def test_a_folder_keeps_one_prompt(backend, open_model, tmp_path):
    analysis = new_analysis(
        backend, open_model, replace(REQUEST, models=("dmd",)), branches=0, swaps=False
    )
    done(analysis)
    save_trajectories(
        analysis.trajectories
        | {"d/md": analysis.trajectories["dmd"], "d-md": analysis.trajectories["dmd"]},
        tmp_path,
    )
    names = sorted(path.name for path in (tmp_path / "trajectories").iterdir())
    assert names == ["d-md-2.safetensors", "d-md.safetensors", "dmd.safetensors"]
    with pytest.raises(
        ValueError, match="of another prompt, “a red circle”: choose another folder"
    ):
        save_trajectories({"dmd": replace(analysis.trajectories["dmd"], prompt="a star")}, tmp_path)


def test_an_opened_trajectory_is_shown_as_it_was_recorded(backend, open_model, tmp_path):
    analysis = new_analysis(backend, open_model, branches=0, swaps=False)
    done(analysis)
    known = [
        replace(one, settings=one.settings | {"weights": "other"}) if one.model == "dmd" else one
        for one in analysis.trajectories.values()
    ]
    opened = new_analysis(backend, as_recorded(open_model, known, backend), existing=known)
    done(opened)
    assert torch.equal(opened.trajectories["dmd"].x0, analysis.trajectories["dmd"].x0)
    assert Branch("teacher", 1) in opened.results
    assert opened.unfinished == [
        "branching and swaps of dmd: dmd is another model, or sampled differently, than when "
        "this was recorded (weights)"
    ]
    assert not any(isinstance(task, Swap) for task in opened.results)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"prompts": ("a star", "a circle")}, "one prompt"), ({"seeds": (4,)}, "two or more")],
)
def test_requests_that_cannot_be_compared_are_refused(backend, open_model, changes, message):
    with pytest.raises(ValueError, match=message):
        new_analysis(backend, open_model, replace(REQUEST, **changes))
    for wrong in ({"branches": 1}, {"parents": 1}, {"branches": -2}):
        with pytest.raises(ValueError, match="two or more"):
            new_analysis(backend, open_model, **wrong)


def test_a_folder_without_trajectories_has_none_and_a_broken_file_is_named(tmp_path):
    assert saved_trajectories(tmp_path) == []
    (tmp_path / "trajectories").mkdir()
    (tmp_path / "trajectories" / "dmd.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"dmd\.safetensors is not a recorded trajectory"):
        saved_trajectories(tmp_path)


def test_long_passes_are_branched_most_where_they_begin():
    assert branch_steps(4) == [0, 1, 2, 3]
    assert branch_steps(30) == [0, 1, 2, 4, 8, 12, 17, 23]
    assert all(0 <= step < 100 for step in branch_steps(100))


@pytest.fixture(scope="module")
def whole(world, backend):
    analysis = new_analysis(
        backend, model_loader(REQUEST, backend, {"dmd": world / "students" / "dmd"})
    )
    done(analysis)
    return analysis


def test_the_strip_has_its_columns_at_equal_noise_level(whole):
    figure = strip_figures(whole)["strip"]
    hover = {
        trace.customdata[0][0]: trace
        for trace in figure.data
        if trace.customdata is not None and trace.xaxis == "x2"
    }
    assert set(hover) == {"Teacher", "DMD"}
    assert len(hover["Teacher"].x) == 3 * 5
    assert len(hover["DMD"].x) == 3 * 4
    times = {"Teacher": whole.trajectories["teacher"].times, "DMD": whole.trajectories["dmd"].times}
    levels = times["Teacher"]
    for name, trace in hover.items():
        for column, told in zip(trace.x, trace.customdata):
            t = float(times[name][told[2] - 1])
            assert told[4] == f"{t:.3f}"
            assert float(told[5]) == pytest.approx(1 - t, abs=1e-3)
            assert float(told[6]) == pytest.approx(t, abs=1e-3)
            assert float(levels[column]) <= t + 1e-4
            assert column == 0 or float(levels[column - 1]) > t + 1e-4
    assert [frame.name for frame in figure.frames] == ["0", "1", "2", "3", "4"]
    assert len(figure.layout.sliders[0].steps) == 5
    held = [
        [told[2] for told in frame.data[1].customdata if told[0] == "DMD" and told[1] == 3]
        for frame in figure.frames
    ]
    assert held[0] == [1]
    assert held == sorted(held)
    assert len({frame.layout.images[-1].source for frame in figure.frames}) == 5
    commitment = hover["Teacher"].customdata[-1][7]
    assert commitment == "100%"


def test_the_curves_have_every_model_and_end_where_everything_is_decided(whole):
    figures = strip_figures(whole) | branching_figure(whole)
    assert figures.keys() == {"strip", "commitment", "bands", "factors", "paths", "branching"}
    lines = [trace for trace in figures["branching"].data if trace.mode == "lines+markers"]
    assert len(lines) == 4
    assert all(trace.x[-1] == 0 and trace.y[-1] in (0, 1) for trace in lines)
    for figure in figures.values():
        json.loads(figure.to_json())
    shares = [trace.y for trace in figures["factors"].data]
    assert all(0 <= value <= 1 for line in shares for value in line)


def test_the_swap_matrix_has_an_image_and_numbers_in_each_cell(whole):
    made = swap_figures(whole)
    assert len(made["swap"].layout.images) == 10
    assert len(made["swap"].layout.annotations) == 10
    assert all(
        "Div" in note.text and "% correct" in note.text for note in made["swap"].layout.annotations
    )
    assert len(made["swap-curves"].data) == 4


def test_the_report_needs_nothing_else_and_lists_missing_parts(whole, tmp_path):
    whole.failures[Branch("dmd", 9)] = "<b>no memory</b>"
    try:
        page = write_stage_report(tmp_path, whole, stage_figures(whole), [], []).read_text(
            encoding="utf-8"
        )
    finally:
        whole.failures.clear()
    assert page.count("Plotly.newPlot") >= 8
    assert "&lt;b&gt;no memory&lt;/b&gt;" in page
    assert 'src="http' not in page
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert not any(
        isinstance(value, float) and math.isnan(value)
        for row in numbers["branching"]
        for value in np.ravel(row["time"])
    )


def test_a_trajectory_of_the_saved_kind_is_a_file_for_each_model(whole, tmp_path):
    save_trajectories(whole.trajectories, tmp_path)
    assert sorted(path.name for path in (tmp_path / "trajectories").iterdir()) == [
        "dmd.safetensors",
        "teacher.safetensors",
    ]
    assert isinstance(saved_trajectories(tmp_path)[0], Trajectory)
