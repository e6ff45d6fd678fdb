"""Intervals hold the truth of simulated data: a small version of benchmarks/interval_coverage.py,
and the file in results/ of the whole one.
"""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmark():
    path = ROOT / "benchmarks" / "interval_coverage.py"
    spec = importlib.util.spec_from_file_location("interval_coverage", path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # for its `record`
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(path.parent))
        del sys.modules[spec.name]


@pytest.mark.parametrize(
    ("interval", "setting"),
    [
        ("Bradley-Terry scores", "3 methods, 8 people x 6 prompts, one nearly unbeaten, no ties"),
        ("Bradley-Terry scores", "5 methods, 8 people x 20 prompts, not balanced"),
        ("differences of Bradley-Terry scores", "8 methods, 8 people x 20 prompts"),
        ("Krippendorff's alpha", "8 people x 20 prompts, rate 0.9"),
        ("mean over prompts", "3 prompts, very skewed (exponential)"),
        ("mean over prompts", "10 prompts, shares near 1 (beta 9, 1)"),
        ("GenEval, mean of tasks", "6 tasks of 2 prompts, 9 images, 80% right"),
        ("share fixed after a step", "9 seeds, belief 0.9 of the way"),
    ],
)
def test_intervals_cover(benchmark, interval, setting):
    (cell,) = [c for c in benchmark.cells() if (c.interval, c.setting) == (interval, setting)]
    found = benchmark.measured(cell, 200)
    print(f"covers {found['covers']:.3f}")
    assert found["covers"] >= 0.92
    assert found["width"] > 0
    assert found["blank"] < 0.25


def test_a_method_that_won_every_vote_is_bounded_from_below(benchmark):
    study = benchmark.Study(10, 6, 6, (2.5, 0.0), ties=0.0)
    draw = benchmark.unanimous(study, certain=True)
    found = [draw(benchmark.np.random.default_rng(seed)) for seed in range(300)]
    bounds = sorted({interval[0, 1] for interval, _ in found})
    assert bounds == pytest.approx([0.0, 0.05 ** (1 / 6)])
    assert all(interval[0, 1] <= truth for interval, truth in found)


def test_the_files_cells_are_those_of_the_benchmark(benchmark):
    """And every Bradley-Terry interval covers, or is blank."""
    record = json.loads((ROOT / "results" / "interval_coverage.json").read_text())
    named = [(one["interval"], one["setting"]) for one in record["scores"]]
    assert named == [(cell.interval, cell.setting) for cell in benchmark.cells()]
    assert len({cell.name for cell in benchmark.cells()}) == len(named)
    assert record["rows"] == benchmark.rows_of(record["scores"])
    assert record["notes"] == benchmark.notes_of(record["scores"])
    for one in record["scores"]:
        assert one["repeats"] >= (1000 if "Bradley-Terry" in one["interval"] else 500)
        if "Bradley-Terry" in one["interval"]:
            assert 0.93 <= one["covers"] <= 0.985
