"""The tab "Evaluate": models on a list of prompts: tables, figures and a report."""

from __future__ import annotations

import time
from collections.abc import Iterator

import gradio as gr

from workbench.evaluation.evaluation import Evaluation
from workbench.evaluation.metrics import FEATURES, METRICS, usual_metrics
from workbench.evaluation.prompt_lists import NAMES, folder_name, kept, prompt_list, prompts_of_text
from workbench.evaluation.request import EvaluationRequest
from workbench.grid.request import MAX_GUIDANCE, MAX_STEPS, GridRequest
from workbench.models.embedded import EMBEDDED
from workbench.models.sampling import NOISES
from workbench.ui.evaluate_view import EvaluationView, earlier
from workbench.ui.figure_view import figures_component, figures_json
from workbench.ui.parts import QUIET, click, note
from workbench.ui.session import ON_DEVICE, Session

EXPLAINED = (
    "Every number carries its protocol and an interval over prompts. Images are kept: what is "
    "there is not made again, so an evaluation "
    "goes on where it was stopped, and further metrics cost no sampling."
)
OWN = "own prompts"
SHOW_EVERY = 0.3  # seconds between two looks at the progress


class EvaluateTab:
    """The tab's components and what they do; built inside a `gr.Tab` of `page`."""

    def __init__(self, page: gr.Blocks, place: Session):
        self.place, self._folder = place, place.runs.parent / "evaluations"
        gr.Markdown(EXPLAINED, elem_classes="wb-explained")
        self._build_form(place.defaults)
        with gr.Row(elem_classes="wb-actions"):
            self.start = gr.Button(
                "Evaluate", variant="primary", size="md", interactive=False, elem_id="evaluate"
            )
            self.stop = gr.Button(
                "Stop", variant="stop", size="md", interactive=False, elem_id="evaluate-stop"
            )
            self.export = gr.Button(
                "Export report", size="md", interactive=False, elem_id="evaluate-export"
            )
            self.earlier = gr.Dropdown(
                earlier(self._folder),
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

    # ---- what is on the tab

    def _build_form(self, defaults: GridRequest) -> None:
        embedded = self.place.teacher in EMBEDDED
        with gr.Row(equal_height=True, elem_classes="wb-form"):
            with gr.Column(scale=4, min_width=260):
                self.models = gr.CheckboxGroup(
                    **self.place.model_choices(), elem_id="evaluate-models"
                )
                self.list = gr.Dropdown(
                    [*NAMES, OWN],
                    value="scenes" if embedded else "neutral",
                    label="Prompts",
                    elem_id="evaluate-list",
                )
                self.own = gr.Textbox(
                    "",
                    label="Own prompts, one a line",
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
                self.metrics = gr.CheckboxGroup(
                    [(kind.title or name, name) for name, kind in METRICS.items()],
                    value=list(usual_metrics(self.place.teacher)),
                    label="Metrics",
                    elem_id="evaluate-metrics",
                )
                self.features = gr.Dropdown(
                    list(FEATURES),
                    value=["lite0"],
                    multiselect=True,
                    label="Features (all but lite0 are downloaded)",
                    elem_id="evaluate-features",
                )
            with gr.Column(scale=4, min_width=260):
                self.seeds = gr.Slider(2, 16, 9, step=1, label="Seeds a prompt (S)", precision=0)
                self.noise = gr.Radio(
                    list(NOISES), value=NOISES[0], label="Noise", elem_id="evaluate-noise"
                )
                self.teacher_steps = gr.Slider(
                    1, MAX_STEPS, defaults.teacher_steps, step=1, label="Teacher steps", precision=0
                )
                self.guidance = gr.Slider(
                    0, MAX_GUIDANCE, defaults.guidance, step=0.1, label="Teacher CFG (1 is off)"
                )
        self.list.change(
            lambda name: gr.update(visible=name == OWN), self.list, self.own, queue=False, **QUIET
        )

    # ---- what happens

    def _connect(self, page: gr.Blocks) -> None:
        self._buttons_of = [self.start, self.stop, self.export, self.earlier]
        shown = [self.view, self.note, self.tables, self.figures, *self._buttons_of]
        form = [
            self.models,
            self.list,
            self.own,
            self.limit,
            self.metrics,
            self.features,
            self.seeds,
            self.noise,
            self.teacher_steps,
            self.guidance,
        ]
        page.load(self._ready, None, [*form, *self._buttons_of], **QUIET)
        asked = self.start.click(self._ask, [self.view, *form], shown, **QUIET)
        asked.then(self._run, self.view, shown, trigger_mode="multiple", **QUIET, **ON_DEVICE)
        self.stop.click(self._stop, self.view, shown, **QUIET)
        self.earlier.input(self._open, [self.view, self.earlier], shown, **QUIET)
        self.export.click(lambda view: view.export(), self.view, self.file, **QUIET).then(
            None, js=click("evaluate-file")
        )

    def _ready(self) -> dict:
        """A fresh page, when the teacher is there."""
        try:
            self.place.backend
        except ValueError:  # the Compare tab says why
            return {self.start: gr.update(interactive=False)}
        defaults = self.place.defaults
        return {
            self.models: gr.update(**self.place.model_choices()),
            self.teacher_steps: defaults.teacher_steps,
            self.guidance: defaults.guidance,
            self.list: "scenes" if self.place.teacher in EMBEDDED else "neutral",
            self.metrics: list(usual_metrics(self.place.teacher)),
            **self._buttons(None),
        }

    def _ask(
        self,
        view: EvaluationView | None,
        models: list[str],
        listed: str,
        own: str,
        limit: float,
        metrics: list[str],
        features: list[str],
        seeds: float,
        noise: str,
        teacher_steps: int,
        guidance: float,
    ) -> dict:
        try:
            if view is not None and view.going:
                raise ValueError("an evaluation is going on; stop it first")
            asked = GridRequest(
                models=tuple(models), teacher_steps=int(teacher_steps), guidance=float(guidance)
            )
            check = self.place.backend.rewrite
            prompts = (
                kept(OWN, prompts_of_text(own), int(limit or 0), check)
                if listed == OWN
                else prompt_list(listed, int(limit or 0), check)
            )
            request = EvaluationRequest(
                asked.models,
                prompts,
                tuple(range(int(seeds))),
                tuple(metrics),
                tuple(features),
                noise,
                teacher=self.place.teacher,
            )
            view = EvaluationView(
                Evaluation(self._folder / folder_name(prompts), request), self.place.opener(asked)
            )
            return {
                self.view: view,
                self.note: note(view.message),
                self.tables: "",
                self.figures: [],
                **self._buttons(view),
            }
        except (ValueError, OSError) as error:
            return {self.note: note(str(error))}

    def _run(self, view: EvaluationView | None) -> Iterator[dict]:
        yield gr.skip()  # gradio empties the outputs of a generator that yields nothing
        if view is None or view.status != "waiting":
            return
        shown_at = 0.0
        try:
            for _ in view.advance(self.place.backend, self.place.device):
                if time.monotonic() - shown_at > SHOW_EVERY:
                    yield {self.note: note(view.message), **self._buttons(view)}
                    shown_at = time.monotonic()
            yield self._result(view)
        except Exception as error:  # whatever it is, the page must not be left waiting
            view.status = "stopped"
            yield {self.note: note(f"It ended early: {error}"), **self._buttons(view)}

    def _result(self, view: EvaluationView) -> dict:
        view.finish()
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
        return {
            self.note: note(view.message),
            **({} if view.going else self._buttons(view)),
        }  # while it goes, `_run` has the buttons

    def _open(self, view: EvaluationView | None, folder: str) -> dict:
        try:
            if not folder:
                return {}
            if folder not in (path for _, path in earlier(self._folder)):
                raise ValueError("this evaluation is not there any more")
            view = EvaluationView(Evaluation.open(folder))
            return {self.view: view, **self._result(view)}
        except (ValueError, RuntimeError, OSError) as error:
            return {self.note: note(str(error))}

    def _buttons(self, view: EvaluationView | None) -> dict:
        going = view is not None and view.going
        return {
            self.start: gr.update(interactive=not going),
            self.stop: gr.update(interactive=going),
            self.export: gr.update(
                interactive=view is not None and not going and bool(view.results)
            ),
            self.earlier: gr.update(choices=earlier(self._folder), value="", interactive=not going),
        }
