"""Plug-ins: found when they are needed, and never silently missing."""

import importlib.metadata
import warnings

import pytest

from workbench.core import registry
from workbench.core.registry import PLUGINS, PluginError, Registry


class Dish:
    pass


@pytest.fixture
def dishes():
    return Registry("dish family", {"soup": Dish(), "stew": Dish()})


@pytest.fixture
def plugins(monkeypatch, tmp_path):
    """A function that names plug-in files with these texts in WORKBENCH_PLUGINS."""
    monkeypatch.setattr(registry, "_failed", {})

    def write(*texts):
        paths = [tmp_path / f"plugin{number}.py" for number in range(len(texts))]
        for path, text in zip(paths, texts):
            path.write_text(text)
        monkeypatch.setenv(PLUGINS, ":".join(map(str, paths)))
        return paths

    return write


def test_a_registered_entry_is_found_and_listed(dishes):
    pie = Dish()
    assert dishes.register("pie", pie) is pie
    assert dishes["pie"] is pie
    assert list(dishes) == ["soup", "stew", "pie"]
    assert len(dishes) == 3
    dishes.register("pie", pie)  # the same one again: a file may be imported twice


def test_a_taken_name_and_another_type_are_refused(dishes):
    with pytest.raises(PluginError, match="there already is a dish family 'soup'"):
        dishes.register("soup", Dish())
    with pytest.raises(PluginError, match=r"'pie' is a str; a dish family is a .*Dish"):
        dishes.register("pie", "pie")


def test_an_unknown_name_gets_the_nearest_ones(dishes):
    with pytest.raises(ValueError, match=r"there is no dish family 'soups'; did you mean soup"):
        dishes["soups"]
    with pytest.raises(ValueError, match="known: soup, stew"):
        dishes["x"]
    assert "x" not in dishes


def test_names_have_one_spelling():
    dishes = Registry("dish", {"hot_pot": Dish()}, spelling=lambda name: name.replace("-", "_"))
    assert dishes["hot-pot"] is dishes["hot_pot"]
    assert "hot-pot" in dishes
    dishes.register("my-pie", Dish())
    assert list(dishes) == ["hot_pot", "my_pie"]


def test_a_known_name_imports_no_plugin(dishes, plugins):
    plugins("raise SystemError('imported')")
    assert "soup" in dishes
    assert dishes["stew"]
    assert dishes.loaded == ("soup", "stew")


def test_a_failing_plugin_is_named_at_every_look_up_and_the_others_stay_usable(dishes, plugins):
    plugins("raise KeyError('left out')", "import builtins; builtins.second_plugin = True")
    for _ in range(2):
        with pytest.raises(PluginError, match=r"no dish family 'pie'.*plugin0\.py.*left out"):
            dishes["pie"]
    with pytest.warns(RuntimeWarning, match=r"plugin0\.py"):
        assert list(dishes) == ["soup", "stew"]
    assert len(dishes.failures) == 1
    assert __builtins__["second_plugin"]


def test_a_failing_plugin_fails_in_every_registry(dishes, plugins):
    plugins("raise KeyError('left out')")
    other = Registry("sauce", {"hot": Dish()})
    for each in (dishes, other):
        with pytest.raises(PluginError, match="left out"):
            each["pie"]


def test_entry_points_are_found_and_a_broken_one_is_named(dishes, monkeypatch):
    class Point:
        dist = None

        def __init__(self, name, entry):
            self.name, self.entry = name, entry

        def load(self):
            if self.entry is None:
                raise ImportError("no module")
            return self.entry

    points = {"workbench.dish_families": [Point("pie", Dish()), Point("bad", None)]}
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points.get(group, []))
    assert dishes["pie"]
    with pytest.raises(PluginError, match=r"entry point 'bad' .*: ImportError: no module"):
        dishes["bad"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert list(dishes) == ["soup", "stew", "pie"]
