"""Pictures in a notebook: JPEGs, which keep it small."""

from __future__ import annotations

import io

from IPython.display import Image as DisplayedImage
from PIL import Image

from workbench.core.denoiser import Backend
from workbench.grid.export import grid_sheet
from workbench.grid.generate import Grid, ModelLoader, generate_grid
from workbench.grid.request import GridRequest

COLUMN_WIDTH = 880  # pixels: the width of a notebook's column


def seed_grid(request: GridRequest, backend: Backend, open_model: ModelLoader) -> Grid:
    """The generated grid. Raises ValueError, with the reason, if a cell failed."""
    grid = Grid(request, str(backend.device))
    for event in generate_grid(request, backend, open_model):
        grid.add(event)
    for cell in grid.cells.values():
        if cell.image is None:
            raise ValueError(f"{cell.model}, seed {cell.seed}: {cell.error}")
    return grid


def as_output(source: Grid | Image.Image, width: int = COLUMN_WIDTH) -> DisplayedImage:
    """A grid's sheet, or an image, as an output of at most `width` pixels."""
    image = grid_sheet(source) if isinstance(source, Grid) else source.convert("RGB")
    if image.width > width:
        image = image.resize(
            (width, round(image.height * width / image.width)), Image.Resampling.LANCZOS
        )
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return DisplayedImage(file.getvalue(), format="jpeg")
