"""A grid as the page shows it: JSON for grid.js, whose images are files that are written once and
fetched once.

The page gets the whole JSON at each change, of which gradio sends only what differs: a cell costs
its address, not its pixels.
"""

from __future__ import annotations

import itertools
import math
import secrets
import shutil
import tempfile
import time
from pathlib import Path

import gradio as gr

from workbench.grid.export import export_png, export_zip, format_interval, format_seconds
from workbench.grid.generate import Cell, Grid, GridEvent, Row
from workbench.grid.request import GridRequest
from workbench.io.notation import TEACHER, model_title

_FOLDER = tempfile.TemporaryDirectory(prefix="dp-dmd-workbench-")  # removed when the process ends
FOLDER = Path(_FOLDER.name).resolve()
SCRIPT = (Path(__file__).with_name("static") / "grid.js").read_text()
EMPTY = {"status": "empty"}


def grid_component() -> gr.HTML:
    """The gr.HTML whose value is a `GridView.json`; grid.js draws it, grid.css (given to launch)
    styles it.
    """
    gr.set_static_paths(FOLDER)
    return gr.HTML(
        EMPTY,
        html_template='<div class="wb-grid" data-root></div>',
        js_on_load=SCRIPT,
        apply_default_css=False,
        elem_id="grid",
        label="Seed grid",
    )


class GridView:
    """The grid of one browser session: what is painted, its files, and how far it is."""

    def __init__(self, request: GridRequest, device: str):
        self.grid = Grid(request, device)
        self.status, self.started, self.seconds = "waiting", time.monotonic(), 0.0
        self.folder = FOLDER / secrets.token_urlsafe(12)
        self.folder.mkdir(parents=True)
        self.version = (
            0  # of the JSON: two listeners may send it, and their messages may overtake each other
        )
        self.addresses: dict[tuple[int, str, int], str] = {}

    def add(self, event: GridEvent) -> None:
        if self.status == "waiting":
            self.status, self.started = "painting", time.monotonic()
        self.seconds = time.monotonic() - self.started
        self.grid.add(event)
        if isinstance(event, Cell) and event.image is not None:
            path = (
                self.folder
                / f"{event.prompt}-{self.grid.request.models.index(event.model)}-{event.seed}.png"
            )
            path.write_bytes(event.png)
            self.addresses[event.prompt, event.model, event.seed] = f"gradio_api/file={path}"

    def finish(self, status: str) -> None:
        """The grid is "done", or ended before: "stopped" or "failed"."""
        self.status = status

    def stop(self) -> None:
        """A grid that waits for the device is over at once, one in work at the next step."""
        self.status = {"waiting": "stopped", "painting": "stopping"}.get(self.status, self.status)

    @property
    def going(self) -> bool:
        return self.status in ("waiting", "painting")

    @property
    def open(self) -> bool:
        return self.going or self.status == "stopping"

    def close(self) -> None:
        """Removes the files; the session has another grid, or is over."""
        self.status = "closed"
        shutil.rmtree(self.folder, ignore_errors=True)

    def export(self, kind: str) -> str:
        """Writes the "png" or the "zip" of what is there, and returns its path."""
        content = {"png": export_png, "zip": export_zip}[kind](self.grid)
        path = self.folder / f"seed-grid.{kind}"
        path.write_bytes(content)
        return str(path)

    @property
    def json(self) -> dict:
        request = self.grid.request
        self.version += 1
        return {
            "id": self.folder.name,
            "version": self.version,
            "status": self.status,
            "message": self.message,
            "done": round(self.grid.done, 3),
            "legend": self._legend(),
            "link": request.query,
            "seeds": list(request.seeds),
            "models": [
                {"name": name, "title": model_title(name), "how": self._how(name)}
                for name in request.models
            ],
            "sections": [
                {"prompt": prompt, "rows": [self._row(index, name) for name in request.models]}
                for index, prompt in enumerate(request.prompts)
            ],
        }

    @property
    def message(self) -> str:
        """The state of the grid in a few words, with the time left while it is painted."""
        wanted = (
            len(self.grid.request.prompts)
            * len(self.grid.request.seeds)
            * len(self.grid.request.models)
        )
        count, done = f"{len(self.grid.cells)} of {wanted} cells", self.grid.done
        if self.status == "waiting":
            return "Waiting for the device …"
        if self.status == "stopping":
            return f"Stopping: {count}"
        if self.status == "failed":
            return f"Failed after {count}"
        if self.status == "painting":
            left = self.seconds / done * (1 - done) if done > 0.02 else None
            return f"Painting: {count}" + (f", {time_left(left)} left" if left is not None else "")
        failed = sum(cell.image is None for cell in self.grid.cells.values())
        told = f"{count} in {format_seconds(self.seconds)}" + (
            f", {failed} failed" if failed else ""
        )
        return f"Stopped: {told}" if self.status == "stopped" else f"Done: {told}"

    def _how(self, name: str) -> str:
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
        row = self.grid.rows.get((index, name))
        told = (
            row_json(row)
            if row
            else row_json(Row(index, name)) | {"cost": self._row_status(index, name)}
        )
        return {"cells": [self._cell(index, name, seed) for seed in self.grid.request.seeds]} | told

    def _row_status(self, index: int, name: str) -> str:
        """Of a row without numbers: rows are painted prompt by prompt, model by model."""
        if not self.going:
            return "not finished"
        following = next(
            (
                at
                for at in itertools.product(
                    range(len(self.grid.request.prompts)), self.grid.request.models
                )
                if at not in self.grid.rows
            ),
            None,
        )
        return (
            "painting …" if following == (index, name) and self.status == "painting" else "waiting"
        )

    def _cell(self, index: int, name: str, seed: int) -> dict:
        cell = self.grid.cells.get((index, name, seed))
        if cell is None:
            return {}
        return (
            {"url": self.addresses[index, name, seed]}
            if cell.image is not None
            else {"error": cell.error}
        )


def row_json(row: Row) -> dict:
    """The numbers beside a row, as text, and the interval as numbers for its mark."""
    cost = (
        f"{row.evaluations} NFE · {format_seconds(row.seconds)}"
        if row.evaluations and row.seconds is not None
        else ""
    )
    known = row.diversity is not None
    return {
        "cost": cost,
        "diversity": format_interval(row.diversity) if known else "",
        "feature": row.feature,
        "note": row.note,
        "interval": [None if math.isnan(value) else round(value, 4) for value in row.diversity]
        if known
        else None,
    }


def time_left(seconds: float) -> str:
    whole = round(seconds)
    return f"{max(whole, 1)} s" if whole < 90 else f"{round(whole / 60)} min"
