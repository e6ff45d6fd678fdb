"""A stage analysis, finished or not, as figures, as numbers, and as a page of both."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import plotly.graph_objects as go

from workbench.io.page import report_page
from workbench.io.provenance import write_files
from workbench.io.strict_json import to_json
from workbench.io.tables import Bullets
from workbench.models.sampling import NOISE_OF_SEED
from workbench.stages.analysis import StageAnalysis, branch_steps
from workbench.stages.commitment import fixed_by
from workbench.stages.factors import settled_at
from workbench.stages.figures.curves import (
    band_curves,
    branching_curves,
    commitment_curves,
    factor_curves,
)
from workbench.stages.figures.gradients import reach_matrix
from workbench.stages.figures.paths import path_curves
from workbench.stages.figures.strip import strip
from workbench.stages.figures.swap import SwapRow, swap_curves, swap_matrix
from workbench.stages.gradient_probe import Probed
from workbench.stages.paths import project
from workbench.stages.tasks import Branch, Record, StageMeasurement, Swap

SECTIONS = {
    "strip": ("strip",),
    "curves": ("commitment", "branching", "bands", "factors", "paths"),
    "swap": ("swap", "swap-curves"),
}


def strip_figures(seen: StageAnalysis) -> dict[str, go.Figure]:
    """The strip and the curves that need the recorded passes alone."""
    read = {task.model: found for task, found in seen.results.items() if isinstance(task, Record)}
    read = {name: read[name] for name in seen.request.models if name in read}
    if not read:
        return {}
    kept, pictures = (
        {name: part[name] for name in read} for part in (seen.trajectories, seen.pictures)
    )
    full, low, bands, moved, factors = (
        {name: getattr(found, part) for name, found in read.items()}
        for part in ("full", "low", "bands", "moved", "factors")
    )
    side = next(iter(pictures.values())).final.shape[-1]
    made = {
        "strip": strip(kept, pictures, {name: one.by_seed for name, one in low.items()}),
        "commitment": commitment_curves(kept, full, low),
        "bands": band_curves(kept, bands, side),
        "paths": path_curves(kept, project([one.x0 for one in kept.values()]), moved),
    }
    return made | ({"factors": factor_curves(kept, factors)} if seen.scene else {})


def branching_figure(seen: StageAnalysis) -> dict[str, go.Figure]:
    """The curves of the branches measured so far, if any."""
    points: dict[str, list] = {}
    for task, found in seen.results.items():
        if isinstance(task, Branch):
            points.setdefault(task.model, []).append(
                (float(seen.trajectories[task.model].times[task.step]), found)
            )
    whole = {
        name
        for name, found in points.items()
        if len(found) == len(branch_steps(len(seen.trajectories[name])))
    }
    return {"branching": branching_curves(points, whole, seen.feature().protocol)} if points else {}


def swap_figures(seen: StageAnalysis) -> dict[str, go.Figure]:
    """The matrix and curves of the swaps measured so far, if any."""
    rows: dict[tuple[str, str], SwapRow] = {}
    for task, found in seen.results.items():
        if isinstance(task, Swap):
            row = rows.setdefault((task.first, task.then), SwapRow(task.first, task.then, []))
            level = float(seen.levels(task.first, task.then)[task.step])
            row.cells.append((task.step, level, found.images, found.diversity, found.correct))
    if not rows:
        return {}
    return {
        "swap": swap_matrix(list(rows.values()), seen.prompt),
        "swap-curves": swap_curves(list(rows.values()), seen.feature().protocol),
    }


def gradient_figure(found: Probed) -> dict[str, go.Figure]:
    """The matrix of gradient norms by step, if there are any."""
    title = (
        f"Which gradient reaches which step: {found.model}, “{found.prompt}”, fake network "
        f"{found.fake}"
    )
    return {"gradients": reach_matrix(found.reaches, title)} if found.reaches else {}


def stage_figures(seen: StageAnalysis) -> dict[str, go.Figure]:
    """All but the gradients."""
    return strip_figures(seen) | branching_figure(seen) | swap_figures(seen)


def write_stage_report(
    folder: Path,
    seen: StageAnalysis,
    figures: dict[str, go.Figure],
    gradients: list[Probed],
    left: list[str],
) -> Path:
    """Writes report.html with the figures and numbers.json; returns the report's path. `left`
    lists what is unfinished in addition to the analysis's own list.
    """
    shown = [figures[name] for names in SECTIONS.values() for name in names if name in figures]
    shown += [figure for found in gradients for figure in gradient_figure(found).values()]
    unfinished = [*seen.unfinished, *left]
    notes = [Bullets("Not done", tuple(unfinished))] if unfinished else []
    page = report_page("Stages", *shown, *notes)
    numbers = numbers_of(seen, gradients) | {"left": unfinished}
    made = {
        "kind": "stages",
        "request": asdict(seen.request),
        "branches": seen.branches,
        "parents": seen.parents,
        "swaps": seen.swaps,
        "noise": NOISE_OF_SEED,
        "numbers": numbers,
        "origin": seen.origin,
    }
    texts = {"report.html": page, "numbers.json": to_json(numbers, indent=1)}
    write_files(folder, texts, made)
    return folder / "report.html"


def numbers_of(seen: StageAnalysis, gradients: list[Probed] = ()) -> dict:
    """All measurements, as lists and numbers; an interval is [value, low, high]."""
    models = {
        task.model: _reading(seen, task.model, found)
        for task, found in seen.results.items()
        if isinstance(task, Record)
    }
    branching = [
        {
            "model": task.model,
            "step": task.step,
            "time": float(seen.trajectories[task.model].times[task.step]),
            "within": list(found.within),
            "cross": list(found.cross),
            "icc": list(found.icc),
        }
        for task, found in seen.results.items()
        if isinstance(task, Branch)
    ]
    swaps = [
        {
            "first": task.first,
            "then": task.then,
            "step": task.step,
            "diversity": list(found.diversity),
            "correct": found.correct,
        }
        for task, found in seen.results.items()
        if isinstance(task, Swap)
    ]
    return {
        "prompt": seen.prompt,
        "seeds": list(seen.seeds),
        "feature": seen.feature().protocol,
        "models": models,
        "branching": branching,
        "swaps": swaps,
        "gradients": [_gradients(found) for found in gradients],
    }


def _reading(seen: StageAnalysis, name: str, found: StageMeasurement) -> dict:
    kept = seen.trajectories[name]
    return {
        "settings": kept.settings,
        "times": kept.times.tolist(),
        "alpha_sigma": kept.alpha_sigma.tolist(),
        "fixed": found.full.fixed.tolist(),
        "fixed_low_passed": found.low.fixed.tolist(),
        "fixed_by": {f"{share:.0%}": list(fixed_by(found.low, share)) for share in (0.5, 0.9)},
        "bands": found.bands.relative.tolist(),
        "moved": found.moved.mean(1).tolist(),
        "settled_at": {factor: settled_at(one).tolist() for factor, one in found.factors.items()},
    }


def _gradients(found: Probed) -> dict:
    methods = {
        method: {
            "detach_after": reach.detach_after,
            "norms": {term: values.tolist() for term, values in reach.norms.items()},
            "cosines": {
                f"{one} {other}": values.tolist() for (one, other), values in reach.cosines.items()
            },
        }
        for method, reach in found.reaches.items()
    }
    return {"model": found.model, "fake": found.fake, "methods": methods}
