"""One seed is one picture, and one name one number: in the app's grid, `sample`, stages, an
evaluation, the panel of a training, the public API and plain diffusers.
"""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.grid.test_generate import painted
from workbench import images_of
from workbench.cli import main
from workbench.evaluation.evaluation import Evaluation
from workbench.evaluation.prompt_lists import Prompt, PromptList
from workbench.evaluation.request import EvaluationRequest
from workbench.grid.request import GridRequest
from workbench.io.png import read_settings
from workbench.metrics.diversity import diversity
from workbench.metrics.lite0 import Lite0
from workbench.models.embedded import EMBEDDED, load_scenes
from workbench.models.model import teacher_model
from workbench.models.sampling import OFFICIAL, PER_PROMPT
from workbench.models.students import open_model, shipped_students
from workbench.stages.analysis import StageAnalysis
from workbench.stages.tasks import Swap
from workbench.training.train import read_panel

PROMPT, SEEDS, STEPS = "a red circle", (0, 1, 2), 3
MODELS = ("teacher", "dp-dmd")
REQUEST = GridRequest((PROMPT,), SEEDS, MODELS, teacher_steps=STEPS)


@pytest.fixture(scope="module")
def backend():
    return load_scenes(EMBEDDED["scenes"] / "teacher")


@pytest.fixture(scope="module")
def opened(backend):
    models = {
        "teacher": teacher_model(backend, STEPS, REQUEST.guidance),
        "dp-dmd": open_model("dp-dmd", backend),
    }
    return models.__getitem__


@pytest.fixture(scope="module")
def grid(backend):
    return painted(REQUEST, backend, shipped_students("scenes"))


@pytest.fixture(scope="module")
def evaluation(backend, opened, tmp_path_factory):
    request = EvaluationRequest(
        MODELS, PromptList("mine", (Prompt(PROMPT),), {}), SEEDS, noise=OFFICIAL
    )
    made = Evaluation(tmp_path_factory.mktemp("evaluation"), request)
    for _ in (*made.generate(backend, opened), *made.read()):
        pass
    return made


@pytest.fixture(scope="module")
def analysis(backend, opened):
    made = StageAnalysis(REQUEST, backend, opened, branches=0)
    for _ in made.run():
        pass
    assert not made.unfinished
    return made


def pixels(images: torch.Tensor) -> np.ndarray:
    """[S, H, W, 3] of images [S, 3, H, W]."""
    return (images.permute(0, 2, 3, 1) * 255).round().numpy().astype(int)


def in_the_grid(grid, model: str) -> np.ndarray:
    return np.stack([grid.cells[0, model, seed].image for seed in SEEDS]).astype(int)


@pytest.mark.parametrize("model", MODELS)
def test_one_seed_is_one_picture_everywhere(
    model, backend, opened, grid, evaluation, analysis, tmp_path
):
    expected = in_the_grid(grid, model)
    steps = f"--teacher-steps {STEPS}" if model == "teacher" else ""
    command = f"sample --seeds 3 {steps} --device cpu --models {model} --out"
    assert main([*command.split(), str(tmp_path / "s.png"), PROMPT]) == 0
    row = np.asarray(Image.open(tmp_path / "s.png")).astype(int)
    panel, _ = read_panel(opened(model), backend, [PROMPT] * 4)
    (draws,) = evaluation.request.seed_draws
    others = {
        "sample": row.reshape(len(row), 3, -1, 3).swapaxes(0, 1),
        "API": pixels(next(images_of(opened(model), backend, [PROMPT], list(SEEDS)))),
        "stages": pixels(analysis.pictures[model].final),
        "evaluate": pixels(evaluation.image_folder(model).read(draws)),
        "panel": pixels(panel[0])[:3],
        "diffusers": in_diffusers(backend, opened(model)),
    }
    differences = {name: int(abs(other - expected).max()) for name, other in others.items()}
    print(differences)
    assert max(differences.values()) <= 1


def in_diffusers(backend, model) -> np.ndarray:
    """The pictures of the plain pipeline, seed by seed, with the model's network and times."""
    pipeline, shift = backend.pipeline, backend.schedule.shift
    sigmas = [t / (shift - (shift - 1) * t) for t in model.times[:-1].double().tolist()]
    settings = {"num_inference_steps": len(sigmas), "max_sequence_length": 0, "output_type": "np"}
    if model.name != "teacher":
        settings["sigmas"] = sigmas
    settings["guidance_scale"] = getattr(model.denoiser, "guidance", 1.0)
    own = pipeline.transformer
    try:
        pipeline.transformer = model.network
        images = [
            pipeline(PROMPT, generator=torch.Generator().manual_seed(seed), **settings).images
            for seed in SEEDS
        ]
    finally:
        pipeline.transformer = own
    return (np.concatenate(images) * 255).round()


def test_another_noise_policy_is_in_the_file_with_its_seed(backend, opened, tmp_path):
    request = EvaluationRequest(
        ("dp-dmd",), PromptList("mine", (Prompt(PROMPT),), {}), SEEDS, noise=PER_PROMPT
    )
    made = Evaluation(tmp_path, request)
    for _ in made.generate(backend, opened):
        pass
    ((_, draw, _),) = request.seed_draws
    file = made.image_folder("dp-dmd").path / draw.path
    settings = read_settings(file)
    assert settings["noise"] == "per-prompt"
    assert settings["image"] == "seed-0001"
    again = next(images_of(opened("dp-dmd"), backend, [PROMPT], [settings["noise_seed"]]))
    assert abs(pixels(again)[0] - np.asarray(Image.open(file)).astype(int)).max() <= 1
    policy = next(images_of(opened("dp-dmd"), backend, [PROMPT], [1], noise=PER_PROMPT))
    assert torch.equal(policy, again)


