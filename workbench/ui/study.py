"""The tabs "Vote" and "Results" of a local study: the participant's page in a frame, and the
analysis of the votes so far.

Anyone who can open an app that accepts other machines may be a participant, so there the results
require the owner's token, which the app prints when it starts. gradio still sends what it hides
(an invisible value) and still runs a private listener, so the token is checked by the reading
itself, and nothing is read before.
"""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from workbench.study.errors import StudyError
from workbench.ui.figure_view import figures_component, figures_json
from workbench.ui.parts import QUIET, note

if TYPE_CHECKING:
    from workbench.study.store.store import Store

NO_STUDY = """There is no study here. Create one, and start the app with it:

```sh
python -m workbench study create --out study --models dmd,dp-dmd
python app.py --study study
```

To serve it to participants elsewhere, without the rest of the app:
`python -m workbench study serve study`."""
PATH = "/study"


@dataclass(frozen=True)
class LocalStudy:
    """A study in the app: its store, the participants' application to be mounted at `PATH`, and
    the owner's token, "" if none is required.
    """

    store: Store
    voting: object
    owner_token: str

    def check_owner(self, token: str) -> None:
        """Raises `StudyError` unless it is the owner's token, or none is required."""
        if self.owner_token and not secrets.compare_digest(
            str(token).strip().encode(), self.owner_token.encode()
        ):
            raise StudyError(
                "Results are for the study's owner: give the token that the app printed when it "
                "started."
            )


class VoteTab:
    """The study's own page, which names no method; built inside a `gr.Tab`."""

    def __init__(self, study: LocalStudy | None):
        if study is None:
            gr.Markdown(NO_STUDY, elem_classes="wb-introduction")
        else:
            gr.HTML(
                f'<iframe class="wb-study" src="{PATH.strip("/")}/" title="Vote in the '
                'study"></iframe>',
                elem_id="vote",
                padding=False,
            )


class ResultsTab:
    """The analysis of the votes so far; built inside a `gr.Tab` of `page`."""

    def __init__(self, page: gr.Blocks, study: LocalStudy | None):
        if study is None:
            gr.Markdown(NO_STUDY, elem_classes="wb-introduction")
            return
        self.study, given = study, []
        if study.owner_token:
            given = [
                gr.Textbox(
                    label="The study owner's token",
                    info="The app printed it when it started.",
                    type="password",
                    elem_id="study-token",
                    max_lines=1,
                )
            ]
        with gr.Row(elem_classes="wb-actions"):
            refresh = gr.Button(
                "Read the votes", variant="primary", size="md", elem_id="study-refresh"
            )
        self.note = gr.HTML("", elem_id="study-note", elem_classes="wb-note-box", visible=False)
        self.tables = gr.HTML("", elem_id="study-tables", apply_default_css=False)
        self.figures = figures_component("study-figures", "Figures")
        refresh.click(self._read, given, [self.note, self.tables, self.figures], **QUIET)

    def _read(self, token: str = "") -> dict:
        from workbench.io.tables import Bullets
        from workbench.study.analysis.findings import analysis
        from workbench.study.belief import TITLE, belief_sentences, belief_table
        from workbench.study.figures import study_figures
        from workbench.study.report import finding_sentences, open_questions
        from workbench.study.tables import study_tables

        try:
            self.study.check_owner(token)
            store = self.study.store
            ballots, status, design = store.ballots(), store.status(), store.design
            findings = analysis(ballots, *design.rule)
            parts = [Bullets("Findings", tuple(finding_sentences(design, findings)))]
            if believed := belief_sentences(design, findings, ballots):
                parts = [
                    Bullets(TITLE, tuple(believed)),
                    belief_table(design, findings, ballots),
                    *parts,
                ]
            if lines := open_questions(design, findings, ballots):
                parts.append(Bullets("Still open", tuple(lines)))
            parts += study_tables(design, findings, ballots)
            tables = "".join(part.html for part in parts)
            return {
                self.note: note(
                    f"{status.participants} participants, {status.finished} of them finished"
                ),
                self.tables: f'<div class="wb-tables">{tables}</div>',
                self.figures: figures_json(study_figures(design, findings, ballots)),
            }
        except (ValueError, OSError) as error:
            return {self.note: note(str(error)), self.tables: "", self.figures: []}


def opened_study(folder: Path | None, host: str = "127.0.0.1") -> LocalStudy | None:
    """The study in a folder, for an app that listens at `host`; None without a folder. Raises
    `StudyError`.
    """
    if folder is None:
        return None
    from workbench.study.folder import open_study
    from workbench.study.server.app import study_app

    store, token = open_study(folder), "" if is_loopback(host) else secrets.token_urlsafe(18)
    return LocalStudy(store, study_app(store, folder, token), token)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server at `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # another name
        return False
