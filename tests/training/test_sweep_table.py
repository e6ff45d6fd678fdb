"""The table of a sweep, on scores written by hand."""

import json
from dataclasses import replace

import pytest

from workbench.core.paper_tables import TABLE_4
from workbench.core.presets import SCENES, SD35
from workbench.training.sweep import Sweep, measured_on
from workbench.training.sweep_table import sweep_table

DP_DMD = replace(SCENES, rounds=1)
RECIPES = {
    "DMD": replace(DP_DMD, method="dmd"),
    "λ = 0.1": replace(DP_DMD, lam=0.1),
    "λ = 0.3": replace(DP_DMD, lam=0.3),
}


def keep(sweep, folder, diversity, correct, seconds=60.0):
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {
        "diversity lite0": diversity,
        "correct": correct,
        "evaluations": 4,
        "seconds": seconds,
    }
    (folder / "scores.json").write_text(
        json.dumps({"scoring": measured_on(sweep.scoring, "scenes"), "numbers": numbers})
    )


@pytest.fixture
def sweep(tmp_path):
    """Two training seeds; of λ = 0.3 one is not done."""
    sweep = Sweep(RECIPES, tmp_path, seeds=(0, 1))
    keep(sweep, tmp_path / f"teacher-scenes-{DP_DMD.teacher_steps}-{DP_DMD.guidance:g}", 0.5, 0.9)
    for label, found in {
        "DMD": ((0.2, 0.8), (0.4, 0.6)),
        "λ = 0.1": ((0.35, 0.8), (0.45, 0.8)),
        "λ = 0.3": ((0.5, 0.7),),
    }.items():
        for folder, (diversity, correct) in zip(sweep.runs(label), found):
            keep(sweep, folder, diversity, correct, seconds=90.0)
    return sweep


def rows(sweep, paper=()):
    table = sweep_table("weights", "The weight", sweep, paper)
    return {row[0]: dict(zip(table.columns, row)) for row in table.rows}


def test_means_spreads_and_the_share_that_is_won_back(sweep):
    found = rows(sweep)
    assert list(found) == ["teacher", "DMD", "λ = 0.1", "λ = 0.3"]
    assert found["teacher"]["ours", "diversity"] == "0.500"
    assert found["teacher"]["ours", "correct"] == "0.900"
    assert found["DMD"]["ours", "diversity"] == "0.300 ± 0.141"
    assert found["DMD"]["ours", "won back"] == ""
    assert found["λ = 0.1"]["ours", "diversity"] == "0.400 ± 0.071"
    assert found["λ = 0.1"]["ours", "correct"] == "0.800 ± 0.000"
    assert found["λ = 0.1"]["ours", "won back"] == "50%"  # 0.1 of 0.2
    assert found["λ = 0.1"]["ours", "minutes"] == "1.5 ± 0.0"
    assert ("ours", "factor spread") not in found["DMD"]  # it was not measured


def test_a_share_of_some_of_the_seeds_is_blank_and_unfinished_cells_say_so(sweep):
    found = rows(sweep)
    assert found["λ = 0.3"]["ours", "diversity"] == "0.500"
    assert found["λ = 0.3"]["ours", "won back"] == ""
    for folder in sweep.runs("λ = 0.3"):
        (folder / "scores.json").unlink(missing_ok=True)
    found = rows(sweep)
    assert {found["λ = 0.3"]["ours", name] for name in ("diversity", "correct", "minutes")} == {
        "not done"
    }
    assert found["λ = 0.1"]["ours", "won back"] == "50%"


def test_without_the_teacher_or_without_dmd_there_is_no_share(sweep):
    (sweep.runs("DMD")[1] / "scores.json").unlink()
    assert rows(sweep)["λ = 0.1"]["ours", "won back"] == ""
    assert (
        rows(replace(sweep, recipes={"λ = 0.1": RECIPES["λ = 0.1"]}))["λ = 0.1"]["ours", "won back"]
        == ""
    )
    keep(sweep, sweep.runs("DMD")[1], 0.4, 0.6)
    (next(sweep.folder.glob("teacher-*")) / "scores.json").unlink()
    found = rows(sweep)
    assert found["teacher"]["ours", "diversity"] == "not done"
    assert found["λ = 0.1"]["ours", "won back"] == ""
    assert found["λ = 0.1"]["ours", "diversity"] == "0.400 ± 0.071"


def test_where_dmd_lost_nothing_nothing_is_won_back(sweep):
    for folder in sweep.runs("DMD"):
        keep(sweep, folder, 0.5, 0.9)
    assert rows(sweep)["λ = 0.1"]["ours", "won back"] == "none lost"


def test_before_anything_is_done_every_row_is_there(tmp_path):
    table = sweep_table("weights", "The weight", Sweep(RECIPES, tmp_path))
    assert [row[0] for row in table.rows] == ["teacher", *RECIPES]
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_the_paper_stands_beside_the_same_labels_only(sweep):
    found = rows(sweep, TABLE_4[SD35])
    assert [found["teacher"]["paper", name] for name in ("DINO", "VQ-R1", "won back")] == [
        "0.240",
        "4.657",
        "",
    ]
    assert [found["DMD"]["paper", name] for name in ("DINO", "VQ-R1", "won back")] == [
        "0.137",
        "4.649",
        "",
    ]
    assert [found["λ = 0.1"]["paper", name] for name in ("DINO", "VQ-R1", "won back")] == [
        "0.177",
        "4.662",
        "39%",
    ]  # 0.040 of 0.103
    assert [found["λ = 0.3"]["paper", name] for name in ("DINO", "VQ-R1", "won back")] == [
        "",
        "",
        "",
    ]
    assert not any(group == "paper" for group, _ in rows(sweep)["DMD"])
