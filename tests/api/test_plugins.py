"""Plug-ins of a registry: files named in WORKBENCH_PLUGINS, and entry points of packages."""

import os
import sys
from dataclasses import dataclass

import pytest

from workbench.core.registry import PLUGINS, PluginError, Registry


@dataclass(frozen=True)
class Filter:
    """What the registries of these tests hold."""

    power: float


@pytest.fixture
def filters(monkeypatch):
    """A registry that the plug-ins of a test find as `filter_shop.FILTERS`."""
    shop = type(sys)("filter_shop")
    shop.Filter, shop.FILTERS = Filter, Registry("filter", {"plain": Filter(0.0)})
    monkeypatch.setitem(sys.modules, "filter_shop", shop)
    return shop.FILTERS


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """A function that writes a plug-in file and adds it to WORKBENCH_PLUGINS."""
    monkeypatch.setenv(PLUGINS, "")

    def write(name: str, code: str) -> str:
        path = tmp_path / f"{name}.py"
        path.write_text(f"from filter_shop import FILTERS, Filter\n{code}\n")
        named = [*filter(None, os.environ[PLUGINS].split(os.pathsep)), str(path)]
        monkeypatch.setenv(PLUGINS, os.pathsep.join(named))
        return str(path)

    return write


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A function that puts a package with one entry point of the registry on sys.path."""

    def write(name: str, code: str, group: str = "workbench.filters", package: str = "my-filters"):
        module = package.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(f"from filter_shop import Filter\n{code}\n")
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:entry\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, module, raising=False)

    return write


def test_a_file_adds_an_entry_in_one_line(filters, plug_in):
    plug_in("sharp", 'FILTERS.register("sharp", Filter(2.0))')
    assert filters["sharp"] == Filter(2.0)
    assert list(filters) == ["plain", "sharp"]
    assert len(filters) == 2


def test_a_module_on_the_path_is_a_plug_in_too(filters, plug_in, tmp_path, monkeypatch):
    plug_in("wide_filter", 'FILTERS.register("wide", Filter(-1.0))')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(PLUGINS, "wide_filter")
    assert "wide" in filters


def test_an_entry_point_of_an_installed_package_is_an_entry(filters, install):
    install("far", "entry = Filter(4.0)")
    assert filters["far"] == Filter(4.0)


def test_the_group_is_the_plural_of_the_kind():
    assert Registry("method", {"": 1}).group == "workbench.methods"
    assert Registry("teacher family", {"": 1}).group == "workbench.teacher_families"


def test_a_known_name_imports_no_plug_in(filters, plug_in):
    plug_in("loud", 'raise RuntimeError("imported")')
    assert filters["plain"] == Filter(0.0)
    assert "plain" in filters


def test_a_plug_in_is_imported_once_for_all_registries(filters, plug_in, tmp_path):
    log = tmp_path / "log"
    plug_in(
        "counted", f'open({str(log)!r}, "a").write("x"); FILTERS.register("counted", Filter(1))'
    )
    other = Registry("other", {"plain": Filter(0.0)})
    assert "counted" in filters
    assert "counted" not in other
    assert log.read_text() == "x"


def test_two_files_of_one_name_are_two_plug_ins(filters, plug_in, tmp_path):
    (tmp_path / "more").mkdir()
    plug_in("same", 'FILTERS.register("one", Filter(1))')
    plug_in("more/same", 'FILTERS.register("two", Filter(2))')
    assert {"one", "two"} <= set(filters)


BROKEN = {
    "fails at import": ('raise RuntimeError("no glass")', "RuntimeError: no glass"),
    "is no Python": ("def", "SyntaxError"),
    "needs what is not installed": ("import glassworks", "No module named 'glassworks'"),
    "has the wrong type": (
        'FILTERS.register("bad", 3)',
        "the filter 'bad' is a int; a filter is a .*Filter",
    ),
    "takes a taken name": (
        'FILTERS.register("plain", Filter(9))',
        "there already is a filter 'plain'; choose another name",
    ),
}


@pytest.mark.parametrize(("code", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_named_with_its_reason(filters, plug_in, code, reason):
    path = plug_in("broken", code)
    with pytest.raises(
        PluginError, match=rf"the plug-in {path} \(WORKBENCH_PLUGINS\) fails: "
    ) as error:
        filters["bad"]
    assert error.match(reason)
    assert len(filters.failures) == 1


def test_a_file_that_does_not_exist_is_named(filters, monkeypatch, tmp_path):
    monkeypatch.setenv(PLUGINS, str(tmp_path / "gone.py"))
    with pytest.raises(PluginError, match=r"gone\.py .* fails: FileNotFoundError"):
        filters["sharp"]


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("bad", "import glassworks", "No module named 'glassworks'"),
        ("bad", "", "has no attribute 'entry'"),
        ("bad", "entry = 3", "the filter 'bad' is a int"),
        ("plain", "entry = Filter(9)", "there already is a filter 'plain'"),
    ],
)
def test_a_broken_entry_point_is_named_with_its_package(filters, install, name, code, reason):
    install(name, code)
    with pytest.raises(PluginError, match=f"the entry point '{name}' of my-filters ") as error:
        filters["sharp"]
    assert error.match(reason)


def test_a_broken_plug_in_leaves_the_others_usable_and_a_listing_warns(filters, plug_in, install):
    plug_in("broken", 'raise RuntimeError("no glass")')
    plug_in("sharp", 'FILTERS.register("sharp", Filter(2.0))')
    install("far", "entry = Filter(4.0)")
    assert filters["sharp"] == Filter(2.0)
    assert filters["far"] == Filter(4.0)
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match="no glass"):
            assert list(filters) == ["plain", "sharp", "far"]


def test_an_unknown_name_reports_a_broken_plug_in_every_time(filters, plug_in):
    plug_in("broken", 'raise RuntimeError("no glass")')
    for _ in range(2):
        with pytest.raises(
            PluginError, match=r"there is no filter 'sharp'; .*broken.py .*no glass"
        ):
            filters["sharp"]


def test_an_unknown_name_is_a_value_error_with_the_nearest(filters, plug_in):
    plug_in("sharp", 'FILTERS.register("sharp", Filter(2.0))')
    with pytest.raises(
        ValueError, match="there is no filter 'sharpe'; did you mean sharp"
    ) as error:
        filters["sharpe"]
    assert not isinstance(error.value, PluginError)
    with pytest.raises(ValueError, match="there is no filter 'zzz'; known: plain, sharp"):
        filters["zzz"]
