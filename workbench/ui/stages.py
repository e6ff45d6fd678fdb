"""The tab "Stages": what each denoising step decides, for one prompt: the strip, the curves, the
swap test and the gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from threading import Event

import gradio as gr

from workbench.grid.request import MAX_GUIDANCE, MAX_STEPS, GridRequest, check_request
from workbench.io.notation import TEACHER, format_seeds
from workbench.metrics.lite0 import Lite0
from workbench.stages.analysis import StageAnalysis, as_recorded
from workbench.stages.gradient_probe import Probed, probe
from workbench.stages.report import gradient_figure
from workbench.stages.trajectory import Trajectory
from workbench.ui.figure_view import figures_component, figures_json
from workbench.ui.parts import QUIET, click, note
from workbench.ui.session import ON_DEVICE, Session
from workbench.ui.stages_view import StagesView, opened_trajectories

EXPLAINED = (
    "**x0** is what a model believes, at each step, the finished image to be. The *strip* shows "
    "it for every seed; the "
    "*curves* say when it is settled and what later steps still decide; the *swap test* gives the "
    "first steps to one model "
    "and the rest to another; the *gradients* say what trains which step."
)
GRADIENTS = (
    "**Gradients**: which term of DMD, of DP-DMD, and of DP-DMD without its gradient stop (Figure "
    "5) reaches which step of a "
    "student. A student that comes without a fake network first gets one, fitted to its samples."
)
TITLES = {"strip": "Strip", "curves": "Curves", "swap": "Swap test"}
LIVE_SIZE = (
    96  # pixels that lite0 reads here: nine times faster than 224, and good enough to follow
)


class StagesTab:
    """The tab's components and what they do; built inside a `gr.Tab` of `page`."""

    def __init__(self, page: gr.Blocks, place: Session):
        self.place = place
        gr.Markdown(EXPLAINED, elem_classes="wb-explained")
        self._build_form(place.defaults)
        with gr.Row(elem_classes="wb-actions"):
            self.start = gr.Button(
                "Examine", variant="primary", size="md", interactive=False, elem_id="examine"
            )
            self.stop = gr.Button(
                "Stop", variant="stop", size="md", interactive=False, elem_id="stages-stop"
            )
            self.resume = gr.Button("Go on", size="md", interactive=False, elem_id="stages-resume")
            self.export = gr.Button(
                "Export ZIP", size="md", interactive=False, elem_id="stages-export"
            )
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

    # ---- what is on the tab

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
                    **self.place.model_choices(), elem_id="stages-models"
                )
                self.parts = gr.CheckboxGroup(
                    [("Branching", "branching"), ("Swap test", "swap")],
                    value=["branching", "swap"],
                    label="Besides the strip",
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
        gr.Markdown(GRADIENTS, elem_classes="wb-explained")
        with gr.Row(elem_classes="wb-actions"):
            self.student = gr.Dropdown(
                self._students(),
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

    def _students(self) -> list[str]:
        return list(self.place.students())

    # ---- what happens

    def _connect(self, page: gr.Blocks) -> None:
        self._buttons_of = [
            self.start,
            self.stop,
            self.resume,
            self.export,
            self.open,
            self.measure,
        ]
        shown = [self.view, self.note, *self._buttons_of, *self.sections.values()]
        form = [self.prompt, self.seeds, self.models, self.teacher_steps, self.guidance]
        page.load(self._ready, None, [*form, self.student, *self._buttons_of], **QUIET)
        asked = self.start.click(
            self._ask, [self.view, *form, self.parts, self.branches], shown, **QUIET
        )
        again = self.resume.click(self._again, self.view, shown, **QUIET)
        loaded = self.open.upload(
            self._open,
            [self.view, self.open, self.parts, self.branches],
            [*shown, self.prompt, self.seeds],
            **QUIET,
        )
        for event in (asked, again, loaded):
            event.then(self._run, self.view, shown, trigger_mode="multiple", **QUIET, **ON_DEVICE)
        self.stop.click(self._stop, [self.view, self.halt], shown, **QUIET)
        self.export.click(
            lambda view, probed: view.export(probed), [self.view, self.probed], self.file, **QUIET
        ).then(None, js=click("stages-file"))
        self.measure.click(Event, None, self.halt, **QUIET).then(
            self._measure,
            [self.view, self.probed, self.halt, self.student, self.prompt],
            [self.note, self.probed, *self._buttons_of, self.gradients],
            **QUIET,
            **ON_DEVICE,
        )

    def _ready(self) -> dict:
        """A fresh page, when the teacher is there."""
        try:
            self.place.backend
        except ValueError:  # the Compare tab says why
            return {self.start: gr.update(interactive=False)}
        defaults, students = self.place.defaults, self._students()
        return {
            self.prompt: defaults.prompts[0],
            self.teacher_steps: defaults.teacher_steps,
            self.guidance: defaults.guidance,
            self.models: gr.update(**self.place.model_choices()),
            self.student: gr.update(
                choices=students,
                value="dp-dmd" if "dp-dmd" in students else next(iter(students), None),
            ),
            **self._buttons(None),
        }

    def _ask(
        self,
        view: StagesView | None,
        prompt: str,
        seeds: str,
        models: list[str],
        teacher_steps: int,
        guidance: float,
        parts: list[str],
        branches: int,
    ) -> dict:
        try:
            request = GridRequest.from_form(
                prompt, seeds, models, teacher_steps=teacher_steps, guidance=guidance
            )
            check_request(request, [TEACHER, *self._students()], self.place.check_prompt)
            return self._begin(view, self._examination(request, parts, branches))
        except (ValueError, OSError) as error:
            return {self.note: note(str(error))}

    def _open(self, view: StagesView | None, path: str, parts: list[str], branches: int) -> dict:
        try:
            known = opened_trajectories(path)
            first, steps = (
                known[0],
                next((one.settings for one in known if one.model == TEACHER), {}),
            )
            request = GridRequest(
                (first.prompt,),
                first.seeds,
                tuple(one.model for one in known),
                teacher_steps=steps.get("steps", 30),
                guidance=steps.get("guidance", 1.0),
            )
            shown = self._begin(view, self._examination(request, parts, branches, known))
            return shown | {self.prompt: first.prompt, self.seeds: format_seeds(first.seeds)}
        except (ValueError, OSError) as error:
            return {self.note: note(str(error))}

    def _examination(
        self, request: GridRequest, parts: list[str], branches: int, known: list[Trajectory] = ()
    ) -> StageAnalysis:
        return StageAnalysis(
            request,
            self.place.backend,
            as_recorded(self.place.opener(request), known),
            branches if "branching" in parts else 0,
            swaps="swap" in parts,
            feature=partial(Lite0.load, LIVE_SIZE, self.place.device),
            existing=list(known),
        )

    def _begin(self, view: StagesView | None, seen: StageAnalysis) -> dict:
        if view is not None:
            view.close()
        view = StagesView(seen)
        return {
            self.view: view,
            self.note: note(view.message),
            **self._buttons(view),
            **{section: [] for section in self.sections.values()},
        }

    def _again(self, view: StagesView) -> dict:
        view.status = "waiting"
        return {self.note: note(view.message), **self._buttons(view)}

    def _run(self, view: StagesView | None) -> Iterator[dict]:
        yield gr.skip()  # gradio empties the outputs of a generator that yields nothing
        if view is None or view.status != "waiting":
            return
        try:
            for changed in view.advance():
                yield {
                    self.note: note(view.message),
                    **self._buttons(view),
                    **{self.sections[name]: figures_json(view.section(name)) for name in changed},
                }
        except Exception as error:  # whatever it is, the page must not be left waiting
            view.status = "stopped"
            yield {self.note: note(f"It ended early: {error}"), **self._buttons(view)}

    def _stop(self, view: StagesView | None, halt: Event | None) -> dict:
        if halt is not None:
            halt.set()
        if view is None:
            return {self.stop: gr.update(interactive=False)}
        view.stop()
        return {
            self.note: note(view.message),
            **({} if view.going else self._buttons(view)),
        }  # while it goes, `_run` has the buttons

    def _measure(
        self, view: StagesView | None, probed: list[Probed], halt: Event, student: str, prompt: str
    ) -> Iterator[dict]:
        """Measures until it is told to halt; then shows what there is."""
        busy = {button: gr.update(interactive=button is self.stop) for button in self._buttons_of}
        try:
            self.place.check_prompt(prompt)
            model, found = self.place.opener(GridRequest(models=(student,)))(student), None
            for found in probe(
                model,
                self.place.students()[student],
                self.place.backend,
                self.place.teacher,
                prompt,
            ):
                yield {self.note: note(f"Measuring gradients: {found.done:.0%}"), **busy}
                if halt.is_set():
                    break
            left = (
                f"Stopped: {found.done:.0%} of the gradients are measured." if halt.is_set() else ""
            )
            yield {
                self.note: note(left),
                self.probed: [one for one in probed if one.model != found.model] + [found],
                self.gradients: figures_json(gradient_figure(found)),
                **self._buttons(view),
            }
        except Exception as error:  # too little memory to train, a student that is gone ...
            yield {
                self.note: note(f"The gradients could not be measured: {error}"),
                **self._buttons(view),
            }

    def _buttons(self, view: StagesView | None) -> dict:
        going = view is not None and view.going
        still = view is not None and not going
        there = still and bool(view.seen.trajectories)
        return {
            self.start: gr.update(interactive=not going),
            self.stop: gr.update(interactive=going),
            self.resume: gr.update(interactive=still and bool(view.seen.unfinished)),
            self.export: gr.update(interactive=there),
            self.open: gr.update(interactive=not going),
            self.measure: gr.update(interactive=not going),
        }
