"""Executes notebooks from their `py:percent` sources.

    # full settings; writes the .ipynb of each, with outputs
    python -m workbench.lab.execute notebooks/*.py
    # seconds instead of minutes; writes nothing
    python -m workbench.lab.execute --short notebooks/*.py

Written outputs are small and plain: every plotly figure has a PNG too, for pages that run no
JavaScript; widget states, which break GitHub's view, are omitted, and so are times and other
differences between two executions. A cell that fails stops the execution, and nothing is written.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode
from PIL import Image

from workbench.io.files import write_atomically

SHORT = "WORKBENCH_SHORT"  # the environment variable that each notebook's parameters read
LARGEST = 400_000  # bytes of a notebook with its outputs
WIDGET = "application/vnd.jupyter.widget-view+json"


def executed(
    source: Path, folder: Path, short: bool = False, pictures: bool = False
) -> NotebookNode:
    """The notebook of `source` with its outputs, executed in `folder`; `pictures` adds a PNG to
    every figure (needs Chromium).

    Raises nbclient's CellExecutionError, with the cell, if a cell fails.
    """
    notebook = jupytext.read(source)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    environment = {name: value for name, value in os.environ.items() if name != SHORT} | (
        {SHORT: "1"} if short else {}
    )
    environment["PLOTLY_RENDERER"] = "plotly_mimetype+png" if pictures else "plotly_mimetype"
    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=environment)
    return stripped(notebook)


def stripped(notebook: NotebookNode) -> NotebookNode:
    """The notebook without widgets, times and stderr (progress bars, logs of libraries), and with
    small pictures.
    """
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            data.pop(WIDGET, None)
            if "image/png" in data:
                data["image/png"] = quantised_png(data["image/png"])
            if "text" in output:
                output.text = "\n".join(map(_last_state, output.text.split("\n")))
        if "outputs" in cell:
            cell.outputs = [
                output
                for output in cell.outputs
                if output.get("text", "-").strip() and output.get("name") != "stderr"
            ]
    return notebook


def _last_state(line: str) -> str:
    """The text that a terminal shows for a line that was overwritten."""
    return line.rstrip("\r").rsplit("\r", 1)[-1]


def quantised_png(png: str) -> str:
    """A figure's PNG, base64, in 64 colours: a quarter of its size."""
    file = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").quantize(64).save(
        file, "PNG", optimize=True
    )
    return base64.b64encode(file.getvalue()).decode()


def execute_and_save(source: Path) -> Path:
    """Executes `source` in its folder with full settings and writes its notebook. Raises
    ValueError if the notebook is too large.
    """
    notebook = executed(source, source.parent, pictures=True)
    text = nbformat.writes(notebook) + "\n"
    if len(text.encode()) > LARGEST:
        raise ValueError(
            f"{source}: {len(text.encode())} bytes with its outputs, over {LARGEST}: show smaller "
            "figures"
        )
    target = source.with_suffix(".ipynb")
    write_atomically(target, lambda part: part.write_text(text))
    return target


def execute_notebooks() -> int:
    """Executes the notebooks of the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="+", type=Path, help="notebooks as .py files")
    parser.add_argument(
        "--short",
        action="store_true",
        help="the settings of CI, in a temporary folder; writes nothing",
    )
    options = parser.parse_args()
    failed = []
    for source in options.sources:
        begun = time.perf_counter()
        try:
            if options.short:
                with tempfile.TemporaryDirectory() as folder:
                    executed(source, Path(folder), short=True)
            else:
                execute_and_save(source)
        except (CellExecutionError, DeadKernelError, OSError, RuntimeError, ValueError) as error:
            failed.append(source)
            print(f"{source}: {error}", file=sys.stderr)
        print(
            f"{source}: {time.perf_counter() - begun:.0f} "
            f"s{', FAILED' if source in failed else ''}",
            flush=True,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(execute_notebooks())
