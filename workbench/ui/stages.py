"""The tab "Stages": what each denoising step decides, for one prompt: the strip, the curves, the
swap test and the gradients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import TYPE_CHECKING

import gradio as gr

from workbench.grid.request import MAX_GUIDANCE, MAX_STEPS, GridRequest, check_request
from workbench.io.notation import TEACHER, format_seeds
from workbench.ui.figure_view import figures_component, figures_json
from workbench.ui.job import State
from workbench.ui.parts import QUIET, click, components_of, note
from workbench.ui.session import ON_DEVICE, Session

if TYPE_CHECKING:
    from workbench.stages.gradient_probe import Probed
    from workbench.stages.trajectory import Trajectory
    from workbench.ui.stages_view import StagesView

INTRODUCTION = (
    "**x0** is a model's estimate, at each step, of the finished image. The *strip* shows it for "
    "every seed; the *curves* show when it is settled and what later steps still decide; the "
    "*swap test* gives the first steps to one model and the rest to another; the *gradients* show "
    "what trains each step."
)
GRADIENTS = (
    "**Gradients**: which term of DMD, of DP-DMD, and of DP-DMD without its gradient stop (Figure "
    "5) reaches which step of a student. A student without a fake network first gets one, fitted "
    "to its samples."
)
TITLES = {"strip": "Strip", "curves": "Curves", "swap": "Swap test"}


@dataclass(frozen=True)
class StagesForm:
    """The values of the tab's form; each field is a component of `StagesTab`."""

    prompt: str
    seeds: str
    models: list[str]
    teacher_steps: int
    guidance: float
    parts: list[str]
    branches: int

    @property
    def request(self) -> GridRequest:
        """Raises ValueError for values outside the limits."""
        return GridRequest.from_form(
            self.prompt,
            self.seeds,
            self.models,
            teacher_steps=self.teacher_steps,
            guidance=self.guidance,
        )


