"""An examination of one browser session: how far it is, its figures, and its files."""

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
from workbench.ui.grid_view import FOLDER, time_left

SHOW_EVERY = 2.0  # seconds between two looks at a figure that grows


class StagesView:
    """What the page knows of an `StageAnalysis`."""

    def __init__(self, seen: StageAnalysis):
        self.seen, self.status, self.done, self.seconds, self.pace = seen, "waiting", 0.0, 0.0, 0.0
        self.figures: dict[str, go.Figure] = {}
        self.folder = Path(tempfile.mkdtemp(dir=FOLDER))

    def advance(self) -> Iterator[set[str]]:
        """Works on what waits, and yields which sections changed, now and then and at the end;
        stops when it is told to.
        """
        self.status, begun, before, from_here = "working", time.monotonic(), self.seconds, None
        shown_at, stale = 0.0, set()
        for event in self.seen.run():
            self.seconds = before + time.monotonic() - begun
            if isinstance(event, Progress):
                from_here = event.done if from_here is None else from_here
                self.done, here = event.done, event.done - from_here
                self.pace = (self.seconds - before) / here if here > 0.02 else 0.0
            else:
                stale.add(type(event))
            recorded = all(
                Record(name) in self.seen.results or Record(name) in self.seen.failures
                for name in self.seen.request.models
            )
            if time.monotonic() - shown_at > SHOW_EVERY:
                yield self._drawn(stale if recorded else set())
                stale, shown_at = set() if recorded else stale, time.monotonic()
            if self.status != "working":
                break
        self.status = "done" if self.status == "working" else "stopped"
        yield self._drawn(stale)

    def _drawn(self, kinds: set[type]) -> set[str]:
        """Makes the figures of what these kinds of task have found; returns their sections."""
        made = {Record: strip_figures, Branch: branching_figure, Swap: swap_figures}
        fresh = {name: figure for kind in kinds for name, figure in made[kind](self.seen).items()}
        self.figures |= fresh
        return {section for section, names in SECTIONS.items() if fresh.keys() & set(names)}

    def section(self, name: str) -> dict[str, go.Figure]:
        """The figures of a section, in their order."""
        return {figure: self.figures[figure] for figure in SECTIONS[name] if figure in self.figures}

    def stop(self) -> None:
        """One that waits for the device is over at once, one at work behind the batch or recorded
        step in progress.
        """
        self.status = {"waiting": "stopped", "working": "stopping"}.get(self.status, self.status)

    @property
    def going(self) -> bool:
        return self.status in ("waiting", "working", "stopping")

    @property
    def message(self) -> str:
        """How far it is, and at the end what is not there."""
        if self.status == "waiting":
            return "Waiting for the device …"
        if self.going:
            left = f", {time_left(self.pace * (1 - self.done))} left" if self.pace else ""
            return (
                f"{'Stopping' if self.status == 'stopping' else 'Working'}: {self.done:.0%}{left}"
            )
        missing = f" Not done: {'; '.join(self.seen.unfinished)}." if self.seen.unfinished else ""
        return f"{self.status.capitalize()} in {self.seconds:.0f} s.{missing}"

    def export(self, gradients: list[Probed]) -> str:
        """Writes a ZIP with report.html, numbers.json and the trajectories; returns its path."""
        inside = self.folder / "stages"
        shutil.rmtree(inside, ignore_errors=True)
        save_trajectories(self.seen.trajectories, inside)
        write_stage_report(inside, self.seen, self.figures, gradients, [])
        return shutil.make_archive(str(self.folder / "stages"), "zip", inside)

    def close(self) -> None:
        """Removes the files; the session has another examination, or is over."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def opened_trajectories(path: str) -> list[Trajectory]:
    """The trajectories in an exported ZIP, or in one safetensors file. Raises ValueError, with the
    way out, when there are none.
    """
    if not zipfile.is_zipfile(path):
        return [Trajectory.open(path)]
    try:
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
            members = sorted(
                (
                    member
                    for member in archive.infolist()
                    if member.filename.endswith(".safetensors")
                ),
                key=lambda one: one.filename,
            )
            if sum(member.file_size for member in members) > 2 * MEMORY:
                raise ValueError(f"this ZIP holds more than {2 * MEMORY / 2**30:.0f} GiB")
            found = [Trajectory.open(archive.extract(member, folder)) for member in members]
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"this ZIP cannot be read: {error}") from error
    if not found:
        raise ValueError("this ZIP holds no trajectories: take one that this tab has exported")
    return found