@pytest.mark.parametrize("model", MODELS)
def test_one_name_is_one_number(model, backend, opened, grid, evaluation, analysis):
    """Div of one prompt, model and seeds: Compare's row, `evaluate`, Stages and the API."""
    row = grid.rows[0, model]
    (result,) = (one for one in evaluation.results() if one.model == model)
    ((column, number),) = result.numbers.items()
    mixed = next(
        found
        for task, found in analysis.results.items()
        if isinstance(task, Swap)
        and task.alone(len(analysis.levels(task.first, task.then))) == model
    )
    images = next(images_of(opened(model), backend, [PROMPT], list(SEEDS)))
    values = {
        "Compare": row.diversity.mean,
        "evaluate": number.interval.mean,
        "Stages": mixed.diversity.mean,
        "API": float(diversity(Lite0.load().features(images)[None])),
    }
    print(values)
    assert row.feature == column.protocol == analysis.feature().protocol == "lite0@224"
    assert max(values.values()) - min(values.values()) < 2e-4


# ---- the command


def refused(capsys, *words: str) -> str:
    assert main(["sample", "--device", "cpu", *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("workbench: ")
    assert len(error.splitlines()) == 1
    return error


@pytest.fixture
def nothing_loaded(monkeypatch):
    def loaded(*arguments, **settings):
        raise AssertionError("a teacher was loaded")

    monkeypatch.setattr("workbench.models.loading.load_backend", loaded)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "0"], "There are no seeds"),
        (["--seeds", "-3"], "There are no seeds"),
        (["--models", ""], "There are no models"),
        (["--models", " , "], "There are no models"),
        (["--models", "dmd,dmd"], "listed twice"),
        (["--models", "teacher", "--teacher-steps", "0"], "Teacher steps must be"),
    ],
)
def test_nothing_to_sample_is_told_before_anything_is_loaded(
    words, message, nothing_loaded, capsys, tmp_path
):
    assert message in refused(capsys, PROMPT, *words, "--out", str(tmp_path / "s.png"))
    for command in ("stages", "evaluate"):
        given = [PROMPT] if command == "stages" else []
        assert main([command, *given, *words, "--out", str(tmp_path / command)]) == 1
        assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_empty_prompt_is_told(nothing_loaded, capsys):
    assert "A prompt is empty" in refused(capsys, PROMPT, " ")


def test_a_place_that_cannot_be_written_is_told_before_anything_is_loaded(
    nothing_loaded, capsys, tmp_path
):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    for out, message in (
        ("folder", "is a folder"),
        ("folder.png", "is a folder"),
        ("picture.xyz", "does not end in .png"),
        ("picture.jpg", "does not end in .png"),
        ("file/picture.png", "file is a file"),
        (300 * "n" + ".png", "too long"),
    ):
        assert message in refused(capsys, PROMPT, "--out", str(tmp_path / out))
    for words in (
        ["evaluate", "--out"],
        ["stages", PROMPT, "--out"],
        ["train", "--out"],
        ["export", str(tmp_path), "--to"],
        ["report", str(tmp_path), "--to"],
        ["study", "create", "--out"],
        ["study", "report", str(tmp_path), "--to"],
    ):
        for place in (tmp_path / "file", tmp_path / "file" / "below"):
            assert main([*words, str(place)]) == 1
            assert "is a file" in capsys.readouterr().err
    for command in ("export", "backup"):
        assert main(["study", command, str(tmp_path), "--to", str(tmp_path / "folder")]) == 1
        assert "is a folder" in capsys.readouterr().err


def test_a_name_without_an_ending_becomes_a_png_and_missing_folders_are_made(tmp_path, capsys):
    out = tmp_path / "new" / "picture"
    words = ["sample", PROMPT, "a star", "--models", "dp-dmd", "--seeds", "2", "--device", "cpu"]
    assert main([*words, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    settings = read_settings(out.with_suffix(".png"))
    assert settings["rows"] == [
        {"model": "dp-dmd", "prompt": prompt, "seeds": [0, 1]} for prompt in (PROMPT, "a star")
    ]
    assert "manual_seed(seed)" in settings["noise"]
    assert settings["origin"]["teacher"]["source"] == "scenes"
    assert settings["origin"]["models"]["dp-dmd"]["place"] == "dp-dmd"
    assert "row 2: dp-dmd, “a star”, seeds 0-1" in printed


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_output_that_is_not_finite_is_refused_and_nothing_is_written(
    value, tmp_path, capsys, monkeypatch
):
    from workbench.models.model import Model

    sampled = Model.sampled

    def spoilt(self, *arguments):
        latents = sampled(self, *arguments)
        latents[1, 0, 3, 3] = float(value)
        return latents

    monkeypatch.setattr(Model, "sampled", spoilt)
    error = refused(
        capsys, "a star", "--models", "dp-dmd", "--seeds", "3", "--out", str(tmp_path / "n.png")
    )
    assert "the output of dp-dmd for “a star”, seed-0001, is not finite" in error
    assert not list(tmp_path.iterdir())
