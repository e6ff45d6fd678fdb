"""Files of a grid: one labelled sheet as a PNG, and a ZIP with a PNG per cell and a manifest.

    manifest.json     request, link, device, versions; every row's numbers; every cell's settings,
                      file or error
    01-a-circle/01-teacher/seed-0000.png

Every PNG carries its settings (`workbench.io.png`), so it can be traced back without its folder.
"""

from __future__ import annotations

import io
import math
import time
import zipfile
from dataclasses import asdict

from PIL import Image, ImageDraw

from workbench.grid.generate import Cell, Grid, Row
from workbench.grid.lettering import Face, advice
from workbench.io.files import packages, slug
from workbench.io.png import png_bytes
from workbench.io.strict_json import to_json
from workbench.io.tables import interval_text
from workbench.models.sampling import NOISE_OF_SEED

# of a cell on the sheet: smaller images are enlarged pixel by pixel, larger ones reduced
SIDES = (128, 512)
GAP, LABEL, LEAST = 6, 270, 900
PROMPT, MODEL, NUMBERS, SEED, LEGEND = map(Face, (22, 18, 15, 14, 13))
PAPER, INK, FAINT, HOLE = "#ffffff", "#1c2430", "#5c6675", "#f3e3e1"


def export_png(grid: Grid) -> bytes:
    """The sheet as a PNG with its settings in it."""
    return png_bytes(grid_sheet(grid), grid_settings(grid))


def grid_sheet(grid: Grid) -> Image.Image:
    """A section per prompt, a row per model, a column per seed, labels on both; missing cells stay
    empty. Prompts and legend are wrapped.
    """
    request, side = grid.request, _side(grid)
    width = max(LABEL + len(request.seeds) * (side + GAP) + GAP, LEAST)
    titles = [PROMPT.wrapped(prompt, width - 4 * GAP) for prompt in request.prompts]
    legend = LEGEND.wrapped(_legend(grid), width - 4 * GAP)
    rows = SEED.height + 2 * GAP + len(request.models) * (side + GAP)
    height = sum(len(lines) * PROMPT.height + 2 * GAP + rows for lines in titles)
    paper = Image.new("RGB", (width, height + len(legend) * LEGEND.height + 3 * GAP), PAPER)
    draw, top = ImageDraw.Draw(paper), 2 * GAP
    for index, lines in enumerate(titles):
        top = _draw_lines(draw, PROMPT, lines, top, INK)
        for column, seed in enumerate(request.seeds):
            middle = LABEL + column * (side + GAP) + side / 2
            SEED.draw(draw, (middle, top), SEED.shortened(f"seed {seed}", side), FAINT, True)
        top += SEED.height + GAP
        for model in request.models:
            _draw_label(draw, model, row_lines(grid.rows.get((index, model))), top)
            for column, seed in enumerate(request.seeds):
                cell = grid.cells.get((index, model, seed))
                _draw_cell(paper, draw, cell, LABEL + column * (side + GAP), top, side)
            top += side + GAP
        top += 3 * GAP
    _draw_lines(draw, LEGEND, legend, top - GAP, FAINT)
    return paper


def export_zip(grid: Grid) -> bytes:
    """The ZIP. Cells that failed are in the manifest with their errors."""
    file, cells = io.BytesIO(), []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
        for cell in grid.cells.values():
            path = cell_path(grid, cell) if cell.image is not None else None
            about = {name: value for name, value in cell.settings.items() if name != "origin"}
            cells.append(about | {"file": path, "error": cell.error or None})
            if path:
                archive.writestr(path, cell.png)
        archive.writestr("manifest.json", to_json(grid_settings(grid) | {"cells": cells}, indent=1))
    return file.getvalue()


def grid_settings(grid: Grid) -> dict:
    """The request, the device and each row's numbers: JSON."""
    return {
        "kind": "seed grid",
        "request": asdict(grid.request),
        "link": grid.request.query,
        "device": grid.device,
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": packages(),
        "noise": NOISE_OF_SEED,
        "rows": [_row_settings(grid, row) for row in grid.rows.values()],
        "origin": _origin(grid),
    }


