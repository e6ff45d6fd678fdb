"""Live training in a notebook: start, pause, resume, stop; losses, gradients, diversity, samples.

    runs = {"dmd": Run.create("runs/dmd", recipe, device), "dp-dmd": ...}
    dashboard = Dashboard(runs)
    dashboard               # in JupyterLab: buttons and figures
    dashboard.start()
    await dashboard.finished()      # prints progress, also without a display

The runs are trained one after the other in a thread, so that the notebook stays usable. All data
is read from the run folders, so a new dashboard, in another notebook or after a restart, shows the
earlier training and continues from there.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path

import ipywidgets as widgets
import plotly.graph_objects as go

from workbench.core.distiller import Distiller
from workbench.io.theme import title_of
from workbench.lab.pictures import COLUMN_WIDTH
from workbench.models.model import teacher_model
from workbench.stages.gradients import gradient_reach
from workbench.training.build import new_objective
from workbench.training.figures import comparable_readings, training_figure
from workbench.training.inputs import run_distiller
from workbench.training.run import Run
from workbench.training.train import PANEL_FEATURE, PanelMeasurement, read_panel, train

REDRAW = 1.0  # seconds between two drawings, and two checks for readings
ACTIVE = ("training", "paused")
_training: set[Path] = set()  # the runs that this process trains: each only once at a time


class Dashboard:
    """`runs` by name, trained on `device` in this order. `state` is ready, training, paused,
    stopped, done or failed.
    """

    def __init__(self, runs: dict[str, Run], device: str = "cpu"):
        if not runs:
            raise ValueError("there are no runs to train: give at least one")
        self.runs, self.device, self.state, self.error = runs, device, "ready", None
        self.teacher: float | None = None  # its diversity on the panel, once measured
        self._going, self._drawn, self._thread, self._stopping = threading.Event(), 0.0, None, False
        self._changing = threading.RLock()  # guards `state`: clicks and the thread change it
        self._current = next(iter(runs))
        self._terms = {
            name: [term.name for term in new_objective(run.recipe).terms]
            for name, run in runs.items()
        }
        self._build()

    def start(self) -> None:
        """Trains in the background, from the last checkpoints; resumes a paused training."""
        with self._changing:
            if self.state in ACTIVE and not self._stopping:
                self._going.set()
                self._become("training")
                return
        if self._thread:
            self._thread.join()  # one that is about to end
        self._claim()
        self._stopping, self.error = False, None
        self._going.set()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._become("training")
        self._thread.start()

    def pause(self) -> None:
        """Waits after the update in progress; nothing is lost."""
        with self._changing:
            if self.state == "training" and not self._stopping:
                self._going.clear()
                self._become("paused")

    def stop(self) -> None:
        """Ends after the update in progress. Started again, it continues from the last checkpoint
        to the same result.
        """
        self._stop_soon()
        if self._thread:
            self._thread.join()

    async def finished(self) -> None:
        """Returns when all runs are done, or stopped. Prints a line per reading; raises the error
        of the training. It is awaited, because a kernel handles clicks while a cell awaits, but not
        while it computes.
        """
        printed = {name: 0 for name in self.runs}  # the round of the last line
        try:
            while self._thread and self._thread.is_alive():
                await asyncio.sleep(REDRAW)
                self._print_readings(printed)
        except (KeyboardInterrupt, asyncio.CancelledError):
            self.stop()
            raise
        self._print_readings(printed)
        if self.error:
            raise self.error

    def _print_readings(self, printed: dict[str, int]) -> None:
        for name, run in self.runs.items():
            for row in run.metrics():
                if row["kind"] == "reading" and row["round"] > printed[name]:
                    printed[name] = row["round"]
                    same = self.teacher and row.get("feature") == PANEL_FEATURE
                    teacher = f" (the teacher's is {self.teacher:.3f})" if same else ""
                    print(
                        f"{title_of(name)}, round {row['round']} of {run.recipe.rounds}: "
                        f"diversity {row['diversity']:.3f}{teacher}",
                        flush=True,
                    )

    def _claim(self) -> None:
        folders = {run.path.resolve() for run in self.runs.values()}
        if folders & _training:
            raise RuntimeError(
                "these runs are being trained by another dashboard: stop that one first"
            )
        _training.update(folders)

    def _work(self) -> None:
        try:
            for name, run in self.runs.items():
                self._current = name
                for _ in self._trained(run):
                    self._draw()
                    self._going.wait()
                    if self._stopping:
                        self._become("stopped")
                        return
            self._become("done")
        except Exception as error:  # any: shown here, raised by `finished`
            self.error = error
            self._become("failed")
        finally:
            _training.difference_update(run.path.resolve() for run in self.runs.values())
            self._draw(throttled=False)

    def _trained(self, run: Run) -> Iterator[object]:
        """The events of one run; at each reading the gradients by step are logged too."""
        distiller = run_distiller(run, self.device)
        if self.teacher is None:
            model = teacher_model(distiller.backend, run.recipe.teacher_steps, run.recipe.guidance)
            self.teacher = read_panel(model, distiller.backend, distiller.prompts)[1]
            yield
        for event in train(run, distiller):
            if isinstance(event, PanelMeasurement):
                self._read_gradients(run, distiller)
            yield event

    @staticmethod
    def _read_gradients(run: Run, distiller: Distiller) -> None:
        (reach,) = gradient_reach(distiller, distiller.objective, batches=1)
        run.log(
            kind="gradients",
            round=distiller.rounds_done,
            norms={term: norms[0].tolist() for term, norms in reach.norms.items()},
        )

    def figure(self) -> go.Figure:
        """The dashboard's figure as of now, as a static one."""
        steps = max(run.recipe.student_steps for run in self.runs.values())
        rows = {name: run.metrics() for name, run in self.runs.items()}
        features = {row.get("feature") for run in rows.values() for row in comparable_readings(run)}
        # an older run's readings are of another measure than the teacher's
        teacher = self.teacher if features <= {PANEL_FEATURE} else None
        return training_figure(rows, self._terms, steps, teacher)

    def picture(self, name: str) -> Path | None:
        """The last samples of a run: a row per prompt of the panel, a column per seed; None before
        the first.
        """
        pictures = sorted((self.runs[name].path / "samples").glob("round-*.png"))
        return pictures[-1] if pictures else None

    def _build(self) -> None:
        self._buttons = {
            what: widgets.Button(description=what, layout=widgets.Layout(width="auto"), tooltip=tip)
            for what, tip in (
                ("Start", "train from the last checkpoints"),
                ("Pause", "wait; nothing is lost"),
                ("Resume", "continue"),
                ("Stop", "end; Start continues from the last checkpoint"),
            )
        }
        for what, act in (
            ("Start", self.start),
            ("Pause", self.pause),
            ("Resume", self.start),
            ("Stop", self._stop_soon),
        ):
            self._buttons[what].on_click(lambda _, act=act: self._clicked(act))
        self._bar = widgets.IntProgress(layout=widgets.Layout(width="220px"))
        self._line = widgets.HTML()
        self._figure = go.FigureWidget(self.figure().update_layout(width=COLUMN_WIDTH))
        self._pictures = {
            name: widgets.Image(format="png", layout=widgets.Layout(width="300px", display="none"))
            for name in self.runs
        }
        samples = widgets.HBox(
            [
                widgets.VBox([widgets.HTML(f"<b>{escape(title_of(name))}</b>"), picture])
                for name, picture in self._pictures.items()
            ]
        )
        self.view = widgets.VBox(
            [widgets.HBox([*self._buttons.values(), self._bar, self._line]), self._figure, samples]
        )
        self._become("ready")
        self._draw(throttled=False)

    def _clicked(self, act) -> None:
        try:
            act()
        except Exception as error:  # nothing else would show the error of a click
            self._line.value = _alarm(error)

    def _stop_soon(self) -> None:
        """Stops without waiting, so that the page stays responsive."""
        with self._changing:
            self._stopping = True
            self._going.set()

    def _become(self, state: str) -> None:
        active = state in ACTIVE
        usable = {
            "Start": not active and state != "done",
            "Pause": state == "training",
            "Resume": state == "paused",
            "Stop": active,
        }
        with self._changing:
            self.state = state
            for what, button in self._buttons.items():
                button.disabled = not usable[what]
        self._show_progress()

    def _show_progress(self) -> None:
        run = self.runs[self._current]
        rows = run.metrics()
        done = max((row["round"] for row in rows if row["kind"] == "student"), default=0)
        self._bar.max, self._bar.value = max(run.recipe.rounds, 1), done
        seconds = [row["seconds"] for row in rows if "seconds" in row]
        remaining = (
            f", about {(run.recipe.rounds - done) * sum(seconds) / done / 60:.1f} min left"
            if done and self.state == "training"
            else ""
        )
        text = f"{title_of(self._current)}: round {done} of {run.recipe.rounds}{remaining}; "
        with self._changing:  # else an older state could be written last
            self._line.value = _alarm(self.error) if self.error else escape(text + self.state)

    def _draw(self, throttled: bool = True) -> None:
        """Updates figures, samples and text in place; if `throttled`, at most every `REDRAW`
        seconds.
        """
        if throttled and time.monotonic() - self._drawn < REDRAW:
            return
        self._show_progress()
        new = self.figure()
        with self._figure.batch_update():
            for shown, trace in zip(self._figure.data, new.data):
                shown.update(trace.to_plotly_json(), overwrite=False)
        for name, widget in self._pictures.items():
            if (picture := self.picture(name)) is not None:
                widget.value, widget.layout.display = picture.read_bytes(), "block"
        self._drawn = time.monotonic()

    def _repr_mimebundle_(self, **options) -> dict:
        """The widgets, with a text for pages without widgets."""
        shown = self.view._repr_mimebundle_(**options)
        data = shown[0] if isinstance(shown, tuple) else shown
        return data | {
            "text/plain": f"Dashboard of {', '.join(map(title_of, self.runs))}: open this "
            "notebook in JupyterLab to see it live"
        }


def _alarm(error: Exception) -> str:
    return f"<span style='color:#be123c'>{escape(str(error))}</span>"
