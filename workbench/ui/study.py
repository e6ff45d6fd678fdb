"""The tabs "Vote" and "Results" of a local study: the participant's page in a frame, and the analysis of the votes so far."""

from __future__ import annotations

from html import escape
from pathlib import Path

import gradio as gr

from workbench.figures.study import study_figures
from workbench.study.analysis import analysis
from workbench.study.server import study_app
from workbench.study.store import Store
from workbench.study_report import findings_told, study_tables, untold
from workbench.study_stimuli import open_study
from workbench.ui.figure_view import figures_component, figures_json
from workbench.ui.parts import QUIET, note

WITHOUT = """There is no study here. Make one, and start the app with it:

```sh
python -m workbench study create --out study --models dmd,dp-dmd
python app.py --study study
```

For participants elsewhere serve it alone, without the rest of the app: `python -m workbench study serve study`."""
PATH = "/study"


class VoteTab:
    """The study's own page, which knows no method; built inside a `gr.Tab`."""

    def __init__(self, store: Store | None):
        if store is None:
            gr.Markdown(WITHOUT, elem_classes="wb-explained")
        else:
            gr.HTML(f'<iframe class="wb-study" src="{PATH.strip("/")}/" title="Vote in the study"></iframe>', elem_id="vote", padding=False)


class ResultsTab:
    """What the votes say so far; built inside a `gr.Tab` of `page`."""

    def __init__(self, page: gr.Blocks, store: Store | None):
        if store is None:
            gr.Markdown(WITHOUT, elem_classes="wb-explained")
            return
        self.store = store
        with gr.Row(elem_classes="wb-actions"):
            refresh = gr.Button("Read the votes", variant="primary", size="md", elem_id="study-refresh")
        self.note = gr.HTML("", elem_id="study-note", elem_classes="wb-note-box", visible=False)
        self.tables = gr.HTML("", elem_id="study-tables", apply_default_css=False)
        self.figures = figures_component("study-figures", "Figures")
        refresh.click(self._read, None, [self.note, self.tables, self.figures], **QUIET)

    def _read(self) -> dict:
        try:
            ballots, status, design = self.store.ballots(), self.store.status(), self.store.design
            found = analysis(ballots, design.max_gold_failures)
            told = "".join(f"<li>{escape(line)}</li>" for line in [*findings_told(design, found), *untold(design, found, ballots)])
            tables = "".join(table.html for table in study_tables(design, found, ballots))
            return {self.note: note(f"{status.participants} participants, {status.finished} of them finished"),
                    self.tables: f'<div class="wb-tables"><ul>{told}</ul>{tables}</div>',
                    self.figures: figures_json(study_figures(design, found, ballots))}
        except (ValueError, OSError) as error:
            return {self.note: note(str(error))}


def opened_study(folder: Path | None) -> tuple[Store | None, object | None]:
    """The store of a study's folder and the application to be mounted at `PATH`; neither without a folder. Raises `StudyError`."""
    if folder is None:
        return None, None
    store = open_study(folder)
    return store, study_app(store, folder)