def _origin(grid: Grid) -> dict:
    """The teacher and all models, from the cells that each know theirs."""
    found = [cell.settings["origin"] for cell in grid.cells.values() if "origin" in cell.settings]
    models = {name: how for made in found for name, how in made["models"].items()}
    return {**found[0], "models": models} if found else {}


def row_lines(row: Row | None) -> list[str]:
    """A row's numbers as short lines of text: evaluations and seconds per image, then Eq. (9) with
    its interval.
    """
    if row is None:
        return []
    lines = (
        [f"{row.evaluations} NFE · {format_seconds(row.seconds)}"]
        if row.evaluations and row.seconds is not None
        else []
    )
    if row.diversity is not None:
        lines.append(f"Div {interval_text(*row.diversity)}")
    return lines


def format_seconds(seconds: float) -> str:
    """A time with its unit: 12 ms, 1.23 s or 12 s."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 9.95 else f"{seconds:.0f} s"


def cell_path(grid: Grid, cell: Cell) -> str:
    """The path of a cell's file in the ZIP."""
    prompt = f"{cell.prompt + 1:02d}-{slug(grid.request.prompts[cell.prompt])}"
    model = f"{grid.request.models.index(cell.model) + 1:02d}-{slug(cell.model)}"
    return f"{prompt}/{model}/seed-{cell.seed:04d}.png"


def _row_settings(grid: Grid, row: Row) -> dict:
    numbers = (
        None
        if row.diversity is None
        else [None if math.isnan(value) else value for value in row.diversity]
    )
    return {
        "prompt": grid.request.prompts[row.prompt],
        "model": row.model,
        "evaluations": row.evaluations,
        "seconds": row.seconds,
        "diversity": numbers and dict(zip(("value", "low", "high"), numbers)),
        "level": 0.95,
        "feature": row.feature or None,
        "note": row.note or None,
    }


def _legend(grid: Grid) -> str:
    features = sorted({row.feature for row in grid.rows.values() if row.feature})
    measured = (
        f"Div: Eq. (9) on {', '.join(features)}, with its 95 % interval over these seeds. "
        if features
        else ""
    )
    return (
        f"Same noise down a column. {measured}Times are of one image on "
        f"{grid.device or 'this machine'}. {advice([*grid.request.prompts, *grid.request.models])}"
    )


def _side(grid: Grid) -> int:
    sides = [max(cell.image.shape[:2]) for cell in grid.cells.values() if cell.image is not None]
    own = max(sides, default=SIDES[0])
    return min(own * -(-SIDES[0] // own), SIDES[1])  # a whole multiple below SIDES[0]


def _draw_lines(
    draw: ImageDraw.ImageDraw, face: Face, lines: list[str], top: int, colour: str
) -> int:
    """Draws lines one below the other; returns where the next would begin."""
    for number, line in enumerate(lines):
        face.draw(draw, (2 * GAP, top + number * face.height), line, colour)
    return top + len(lines) * face.height


def _draw_label(draw: ImageDraw.ImageDraw, model: str, lines: list[str], y: int) -> None:
    room = LABEL - 4 * GAP
    MODEL.draw(draw, (2 * GAP, y + 8), MODEL.shortened(model, room), INK)
    shown = [NUMBERS.shortened(line, room) for line in lines]
    _draw_lines(draw, NUMBERS, shown, y + 36, FAINT)


def _draw_cell(
    paper: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell | None, x: int, y: int, side: int
) -> None:
    if cell is not None and cell.image is not None:
        image = Image.fromarray(cell.image)
        enlarge = max(image.size) <= side
        paper.paste(
            image.resize(
                (side, side), Image.Resampling.NEAREST if enlarge else Image.Resampling.LANCZOS
            ),
            (x, y),
        )
        return
    draw.rectangle((x, y, x + side - 1, y + side - 1), fill=HOLE if cell else None, outline=FAINT)
    text = "failed" if cell else "not generated"
    SEED.draw(draw, (x + side / 2, y + (side - SEED.height) / 2), text, FAINT, True)
