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
from workbench.ui.job import Job, State, time_left
from workbench.ui.parts import FOLDER


class EvaluationView(Job):
    """An `Evaluation` as the page shows it."""

    def __init__(self, evaluation: Evaluation, open_model: ModelLoader | None = None):
        """`open_model` None: an earlier evaluation, opened to be read."""
        super().__init__(State.WAITING if open_model else State.OPENED)
        self.evaluation, self.open_model = evaluation, open_model
        self.step: Progress | None = None
        self.part_started_at, self.part_start = 0.0, 0  # of the part that `step` belongs to
        self.results: list[ModelResult] = []

    def advance(self, backend: Backend, device: str) -> Iterator[Progress]:
        """Runs, and yields each step, until it is done or `stop` is called."""
        self.start()
        for step in chain(
            self.evaluation.generate(backend, self.open_model), self.evaluation.read(device)
        ):
            if self.step is None or step.what != self.step.what:
                self.part_started_at, self.part_start = time.monotonic(), step.done
            self.step = step
            self.tick()
            yield step
            if not self.wanted:
                break
        self.finish()
        self.tick()

    def report(self) -> None:
        """Reads the numbers and writes the report."""
        self.results = self.evaluation.results()
        write_evaluation_report(self.evaluation.folder, [(self.evaluation, self.results)])

    @property
    def summary(self) -> str:
        """How it ended, where it is, and what is missing."""
        ending = {
            State.DONE: f"Done in {self.seconds:.0f} s",
            State.OPENED: "Opened",
            State.STOPPED: "Stopped; “Evaluate” continues from here",
            State.FAILED: "Failed; “Evaluate” continues from here",
        }[self.state]
        missing = "; ".join(f"{what}: {why}" for what, why in self.evaluation.missing.items())
        return (
            f"{ending}. Images and report are in "
            f"{self.evaluation.folder}.{f' Not done: {missing}' if missing else ''}"
        )

    @property
    def progress(self) -> str:
        """The current part, and the time left of it."""
        if self.step is None:
            return "opening the models"
        step = self.step
        done, passed = step.done - self.part_start, time.monotonic() - self.part_started_at
        left = (
            f", {time_left(passed / done * (step.total - step.done))} left of this part"
            if done > 0 and passed > 2
            else ""
        )
        return f"{step.what}, {step.done} of {step.total}{left}"

    @property
    def tables(self) -> str:
        """The tables and the protocol as HTML."""
        results = (self.evaluation, self.results)
        tables = "".join(table.html for table in tables_of([results]))
        protocol = "".join(f"<li>{escape(line)}</li>" for line in provenance(*results))
        return f'<div class="wb-tables">{tables}<h3>Protocol</h3><ul>{protocol}</ul></div>'

    @property
    def figures(self) -> dict[str, go.Figure]:
        """The report's figures by name."""
        return evaluation_figures(self.evaluation, self.results)

    def export(self) -> str:
        """Writes a ZIP of the report's files, without the images; returns its path."""
        folder = Path(tempfile.mkdtemp(dir=FOLDER))
        write_evaluation_report(folder / "report", [(self.evaluation, self.results)])
        return shutil.make_archive(str(folder / "evaluation"), "zip", folder / "report")
