"""Plotly figures on the page, with the plotly.js of the Python package; figure.js draws them.

gradio's own gr.Plot drops a figure's frames, without which a strip has no slider and no play
button, and loads another plotly.js.
"""

from __future__ import annotations

import shutil
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from workbench.ui.parts import FOLDER

if TYPE_CHECKING:
    import plotly.graph_objects as go

SCRIPT = (Path(__file__).with_name("static") / "figure.js").read_text()
LIBRARY = FOLDER / "plotly.min.js"


def figures_component(name: str, title: str) -> gr.HTML:
    """The gr.HTML whose value is a `figures_json`: a section with a title, hidden while it has no
    figure.
    """
    if not LIBRARY.exists():
        package = Path(find_spec("plotly").origin).parent
        shutil.copy(package / "package_data" / "plotly.min.js", LIBRARY)
    gr.set_static_paths(FOLDER)
    script = SCRIPT.replace("LIBRARY", f"gradio_api/file={LIBRARY}")
    return gr.HTML(
        [],
        html_template='<section class="wb-figures" data-figures '
        f"hidden><h2>{escape(title)}</h2></section>",
        js_on_load=script,
        apply_default_css=False,
        elem_id=name,
        label=title,
    )


def figures_json(figures: dict[str, go.Figure]) -> list[dict]:
    """The value of a `figures_component`: each figure's name and its plotly JSON."""
    return [{"name": name, "json": figure.to_json()} for name, figure in figures.items()]
