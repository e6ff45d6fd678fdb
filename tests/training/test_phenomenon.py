"""The benchmark of the phenomenon in a tiny setting: its table, its scores, and its record."""

import json
import os
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "phenomenon.py"
TINY = (
    "--presets=scenes-dmd --seeds=2 --limit=2 --eval-seeds=2 --processes=3 "
    "--rounds=1 --batch=2 --teacher-steps=2 --student-steps=1 --precision=fp32 "
    "--sample-every=0"
).split()


def test_the_record_has_the_printed_table_and_everything_that_made_it(world, tmp_path):
    ran = subprocess.run(
        [sys.executable, str(BENCHMARK), *TINY, "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        env=os.environ | {"WORKBENCH_SCENES": str(world)},
    )
    assert ran.returncode == 0, ran.stderr
    record = json.loads((tmp_path / "out" / "phenomenon.json").read_text())
    assert record["name"] == "phenomenon"
    assert record["command"].startswith("python benchmarks/phenomenon.py --presets=scenes-dmd")
    assert record["recipes"]["scenes-dmd"]["recipe"]["rounds"] == 1
    assert record["protocol"]["training seeds"] == [0, 1]
    assert all(record[key] for key in ("commit", "date", "machine"))
    teacher, student = record["rows"]
    assert list(teacher) == list(student)
    assert f"| {' | '.join(student.values())} |" in ran.stdout
    assert "±" in student["diversity (9), lite0"]
    scores = json.loads((tmp_path / "out" / "scores-reported.json").read_text())
    assert scores == record["scores"]
    assert [score["model"] for score in scores] == ["teacher", "scenes-dmd-0", "scenes-dmd-1"]
