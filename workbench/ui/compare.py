"""The tab "Compare": teacher and students side by side, over prompts and seeds, from the same
noise.

A form becomes a `GridRequest`, which becomes a `GridView` in the session's state; `generate_grid`
fills it while the page watches. A link starts the same way from its query string.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from workbench.grid.request import MAX_GUIDANCE, MAX_STEPS, GridRequest, check_request
from workbench.io.notation import TEACHER, format_seeds
from workbench.scenes.grammar import EXAMPLES
from workbench.ui.job import State
from workbench.ui.parts import FOLDER, QUIET, click, components_of, note
from workbench.ui.session import ON_DEVICE, Session

if TYPE_CHECKING:
    from workbench.ui.grid_view import GridView

INTRODUCTION = (
    "Every column starts from the **same noise**: read **down** a column to see what distillation "
    "changed, and **along** a row to see how much a model varies from seed to seed. *Div* measures "
    "that: 0 for identical images, larger for more variety."
)
SHOW_EVERY = 0.1  # seconds between two updates of a running grid
GRID_SCRIPT = (Path(__file__).with_name("static") / "grid.js").read_text()
COPY_LINK = """async () => {
  const link = document.querySelector('#grid [data-root]').dataset.link;
  try { await navigator.clipboard.writeText(link); }
  catch { window.prompt('The link to this grid:', link); }
}"""


@dataclass(frozen=True)
class CompareForm:
    """The values of the tab's form; each field is a component of `CompareTab`."""

    prompts: str
    seeds: str
    models: list[str]
    teacher_steps: int
    guidance: float
    student_steps: int  # 0: as trained

    @property
    def request(self) -> GridRequest:
        """Raises ValueError for values outside the limits."""
        return GridRequest.from_form(
            self.prompts,
            self.seeds,
            self.models,
            teacher_steps=self.teacher_steps,
            guidance=self.guidance,
            student_steps=self.student_steps or None,
        )


def grid_component() -> gr.HTML:
    """The gr.HTML whose value is a `GridView.json`, drawn by grid.js and styled by grid.css."""
    gr.set_static_paths(FOLDER)
    return gr.HTML(
        {"status": "empty"},
        html_template='<div class="wb-grid" data-root></div>',
        js_on_load=GRID_SCRIPT,
        apply_default_css=False,
        elem_id="grid",
        label="Seed grid",
    )


