"""The page without a browser: it stands without weights, and says what is missing."""

import pytest

from tests.scenes_world import write_student
from workbench.grid import Cell, Progress, Row
from workbench.grid_request import GridRequest
from workbench.ui.grid_view import GridView
from workbench.ui.page import launch_settings, new_page
from workbench.ui.workplace import ON_DEVICE, Workplace


def test_the_page_stands_without_a_teacher_and_says_so(tmp_path):
    place = Workplace(str(tmp_path / "nothing"), tmp_path / "runs")
    page = new_page(place)
    assert {"CheckboxGroup", "HTML"} <= {type(block).__name__ for block in page.blocks.values()}
    with pytest.raises(ValueError, match="there is no folder"):
        place.backend
    place.warm()  # quietly


def test_students_of_the_runs_folder_are_offered_and_embedded_ones_only_with_their_teacher(tmp_path):
    write_student(tmp_path / "runs" / "mine" / "student", "dmd")
    assert list(Workplace("some/pipeline", tmp_path / "runs").students()) == ["run mine"]
    assert "run mine" in Workplace("scenes", tmp_path / "runs").students()


def test_everything_that_computes_shares_one_queue(tmp_path):
    page = new_page(Workplace(str(tmp_path / "nothing"), tmp_path / "runs"))
    painting = [fn for fn in page.fns.values() if getattr(fn.fn, "__name__", "") == "_run"]
    assert len(painting) == 2 and {fn.concurrency_id for fn in painting} == {ON_DEVICE["concurrency_id"]}
    assert all(fn.concurrency_limit == 1 for fn in painting)


def test_launch_takes_the_theme_and_sends_nothing_out():
    settings = launch_settings()
    assert settings["theme"] is not None and settings["share"] is False and settings["run_history"] is False
    assert not settings["theme"]._stylesheets  # no fonts from elsewhere


def test_a_view_tells_its_rows_status_and_gives_each_image_one_address():
    view = GridView(GridRequest(seeds=(0, 1), models=("teacher", "dmd")), "cpu")
    assert view.json["status"] == "waiting" and view.json["sections"][0]["rows"][0]["cells"] == [{}, {}]
    view.add(Progress(0.5))
    assert [row["cost"] for row in view.json["sections"][0]["rows"]] == ["painting …", "waiting"]
    view.add(Cell(0, "teacher", 0, None, "out of memory"))
    view.add(Row(0, "teacher", 60, 0.25))
    rows = view.json["sections"][0]["rows"]
    assert rows[0]["cells"][0] == {"error": "out of memory"}
    assert [row["cost"] for row in rows] == ["60 NFE · 0.25 s", "painting …"]
    view.finish("stopped")
    assert view.message.startswith("Stopped: 1 of 4 cells") and view.json["sections"][0]["rows"][1]["cost"] == "not finished"
    view.close()
    assert not view.folder.exists()
