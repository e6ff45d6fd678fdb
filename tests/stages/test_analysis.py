"""An examination on an untrained embedded world: what it does, what it keeps, and what it says is
left.
"""

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

ASKED = GridRequest(("a red circle",), (0, 3, 7), ("teacher", "dmd"), teacher_steps=5)


def small():
    return Lite0.load(32)


@pytest.fixture(scope="module")
def backend(world):
    return load_scenes(world / "teacher")


@pytest.fixture
def open_model(world, backend):
    return model_loader(
        ASKED, backend, {"dmd": world / "students" / "dmd", "dp-dmd": world / "students" / "dp-dmd"}
    )


def examination(backend, open_model, request=ASKED, **settings) -> StageAnalysis:
    return StageAnalysis(
        request, backend, open_model, **{"branches": 2, "parents": 2, "feature": small} | settings
    )


def done(seen: StageAnalysis) -> list:
    return [event for event in seen.run() if not isinstance(event, Progress)]


def test_everything_is_done_in_order_and_adds_up(backend, open_model):
    seen = examination(backend, open_model)
    events = list(seen.run())
    tasks = [event for event in events if not isinstance(event, Progress)]
    assert tasks == seen.tasks
    assert not seen.left
    assert not seen.failed
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
    reading = seen.results[Record("dmd")]
    assert reading.full.fixed.shape == (4,)
    assert float(reading.full.fixed[-1]) == pytest.approx(1, abs=1e-3)
    assert torch.equal(seen.results[Swap("teacher", "dmd", 0)].images, seen.pictures["dmd"].final)
    assert torch.equal(
        seen.results[Swap("teacher", "dmd", 4)].images,
        seen.results[Swap("dmd", "teacher", 0)].images,
    )
    numbers = json.loads(json.dumps(numbers_of(seen)))
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


def test_one_that_is_stopped_keeps_what_it_has_and_goes_on(backend, open_model):
    seen = examination(backend, open_model)
    events = seen.run()
    next(event for event in events if event == Branch("teacher", 1))
    events.close()
    assert Record("dmd") in seen.results
    assert Branch("teacher", 2) not in seen.results
    assert any("teacher branched behind step 2" in line for line in seen.left)
    assert any("more like these" in line for line in seen.left)
    strip, whole = strip_figures(seen), examination(backend, open_model)
    assert strip.keys() >= {"strip", "commitment"}
    assert not swap_figures(seen)
    assert not {Record("teacher"), Record("dmd"), Branch("teacher", 0), Branch("teacher", 1)} & set(
        done(seen)
    )
    done(whole)
    assert not seen.left
    assert numbers_of(seen) == numbers_of(whole)


def test_seeds_that_were_recorded_before_a_stop_are_not_recorded_again(backend, open_model):
    looks = []
    request = replace(ASKED, seeds=tuple(range(12)), models=("dmd",))  # two batches
    seen = examination(
        backend,
        spying(open_model, lambda x, t: looks.append(len(x))),
        request,
        branches=0,
        swaps=False,
    )
    for _ in seen.run():
        if "dmd" in seen.trajectories:
            break
    assert seen.trajectories["dmd"].seeds == tuple(range(6))
    assert len(looks) == 5
    done(seen)
    assert seen.trajectories["dmd"].seeds == tuple(range(12))
    assert sum(looks) == 4 * 12 + 6


def test_a_model_that_does_not_open_leaves_the_others(backend, open_model):
    seen = examination(backend, open_model, replace(ASKED, models=("teacher", "gone", "dmd")))
    done(seen)
    assert len(seen.left) == 1
    assert "the passes of gone" in seen.left[0]
    assert "no longer on offer" in seen.left[0]
    assert Swap("dmd", "teacher", 2) in seen.results
    assert not any("gone" in str(task) for task in seen.results)


def test_without_its_passes_a_model_is_neither_branched_nor_swapped(backend, open_model):
    def fail(x_t, t):
        raise RuntimeError("the card fell off")

    seen = examination(backend, spying(open_model, fail), replace(ASKED, models=("dmd",)))
    assert done(seen) == [Record("dmd")]
    assert seen.left[0] == "the passes of dmd: the card fell off"
    assert not any("'" in line for line in seen.left)


