"""The tab "Evaluate": models on a list of prompts, with tables, figures and a report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from workbench.grid.request import MAX_GUIDANCE, MAX_STEPS, GridRequest
from workbench.ui.figure_view import figures_component, figures_json
from workbench.ui.job import State
from workbench.ui.parts import QUIET, click, components_of, note
from workbench.ui.session import ON_DEVICE, Session

if TYPE_CHECKING:
    from workbench.ui.evaluate_view import EvaluationView

INTRODUCTION = (
    "Every number has its protocol and an interval over prompts. Images are kept and never "
    "sampled twice: a stopped evaluation continues where it was, and further metrics need no "
    "sampling."
)
OWN = "own prompts"
SHOW_EVERY = 0.3  # seconds between two updates of the progress


@dataclass(frozen=True)
class EvaluateForm:
    """The values of the tab's form; each field is a component of `EvaluateTab`."""

    models: list[str]
    prompt_list: str
    own: str
    limit: float
    metrics: list[str]
    features: list[str]
    seeds: float
    noise: str
    teacher_steps: float
    guidance: float

    @property
    def grid(self) -> GridRequest:
        """How the models are sampled."""
        return GridRequest(
            models=tuple(self.models),
            teacher_steps=int(self.teacher_steps),
            guidance=float(self.guidance),
        )


