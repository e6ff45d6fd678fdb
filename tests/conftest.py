"""How the suite is split over workers, its markers, and the fixtures of every room.

Diffusers is imported by those fixtures only that need it: it takes seconds.
"""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# one thread per worker, and per process that a test starts: two that share a core wait for each
# other at every layer
os.environ["OMP_NUM_THREADS"] = "1"

from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch

from tests.support.setup import chromium, postgresql_programs

pytest.register_assert_rewrite(
    *(f"tests.support.{name}" for name in ("app", "served_study", "small_study"))
)
torch.set_num_threads(1)

ROOT = Path(__file__).parent
# By path below tests/, or path::name of the test.
MARKERS = {
    "browser": ("e2e/*",),
    "processes": (
        "training/test_two_processes.py*",
        "training/test_sweep.py*",
        "study/store/test_store_processes.py*",
        "lab/test_execute.py::*",
        "training/test_run.py::test_kill_in_the_middle*",
        "training/test_run.py::test_a_run_is_trained_by_one_at_a_time*",
        "evaluation/test_evaluation.py::*was_killed*",
    ),
    "slow": (
        "docs/test_site.py*",
        "docs/test_text.py::test_the_first_snippet*",
        "scenes/test_shipped.py*",
        "lab/test_notebooks.py::test_executes*",
        "test_cli.py::test_train_resume_sample_and_evaluate",
        "training/plan/test_planner.py*",
        "models/backends/test_lora.py*",
        "core/test_distiller.py::*compile*",
        "core/test_distiller.py::*checkpointing*",
        "evaluation/test_evaluation.py::*verdicts_belong*",
        "evaluation/test_evaluation.py::*scorers_run*",
        "study/analysis/test_statistics.py::*truth*",
        "study/analysis/test_statistics.py::*true_null*",
        "study/store/test_store_items.py::*same_failures*",
        "study/store/test_store_items.py::*thirty_at_once*",
        "stages/test_analysis.py::*adapters_that_do_not_fit*",
        "stages/test_gradient_probe.py*",
        "study/analysis/test_bradley_terry.py::*cover_the_truth*",
        "lab/test_dashboard.py*",
    ),
}
# Tests that share a server or processes run in one worker, in this order before all others: the
# longest first. Those of any other file form a group too, for the fixtures of their module.
GROUPS = ("processes", "app", "study", "shipped", "notebooks", "full", "lab")
WITHOUT = {
    "browser": (chromium, "Chromium was not found"),
    "postgresql": (postgresql_programs, "PostgreSQL was not found"),
}


def parameters(item: pytest.Item) -> dict:
    return item.callspec.params if hasattr(item, "callspec") else {}


def group_of(item: pytest.Item, path: str) -> str:
    if path in ("training/test_two_processes.py", "training/test_sweep.py"):
        return "processes"
    for fixture, group in (("app", "app"), ("full_app", "full"), ("lost_tab", "full")):
        if fixture in item.fixturenames:
            return group
    if path.startswith("e2e/test_study"):
        return "study"
    if path == "e2e/test_lab.py":
        return "lab"
    given = parameters(item)
    if path == "scenes/test_shipped.py":
        return f"shipped-{given.get('world', 'others')}"
    if path == "lab/test_notebooks.py" and "source" in given:
        return f"notebooks-{given['source'].stem}"
    return path


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Marks and groups every test by its path, and starts the longest groups first.

    A wrapper, because xdist reads the groups in a hook that is also among the first.
    """
    groups = {}
    for item in items:
        path = item.path.relative_to(ROOT).as_posix()
        names = [
            marker
            for marker, patterns in MARKERS.items()
            if any(fnmatch(f"{path}::{item.name}", pattern) for pattern in patterns)
        ]
        if (
            "postgresql_server" in item.fixturenames
            or parameters(item).get("where") == "postgresql"
        ):
            names.append("postgresql")
        for name in names:
            item.add_marker(name)
            find, reason = WITHOUT.get(name, (None, ""))
            if find and not find():
                item.add_marker(pytest.mark.skip(reason=reason))
        groups[item] = group_of(item, path)
        item.add_marker(pytest.mark.xdist_group(groups[item]))
    first = {group: number for number, group in enumerate(GROUPS)}
    items.sort(key=lambda item: first.get(groups[item].partition("-")[0], len(first)))
    yield
    if items and getattr(items[0].config.option, "loadgroup", False) and "@" not in items[0].nodeid:
        raise pytest.UsageError(
            "this pytest hides the groups from pytest-xdist: see pyproject.toml"
        )


def pytest_terminal_summary(terminalreporter) -> None:
    """Which tests were left out, and why, in one line."""
    skipped = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", ())
        if isinstance(report.longrepr, tuple)
    )
    if skipped:
        reasons = "; ".join(f"{count} ({reason})" for reason, count in skipped.items())
        terminalreporter.write_line(f"Tests left out: {reasons}")


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """The folder of an untrained embedded world, to read only."""
    from tests.support.scenes_world import write_world

    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory):
    """A saved tiny pipeline, and beside it a file of prompts."""
    from tests.support.pipelines import tiny_pipeline

    folder = tmp_path_factory.mktemp("teacher")
    tiny_pipeline().save_pretrained(folder)
    (folder / "prompts.txt").write_text("a red circle\ntwo stars\na blue shape\n")
    return folder


@pytest.fixture
def backend():
    """A fresh SD3 backend on a tiny random pipeline (shift 3)."""
    from tests.support.pipelines import tiny_pipeline
    from workbench.models.backends.sd3 import SD3Backend

    return SD3Backend(tiny_pipeline())


@pytest.fixture
def sdxl():
    """A fresh eps backend on a tiny random pipeline."""
    from tests.support.pipelines import tiny_sdxl_pipeline
    from workbench.models.backends.sdxl import SDXLBackend

    return SDXLBackend(tiny_sdxl_pipeline())
