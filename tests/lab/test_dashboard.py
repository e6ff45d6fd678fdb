"""Dashboards: they train like `train`; buttons, errors, and the text for pages without widgets."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from tests.support.timing import seconds
from workbench.core.presets import SCENES
from workbench.lab.dashboard import Dashboard
from workbench.training.figures import training_figure
from workbench.training.run import Run
from workbench.training.train import train

TINY = replace(
    SCENES,
    rounds=4,
    batch=2,
    sample_every=2,
    checkpoint_every=2,
    method="dp_dmd",
    teacher_steps=4,
    k=2,
    student_steps=2,
    precision="fp32",
)
WILD = replace(TINY, student_rate=1e30, fake_rate=1e30, clip=0.0)


def awaited(coroutine):
    """In its own thread: the browser tests of the same session leave this one's event loop
    running.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The last state of the plain training."""
    run = Run.create(tmp_path_factory.mktemp("plain") / "run", TINY, "cpu")
    list(train(run))
    return state_of(run)


@pytest.fixture
def dashboard(tmp_path):
    made = Dashboard({"one": Run.create(tmp_path / "run", TINY, "cpu")})
    yield made
    made.stop()


def state_of(run):
    return torch.load(run.checkpoints()[-1], weights_only=True)


def flat(state, name=""):
    if isinstance(state, (dict, list, tuple)):
        for key, value in state.items() if isinstance(state, dict) else enumerate(state):
            yield from flat(value, f"{name}.{key}")
    else:
        yield name, state


def same(one, other):
    one, other = dict(flat(one)), dict(flat(other))
    return one.keys() == other.keys() and all(
        torch.equal(a, other[name]) if isinstance(a, torch.Tensor) else a == other[name]
        for name, a in one.items()
    )


def until(condition):
    deadline = time.monotonic() + seconds(120)
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def unchanged(value):
    """`value()` once it has stood still for a second: an update in progress ends first."""
    last = None
    while last != (last := value()):
        time.sleep(1)
    return last


def updates(run):
    return sum(row["kind"] in ("fake", "student") for row in run.metrics())


def enabled(dashboard):
    return [what for what, button in dashboard._buttons.items() if not button.disabled]


def test_paused_stopped_and_started_again_it_comes_to_the_weights_of_plain_training(
    dashboard, whole, capsys
):
    run = dashboard.runs["one"]
    assert dashboard.state == "ready"
    assert enabled(dashboard) == ["Start"]
    dashboard._buttons["Start"].click()
    assert dashboard.state == "training"
    assert enabled(dashboard) == ["Pause", "Stop"]
    until(lambda: updates(run) >= 1)
    dashboard._buttons["Pause"].click()
    assert dashboard.state == "paused"
    assert enabled(dashboard) == ["Resume", "Stop"]
    assert "paused" in dashboard._line.value
    until(lambda: not dashboard._going.is_set())
    assert unchanged(lambda: updates(run)) < 8
    dashboard._buttons["Resume"].click()
    assert dashboard.state == "training"
    assert enabled(dashboard) == ["Pause", "Stop"]
    until(lambda: updates(run) >= 5 or dashboard.state == "done")  # after the first checkpoint
    dashboard._buttons["Stop"].click()
    awaited(dashboard.finished())
    assert dashboard.state == "stopped"
    assert enabled(dashboard) == ["Start"]
    assert len(run.checkpoints()) == 1
    assert "stopped" in dashboard._line.value
    assert dashboard._bar.max == 4
    dashboard.start()
    awaited(dashboard.finished())
    assert dashboard.state == "done"
    assert enabled(dashboard) == []
    assert dashboard._bar.value == 4
    assert dashboard._line.value.endswith("; done")
    assert same(state_of(run), whole)
    assert (run.path / "student" / "student.json").is_file()
    lines = [line for line in capsys.readouterr().out.splitlines() if "of 4: diversity" in line]
    assert lines[-2].startswith("one, round 2 of 4: diversity 0.")
    assert lines[-1].startswith("one, round 4 of 4: diversity 0.")
    assert all("the teacher's is 0." in line for line in lines)
    gradients = [row for row in run.metrics() if row["kind"] == "gradients"]
    assert [row["round"] for row in gradients] == [2, 4]
    assert all(row["norms"]["dmd"][0] == 0.0 < row["norms"]["dmd"][1] for row in gradients)
    shown, stays = dashboard._figure.data, dashboard.figure().data
    assert [len(trace.x or ()) for trace in shown if trace.type == "scatter"] == [
        len(trace.x or ()) for trace in stays if trace.type == "scatter"
    ]
    again = Dashboard({"one": Run.open(run.path)})  # a new one shows the earlier training
    assert again._bar.value == 4
    assert again.picture("one").name == "round-000004.png"
    assert again._pictures["one"].value == again.picture("one").read_bytes()


def test_stopping_the_first_run_leaves_the_second_alone(tmp_path):
    runs = {
        name: Run.create(tmp_path / name, replace(TINY, seed=seed), "cpu")
        for seed, name in enumerate(("one", "two"))
    }
    dashboard = Dashboard(runs)
    dashboard.start()
    until(lambda: updates(runs["one"]) >= 1)
    dashboard.stop()
    assert dashboard.state == "stopped"
    assert updates(runs["one"]) < 8
    assert not (runs["two"].path / "metrics.jsonl").exists()


def test_started_again_while_it_stops_it_continues(dashboard):
    run = dashboard.runs["one"]
    dashboard.start()
    until(lambda: updates(run) >= 1)
    dashboard._stop_soon()
    dashboard.pause()  # too late: it would never end
    dashboard.start()
    assert dashboard.state == "training"
    assert dashboard._thread.is_alive()
    until(lambda: updates(run) >= 2)
    dashboard.stop()
    assert dashboard.state == "stopped"


def test_one_run_is_trained_by_one_dashboard_at_a_time(dashboard):
    other = Dashboard({"mine": Run.open(dashboard.runs["one"].path)})
    dashboard.start()
    with pytest.raises(
        RuntimeError, match="being trained by another dashboard: stop that one first"
    ):
        other.start()
    other._buttons["Start"].click()
    assert "stop that one first" in other._line.value
    assert other.state == "ready"
    dashboard.stop()
    other.start()
    assert other.state == "training"
    other.stop()


def test_an_error_of_training_is_shown_and_raised_by_the_awaiting_cell(tmp_path):
    dashboard = Dashboard({"wild": Run.create(tmp_path / "run", WILD, "cpu")})
    dashboard.start()
    with pytest.raises(RuntimeError, match="is not finite"):
        awaited(dashboard.finished())
    assert dashboard.state == "failed"
    assert "is not finite" in dashboard._line.value
    assert enabled(dashboard) == ["Start"]


def test_interrupting_the_awaiting_cell_stops_it(dashboard):
    async def interrupted():
        task = asyncio.create_task(dashboard.finished())
        await asyncio.sleep(0.5)
        task.cancel()
        await task

    dashboard.start()
    with pytest.raises(asyncio.CancelledError):
        awaited(interrupted())
    assert dashboard.state == "stopped"
    assert not dashboard._thread.is_alive()


def test_where_no_widgets_are_it_is_a_line_of_words(dashboard):
    bundle = dashboard._repr_mimebundle_(include=None, exclude=None)
    assert (
        bundle["text/plain"] == "Dashboard of one: open this notebook in JupyterLab to see it live"
    )
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == dashboard.view.model_id


def test_a_dashboard_of_nothing_is_refused():
    with pytest.raises(ValueError, match="give at least one"):
        Dashboard({})


def test_its_figure_is_that_of_the_rows_in_the_run_folders(dashboard):
    dashboard.runs["one"].log(kind="reading", round=2, diversity=0.25, feature="lite0@96")
    expected = training_figure(
        {"one": dashboard.runs["one"].metrics()}, {"one": ["dmd", "diversity"]}, 2
    )
    assert [trace.name for trace in dashboard.figure().data] == [
        trace.name for trace in expected.data
    ]
    assert dashboard.figure().data[-1].value == 0.25
