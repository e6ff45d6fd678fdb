"""A method, a metric and a teacher family from one file outside the package."""

import json
import shutil

import pytest

from workbench.cli import main
from workbench.core.methods import METHODS
from workbench.core.registry import PLUGINS
from workbench.evaluation.metrics import METRICS
from workbench.models.backends.source import FAMILIES
from workbench.training.run import Run

METHOD = """
from workbench.core.methods import METHODS, Method
from workbench.core.objectives import dmd

def build(recipe, tools):
    return dmd(recipe.normaliser)

METHODS.register("mine", Method("Mine", image_free=True, build=build))
"""
METRIC = """
from workbench.evaluation.metrics import METRICS, per_image

METRICS.register("brightness", per_image(lambda images, prompts: images.mean((1, 2, 3))))
"""
FAMILY = """
from workbench.models.backends.source import FAMILIES, Family

def classes():
    from diffusers import StableDiffusion3Pipeline
    from workbench.models.backends.sd3 import SD3Backend
    return StableDiffusion3Pipeline, SD3Backend

FAMILIES.register("MyPipeline", Family(classes, optional=("text_encoder_3", "tokenizer_3")))
"""


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """A function that names a file with this code in WORKBENCH_PLUGINS; what it registers is
    forgotten after the test.
    """
    for registry in (METHODS, METRICS, FAMILIES):
        for name, value in (
            ("_searched", False),
            ("_entries", dict(registry._entries)),
            ("_failures", []),
        ):
            monkeypatch.setattr(registry, name, value)

    def write(code: str) -> None:
        path = tmp_path / "plug_in.py"
        path.write_text(code)
        monkeypatch.setenv(PLUGINS, str(path))

    return write


def test_a_method_is_one_file_and_one_line(plug_in, teacher_folder, tmp_path):
    plug_in(METHOD)
    arguments = ["train", "--method", "mine", "--teacher", str(teacher_folder), "--rounds", "1"]
    arguments += ["--prompts", str(teacher_folder / "prompts.txt"), "--batch", "2"]
    arguments += ["--fake-updates-per-round", "1", "--sample-every", "0", "--device", "cpu"]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    assert Run.open(tmp_path / "run").recipe.method == "mine"
    assert (tmp_path / "run" / "student" / "student.json").exists()


def test_a_metric_is_one_file_and_one_line(plug_in, teacher_folder, tmp_path, capsys):
    plug_in(METRIC)
    arguments = ["evaluate", "--models", "teacher", "--teacher", str(teacher_folder)]
    arguments += ["--prompts", str(teacher_folder / "prompts.txt"), "--seeds", "2"]
    arguments += ["--teacher-steps", "2", "--metrics", "brightness", "--device", "cpu"]
    assert main([*arguments, "--out", str(tmp_path / "evaluation")]) == 0
    assert "brightness" in capsys.readouterr().out


def test_a_teacher_family_is_one_file_and_one_line(plug_in, teacher_folder, tmp_path, capsys):
    folder = tmp_path / "mine"
    shutil.copytree(teacher_folder, folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "MyPipeline"}))
    arguments = ["sample", "a star", "--models", "teacher", "--teacher", str(folder)]
    arguments += ["--seeds", "1", "--teacher-steps", "2", "--device", "cpu"]
    arguments += ["--out", str(tmp_path / "picture.png")]
    assert main(arguments) == 1
    assert "is a MyPipeline; a teacher is one of" in capsys.readouterr().err
    plug_in(FAMILY)
    FAMILIES._searched = False
    assert main(arguments) == 0
    assert (tmp_path / "picture.png").exists()


def test_a_broken_plug_in_is_one_line_of_every_command_that_needs_it(plug_in, capsys, tmp_path):
    plug_in('raise RuntimeError("half written")')
    assert main(["train", "--method", "mine", "--dry-run"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("workbench: ")
    assert f"{tmp_path / 'plug_in.py'} (WORKBENCH_PLUGINS) fails: RuntimeError: half" in error
