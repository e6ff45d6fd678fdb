"""The page around the tabs, and its settings for launch(): theme and styles. Nothing is fetched
from elsewhere.

Nothing here imports torch: the page is served while the session loads its teacher.
"""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from workbench.ui.compare import CompareTab
from workbench.ui.evaluate import EvaluateTab
from workbench.ui.parts import QUIET
from workbench.ui.session import Session
from workbench.ui.stages import StagesTab
from workbench.ui.study import LocalStudy, ResultsTab, VoteTab

TITLE = "DP-DMD workbench"
STYLES = [Path(__file__).with_name("static") / name for name in ("page.css", "grid.css")]


def new_theme() -> gr.themes.Base:
    """Quiet and dense, in the reader's own system font."""
    return gr.themes.Base(
        primary_hue="indigo",
        neutral_hue="slate",
        spacing_size="sm",
        radius_size="sm",
        text_size="sm",
        font=("system-ui", "sans-serif"),
        font_mono=("ui-monospace", "monospace"),
    )


def new_page(session: Session, study: LocalStudy | None = None) -> gr.Blocks:
    """The whole app, not yet launched; `study` is shown in its last tabs."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        header = gr.HTML(_header("…"), apply_default_css=False)
        page.load(lambda: _header(session.device_title), None, header, **QUIET)
        with gr.Tabs():
            with gr.Tab("Compare", id="compare"):
                CompareTab(page, session)
            with gr.Tab("Stages", id="stages"):
                StagesTab(page, session)
            with gr.Tab("Evaluate", id="evaluate"):
                EvaluateTab(page, session)
            with gr.Tab("Vote", id="vote"):
                VoteTab(study)
            with gr.Tab("Results", id="results"):
                ResultsTab(page, study)
    return page


def _header(device: str) -> str:
    return (
        f'<header class="wb-header"><h1>{TITLE}</h1><span class="wb-device" title="Selected '
        f'automatically: CUDA, then MPS, then CPU">Device: <b>{device}</b></span></header>'
    )


def launch_settings() -> dict:
    """The arguments of launch() other than host and port."""
    return {
        "theme": new_theme(),
        "css_paths": STYLES,
        "footer_links": [],
        "run_history": False,
        "show_error": True,
        "quiet": True,
        "ssr_mode": False,
        "share": False,
    }
