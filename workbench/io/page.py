"""The HTML page of every report: one file that needs no network."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from workbench.io.tables import Bullets, Table

if TYPE_CHECKING:
    import plotly.graph_objects as go

OFFLINE = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)
STYLE = """
body { max-width: 1280px; margin: auto; padding: 0 16px 48px;
  font: 14px/1.45 system-ui, sans-serif; color: #1c2430; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: 4px 10px; border-bottom: 1px solid #dfe3ea; text-align: right;
  white-space: nowrap; font-variant-numeric: tabular-nums; }
th:first-child { text-align: left; }
th[colspan] { text-align: center; }
thead th { vertical-align: bottom; color: #5c6675; font-weight: 600; }
p { color: #5c6675; }
"""


def report_page(title: str, *content: Bullets | Table | go.Figure) -> str:
    """A page of lists, tables and figures in the given order; the same content gives the same
    text.
    """
    parts, figures = [], 0
    for part in content:
        if isinstance(part, (Bullets, Table)):
            parts.append(part.html)
        else:
            parts.append(
                part.to_html(
                    full_html=False,
                    include_plotlyjs=figures == 0,
                    div_id=f"figure-{figures + 1}",
                    auto_play=False,
                )
            )
            figures += 1
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{OFFLINE}">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
        f"<body><h1>{escape(title)}</h1>{''.join(parts)}</body></html>"
    )
