"""What all tabs say and do alike: the note, listeners without a spinner, and downloads that a
button begins.
"""

from __future__ import annotations

from html import escape

import gradio as gr

QUIET = {"show_progress": "hidden", "api_visibility": "private"}


def note(text: str) -> dict:
    """An update of the note: text for people, escaped, spoken at once by a screen reader; hidden
    when empty.
    """
    return gr.update(
        value=f'<p role="alert">{escape(text)}</p>' if text else "", visible=bool(text)
    )


def click(element: str) -> str:
    """Javascript that clicks a hidden download button, when its file is there."""
    return f"() => document.querySelector('#{element}').click()"