class CompareTab:
    """The tab's components and listeners; built inside a `gr.Tab` of `page`."""

    def __init__(self, page: gr.Blocks, session: Session):
        self.session = session
        gr.Markdown(INTRODUCTION, elem_classes="wb-introduction")
        self._build_form(session.defaults)
        self._build_actions()
        self.note = gr.HTML("", elem_id="note", elem_classes="wb-note-box", visible=False)
        self.grid = grid_component()
        self.view = gr.State(None, delete_callback=lambda view: view and view.close())
        self._connect(page)

    def _build_form(self, defaults: GridRequest) -> None:
        with gr.Row(equal_height=True, elem_classes="wb-form"):
            with gr.Column(scale=5, min_width=260):
                self.prompts = gr.Textbox(
                    "\n".join(defaults.prompts),
                    label="Prompts, one per line",
                    lines=3,
                    max_lines=8,
                    elem_id="prompts",
                )
                self.examples = gr.Dataset(
                    components=[self.prompts],
                    samples=[[text] for text in self.session.examples],
                    label="Example prompts",
                    show_label=False,
                    layout="gallery",
                    samples_per_page=len(EXAMPLES),
                    elem_id="examples",
                )
            with gr.Column(scale=4, min_width=260):
                self.refresh = gr.Button("Refresh", elem_id="refresh")
                self.models = gr.CheckboxGroup(
                    **self.session.model_choices(), buttons=[self.refresh], elem_id="models"
                )
                self.seeds = gr.Textbox(
                    format_seeds(defaults.seeds),
                    label="Seeds, such as 0-8 or 0, 3, 7",
                    max_lines=1,
                    elem_id="seeds",
                )
            with gr.Column(scale=4, min_width=260):
                self.teacher_steps = gr.Slider(
                    1, MAX_STEPS, defaults.teacher_steps, step=1, label="Teacher steps", precision=0
                )
                self.guidance = gr.Slider(
                    0, MAX_GUIDANCE, defaults.guidance, step=0.1, label="Teacher CFG (1 is off)"
                )
                self.student_steps = gr.Slider(
                    0,
                    MAX_STEPS,
                    defaults.student_steps or 0,
                    step=1,
                    precision=0,
                    label="Student steps (0: as trained)",
                )
        self.examples.click(
            lambda sample: sample[0], self.examples, self.prompts, queue=False, **QUIET
        )

    def _build_actions(self) -> None:
        button = partial(gr.Button, size="md", interactive=False)
        with gr.Row(elem_classes="wb-actions"):
            self.start = button("Generate grid", variant="primary", elem_id="generate")
            self.stop = button("Stop", variant="stop", elem_id="stop")
            self.png = button("Export PNG", elem_id="export-png")
            self.zip = button("Export ZIP", elem_id="export-zip")
            self.link = button("Copy link", elem_id="copy-link")
        self.file = gr.DownloadButton(visible="hidden", elem_id="export-file")

    def _connect(self, page: gr.Blocks) -> None:
        form = components_of(self, CompareForm)
        buttons = [self.start, self.stop, self.png, self.zip, self.link]
        outputs = [self.view, self.grid, self.note, *buttons]
        submitted = self.start.click(self._submit, [self.view, *form], outputs, **QUIET)
        loaded = page.load(self._await_teacher, None, self.note, **QUIET)
        opened = loaded.then(self._open_link, None, [*form, self.examples, *outputs], **QUIET)
        for event in (submitted, opened):
            event.then(self._run, self.view, outputs, trigger_mode="multiple", **QUIET, **ON_DEVICE)
        # no `cancels`: a late message would leave the page waiting forever
        self.stop.click(self._stop, self.view, outputs, **QUIET)
        self.refresh.click(
            lambda chosen: gr.update(**self.session.model_choices(chosen)),
            self.models,
            self.models,
            **QUIET,
        )
        for button, kind in ((self.png, "png"), (self.zip, "zip")):
            button.click(
                lambda view, kind=kind: view.export(kind), self.view, self.file, **QUIET
            ).then(None, js=click("export-file"))
        self.link.click(
            lambda: gr.Info("The link is copied. It recreates this grid.", duration=4),
            js=COPY_LINK,
            **QUIET,
        )

    def _submit(self, view: GridView | None, *values) -> dict:
        try:
            return self._begin(view, CompareForm(*values).request)
        except (ValueError, OSError) as error:
            return {self.note: note(str(error))}

    def _await_teacher(self) -> Iterator[dict]:
        """Reports that the teacher is being loaded, if that takes a while."""
        begun = time.monotonic()
        while not self.session.settled:
            waited = time.monotonic() - begun
            if waited > 2:
                yield note(f"Loading {self._teacher_text()}, {waited:.0f} s so far.")
            time.sleep(0.2)
        yield note("")

    def _teacher_text(self) -> str:
        if self.session.embedded:
            return "the embedded teacher"
        size = self.session.size or "its size is not known"
        return f"{self.session.teacher} ({size}; the terminal shows downloads)"

    def _open_link(self, request: gr.Request) -> dict:
        """Prepares a fresh page: the current models, and for a link, its form and its grid."""
        problem = self._problem()  # waits for the teacher
        updates = {
            self.models: gr.update(**self.session.model_choices()),
            self.start: gr.update(interactive=True),
            self.note: note(problem),
        }
        if self.session.problem:  # another teacher than the form was built for
            defaults, samples = self.session.defaults, [[text] for text in self.session.examples]
            updates |= {
                self.prompts: "\n".join(defaults.prompts),
                self.examples: gr.Dataset(samples=samples),
                self.teacher_steps: defaults.teacher_steps,
                self.guidance: defaults.guidance,
            }
        try:
            linked = GridRequest.from_query(str(request.request.query_params))
            if linked is None:
                return updates
            updates |= self._filled(linked)
            return updates | self._begin(None, linked)
        except (ValueError, OSError) as error:
            return updates | {self.note: note(str(error))}

    def _filled(self, request: GridRequest) -> dict:
        """The form with a request's values."""
        return {
            self.prompts: "\n".join(request.prompts),
            self.seeds: format_seeds(request.seeds),
            self.models: gr.update(**self.session.model_choices(list(request.models))),
            self.teacher_steps: request.teacher_steps,
            self.guidance: request.guidance,
            self.student_steps: request.student_steps or 0,
        }

    def _begin(self, view: GridView | None, request: GridRequest) -> dict:
        from workbench.ui.grid_view import GridView

        models = [TEACHER, *self.session.students()]
        check_request(request, models, self.session.check_prompt)
        if view is not None:
            view.close()
        view = GridView(request, self.session.device)
        return {self.view: view, self.grid: view.json, self.note: note(""), **self._buttons(view)}

    def _run(self, view: GridView | None) -> Iterator[dict]:
        yield gr.skip()  # gradio empties the outputs of a generator that yields nothing
        if view is None or view.state is not State.WAITING:
            return
        try:
            yield from self._generate(view)
        except Exception as error:  # whatever it is, the page must not be left waiting
            view.state = State.FAILED
            yield {
                self.grid: view.json,
                self.note: note(f"The grid ended early: {error}"),
                **self._buttons(view),
            }

    def _generate(self, view: GridView) -> Iterator[dict]:
        """Generates; shows the grid every `SHOW_EVERY` seconds and at its end. The buttons each
        time: gradio repeats a run's last outputs when it ends, which may overtake the response to
        the next click.
        """
        from workbench.grid.generate import generate_grid
        from workbench.metrics.lite0 import Lite0

        request, shown_at = view.grid.request, 0.0
        for event in generate_grid(
            request,
            self.session.load(),
            self.session.model_loader(request),
            feature=partial(Lite0.load, device=self.session.device),
        ):
            if not view.wanted:
                break
            view.add(event)
            if time.monotonic() - shown_at > SHOW_EVERY:
                yield {self.grid: view.json, **self._buttons(view)}
                shown_at = time.monotonic()
        view.finish()
        yield {self.grid: view.json, **self._buttons(view)}

    def _stop(self, view: GridView | None) -> dict:
        """Ends the grid after the current sampling step; `_run` then updates the page."""
        if view is None or not view.active:
            return {self.stop: gr.update(interactive=False)}
        view.stop()
        # while it is active, `_run` has the buttons
        return {self.grid: view.json, **({} if view.active else self._buttons(view))}

    def _buttons(self, view: GridView) -> dict:
        """The buttons that can be pressed: stop while it is active, export once it has ended."""
        exportable = not view.active and bool(view.grid.cells)
        return {
            self.start: gr.update(interactive=not view.active),
            self.stop: gr.update(interactive=view.active),
            self.png: gr.update(interactive=exportable),
            self.zip: gr.update(interactive=exportable),
            self.link: gr.update(interactive=True),
        }

    def _problem(self) -> str:
        """What the session lacks, and the way out; empty if nothing."""
        try:
            self.session.load()
        except ValueError as error:
            return str(error)
        if self.session.problem:
            return self.session.problem
        if not self.session.students():
            return (
                "There are no students yet, so only the teacher can be sampled. Distil one into "
                f"the folder “{self.session.runs}” and press “Refresh”."
            )
        return ""
