"""A stage analysis of one browser session: how far it is, its figures, and its files."""

from __future__ import annotations

import shutil
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import plotly.graph_objects as go

from workbench.io.progress import Progress
from workbench.stages.analysis import MEMORY, StageAnalysis, save_trajectories
from workbench.stages.gradient_probe import Probed
from workbench.stages.report import (
    SECTIONS,
    branching_figure,
    strip_figures,
    swap_figures,
    write_stage_report,
)
from workbench.stages.tasks import Branch, Record, Swap
from workbench.stages.trajectory import Trajectory
from workbench.ui.job import Job, time_left
from workbench.ui.parts import FOLDER

SHOW_EVERY = 2.0  # seconds between two drawings of a growing figure


class StagesView(Job):
    """A `StageAnalysis` as the page shows it."""

    def __init__(self, analysis: StageAnalysis):
        super().__init__()
        self.analysis, self.done, self.pace = analysis, 0.0, 0.0  # pace: seconds for all of it
        self.figures: dict[str, go.Figure] = {}
        self.folder = Path(tempfile.mkdtemp(dir=FOLDER))

    def advance(self) -> Iterator[set[str]]:
        """Runs until it is done or `stop` is called; yields the sections that changed, every
        `SHOW_EVERY` seconds and at the end.
        """
        before, start = self.seconds, None
        self.start()
        shown_at, stale = 0.0, set()
        for event in self.analysis.run():
            self.tick()
            if isinstance(event, Progress):
                start = event.done if start is None else start
                self.done, share = event.done, event.done - start
                self.pace = (self.seconds - before) / share if share > 0.02 else 0.0
            else:
                stale.add(type(event))
            if time.monotonic() - shown_at > SHOW_EVERY:
                recorded = self._recorded()
                yield self._draw(stale if recorded else set())
                stale, shown_at = set() if recorded else stale, time.monotonic()
            if not self.wanted:
                break
        self.finish()
        yield self._draw(stale)

    def _recorded(self) -> bool:
        """Whether every model's trajectory is recorded, or has failed."""
        return all(
            Record(name) in self.analysis.results or Record(name) in self.analysis.failures
            for name in self.analysis.request.models
        )

    def _draw(self, kinds: set[type]) -> set[str]:
        """Draws the figures of the results of these kinds of task; returns their sections."""
        draw = {Record: strip_figures, Branch: branching_figure, Swap: swap_figures}
        figures = {
            name: figure for kind in kinds for name, figure in draw[kind](self.analysis).items()
        }
        self.figures |= figures
        return {section for section, names in SECTIONS.items() if figures.keys() & set(names)}

    def section(self, name: str) -> dict[str, go.Figure]:
        """The figures of a section, in their order."""
        return {figure: self.figures[figure] for figure in SECTIONS[name] if figure in self.figures}

    @property
    def progress(self) -> str:
        """The share that is done, and the time left."""
        left = f", {time_left(self.pace * (1 - self.done))} left" if self.pace else ""
        return f"{self.done:.0%}{left}"

    @property
    def summary(self) -> str:
        """How it ended, and what is missing."""
        unfinished = self.analysis.unfinished
        missing = f" Not done: {'; '.join(unfinished)}." if unfinished else ""
        return f"{self.state.value.capitalize()} in {self.seconds:.0f} s.{missing}"

    def export(self, probed: list[Probed]) -> str:
        """Writes a ZIP with report.html, numbers.json and the trajectories; returns its path."""
        inside = self.folder / "stages"
        shutil.rmtree(inside, ignore_errors=True)
        save_trajectories(self.analysis.trajectories, inside)
        write_stage_report(inside, self.analysis, self.figures, probed, [])
        return shutil.make_archive(str(self.folder / "stages"), "zip", inside)

    def close(self) -> None:
        """Stops, and removes the files."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def opened_trajectories(path: str) -> list[Trajectory]:
    """The trajectories in an exported ZIP, or in one safetensors file. Raises ValueError, with the
    way out, if there are none.
    """
    if not zipfile.is_zipfile(path):
        return [Trajectory.open(path)]
    try:
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
            members = sorted(
                (entry for entry in archive.infolist() if entry.filename.endswith(".safetensors")),
                key=lambda entry: entry.filename,
            )
            if sum(member.file_size for member in members) > 2 * MEMORY:
                raise ValueError(f"this ZIP holds more than {2 * MEMORY / 2**30:.0f} GiB")
            trajectories = [Trajectory.open(archive.extract(member, folder)) for member in members]
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"this ZIP cannot be read: {error}") from error
    if not trajectories:
        raise ValueError("this ZIP holds no trajectories: choose one that this tab exported")
    return trajectories
