"""What all tabs share: a folder for files, notes, forms, listeners without a spinner, and downloads
that a button starts.
"""

from __future__ import annotations

import dataclasses
import tempfile
from html import escape
from pathlib import Path

import gradio as gr

QUIET = {"show_progress": "hidden", "api_visibility": "private"}

_FOLDER = tempfile.TemporaryDirectory(prefix="dp-dmd-workbench-")  # removed when the process ends
FOLDER = Path(_FOLDER.name).resolve()


def note(text: str) -> dict:
    """An update of a note: escaped text, announced by screen readers; hidden when empty."""
    return gr.update(
        value=f'<p role="alert">{escape(text)}</p>' if text else "", visible=bool(text)
    )


def click(element: str) -> str:
    """JavaScript that clicks a hidden download button once its file is ready."""
    return f"() => document.querySelector('#{element}').click()"


def components_of(tab: object, form: type) -> list:
    """The tab's components in the order of a form's fields, so that `form(*values)` reads them."""
    return [getattr(tab, field.name) for field in dataclasses.fields(form)]
