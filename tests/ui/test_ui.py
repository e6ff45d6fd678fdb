"""The page without a browser: it stands without weights, and says what is missing."""

import json
import struct
import subprocess
import sys

import gradio as gr
import pytest
import torch

from tests.support.scenes_world import write_student, write_world
from workbench.core.seeds import grid_noise
from workbench.grid.generate import Cell, Row
from workbench.grid.request import GridRequest
from workbench.io.progress import Progress
from workbench.models.backends.networks import base_state
from workbench.models.embedded import EMBEDDED
from workbench.models.loading import load_backend
from workbench.models.model_cache import ModelCache
from workbench.training.export import export_student
from workbench.ui.compare import CompareForm, CompareTab
from workbench.ui.evaluate import EvaluateForm, EvaluateTab
from workbench.ui.grid_view import GridView
from workbench.ui.page import launch_settings, new_page
from workbench.ui.parts import components_of
from workbench.ui.session import ON_DEVICE, Session
from workbench.ui.stages import StagesForm, StagesTab


@pytest.fixture
def embedded(tmp_path, monkeypatch):
    """An untrained embedded world in place of the shipped one."""
    world = write_world(tmp_path / "world")
    monkeypatch.setitem(EMBEDDED, "scenes", world)
    monkeypatch.setitem(EMBEDDED, "scenes-eps", world / "eps")
    return world


def test_a_teacher_that_cannot_be_opened_is_replaced_by_the_embedded_one_and_the_page_says_why(
    embedded, tmp_path
):
    session = Session(str(tmp_path / "nothing"), tmp_path / "runs", student="dp-dmd")
    page = new_page(session)
    assert {"CheckboxGroup", "HTML"} <= {type(block).__name__ for block in page.blocks.values()}
    assert not session.settled
    session.warm_up()
    assert session.settled
    assert session.teacher == "scenes"
    assert session.selected_students() == ["dmd", "dp-dmd"]
    assert "there is no folder" in session.problem
    assert session.problem.endswith("Meanwhile this is the embedded scenes teacher.")


def test_without_a_network_the_page_says_so(embedded):
    session = Session("stabilityai/stable-diffusion-3.5-medium", device="cpu")
    session.warm_up()
    assert "the hub cannot be reached" in session.problem
    assert session.size == ""


def test_a_large_teacher_wants_a_gpu_unless_the_user_insists(embedded, tmp_path):
    folder = tmp_path / "large"
    (folder / "transformer").mkdir(parents=True)
    header = json.dumps(
        {"x": {"dtype": "BF16", "shape": [2_243_171_520], "data_offsets": [0, 0]}}
    ).encode()
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(
        struct.pack("<Q", len(header)) + header
    )
    session = Session(str(folder))
    session.device, session._device_chosen = "cpu", False
    assert session.size == "8.4 GiB of weights (transformer 8.4)"
    session.warm_up()
    assert "2.2 billion parameters, and there is no GPU here" in session.problem
    assert "--device cpu" in session.problem
    insisting = Session(str(folder), device="cpu")
    insisting.warm_up()
    assert "no diffusers pipeline" in insisting.problem  # it went on to read the folder


def test_without_any_teacher_the_page_stands(tmp_path, monkeypatch):
    monkeypatch.setitem(EMBEDDED, "scenes", tmp_path / "lost")
    session = Session("scenes", tmp_path / "runs")
    new_page(session)
    with pytest.raises(ValueError, match="there is no folder"):
        session.load()
    session.warm_up()  # quietly
    assert session.settled


def test_students_are_offered_with_their_own_teacher_only(embedded, tmp_path):
    write_student(tmp_path / "runs" / "mine" / "student", "dmd")
    session = Session("scenes", tmp_path / "runs")
    assert list(session.students()) == ["dmd", "dp-dmd", "run mine"]
    assert session.selected_students() == [
        "dmd",
        "dp-dmd",
    ]
    full = Session("stabilityai/stable-diffusion-3.5-medium", tmp_path / "runs", student="dp-dmd")
    assert list(full.students()) == ["dp-dmd-official", "rtdmd-sd35"]
    assert full.selected_students() == ["dp-dmd-official"]
    assert (full.defaults.teacher_steps, full.defaults.guidance) == (30, 3.5)
    assert Session("stabilityai/stable-diffusion-xl-base-1.0").defaults.guidance == 7.5


