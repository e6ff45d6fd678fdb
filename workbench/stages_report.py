"""The figures of an examination, as far as it is, and the page that holds them all."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

import plotly.graph_objects as go

from workbench.examination import Branch, Examination, Record, Swap
from workbench.figures.curves import band_curves, branching_curves, commitment_curves, factor_curves
from workbench.figures.gradients import reach_matrix
from workbench.figures.paths import path_curves
from workbench.figures.strip import strip
from workbench.figures.swap import Row, swap_curves, swap_matrix
from workbench.gradient_probe import Probed
from workbench.recording import switch_times
from workbench.runs import write_whole
from workbench.stages.paths import project

SECTIONS = {"strip": ("strip",), "curves": ("commitment", "branching", "bands", "factors", "paths"), "swap": ("swap", "swap-curves")}


def strip_figures(seen: Examination) -> dict[str, go.Figure]:
    """The strip and the curves that need the recorded passes alone."""
    read = {task.model: found for task, found in seen.results.items() if isinstance(task, Record)}
    if not read:
        return {}
    kept = {name: seen.trajectories[name] for name in read}
    side = next(iter(seen.pictures.values())).final.shape[-1]
    made = {"strip": strip(kept, {name: seen.pictures[name] for name in read}, {name: found.low.by_unit for name, found in read.items()}),
            "commitment": commitment_curves(kept, {name: found.full for name, found in read.items()},
                                            {name: found.low for name, found in read.items()}),
            "bands": band_curves(kept, {name: found.bands for name, found in read.items()}, side),
            "paths": path_curves(kept, project([one.x0 for one in kept.values()]), {name: found.moved for name, found in read.items()})}
    return made | ({"factors": factor_curves(kept, {name: found.factors for name, found in read.items()})} if seen.scene else {})


def branching_figure(seen: Examination) -> dict[str, go.Figure]:
    points: dict[str, list] = {}
    for task, found in seen.results.items():
        if isinstance(task, Branch):
            points.setdefault(task.model, []).append((float(seen.trajectories[task.model].times[task.step]), found))
    return {"branching": branching_curves(points, seen.feature().protocol)} if points else {}


def swap_figures(seen: Examination) -> dict[str, go.Figure]:
    rows: dict[tuple[str, str], Row] = {}
    for task, found in seen.results.items():
        if isinstance(task, Swap):
            level = float(switch_times(seen.models[task.first], seen.models[task.then])[task.step])
            row = rows.setdefault((task.first, task.then), Row(task.first, task.then, []))
            row.cells.append((task.step, level, found.images, found.diversity, found.correct))
    if not rows:
        return {}
    return {"swap": swap_matrix(list(rows.values()), seen.prompt), "swap-curves": swap_curves(list(rows.values()), seen.feature().protocol)}


def gradient_figure(found: Probed) -> dict[str, go.Figure]:
    title = f"Which gradient reaches which step: {found.model}, “{found.prompt}”, fake network {found.fake}"
    return {"gradients": reach_matrix(found.reaches, title)} if found.reaches else {}


def write_report(folder: Path, seen: Examination, gradients: list[Probed]) -> Path:
    """Writes report.html, which needs nothing else, and numbers.json; returns the report's path."""
    figures = strip_figures(seen) | branching_figure(seen) | swap_figures(seen)
    shown = [figures[name] for names in SECTIONS.values() for name in names if name in figures]
    shown += [figure for found in gradients for figure in gradient_figure(found).values()]
    parts = [figure.to_html(full_html=False, include_plotlyjs=n == 0, auto_play=False) for n, figure in enumerate(shown)]
    left = "".join(f"<li>{escape(line)}</li>" for line in seen.left)
    page = ('<!doctype html><html lang="en"><meta charset="utf-8"><title>Stages</title><body style="max-width:1200px;margin:auto">'
            f"{''.join(parts)}{f'<h3>Not done</h3><ul>{left}</ul>' if left else ''}</body></html>")
    numbers = seen.numbers() | {"gradients": [_gradient_numbers(found) for found in gradients]}
    write_whole(folder / "numbers.json", lambda part: part.write_text(json.dumps(numbers, indent=1)))
    write_whole(folder / "report.html", lambda part: part.write_text(page, encoding="utf-8"))
    return folder / "report.html"


def _gradient_numbers(found: Probed) -> dict:
    methods = {method: {"detach_after": reach.detach_after, "norms": {term: values.tolist() for term, values in reach.norms.items()},
                        "cosines": {f"{one} {other}": values.nan_to_num(0).tolist() for (one, other), values in reach.cosines.items()}}
               for method, reach in found.reaches.items()}
    return {"model": found.model, "fake": found.fake, "methods": methods}
