"""The tab "Compare": teacher and students side by side, over prompts and seeds, from the same
noise.

A form becomes a `GridRequest`, that a `GridView` in the session's state, and `generate_grid` fills
it while the page watches. A link takes the same way from its query string.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import gradio as gr

from workbench.grid.generate import generate_grid
from workbench.grid.request import MAX_GUIDANCE, MAX_STEPS, GridRequest, check_request
from workbench.io.notation import TEACHER, format_seeds
from workbench.metrics.lite0 import Lite0
from workbench.scenes.grammar import EXAMPLES
from workbench.ui.grid_view import GridView, grid_component
from workbench.ui.parts import QUIET, click, note
from workbench.ui.session import ON_DEVICE, Session

EXPLAINED = (
    "Every column starts from the **same noise**: read **down** a column to see what distillation "
    "changed, **along** a "
    "row to see how much a model varies from seed to seed. *Div* measures that: 0 for identical "
    "images, larger for more "
    "variety."
)
SHOW_EVERY = 0.1  # seconds between two looks at the grid while it is painted
COPY_LINK = """async () => { const link = document.querySelector('#grid [data-root]').dataset.link;
  try { await navigator.clipboard.writeText(link); } catch { window.prompt('The link to this grid:', link); } }"""


class CompareTab:
    """The tab's components and what they do; built inside a `gr.Tab` of `page`."""

    def __init__(self, page: gr.Blocks, place: Session):
        self.place = place
        gr.Markdown(EXPLAINED, elem_classes="wb-explained")
        self._build_form(place.defaults)
        self._build_actions()
        self.note = gr.HTML("", elem_id="note", elem_classes="wb-note-box", visible=False)
        self.grid = grid_component()
        self.view = gr.State(None, delete_callback=lambda view: view and view.close())
        self._connect(page)

    # ---- what is on the tab

    def _build_form(self, defaults: GridRequest) -> None:
        with gr.Row(equal_height=True, elem_classes="wb-form"):
            with gr.Column(scale=5, min_width=260):
                self.prompts = gr.Textbox(
                    "\n".join(defaults.prompts),
                    label="Prompts, one a line",
                    lines=3,
                    max_lines=8,
                    elem_id="prompts",
                )
                texts = self.place.examples
                self.examples = gr.Dataset(
                    components=[self.prompts],
                    samples=[[text] for text in texts],
                    label="Example prompts",
                    show_label=False,
                    layout="gallery",
                    samples_per_page=len(EXAMPLES),
                    elem_id="examples",
                )
            with gr.Column(scale=4, min_width=260):
                self.refresh = gr.Button("Refresh", elem_id="refresh")
                self.models = gr.CheckboxGroup(
                    **self.place.model_choices(), buttons=[self.refresh], elem_id="models"
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
        with gr.Row(elem_classes="wb-actions"):
            self.paint = gr.Button(
                "Paint grid", variant="primary", size="md", interactive=False, elem_id="paint"
            )
            self.stop = gr.Button(
                "Stop", variant="stop", size="md", interactive=False, elem_id="stop"
            )
            self.png = gr.Button("Export PNG", size="md", interactive=False, elem_id="export-png")
            self.zip = gr.Button("Export ZIP", size="md", interactive=False, elem_id="export-zip")
            self.link = gr.Button("Copy link", size="md", interactive=False, elem_id="copy-link")
        self.file = gr.DownloadButton(visible="hidden", elem_id="export-file")

    def _names(self) -> list[str]:
        return [TEACHER, *self.place.students()]

    @property
    def _form(self) -> list:
        return [
            self.prompts,
            self.seeds,
            self.models,
            self.teacher_steps,
            self.guidance,
            self.student_steps,
        ]

    # ---- what happens

    def _connect(self, page: gr.Blocks) -> None:
        shown = [
            self.view,
            self.grid,
            self.note,
            self.paint,
            self.stop,
            self.png,
            self.zip,
            self.link,
        ]
        asked = self.paint.click(self._ask, [self.view, *self._form], shown, **QUIET)
        loaded = page.load(self._await_teacher, None, self.note, **QUIET)
        opened = loaded.then(self._open_link, None, [*self._form, self.examples, *shown], **QUIET)
        for event in (asked, opened):
            event.then(self._run, self.view, shown, trigger_mode="multiple", **QUIET, **ON_DEVICE)
        self.stop.click(
            self._stop, self.view, shown, **QUIET
        )  # no `cancels`: a late message would leave the page waiting for ever
        self.refresh.click(
            lambda chosen: gr.update(**self.place.model_choices(chosen)),
            self.models,
            self.models,
            **QUIET,
        )
        for button, kind in ((self.png, "png"), (self.zip, "zip")):
            button.click(
                lambda view, kind=kind: view.export(kind), self.view, self.file, **QUIET
            ).then(None, js=click("export-file"))
        self.link.click(
            lambda: gr.Info("The link is copied. It makes this grid again.", duration=4),
            js=COPY_LINK,
            **QUIET,
        )

    def _ask(
        self,
        view: GridView | None,
        prompts: str,
        seeds: str,
        models: list[str],
        teacher_steps: int,
        guidance: float,
        student_steps: int,
    ) -> dict:
        try:
            request = GridRequest.from_form(
                prompts,
                seeds,
                models,
                teacher_steps=teacher_steps,
                guidance=guidance,
                student_steps=student_steps or None,
            )
            return self._begin(view, request)
        except (ValueError, OSError) as error:
            return {self.note: note(str(error))}

    def _await_teacher(self) -> Iterator[dict]:
        """Tells how the loading of a large teacher goes; an embedded one is there before anyone
        could read it.
        """
        begun = time.monotonic()
        while not self.place.settled:
            waited = time.monotonic() - begun
            if waited > 2:
                size = self.place.size or "its size is not known"
                yield note(
                    f"Loading {self.place.teacher} ({size}), {waited:.0f} s so far. The terminal "
                    "shows downloads."
                )
            time.sleep(0.5)
        yield note("")

    def _open_link(self, request: gr.Request) -> dict:
        """A fresh page, ready from here on: the models there are now; and for a link, its form
        filled and its grid begun.
        """
        problem = self._missing()  # waits for the teacher
        updates = {
            self.models: gr.update(**self.place.model_choices()),
            self.paint: gr.update(interactive=True),
            self.note: note(problem),
        }
        if self.place.problem:  # it is another than the form was made for
            defaults, samples = self.place.defaults, [[text] for text in self.place.examples]
            updates |= {
                self.prompts: "\n".join(defaults.prompts),
                self.examples: gr.Dataset(samples=samples),
                self.teacher_steps: defaults.teacher_steps,
                self.guidance: defaults.guidance,
            }
        try:
            asked = GridRequest.from_query(str(request.request.query_params))
            if asked is None:
                return updates
            updates |= dict(
                zip(
                    self._form,
                    (
                        "\n".join(asked.prompts),
                        format_seeds(asked.seeds),
                        gr.update(**self.place.model_choices(list(asked.models))),
                        asked.teacher_steps,
                        asked.guidance,
                        asked.student_steps or 0,
                    ),
                )
            )
            return updates | self._begin(None, asked)
        except (ValueError, OSError) as error:
            return updates | {self.note: note(str(error))}

    def _begin(self, view: GridView | None, request: GridRequest) -> dict:
        check_request(request, self._names(), self.place.check_prompt)
        if view is not None:
            view.close()
        view = GridView(request, self.place.device)
        return {self.view: view, self.grid: view.json, self.note: note(""), **self._buttons(view)}

    def _run(self, view: GridView | None) -> Iterator[dict]:
        yield gr.skip()  # gradio empties the outputs of a generator that yields nothing
        if view is None or view.status != "waiting":
            return
        try:
            yield from self._watched(view)
        except Exception as error:  # whatever it is, the page must not be left waiting
            view.finish("failed")
            yield {
                self.grid: view.json,
                self.note: note(f"The grid ended early: {error}"),
                **self._buttons(view),
            }

    def _watched(self, view: GridView) -> Iterator[dict]:
        """Paints; shows the grid now and then, and at its end. The buttons each time: gradio
        repeats a run's last outputs when it ends, which may overtake the answer to the next click.
        """
        backend, shown_at = self.place.backend, 0.0
        open_model = self.place.opener(view.grid.request)
        for event in generate_grid(
            view.grid.request,
            backend,
            open_model,
            feature=partial(Lite0.load, device=self.place.device),
        ):
            if not view.going:
                break
            view.add(event)
            if time.monotonic() - shown_at > SHOW_EVERY:
                yield {self.grid: view.json, **self._buttons(view)}
                shown_at = time.monotonic()
        view.finish("done" if view.going else "stopped")
        yield {self.grid: view.json, **self._buttons(view)}

    def _stop(self, view: GridView | None) -> dict:
        """Asks the painting to end, which it does after the sampling step in progress; it then
        tells the page itself.
        """
        if view is None or not view.open:
            return {self.stop: gr.update(interactive=False)}
        view.stop()
        return {
            self.grid: view.json,
            **({} if view.open else self._buttons(view)),
        }  # while it is open, `_run` has the buttons

    def _buttons(self, view: GridView) -> dict:
        """Which buttons can be pressed: to stop while it is painted, to export what there is when
        it is not.
        """
        there = not view.open and bool(view.grid.cells)
        return {
            self.paint: gr.update(interactive=not view.open),
            self.stop: gr.update(interactive=view.open),
            self.png: gr.update(interactive=there),
            self.zip: gr.update(interactive=there),
            self.link: gr.update(interactive=True),
        }

    def _missing(self) -> str:
        """What the workplace lacks, and the way out; empty when nothing is."""
        try:
            self.place.backend
        except ValueError as error:
            return str(error)
        if self.place.problem:
            return self.place.problem
        if not self.place.students():
            return (
                "There are no students yet, so only the teacher can be painted. Distil one into "
                "the folder "
                f"“{self.place.runs}” and press “Refresh models”."
            )
        return ""