def test_only_as_many_students_stay_open_as_there_is_room_for(embedded):
    session = Session("scenes")
    free = [True]
    residents = ModelCache(session.load(), lambda: free[0])
    students = session.students()
    dmd, dp_dmd = (residents.open(students[name], name) for name in ("dmd", "dp-dmd"))
    assert residents.open(students["dmd"], "dmd") is dmd
    assert len(residents.models) == 2
    free[0] = False
    again = residents.open(students["dp-dmd"], "new name")
    assert [model.name for model in residents.models.values()] == ["new name"]
    assert again is not dp_dmd


def test_an_adapter_that_is_closed_leaves_the_network_as_it_was(embedded, tmp_path):
    backend = load_backend("scenes")
    before = {name: tensor.clone() for name, tensor in base_state(backend.network).items()}
    size = sum(p.numel() for p in backend.network.parameters())
    paths = [
        export_student(embedded / "students" / name, tmp_path / name, lora=2)
        for name in ("dmd", "dp-dmd")
    ]
    residents = ModelCache(backend, lambda: False)
    first = residents.open(paths[0], "one")
    noise, condition = grid_noise(backend.latent_shape, [1]), backend.encode(["a star"])
    expected = first.sampled(noise, condition, [1])
    residents.open(paths[1], "two")
    with_one = sum(p.numel() for p in backend.network.parameters())
    assert torch.equal(residents.open(paths[0], "one").sampled(noise, condition, [1]), expected)
    assert size < with_one == sum(p.numel() for p in backend.network.parameters())
    assert len(backend.adapters.adopted) == 1
    assert all(
        torch.equal(tensor, before[name]) for name, tensor in base_state(backend.network).items()
    )


def test_the_page_is_built_before_torch_is_imported():
    code = (
        "import sys; from workbench.ui.page import new_page; from workbench.ui.session import "
        "Session; new_page(Session()); print([name for name in ('torch', 'diffusers', "
        "'transformers', 'scipy') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_the_models_of_a_form_are_the_teacher_alone_until_it_is_loaded(embedded):
    session = Session("scenes")
    assert [name for _, name in session.model_choices()["choices"]] == ["teacher"]
    session.load()
    assert session.model_choices()["value"] == ["teacher", "dmd", "dp-dmd"]
    assert session.model_choices(["dmd", "gone"])["value"] == ["dmd"]


def test_the_fields_of_each_form_are_components_of_its_tab(tmp_path):
    session = Session("scenes", tmp_path / "runs")
    with gr.Blocks() as page:
        for tab, form in (
            (CompareTab, CompareForm),
            (StagesTab, StagesForm),
            (EvaluateTab, EvaluateForm),
        ):
            assert all(
                isinstance(component, gr.components.Component)
                for component in components_of(tab(page, session), form)
            )


def test_everything_that_computes_shares_one_queue(tmp_path):
    page = new_page(Session(str(tmp_path / "nothing"), tmp_path / "runs"))
    computing = [
        fn for fn in page.fns.values() if getattr(fn.fn, "__name__", "") in ("_run", "_measure")
    ]
    assert (
        len(computing) == 2 + 3 + 1 + 1
    )  # grids asked and linked; stages asked, resumed and opened; gradients; evaluations
    assert {fn.concurrency_id for fn in computing} == {ON_DEVICE["concurrency_id"]}
    assert all(fn.concurrency_limit == 1 for fn in computing)


def test_launch_takes_the_theme_and_sends_nothing_out():
    settings = launch_settings()
    assert settings["theme"] is not None
    assert settings["share"] is False
    assert settings["run_history"] is False
    assert not settings["theme"]._stylesheets  # no fonts from elsewhere


def test_a_view_tells_its_rows_status_and_gives_each_image_one_address():
    view = GridView(GridRequest(seeds=(0, 1), models=("teacher", "dmd")), "cpu")
    assert view.json["status"] == "waiting"
    assert view.json["sections"][0]["rows"][0]["cells"] == [
        {},
        {},
    ]
    view.add(Progress(0.5))
    assert [row["cost"] for row in view.json["sections"][0]["rows"]] == ["generating …", "waiting"]
    view.add(Cell(0, "teacher", 0, None, "out of memory"))
    view.add(Row(0, "teacher", 60, 0.25))
    rows = view.json["sections"][0]["rows"]
    assert rows[0]["cells"][0] == {"error": "out of memory"}
    assert [row["cost"] for row in rows] == ["60 NFE · 0.25 s", "generating …"]
    view.stop()
    view.finish()
    assert view.message.startswith("Stopped: 1 of 4 cells")
    assert view.json["sections"][0]["rows"][1]["cost"] == "not finished"
    view.close()
    assert not view.folder.exists()
