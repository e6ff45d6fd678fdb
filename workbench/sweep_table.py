"""A sweep as a table, with the paper's rows of the same settings beside ours."""

from __future__ import annotations

import statistics

from workbench.backends.published import SD35
from workbench.paper_tables import PICK, TABLE_1, PaperRow
from workbench.sweep import Sweep
from workbench.tables import Table

COLUMNS = {"diversity": "diversity lite0", "factor spread": "factor spread", "correct": "correct"}
BASELINE = "DMD"


def sweep_table(name: str, title: str, sweep: Sweep, paper: tuple[PaperRow, ...] = ()) -> Table:
    """A row a label: mean and standard deviation over training seeds of `COLUMNS`, and the share of the diversity lost by DMD that is won back. Of
    the paper's rows of the same label its DINO diversity, VQ-R1 and the same share, on SD3.5-M and Pick-a-Pic: other features and another
    quality, so that only shares and directions can be compared."""
    scored, columns = sweep.scored, {head: key for head, key in COLUMNS.items() if key in sweep.teacher}
    printed = {row.label: row.numbers[PICK] for row in paper}
    base = TABLE_1[SD35][0].numbers[PICK]
    heads = [("", "setting"), *(("ours", head) for head in columns), ("ours", "won back"), ("ours", "minutes"),
             *((("paper", "DINO"), ("paper", "VQ-R1"), ("paper", "won back")) if paper else ())]
    rows = [("teacher", *(f"{sweep.teacher[key]:.3f}" for key in columns.values()), "", "", *((f"{base[0]:.3f}", f"{base[2]:.3f}", "") if paper else ()))]
    for label, found in scored.items():
        own = [_over_seeds([numbers[key] for numbers in found]) for key in columns.values()]
        theirs = printed.get(label)
        beside = (f"{theirs[0]:.3f}", f"{theirs[2]:.3f}", _share(theirs[0], printed[BASELINE][0], base[0], label)) if theirs else ("", "", "")
        rows.append((label, *own, _won_back(sweep, label), _over_seeds([numbers["seconds"] / 60 for numbers in found], 1), *(beside if paper else ())))
    note = f"mean ± standard deviation over {len(sweep.seeds)} training seeds; minutes of training, each run on its share of the cores"
    return Table(name, title, tuple(heads), tuple(rows), (note,))


def _won_back(sweep: Sweep, label: str) -> str:
    """The mean share over training seeds, each against the DMD of its own seed."""
    if BASELINE not in sweep.scored or not all(len(found) == len(sweep.seeds) for found in (sweep.scored[label], sweep.scored[BASELINE])):
        return ""
    key = COLUMNS["diversity"]
    own, dmd = ([numbers[key] for numbers in sweep.scored[name]] for name in (label, BASELINE))
    return _share(statistics.mean(own), statistics.mean(dmd), sweep.teacher[key], label)


def _share(value: float, dmd: float, teacher: float, label: str) -> str:
    return "" if label == BASELINE else f"{(value - dmd) / (teacher - dmd):.0%}"


def _over_seeds(values: list[float], digits: int = 3) -> str:
    if not values:
        return "not done"
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"