class StagesTab:
    """The tab's components and listeners; built inside a `gr.Tab` of `page`."""

    def __init__(self, page: gr.Blocks, session: Session):
        self.session = session
        gr.Markdown(INTRODUCTION, elem_classes="wb-introduction")
        self._build_form(session.defaults)
        button = partial(gr.Button, size="md", interactive=False)
        with gr.Row(elem_classes="wb-actions"):
            self.start = button("Analyse", variant="primary", elem_id="analyse")
            self.stop = button("Stop", variant="stop", elem_id="stages-stop")
            self.resume = button("Resume", elem_id="stages-resume")
            self.export = button("Export ZIP", elem_id="stages-export")
            self.open = gr.UploadButton(
                "Open …",
                size="md",
                interactive=False,
                file_types=[".zip", ".safetensors"],
                elem_id="stages-open",
            )
        self.file = gr.DownloadButton(visible="hidden", elem_id="stages-file")
        self.note = gr.HTML("", elem_id="stages-note", elem_classes="wb-note-box", visible=False)
        self.sections = {
            name: figures_component(f"stages-{name}", title) for name, title in TITLES.items()
        }
        self._build_gradients()
        self.view = gr.State(None, delete_callback=lambda view: view and view.close())
        self.probed, self.halt = gr.State([]), gr.State(None)
        self._connect(page)

    def _build_form(self, defaults: GridRequest) -> None:
        with gr.Row(equal_height=True, elem_classes="wb-form"):
            with gr.Column(scale=5, min_width=260):
                self.prompt = gr.Textbox(
                    defaults.prompts[0], label="Prompt", max_lines=1, elem_id="stages-prompt"
                )
                self.seeds = gr.Textbox(
                    format_seeds(defaults.seeds),
                    label="Seeds, such as 0-8 or 0, 3, 7",
                    max_lines=1,
                    elem_id="stages-seeds",
                )
            with gr.Column(scale=4, min_width=260):
                self.models = gr.CheckboxGroup(
                    **self.session.model_choices(), elem_id="stages-models"
                )
                self.parts = gr.CheckboxGroup(
                    [("Branching", "branching"), ("Swap test", "swap")],
                    value=["branching", "swap"],
                    label="In addition to the strip",
                    elem_id="stages-parts",
                )
            with gr.Column(scale=4, min_width=260):
                self.teacher_steps = gr.Slider(
                    1, MAX_STEPS, defaults.teacher_steps, step=1, label="Teacher steps", precision=0
                )
                self.guidance = gr.Slider(
                    0, MAX_GUIDANCE, defaults.guidance, step=0.1, label="Teacher CFG (1 is off)"
                )
                self.branches = gr.Slider(
                    2, 12, 4, step=1, label="Branches of each of 6 seeds", precision=0
                )

    def _build_gradients(self) -> None:
        gr.Markdown(GRADIENTS, elem_classes="wb-introduction")
        with gr.Row(elem_classes="wb-actions"):
            self.student = gr.Dropdown(
                [],
                label="Student",
                container=False,
                elem_id="gradient-student",
                scale=0,
                min_width=220,
            )
            self.measure = gr.Button(
                "Measure gradients", size="md", interactive=False, elem_id="measure"
            )
        self.gradients = figures_component("stages-gradients", "Gradients")

    def _connect(self, page: gr.Blocks) -> None:
        self._button_list = [
            self.start,
            self.stop,
            self.resume,
            self.export,
            self.open,
            self.measure,
        ]
        outputs = [self.view, self.note, *self._button_list, *self.sections.values()]
        form = components_of(self, StagesForm)
        page.load(self._ready, None, [*form, self.student, *self._button_list], **QUIET)
        submitted = self.start.click(self._submit, [self.view, *form], outputs, **QUIET)
        resumed = self.resume.click(self._resume, self.view, outputs, **QUIET)
        opened = self.open.upload(
            self._open,
            [self.view, self.open, *form],
            [*outputs, self.prompt, self.seeds],
            **QUIET,
        )
        for event in (submitted, resumed, opened):
            event.then(self._run, self.view, outputs, trigger_mode="multiple", **QUIET, **ON_DEVICE)
        self.stop.click(self._stop, [self.view, self.halt], outputs, **QUIET)
        self.export.click(
            lambda view, probed: view.export(probed), [self.view, self.probed], self.file, **QUIET
        ).then(None, js=click("stages-file"))
        self.measure.click(Event, None, self.halt, **QUIET).then(
            self._measure,
            [self.view, self.probed, self.halt, self.student, self.prompt],
            [self.note, self.probed, *self._button_list, self.gradients],
            **QUIET,
            **ON_DEVICE,
        )

    def _ready(self) -> dict:
        """Fills the form of a fresh page once the teacher is loaded."""
        try:
            self.session.load()
        except ValueError:  # the Compare tab says why
            return {self.start: gr.update(interactive=False)}
        defaults, students = self.session.defaults, list(self.session.students())
        return {
            self.prompt: defaults.prompts[0],
            self.teacher_steps: defaults.teacher_steps,
            self.guidance: defaults.guidance,
            self.models: gr.update(**self.session.model_choices()),
            self.student: gr.update(
                choices=students,
                value="dp-dmd" if "dp-dmd" in students else next(iter(students), None),
            ),
            **self._buttons(None),
        }

    def _submit(self, view: StagesView | None, *values) -> dict:
        try:
            form = StagesForm(*values)
            models = [TEACHER, *self.session.students()]
            check_request(form.request, models, self.session.check_prompt)
            return self._begin(view, form, form.request)
        except (ValueError, OSError) as error:
            return {self.note: note(str(error))}

    def _open(self, view: StagesView | None, path: str, *values) -> dict:
        """Opens exported trajectories; what they lack is computed by the form's settings."""
        from workbench.ui.stages_view import opened_trajectories

        try:
            trajectories = opened_trajectories(path)
            first = trajectories[0]
            teacher = next((one.settings for one in trajectories if one.model == TEACHER), {})
            request = GridRequest(
                (first.prompt,),
                first.seeds,
                tuple(trajectory.model for trajectory in trajectories),
                teacher_steps=teacher.get("steps", 30),
                guidance=teacher.get("guidance", 1.0),
            )
            updates = self._begin(view, StagesForm(*values), request, trajectories)
            return updates | {self.prompt: first.prompt, self.seeds: format_seeds(first.seeds)}
        except (ValueError, OSError) as error:
            return {self.note: note(str(error))}

    def _begin(
        self,
        view: StagesView | None,
        form: StagesForm,
        request: GridRequest,
        trajectories: Sequence[Trajectory] = (),
    ) -> dict:
        """A new view of the request; `trajectories` that are already recorded are reused."""
        from workbench.metrics.lite0 import Lite0
        from workbench.stages.analysis import StageAnalysis, as_recorded
        from workbench.ui.stages_view import StagesView

        analysis = StageAnalysis(
            request,
            self.session.load(),
            as_recorded(
                self.session.model_loader(request), list(trajectories), self.session.load()
            ),
            form.branches if "branching" in form.parts else 0,
            swaps="swap" in form.parts,
            feature=partial(Lite0.load, device=self.session.device),
            existing=list(trajectories),
        )
        if view is not None:
            view.close()
        view = StagesView(analysis)
        return {
            self.view: view,
            self.note: note(view.message),
            **self._buttons(view),
            **{section: [] for section in self.sections.values()},
        }

    def _resume(self, view: StagesView) -> dict:
        view.resume()
        return {self.note: note(view.message), **self._buttons(view)}

    def _run(self, view: StagesView | None) -> Iterator[dict]:
        yield gr.skip()  # gradio empties the outputs of a generator that yields nothing
        if view is None or view.state is not State.WAITING:
            return
        try:
            for changed in view.advance():
                yield {
                    self.note: note(view.message),
                    **self._buttons(view),
                    **{self.sections[name]: figures_json(view.section(name)) for name in changed},
                }
        except Exception as error:  # whatever it is, the page must not be left waiting
            view.state = State.FAILED
            yield {self.note: note(f"The analysis ended early: {error}"), **self._buttons(view)}

    def _stop(self, view: StagesView | None, halt: Event | None) -> dict:
        if halt is not None:
            halt.set()
        if view is None:
            return {self.stop: gr.update(interactive=False)}
        view.stop()
        # while it is active, `_run` has the buttons
        return {self.note: note(view.message), **({} if view.active else self._buttons(view))}

    def _measure(
        self, view: StagesView | None, probed: list[Probed], halt: Event, student: str, prompt: str
    ) -> Iterator[dict]:
        """Measures until `halt` is set; then shows the result so far."""
        from workbench.stages.gradient_probe import probe
        from workbench.stages.report import gradient_figure

        busy = {button: gr.update(interactive=button is self.stop) for button in self._button_list}
        try:
            self.session.check_prompt(prompt)
            model = self.session.model_loader(GridRequest(models=(student,)))(student)
            result = None
            for result in probe(
                model,
                self.session.students()[student],
                self.session.load(),
                self.session.teacher,
                prompt,
            ):
                yield {self.note: note(f"Measuring gradients: {result.done:.0%}"), **busy}
                if halt.is_set():
                    break
            stopped = f"Stopped: {result.done:.0%} of the gradients are measured."
            yield {
                self.note: note(stopped if halt.is_set() else ""),
                self.probed: [one for one in probed if one.model != result.model] + [result],
                self.gradients: figures_json(gradient_figure(result)),
                **self._buttons(view),
            }
        except Exception as error:  # too little memory to train, a deleted student ...
            yield {
                self.note: note(f"The gradients could not be measured: {error}"),
                **self._buttons(view),
            }

    def _buttons(self, view: StagesView | None) -> dict:
        active = view is not None and view.active
        ended = view is not None and not active
        return {
            self.start: gr.update(interactive=not active),
            self.stop: gr.update(interactive=active),
            self.resume: gr.update(interactive=ended and bool(view.analysis.unfinished)),
            self.export: gr.update(interactive=ended and bool(view.analysis.trajectories)),
            self.open: gr.update(interactive=not active),
            self.measure: gr.update(interactive=not active),
        }
