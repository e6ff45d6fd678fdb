"""The common look of all figures, and the pictures inside them."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import plotly.graph_objects as go
from PIL import Image

from workbench.io.notation import model_title

if TYPE_CHECKING:
    from torch import Tensor

INK, FAINT, LINE = "#1c2430", "#5c6675", "#dfe3ea"
NAMED = {
    "teacher": "#475569",
    "dmd": "#d9480f",
    "dp-dmd": "#4338ca",
    "dmd-lpips": "#0f766e",
    "dmd-gan": "#a21caf",
}
OTHERS = ("#0369a1", "#15803d", "#b45309", "#be123c", "#6d28d9")
LONGEST = 18  # letters of a name in a figure
FONT = "system-ui, -apple-system, Segoe UI, sans-serif"

TEMPLATE = go.layout.Template(
    layout=dict(
        font=dict(family=FONT, size=13, color=INK),
        paper_bgcolor="#ffffff",
        plot_bgcolor="#ffffff",
        hoverlabel=dict(font_family=FONT),
        title=dict(
            font_size=15,
            x=0,
            xanchor="left",
            xref="paper",
            y=1,
            yref="container",
            yanchor="top",
            pad=dict(t=12),
        ),
        legend=dict(
            orientation="h", yref="container", y=0.985, yanchor="top", x=1, xanchor="right"
        ),
        margin=dict(l=64, r=16, t=64, b=48),
        xaxis=dict(
            gridcolor=LINE,
            zerolinecolor=LINE,
            linecolor=LINE,
            ticks="outside",
            tickcolor=LINE,
            title_standoff=8,
        ),
        yaxis=dict(
            gridcolor=LINE,
            zerolinecolor=LINE,
            linecolor=LINE,
            ticks="outside",
            tickcolor=LINE,
            title_standoff=8,
        ),
    )
)


def colours(names) -> dict[str, str]:
    """A colour for each model, always the same for the embedded ones."""
    others = iter(OTHERS * (1 + len(names) // len(OTHERS)))
    return {name: NAMED.get(name) or next(others) for name in names}


def faded(colour: str, opacity: float) -> str:
    """A colour #rrggbb with an opacity in [0, 1], as CSS."""
    red, green, blue = (int(colour[n : n + 2], 16) for n in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def title_of(model: str) -> str:
    """`model_title`, short enough for a figure: a folder's last part, the end of a long name."""
    short = model_title(model).rstrip("/").rsplit("/", 1)[-1]
    return short if len(short) <= LONGEST else "…" + short[1 - LONGEST :]


def mosaic(images: Tensor, side: int) -> Image.Image:
    """One picture of images [rows, columns, 3, H, W] in [0, 1], each made `side` pixels wide:
    enlarged pixel by pixel, or averaged. Raises ValueError for NaN.
    """
    from workbench.io.png import picture_of  # torch, which the caller has

    rows, columns = images.shape[:2]
    sheet = Image.new("RGB", (columns * side, rows * side))
    for r in range(rows):
        for c in range(columns):
            cell = picture_of(images[r, c])
            how = Image.Resampling.NEAREST if side >= cell.width else Image.Resampling.BOX
            sheet.paste(
                cell if cell.width == side else cell.resize((side, side), how), (c * side, r * side)
            )
    return sheet


def data_uri(image: Image.Image) -> str:
    """The picture as a JPEG of high quality in a data URI: a tenth of a PNG's size, and almost
    indistinguishable from it.
    """
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def placed(source: str, x: float, y: float, width: float, height: float, axes: str = "") -> dict:
    """A `layout.images` entry that fills width x height of the axes from its top left corner
    (x, y).
    """
    return dict(
        source=source,
        xref=f"x{axes}",
        yref=f"y{axes}",
        x=x,
        y=y,
        sizex=width,
        sizey=height,
        sizing="stretch",
        layer="below",
        xanchor="left",
        yanchor="top",
    )
