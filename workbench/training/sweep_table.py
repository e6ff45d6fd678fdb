"""A sweep as a table, with the paper's numbers for the same settings beside ours."""

from __future__ import annotations

import statistics

from workbench.core.paper_tables import PICK, TABLE_1, PaperRow
from workbench.core.presets import SD35
from workbench.io.tables import Table
from workbench.training.sweep import Sweep

COLUMNS = {"diversity": "diversity lite0", "factor spread": "factor spread", "correct": "correct"}
BASELINE = "DMD"


def sweep_table(name: str, title: str, sweep: Sweep, paper: tuple[PaperRow, ...] = ()) -> Table:
    """A row per label: mean and standard deviation over training seeds of `COLUMNS`, and the share
    of the diversity lost by DMD that is won back. For the paper's rows of the same label their DINO
    diversity, VQ-R1 and the same share, on SD3.5-M and Pick-a-Pic: features and quality differ, so
    compare only shares and directions.
    """
    scored, teacher = sweep.scored, sweep.teacher
    measured = {
        key
        for numbers in (teacher, *(numbers for runs in scored.values() for numbers in runs))
        for key in numbers
    }
    columns = {head: key for head, key in COLUMNS.items() if key in measured}
    printed = {row.label: row.numbers[PICK] for row in paper}
    base = TABLE_1[SD35][0].numbers[PICK]
    heads = [
        ("", "setting"),
        *(("ours", head) for head in columns),
        ("ours", "won back"),
        ("ours", "minutes"),
        *((("paper", "DINO"), ("paper", "VQ-R1"), ("paper", "won back")) if paper else ()),
    ]
    rows = [
        (
            "teacher",
            *(_over_seeds([teacher[key]] if teacher else []) for key in columns.values()),
            "",
            "",
            *((f"{base[0]:.3f}", f"{base[2]:.3f}", "") if paper else ()),
        )
    ]
    for label, runs in scored.items():
        own = [_over_seeds([numbers[key] for numbers in runs]) for key in columns.values()]
        theirs = printed.get(label)
        beside = (
            (
                f"{theirs[0]:.3f}",
                f"{theirs[2]:.3f}",
                _share(theirs[0], printed[BASELINE][0], base[0], label),
            )
            if theirs
            else ("", "", "")
        )
        own += [
            _won_back(scored, teacher, len(sweep.seeds), label),
            _over_seeds([numbers["seconds"] / 60 for numbers in runs], 1),
        ]
        rows.append((label, *own, *(beside if paper else ())))
    note = (
        f"mean ± standard deviation over {len(sweep.seeds)} training seeds; minutes of training, "
        "each run on its share of a machine that may have been busy"
    )
    return Table(name, title, tuple(heads), tuple(rows), (note,))


def _won_back(
    scored: dict[str, list[dict]], teacher: dict[str, float], seeds: int, label: str
) -> str:
    """The share of the means over all training seeds; blank until all of them are done."""
    key, pair = COLUMNS["diversity"], (scored[label], scored.get(BASELINE, []))
    if key not in teacher or any(len(runs) < seeds for runs in pair):
        return ""
    return _share(
        *(statistics.mean(numbers[key] for numbers in runs) for runs in pair), teacher[key], label
    )


def _share(value: float, dmd: float, teacher: float, label: str) -> str:
    if label == BASELINE:
        return ""
    if dmd >= teacher:
        return "none lost"
    return f"{round((value - dmd) / (teacher - dmd), 2) + 0.0:.0%}"  # + 0.0: no "-0%"


def _over_seeds(values: list[float], digits: int = 3) -> str:
    if not values:
        return "not done"
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"
