"""An examination of one browser session: how far it is, its figures, and its files."""

from __future__ import annotations

import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import plotly.graph_objects as go

from workbench.examination import Branch, Examination, Record, Swap
from workbench.gradient_probe import Probed
from workbench.grid import Progress
from workbench.stages.trajectory import Trajectory
from workbench.stages_report import SECTIONS, branching_figure, strip_figures, swap_figures, write_report
from workbench.ui.grid_view import FOLDER, time_left

SHOW_EVERY = 2.0  # seconds between two looks at a figure that grows


class StagesView:
    """What the page knows of an `Examination`."""

    def __init__(self, seen: Examination):
        self.seen, self.status, self.done, self.seconds = seen, "waiting", 0.0, 0.0
        self.gradients: list[Probed] = []
        self.figures: dict[str, go.Figure] = {}
        self.folder = Path(tempfile.mkdtemp(dir=FOLDER))

    def advance(self) -> Iterator[set[str]]:
        """Works, and yields which sections changed, now and then and at the end; stops when it is told to."""
        if self.status == "stopping":
            self.status = "stopped"
            return
        self.status, begun, shown_at = "working", time.monotonic(), 0.0
        stale: set[type] = set()
        for event in self.seen.run():
            self.seconds = time.monotonic() - begun
            if isinstance(event, Progress):
                self.done = event.done
            else:
                stale.add(type(event))
            recorded = all(task in self.seen.results or task in self.seen.failed for task in self.seen.tasks if isinstance(task, Record))
            if time.monotonic() - shown_at > SHOW_EVERY:
                yield self._drawn(stale if recorded else set())
                stale, shown_at = set() if recorded else stale, time.monotonic()
            if self.status == "stopping":
                break
        self.status = "stopped" if self.status == "stopping" else "done"
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
        """Takes effect at the next step of sampling."""
        self.status = {"waiting": "stopping", "working": "stopping"}.get(self.status, self.status)

    @property
    def going(self) -> bool:
        return self.status in ("waiting", "working", "stopping")

    @property
    def message(self) -> str:
        """How far it is, and at the end what is not there."""
        if self.status == "waiting":
            return "Waiting for the device …"
        if self.status in ("working", "stopping"):
            left = f", {time_left(self.seconds / self.done * (1 - self.done))} left" if self.done > 0.02 else ""
            return f"{'Stopping' if self.status == 'stopping' else 'Working'}: {self.done:.0%}{left}"
        missing = f" Not done: {'; '.join(self.seen.left)}." if self.seen.left else ""
        return f"{self.status.capitalize()} in {self.seconds:.0f} s.{missing}"

    def export(self) -> str:
        """Writes a ZIP with report.html, numbers.json and the trajectories; returns its path."""
        inside = self.folder / "stages"
        shutil.rmtree(inside, ignore_errors=True)
        self.seen.save(inside)
        write_report(inside, self.seen, self.gradients)
        return shutil.make_archive(str(self.folder / "stages"), "zip", inside)

    def close(self) -> None:
        """Removes the files; the session has another examination, or is over."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def opened_trajectories(path: str) -> list[Trajectory]:
    """The trajectories in an exported ZIP, or in one safetensors file. Raises ValueError, with the way out, when there are none."""
    if not zipfile.is_zipfile(path):
        return [Trajectory.open(path)]
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder, zipfile.ZipFile(path) as archive:
        members = sorted(name for name in archive.namelist() if name.endswith(".safetensors"))
        found = [Trajectory.open(archive.extract(name, folder)) for name in members]
    if not found:
        raise ValueError("this ZIP holds no trajectories: take one that this tab has exported")
    return found
