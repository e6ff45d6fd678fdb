"""An evaluation of one browser session: how far it is, its tables and figures, and its files."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from html import escape
from itertools import chain
from pathlib import Path

import plotly.graph_objects as go

from workbench.core.denoiser import Backend
from workbench.evaluation.evaluation import Evaluation
from workbench.evaluation.report import (
    evaluation_figures,
    provenance,
    tables_of,
    write_evaluation_report,
)
from workbench.evaluation.results import ModelResult
from workbench.grid.generate import ModelLoader
from workbench.io.progress import Progress
from workbench.ui.grid_view import FOLDER, time_left


class EvaluationView:
    """What the page knows of an `Evaluation`."""

    def __init__(self, evaluation: Evaluation, open_model: ModelLoader | None = None):
        """`open_model` None: one that was opened to be looked at."""
        self.evaluation, self.open_model, self.seconds = evaluation, open_model, 0.0
        self.status = "waiting" if open_model else "opened"
        self.step: Progress | None = None  # of the part of the work that goes on
        self.begun_at, self.begun = 0.0, 0
        self.results: list[ModelResult] = []

    def advance(self, backend: Backend, device: str) -> Iterator[Progress]:
        """Works on what waits, and yields each step; stops when it is told to."""
        self.status, begun = "working", time.monotonic()
        for step in chain(
            self.evaluation.generate(backend, self.open_model), self.evaluation.read(device)
        ):
            if self.step is None or step.what != self.step.what:
                self.begun_at, self.begun = time.monotonic(), step.done
            self.step, self.seconds = step, time.monotonic() - begun
            yield step
            if self.status != "working":
                break
        self.status = "done" if self.status == "working" else "stopped"
        self.seconds = time.monotonic() - begun

    def finish(self) -> None:
        """Reads the numbers and writes the report."""
        self.results = self.evaluation.results()
        write_evaluation_report(self.evaluation.folder, [(self.evaluation, self.results)])

    def stop(self) -> None:
        """One that waits for the device is over at once, one at work behind the batch in progress."""
        self.status = {"waiting": "stopped", "working": "stopping"}.get(self.status, self.status)

    @property
    def going(self) -> bool:
        return self.status in ("waiting", "working", "stopping")

    @property
    def message(self) -> str:
        """How far it is, and at the end where it is and what is not there."""
        if self.status == "waiting":
            return "Waiting for the device …"
        if self.going:
            return f"{'Stopping' if self.status == 'stopping' else 'Working'}: {self._progress}"
        told = {
            "done": f"Done in {self.seconds:.0f} s",
            "opened": "Opened",
            "stopped": "Stopped; “Evaluate” goes on from here",
        }[self.status]
        left = "; ".join(f"{what}: {why}" for what, why in self.evaluation.missing.items())
        return (
            f"{told}. Images and report are in "
            f"{self.evaluation.folder}.{f' Not done: {left}' if left else ''}"
        )

    @property
    def _progress(self) -> str:
        if self.step is None:
            return "opening the models"
        here, passed = self.step.done - self.begun, time.monotonic() - self.begun_at
        left = (
            f", {time_left(passed / here * (self.step.total - self.step.done))} left of this part"
            if here > 0 and passed > 2
            else ""
        )
        return f"{self.step.what}, {self.step.done} of {self.step.total}{left}"

    @property
    def tables(self) -> str:
        """The tables and the protocol as HTML."""
        found = [(self.evaluation, self.results)]
        told = "".join(f"<li>{escape(line)}</li>" for line in provenance(*found[0]))
        return f'<div class="wb-tables">{"".join(table.html for table in tables_of(found))}<h3>Protocol</h3><ul>{told}</ul></div>'

    @property
    def figures(self) -> dict[str, go.Figure]:
        return evaluation_figures(self.evaluation, self.results)

    def export(self) -> str:
        """Writes a ZIP of the report's files, without the images; returns its path."""
        folder = Path(tempfile.mkdtemp(dir=FOLDER))
        write_evaluation_report(folder / "report", [(self.evaluation, self.results)])
        return shutil.make_archive(str(folder / "evaluation"), "zip", folder / "report")


def earlier(folder: Path) -> list[tuple[str, str]]:
    """The evaluations in a folder as (what to call it, its path), newest first, behind what the
    list is called.
    """
    found = sorted(folder.glob("*/evaluation.json"), key=lambda path: -path.stat().st_mtime)
    return [
        ("Earlier evaluations …", ""),
        *((path.parent.name, str(path.parent)) for path in found),
    ]