class EvaluateTab:
    """The tab's components and listeners; built inside a `gr.Tab` of `page`."""

    def __init__(self, page: gr.Blocks, session: Session):
        self.session, self._folder = session, session.runs.parent / "evaluations"
        gr.Markdown(INTRODUCTION, elem_classes="wb-introduction")
        self._build_form(session.defaults)
        button = partial(gr.Button, size="md", interactive=False)
        with gr.Row(elem_classes="wb-actions"):
            self.start = button("Evaluate", variant="primary", elem_id="evaluate")
            self.stop = button("Stop", variant="stop", elem_id="evaluate-stop")
            self.export = button("Export report", elem_id="evaluate-export")
            self.earlier = gr.Dropdown(
                earlier_evaluations(self._folder),
                value="",
                label="Earlier evaluations",
                container=False,
                scale=0,
                min_width=260,
                elem_id="evaluate-earlier",
            )
        self.file = gr.DownloadButton(visible="hidden", elem_id="evaluate-file")
        self.note = gr.HTML("", elem_id="evaluate-note", elem_classes="wb-note-box", visible=False)
        self.tables = gr.HTML("", elem_id="evaluate-tables", apply_default_css=False)
        self.figures = figures_component("evaluate-figures", "Figures")
        self.view = gr.State(None, delete_callback=lambda view: view and view.stop())
        self._connect(page)

    def _build_form(self, defaults: GridRequest) -> None:
        """The form; `_ready` fills the choices, which are known only with torch."""
        with gr.Row(equal_height=True, elem_classes="wb-form"):
            with gr.Column(scale=4, min_width=260):
                self.models = gr.CheckboxGroup(
                    **self.session.model_choices(), elem_id="evaluate-models"
                )
                self.prompt_list = gr.Dropdown([OWN], label="Prompts", elem_id="evaluate-list")
                self.own = gr.Textbox(
                    "",
                    label="Own prompts, one per line",
                    lines=2,
                    max_lines=6,
                    visible=False,
                    elem_id="evaluate-own",
                )
                self.limit = gr.Number(
                    0,
                    label="Take the first (0: all)",
                    precision=0,
                    minimum=0,
                    elem_id="evaluate-limit",
                )
            with gr.Column(scale=4, min_width=260):
                self.metrics = gr.CheckboxGroup([], label="Metrics", elem_id="evaluate-metrics")
                self.features = gr.Dropdown(
                    ["lite0"],
                    value=["lite0"],
                    multiselect=True,
                    label="Features (all but lite0 are downloaded)",
                    elem_id="evaluate-features",
                )
            with gr.Column(scale=4, min_width=260):
                self.seeds = gr.Slider(2, 16, 9, step=1, label="Seeds per prompt (S)", precision=0)
                self.noise = gr.Radio([], label="Noise", elem_id="evaluate-noise")
                self.teacher_steps = gr.Slider(
                    1, MAX_STEPS, defaults.teacher_steps, step=1, label="Teacher steps", precision=0
                )
                self.guidance = gr.Slider(
                    0, MAX_GUIDANCE, defaults.guidance, step=0.1, label="Teacher CFG (1 is off)"
                )
        self.prompt_list.change(
            lambda name: gr.update(visible=name == OWN),
            self.prompt_list,
            self.own,
            queue=False,
            **QUIET,
        )

    def _connect(self, page: gr.Blocks) -> None:
        form = components_of(self, EvaluateForm)
        buttons = [self.start, self.stop, self.export, self.earlier]
        outputs = [self.view, self.note, self.tables, self.figures, *buttons]
        page.load(self._ready, None, [*form, *buttons], **QUIET)
        submitted = self.start.click(self._submit, [self.view, *form], outputs, **QUIET)
        submitted.then(self._run, self.view, outputs, trigger_mode="multiple", **QUIET, **ON_DEVICE)
        self.stop.click(self._stop, self.view, outputs, **QUIET)
        self.earlier.input(self._open, [self.view, self.earlier], outputs, **QUIET)
        self.export.click(lambda view: view.export(), self.view, self.file, **QUIET).then(
            None, js=click("evaluate-file")
        )

    def _ready(self) -> dict:
        """Fills the form of a fresh page once the teacher is loaded."""
        try:
            self.session.load()
        except ValueError:  # the Compare tab says why
            return {self.start: gr.update(interactive=False)}
        from workbench.evaluation.metrics import FEATURES, METRICS, usual_metrics
        from workbench.evaluation.prompt_lists import NAMES
        from workbench.models.sampling import NOISES

        defaults = self.session.defaults
        return {
            self.models: gr.update(**self.session.model_choices()),
            self.teacher_steps: defaults.teacher_steps,
            self.guidance: defaults.guidance,
            self.prompt_list: gr.update(
                choices=[*NAMES, OWN], value="scenes" if self.session.embedded else "neutral"
            ),
            self.metrics: gr.update(
                choices=[(kind.title or name, name) for name, kind in METRICS.items()],
                value=list(usual_metrics(self.session.teacher)),
            ),
            self.features: gr.update(choices=list(FEATURES)),
            self.noise: gr.update(choices=list(NOISES), value=NOISES[0]),
            **self._buttons(None),
        }

    def _submit(self, view: EvaluationView | None, *values) -> dict:
        try:
            if view is not None and view.active:
                raise ValueError("an evaluation is running; stop it first")
            view = self._new_view(EvaluateForm(*values))
            return {
                self.view: view,
                self.note: note(view.message),
                self.tables: "",
                self.figures: [],
                **self._buttons(view),
            }
        except (ValueError, OSError) as error:
            return {self.note: note(str(error))}

    def _new_view(self, form: EvaluateForm) -> EvaluationView:
        """Raises ValueError for a form that makes no sense, OSError for a failed download."""
        from workbench.evaluation.evaluation import Evaluation
        from workbench.evaluation.prompt_lists import (
            kept,
            prompt_list,
            prompts_of_text,
        )
        from workbench.evaluation.request import EvaluationRequest
        from workbench.ui.evaluate_view import EvaluationView

        grid, limit, check = form.grid, int(form.limit or 0), self.session.load().rewrite
        prompts = (
            kept(OWN, prompts_of_text(form.own), limit, check)
            if form.prompt_list == OWN
            else prompt_list(form.prompt_list, limit, check)
        )
        request = EvaluationRequest(
            grid.models,
            prompts,
            tuple(range(int(form.seeds))),
            tuple(form.metrics),
            tuple(form.features),
            form.noise,
            teacher=self.session.teacher,
        )
        folder = self._folder / request.default_folder(self.session.load().parts)
        evaluation = Evaluation(folder, request)
        return EvaluationView(evaluation, self.session.model_loader(grid))

    def _run(self, view: EvaluationView | None) -> Iterator[dict]:
        yield gr.skip()  # gradio empties the outputs of a generator that yields nothing
        if view is None or view.state is not State.WAITING:
            return
        shown_at = 0.0
        try:
            for _ in view.advance(self.session.load(), self.session.device):
                if time.monotonic() - shown_at > SHOW_EVERY:
                    yield {self.note: note(view.message), **self._buttons(view)}
                    shown_at = time.monotonic()
            yield self._report(view)
        except Exception as error:  # whatever it is, the page must not be left waiting
            view.state = State.FAILED
            yield {self.note: note(f"The evaluation ended early: {error}"), **self._buttons(view)}

    def _report(self, view: EvaluationView) -> dict:
        view.report()
        return {
            self.note: note(view.message),
            self.tables: view.tables,
            self.figures: figures_json(view.figures),
            **self._buttons(view),
        }

    def _stop(self, view: EvaluationView | None) -> dict:
        if view is None:
            return {self.stop: gr.update(interactive=False)}
        view.stop()
        # while it is active, `_run` has the buttons
        return {self.note: note(view.message), **({} if view.active else self._buttons(view))}

    def _open(self, view: EvaluationView | None, folder: str) -> dict:
        from workbench.evaluation.evaluation import Evaluation
        from workbench.ui.evaluate_view import EvaluationView

        try:
            if not folder:
                return {}
            if folder not in (path for _, path in earlier_evaluations(self._folder)):
                raise ValueError("this evaluation no longer exists")
            view = EvaluationView(Evaluation.open(folder))
            return {self.view: view, **self._report(view)}
        except (ValueError, RuntimeError, OSError) as error:
            return {self.note: note(str(error))}

    def _buttons(self, view: EvaluationView | None) -> dict:
        active = view is not None and view.active
        exportable = view is not None and not active and bool(view.results)
        return {
            self.start: gr.update(interactive=not active),
            self.stop: gr.update(interactive=active),
            self.export: gr.update(interactive=exportable),
            self.earlier: gr.update(
                choices=earlier_evaluations(self._folder), value="", interactive=not active
            ),
        }


def earlier_evaluations(folder: Path) -> list[tuple[str, str]]:
    """The choices of the list of evaluations in a folder: its title, then (name, path) of each,
    newest first.
    """
    files = sorted(folder.glob("*/evaluation.json"), key=lambda path: -path.stat().st_mtime)
    return [
        ("Earlier evaluations …", ""),
        *((path.parent.name, str(path.parent)) for path in files),
    ]
