"""The one table of methods: whatever is in it can be named, built, planned and shown."""

import dataclasses
import subprocess
import sys

import pytest

from workbench.core import registry
from workbench.core.methods import METHODS, Extra, Method, Tools, method_title
from workbench.core.recipe import Recipe
from workbench.core.registry import PLUGINS
from workbench.io.notation import model_title

TOOLS = Tools("cpu", lambda: lambda a, b: (a - b).abs().flatten(1).mean(1))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_a_recipe_and_builds(name):
    recipe = Recipe(method=name)
    objective = METHODS[name].build(recipe, TOOLS)
    assert objective.terms[0].name == "dmd"
    assert bool(objective.critic_terms) == (METHODS[name].fake_extra(recipe) != Extra())
    assert objective.detach_after == (name == "dp_dmd")


def test_the_image_free_methods_are_those_of_table_1():
    assert {name for name, method in METHODS.items() if not method.image_free} == {
        "dmd_lpips",
        "dmd_gan",
    }


def test_methods_and_shipped_students_have_the_same_titles():
    for name, method in METHODS.items():
        if name != "dp_dmd_no_stop":  # no student of it ships
            assert model_title(name.replace("_", "-")) == method.title
    assert method_title("dp_dmd") == "DP-DMD"
    assert method_title("dp-dmd") == "DP-DMD"
    assert method_title("Hyper-SD, CFG") == "Hyper-SD, CFG"


def test_a_hyphen_in_a_recipes_method_is_an_underscore():
    recipe = Recipe(method="dp-dmd")
    assert recipe.method == "dp_dmd"
    assert recipe == Recipe()
    assert recipe.digest == Recipe().digest
    assert Recipe.from_json('{"method": "dmd-gan"}').method == "dmd_gan"


PLUGIN = """
from workbench.core.methods import METHODS, Method
from workbench.core.objectives import dmd
METHODS.register("dmd-twice", Method("DMD twice", True, lambda recipe, tools: dmd()))
"""


def test_a_method_of_ones_own_is_one_file(monkeypatch, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    for name, value in (("_searched", False), ("_entries", dict(METHODS._entries))):
        monkeypatch.setattr(METHODS, name, value)
    monkeypatch.setenv(PLUGINS, str(path))
    recipe = Recipe(method="dmd-twice")
    assert recipe.method == "dmd_twice"
    assert METHODS[recipe.method].title == "DMD twice"


def test_a_failing_plugin_is_named_when_its_method_is_asked_for(monkeypatch, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("import no_such_module")
    monkeypatch.setattr(METHODS, "_searched", False)
    monkeypatch.setattr(METHODS, "_failures", [])
    monkeypatch.setattr(registry, "_failed", {})
    monkeypatch.setenv(PLUGINS, str(path))
    with pytest.raises(ValueError, match=r"mine\.py.*no_such_module"):
        Recipe(method="dmd_twice")


def test_the_table_imports_no_torch():
    code = (
        "import sys, workbench.core.methods, workbench.core.recipe; print('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


def test_a_method_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        METHODS["dmd"].title = "other"
    assert isinstance(METHODS["dmd"], Method)
