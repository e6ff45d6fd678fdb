"""One list of versions: pyproject.toml. environment.yml and the Makefile only point at it."""

import re
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
tomllib = (
    pytest.importorskip("tomllib") if sys.version_info >= (3, 11) else pytest.importorskip("tomli")
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_environment_yml_installs_this_project_and_lists_no_versions_of_its_own():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [line for line in environment["dependencies"] if isinstance(line, str)]
    (pip,) = [line["pip"] for line in environment["dependencies"] if isinstance(line, dict)]
    assert [re.match(r"[\w.-]+", line)[0] for line in conda] == ["python", "pip"]
    assert pip == ["-e .[test]"]
    assert "test" in PROJECT["optional-dependencies"]
    python = re.fullmatch(r"python=([\d.]+)", conda[0])[1]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)


def test_every_dependency_parses_and_torchvision_is_none_of_them():
    names = [Requirement(line).name for line in PROJECT["dependencies"]]
    assert {
        "torch",
        "diffusers",
        "transformers",
        "accelerate",
        "peft",
        "gradio",
        "jupyterlab",
        "ipywidgets",
        "plotly",
    } <= set(names)
    assert "torchvision" not in names


def test_default_torch_of_the_makefile_satisfies_the_project():
    pinned = re.search(r"^TORCH \?= torch==([\d.]+)$", (ROOT / "Makefile").read_text(), re.M)[1]
    (torch,) = [
        Requirement(line) for line in PROJECT["dependencies"] if Requirement(line).name == "torch"
    ]
    assert torch.specifier.contains(pinned)


def test_shipped_binaries_are_safetensors_and_small():
    weights = [
        path for path in (ROOT / "workbench" / "scenes" / "weights").rglob("*") if path.is_file()
    ]
    total = {}
    for path in weights:
        assert path.suffix in (".safetensors", ".json", ".txt"), path
        name = path.relative_to(ROOT / "workbench" / "scenes" / "weights").as_posix()
        key = re.match(r"(eps/)?(teacher|students/[^/]+)/", name)[0]
        total[key] = total.get(key, 0) + path.stat().st_size
    assert total.keys() == {
        "teacher/",
        *(f"students/{name}/" for name in ("dmd", "dmd-gan", "dmd-lpips", "dp-dmd")),
        "eps/teacher/",
        "eps/students/dmd/",
        "eps/students/dp-dmd/",
    }
    assert all(size <= (12e6 if "teacher" in key else 8e6) for key, size in total.items()), total