def test_a_model_that_changes_meanwhile_is_not_mixed_with_what_it_was(backend, world):
    source = {"dmd": world / "students" / "dmd"}
    seen = examination(backend, lambda name: model_loader(ASKED, backend, source)(name))
    events = seen.run()
    next(event for event in events if event == Record("dmd"))
    events.close()
    source["dmd"] = world / "students" / "dp-dmd"  # other weights
    write_student_like(source["dmd"])
    done(seen)
    assert any("dmd has changed since this was begun" in line for line in seen.left)
    assert not any(isinstance(task, Swap) and 0 < task.step < 4 for task in seen.results)


def write_student_like(folder):
    path = folder / "diffusion_pytorch_model.safetensors"
    save_file(
        {name: tensor + 0.01 for name, tensor in load_file(path).items()},
        path,
        metadata={"format": "pt"},
    )


def test_adapters_that_do_not_fit_beside_each_other_are_opened_one_by_one(backend, world, tmp_path):
    """Where there is room for one student only, each is closed for the next; a closed adapter
    would run as the bare teacher.
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
    request = replace(ASKED, models=("one", "two"))
    tight, roomy = (
        examination(
            backend, model_loader(request, backend, students, ModelCache(backend, room)), request
        )
        for room in (lambda: False, lambda: True)
    )
    done(tight), done(roomy)
    assert not tight.left
    assert not roomy.left
    assert tight.results.keys() == roomy.results.keys()
    for task, found in roomy.results.items():
        if isinstance(task, Swap):
            torch.testing.assert_close(tight.results[task].images, found.images, atol=0.02, rtol=0)
    assert not torch.equal(tight.trajectories["one"].x0, tight.trajectories["two"].x0)


def test_a_failure_is_told_and_can_be_tried_again(backend, open_model):
    broken = []

    def fail():
        if broken:
            raise RuntimeError("no memory")
        return small()

    broken.append(1)
    seen = examination(backend, open_model, feature=fail, swaps=False)
    done(seen)
    assert Record("teacher") in seen.results
    assert "dmd branched behind step 0: no memory" in seen.left
    broken.clear()
    assert done(seen) == [task for task in seen.tasks if isinstance(task, Branch)]
    assert not seen.left


def test_more_than_fits_is_cut_and_said(backend, open_model):
    each = sum(trajectory_bytes(backend.latent_shape, steps, 1) for steps in (5, 4))
    seen = examination(
        backend,
        open_model,
        replace(ASKED, seeds=(0, 1, 2, 3, 4)),
        memory=3 * each,
        branches=0,
        swaps=False,
    )
    done(seen)
    assert seen.seeds == (0, 1, 2)
    assert seen.trajectories["dmd"].seeds == (0, 1, 2)
    assert len(seen.left) == 1
    assert "seeds 3, 4" in seen.left[0]
    assert "GiB" in seen.left[0]


def test_saved_trajectories_are_taken_where_they_are_the_same(backend, open_model, tmp_path):
    seen = examination(backend, open_model, branches=0, swaps=False)
    done(seen)
    save_trajectories(seen.trajectories, tmp_path)
    known, evaluations = saved_trajectories(tmp_path), []
    assert [one.model for one in known] == ["dmd", "teacher"]
    hook = register_module_forward_pre_hook(
        lambda module, _: (
            evaluations.append(1) if isinstance(module, SD3Transformer2DModel) else None
        )
    )
    try:
        again = examination(backend, open_model, branches=0, swaps=False, known=known)
        done(again)
        assert not evaluations
        assert numbers_of(again) == numbers_of(seen)
        other, request = (
            model_loader(replace(ASKED, teacher_steps=6), backend, {}),
            replace(ASKED, models=("teacher",)),
        )
        done(examination(backend, other, request, branches=0, swaps=False, known=known))
        assert len(evaluations) == 6  # other steps, another pass
    finally:
        hook.remove()


def test_a_trajectory_of_another_image_size_is_not_taken(backend, open_model):
    seen = examination(backend, open_model, branches=0, swaps=False)
    done(seen)
    half = [
        replace(one, x0=one.x0[..., :4, :4], x_t=one.x_t[..., :4, :4])
        for one in seen.trajectories.values()
    ]
    again = examination(backend, open_model, branches=0, swaps=False, known=half)
    done(again)
    assert again.trajectories["dmd"].x0.shape == seen.trajectories["dmd"].x0.shape
    assert not again.left


def test_a_folder_keeps_one_prompt(backend, open_model, tmp_path):
    seen = examination(
        backend, open_model, replace(ASKED, models=("dmd",)), branches=0, swaps=False
    )
    done(seen)
    save_trajectories(
        seen.trajectories | {"d/md": seen.trajectories["dmd"], "d-md": seen.trajectories["dmd"]},
        tmp_path,
    )
    names = sorted(path.name for path in (tmp_path / "trajectories").iterdir())
    assert names == ["d-md-2.safetensors", "d-md.safetensors", "dmd.safetensors"]
    with pytest.raises(
        ValueError, match="of another prompt, “a red circle”: choose another folder"
    ):
        save_trajectories({"dmd": replace(seen.trajectories["dmd"], prompt="a star")}, tmp_path)


def test_an_opened_trajectory_is_shown_as_it_was_recorded(backend, open_model, tmp_path):
    seen = examination(backend, open_model, branches=0, swaps=False)
    done(seen)
    known = [
        replace(one, settings=one.settings | {"weights": "other"}) if one.model == "dmd" else one
        for one in seen.trajectories.values()
    ]
    opened = examination(backend, as_recorded(open_model, known), known=known)
    done(opened)
    assert torch.equal(opened.trajectories["dmd"].x0, seen.trajectories["dmd"].x0)
    assert Branch("teacher", 1) in opened.results
    assert opened.left == [
        "branching and swaps of dmd: dmd is now another model, or sampled otherwise, than when "
        "this was recorded"
    ]
    assert not any(isinstance(task, Swap) for task in opened.results)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"prompts": ("a star", "a circle")}, "one prompt"), ({"seeds": (4,)}, "two or more")],
)
def test_requests_that_cannot_be_compared_are_refused(backend, open_model, changes, message):
    with pytest.raises(ValueError, match=message):
        examination(backend, open_model, replace(ASKED, **changes))
    for wrong in ({"branches": 1}, {"parents": 1}, {"branches": -2}):
        with pytest.raises(ValueError, match="two or more"):
            examination(backend, open_model, **wrong)


def test_a_folder_without_trajectories_has_none_and_a_broken_file_is_named(tmp_path):
    assert saved_trajectories(tmp_path) == []
    (tmp_path / "trajectories").mkdir()
    (tmp_path / "trajectories" / "dmd.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="dmd.safetensors is not a recorded trajectory"):
        saved_trajectories(tmp_path)


def test_long_passes_are_branched_most_where_they_begin():
    assert branch_steps(4) == [0, 1, 2, 3]
    assert branch_steps(30) == [0, 1, 2, 4, 8, 12, 17, 23]
    assert all(0 <= step < 100 for step in branch_steps(100))


# ---- figures and files


@pytest.fixture(scope="module")
def whole(world, backend):
    seen = examination(backend, model_loader(ASKED, backend, {"dmd": world / "students" / "dmd"}))
    done(seen)
    return seen


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
        "Div" in note.text and "% right" in note.text for note in made["swap"].layout.annotations
    )
    assert len(made["swap-curves"].data) == 4


def test_the_report_needs_nothing_else_and_says_what_is_missing(whole, tmp_path):
    whole.failed[Branch("dmd", 9)] = "<b>no memory</b>"
    try:
        page = write_stage_report(tmp_path, whole, stage_figures(whole), [], []).read_text(
            encoding="utf-8"
        )
    finally:
        whole.failed.clear()
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
