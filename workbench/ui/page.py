"""The page around the tabs, and what launch() needs for it: theme and styles. Nothing is fetched
from elsewhere.
"""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from workbench.ui.compare import CompareTab
from workbench.ui.evaluate import EvaluateTab
from workbench.ui.session import Session
from workbench.ui.stages import StagesTab
from workbench.ui.study import LocalStudy, ResultsTab, VoteTab

TITLE = "DP-DMD workbench"
STYLES = [Path(__file__).with_name("static") / name for name in ("page.css", "grid.css")]


def new_theme() -> gr.themes.Base:
    """Quiet and dense; the reader's own system font."""
    return gr.themes.Base(
        primary_hue="indigo",
        neutral_hue="slate",
        spacing_size="sm",
        radius_size="sm",
        text_size="sm",
        font=("system-ui", "sans-serif"),
        font_mono=("ui-monospace", "monospace"),
    )


def new_page(place: Session, study: LocalStudy | None = None) -> gr.Blocks:
    """The whole app, not yet launched; `study` is what its last tabs are about."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        gr.HTML(
            f'<header class="wb-header"><h1>{TITLE}</h1><span class="wb-device" title="Chosen by '
            "itself: CUDA, then MPS, "
            f'then CPU">Device: <b>{place.device_title}</b></span></header>',
            apply_default_css=False,
        )
        with gr.Tabs():
            with gr.Tab("Compare", id="compare"):
                CompareTab(page, place)
            with gr.Tab("Stages", id="stages"):
                StagesTab(page, place)
            with gr.Tab("Evaluate", id="evaluate"):
                EvaluateTab(page, place)
            with gr.Tab("Vote", id="vote"):
                VoteTab(study)
            with gr.Tab("Results", id="results"):
                ResultsTab(page, study)
    return page


def launch_settings() -> dict:
    """What goes to launch(), beside host and port."""
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
