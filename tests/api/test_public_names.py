"""What `from workbench import ...` offers."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import workbench

ROOT = Path(__file__).parents[2]
NAMES = {
    "Dashboard",
    "Distiller",
    "Evaluation",
    "EvaluationRequest",
    "FAMILIES",
    "GridRequest",
    "METHODS",
    "METRICS",
    "Model",
    "PRESETS",
    "Recipe",
    "Run",
    "StageAnalysis",
    "StudyDesign",
    "Sweep",
    "create_study",
    "evaluate",
    "export_student",
    "generate_grid",
    "images_of",
    "load_backend",
    "new_distiller",
    "open_model",
    "open_study",
    "plan",
    "prompt_list",
    "teacher_model",
    "tile",
    "train",
    "write_evaluation_report",
}


def test_the_public_names_are_these():
    assert set(workbench.__all__) == NAMES
    assert NAMES <= set(dir(workbench))


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_public_name_is_the_one_its_module_defines(name):
    module = importlib.import_module(f"workbench.{workbench.MODULES[name]}")
    assert getattr(workbench, name) is getattr(module, name)


def test_editors_see_the_same_names_in_the_same_modules():
    tree = ast.parse(Path(workbench.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.name: node.module.removeprefix("workbench.")
        for node in block.body
        for alias in node.names
    }
    assert seen == workbench.MODULES


def test_an_unknown_name_is_an_attribute_error_that_suggests_the_nearest():
    with pytest.raises(AttributeError, match="no attribute 'recipe'; did you mean 'Recipe'"):
        workbench.recipe  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute 'zzz'$"):
        workbench.zzz  # noqa: B018
    with pytest.raises(ImportError, match="Evaluatoin"):
        from workbench import Evaluatoin  # noqa: F401


@pytest.mark.parametrize("name", ["Recipe", "PRESETS", "GridRequest", "StudyDesign"])
def test_names_that_need_no_torch_do_not_import_it(name):
    code = f"import sys; from workbench import {name}; print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "False"


def test_evaluate_returns_each_models_numbers(teacher_folder, tmp_path):
    arguments = {
        "prompts": str(teacher_folder / "prompts.txt"),
        "teacher": str(teacher_folder),
        "teacher_steps": 2,
        "folder": tmp_path / "evaluation",
        "device": "cpu",
    }
    evaluation, (result,) = workbench.evaluate(
        ["teacher"], seeds=range(2), metrics=["diversity"], **arguments
    )
    assert result.model == "teacher"
    assert [column.name for column in result.numbers] == ["diversity lite0"]
    assert not evaluation.missing
    assert workbench.Evaluation.open(tmp_path / "evaluation").request == evaluation.request
    with pytest.raises(ValueError, match="dmd2-sdxl"):
        workbench.evaluate(["dmd2-sdlx"], **arguments)
