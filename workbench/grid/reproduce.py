"""Pictures made again from what they say of themselves: a cell, a sheet, an exported ZIP, and the
picture of `sample`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from workbench.grid.export import grid_sheet
from workbench.grid.generate import CELL, Cell, Grid, generate_grid
from workbench.grid.request import GridRequest
from workbench.grid.samples import remade_samples
from workbench.io.png import compared
from workbench.io.provenance import Remade
from workbench.models.provenance import Reopened, reopened


def remake_samples(path: Path, settings: Mapping, device: str | None) -> Remade:
    """The picture of `sample`, made again and compared."""
    there = reopened(settings["origin"], device)
    return compared(np.asarray(Image.open(path)), remade_samples(settings, there), there.changes)


def remake_cell(path: Path, settings: Mapping, device: str | None) -> Remade:
    """One image of a grid, made again in the batch that it was made in."""
    there = reopened(settings["origin"], device)
    request = GridRequest((settings["prompt"],), tuple(settings["batch"]), (settings["model"],))
    cell = _grid(request, there).cells[0, settings["model"], settings["seed"]]
    return compared(np.asarray(Image.open(path)), _image(cell), there.changes)


def remake_grid(path: Path, settings: Mapping, device: str | None) -> Remade:
    """A sheet, or all images of a ZIP. The times on a sheet are those of the first making."""
    there = reopened(settings["origin"], device)
    asked = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in settings["request"].items()
    }
    grid = _grid(GridRequest(**asked), there)
    if zipfile.is_zipfile(path):
        return _compared_cells(path, settings, grid, there)
    for row in settings["rows"]:
        key = grid.request.prompts.index(row["prompt"]), row["model"]
        grid.rows[key] = replace(grid.rows[key], seconds=row["seconds"])
    grid.device = settings["device"]
    return compared(np.asarray(Image.open(path)), np.asarray(grid_sheet(grid)), there.changes)


def _compared_cells(path: Path, settings: Mapping, grid: Grid, there: Reopened) -> Remade:
    """All images of a ZIP as one picture."""
    before, after = [], []
    with zipfile.ZipFile(path) as archive:
        for cell in settings["cells"]:
            if cell["file"]:
                before.append(np.asarray(Image.open(BytesIO(archive.read(cell["file"])))))
                key = grid.request.prompts.index(cell["prompt"]), cell["model"], cell["seed"]
                after.append(_image(grid.cells[key]))
    return compared(np.concatenate(before), np.concatenate(after), there.changes)


def _grid(request: GridRequest, there: Reopened) -> Grid:
    grid = Grid(request, str(there.backend.device))
    for event in generate_grid(request, there.backend, there.models.__getitem__):
        grid.add(event)
    return grid


def _image(cell: Cell) -> np.ndarray:
    if cell.image is None:
        raise RuntimeError(f"{cell.model}, seed {cell.seed}, could not be made again: {cell.error}")
    return cell.image


REMAKERS = {"samples": remake_samples, CELL: remake_cell, "seed grid": remake_grid}
