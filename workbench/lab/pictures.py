"""Pictures in a notebook: JPEGs, which keep it small."""

from __future__ import annotations

import io

from IPython.display import Image as Shown
from PIL import Image

from workbench.core.denoiser import Backend
from workbench.grid.export import grid_sheet
from workbench.grid.generate import Grid, ModelLoader, generate_grid
from workbench.grid.request import GridRequest

WIDTH = 880  # pixels: what a notebook's column shows


def seed_grid(request: GridRequest, backend: Backend, open_model: ModelLoader) -> Grid:
    """The painted grid. Raises ValueError where a cell could not be made, with the reason."""
    grid = Grid(request, str(backend.device))
    for event in generate_grid(request, backend, open_model):
        grid.add(event)
    for cell in grid.cells.values():
        if cell.image is None:
            raise ValueError(f"{cell.model}, seed {cell.seed}: {cell.error}")
    return grid


def as_output(source: Grid | Image.Image, width: int = WIDTH) -> Shown:
    """A grid's sheet, or an image, as an output of at most `width` pixels."""
    image = grid_sheet(source) if isinstance(source, Grid) else source.convert("RGB")
    if image.width > width:
        image = image.resize(
            (width, round(image.height * width / image.width)), Image.Resampling.LANCZOS
        )
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return Shown(file.getvalue(), format="jpeg")
