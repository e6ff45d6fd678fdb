"""A grid as the page shows it: JSON for grid.js; its images are files, written and fetched once.

The page gets the whole JSON at each change, and gradio sends only the differences: a cell costs
its address, not its pixels.
"""

from __future__ import annotations

import itertools
import math
import secrets
import shutil
from pathlib import Path

from workbench.grid.export import export_png, export_zip, format_seconds
from workbench.grid.generate import Cell, Grid, GridEvent, Row
from workbench.grid.request import GridRequest
from workbench.io.notation import TEACHER, model_title
from workbench.io.tables import interval_text
from workbench.ui.job import Job, State, time_left
from workbench.ui.parts import FOLDER


class GridView(Job):
    """The grid of one browser session: its cells, its files, and how far it is."""

    def __init__(self, request: GridRequest, device: str):
        super().__init__()
        self.grid = Grid(request, device)
        self.folder: Path = FOLDER / secrets.token_urlsafe(12)
        self.folder.mkdir(parents=True)
        self.version = 0  # of the JSON: two listeners may send it, and messages overtake each other
        self.addresses: dict[tuple[int, str, int], str] = {}

    def add(self, event: GridEvent) -> None:
        """Takes an event of `generate_grid`, and writes the file of an image."""
        if self.state is State.WAITING:
            self.start()
        self.tick()
        self.grid.add(event)
        if isinstance(event, Cell) and event.image is not None:
            model = self.grid.request.models.index(event.model)
            path = self.folder / f"{event.prompt}-{model}-{event.seed}.png"
            path.write_bytes(event.png)
            self.addresses[event.prompt, event.model, event.seed] = f"gradio_api/file={path}"

    def close(self) -> None:
        """Stops, and removes the files."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def export(self, kind: str) -> str:
        """Writes the finished cells as "png" or "zip"; returns the file's path."""
        content = {"png": export_png, "zip": export_zip}[kind](self.grid)
        path = self.folder / f"seed-grid.{kind}"
        path.write_bytes(content)
        return str(path)

    @property
    def json(self) -> dict:
        """The whole grid for grid.js, under a new version."""
        request = self.grid.request
        self.version += 1
        return {
            "id": self.folder.name,
            "version": self.version,
            "status": self.state.value,
            "message": self.message,
            "done": round(self.grid.done, 3),
            "legend": self._legend(),
            "link": request.query,
            "seeds": list(request.seeds),
            "models": [
                {"name": name, "title": model_title(name), "how": self._sampling(name)}
                for name in request.models
            ],
            "sections": [
                {"prompt": prompt, "rows": [self._row(index, name) for name in request.models]}
                for index, prompt in enumerate(request.prompts)
            ],
        }

    @property
    def progress(self) -> str:
        """Cells so far, and the time left while it runs."""
        done = self.grid.done
        if self.state is State.STOPPING or done <= 0.02:
            return self._count
        return f"{self._count}, {time_left(self.seconds / done * (1 - done))} left"

    @property
    def summary(self) -> str:
        """Cells, seconds and failures of a grid that has ended."""
        if self.state is State.FAILED:
            return f"Failed after {self._count}"
        failed = sum(cell.image is None for cell in self.grid.cells.values())
        text = f"{self._count} in {format_seconds(self.seconds)}"
        return f"{self.state.value.capitalize()}: {text}" + (f", {failed} failed" if failed else "")

    @property
    def _count(self) -> str:
        request = self.grid.request
        total = len(request.prompts) * len(request.seeds) * len(request.models)
        return f"{len(self.grid.cells)} of {total} cells"

    def _sampling(self, name: str) -> str:
        """The steps and guidance of a model."""
        request = self.grid.request
        if name == TEACHER:
            return f"{request.teacher_steps} steps · CFG {request.guidance:g}"
        steps = request.student_steps or next(
            (
                cell.settings["steps"]
                for cell in self.grid.cells.values()
                if cell.model == name and "steps" in cell.settings
            ),
            None,
        )
        return f"{steps} steps" if steps else "steps as trained"

    def _legend(self) -> str:
        features = sorted({row.feature for row in self.grid.rows.values() if row.feature})
        return (
            f"Div: Eq. (9) on {', '.join(features)}, with its 95 % interval over these seeds"
            if features
            else ""
        )

    def _row(self, index: int, name: str) -> dict:
        cells = [self._cell(index, name, seed) for seed in self.grid.request.seeds]
        row = self.grid.rows.get((index, name))
        if row:
            return {"cells": cells} | row_json(row)
        status = {"cost": self._row_status(index, name)}
        return {"cells": cells} | row_json(Row(index, name)) | status

    def _row_status(self, index: int, name: str) -> str:
        """The status of an unfinished row: rows follow prompt by prompt, model by model."""
        if not self.wanted:
            return "not finished"
        request = self.grid.request
        order = itertools.product(range(len(request.prompts)), request.models)
        current = next((row for row in order if row not in self.grid.rows), None)
        running = current == (index, name) and self.state is State.RUNNING
        return "generating …" if running else "waiting"

    def _cell(self, index: int, name: str, seed: int) -> dict:
        cell = self.grid.cells.get((index, name, seed))
        if cell is None:
            return {}
        if cell.image is None:
            return {"error": cell.error}
        return {"url": self.addresses[index, name, seed]}


def row_json(row: Row) -> dict:
    """The numbers of a row as text, and the interval as numbers for its mark."""
    cost = (
        f"{row.evaluations} NFE · {format_seconds(row.seconds)}"
        if row.evaluations and row.seconds is not None
        else ""
    )
    measured = row.diversity is not None
    return {
        "cost": cost,
        "diversity": interval_text(*row.diversity) if measured else "",
        "feature": row.feature,
        "note": row.note,
        "interval": [None if math.isnan(value) else round(value, 4) for value in row.diversity]
        if measured
        else None,
    }
