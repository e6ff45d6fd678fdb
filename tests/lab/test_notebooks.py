"""The notebooks: rules of their sources, what is kept of their execution, and that they run with
short settings.

The last takes a minute per notebook; `-m "not slow"` leaves it out.
"""

import ast
from pathlib import Path

import jupytext
import nbformat
import pytest

from workbench.lab.execute import LARGEST, WIDGET, executed

FOLDER = Path(__file__).parents[2] / "notebooks"
SOURCES = sorted(FOLDER.glob("0*.py"))
PLOTLY = "application/vnd.plotly.v1+json"
each = pytest.mark.parametrize("source", SOURCES, ids=[path.stem for path in SOURCES])


def code_of(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def parsed(cell) -> ast.Module:
    return compile(cell.source, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def kept(source: Path):
    """The notebook with outputs beside a source."""
    path = source.with_suffix(".ipynb")
    if not path.exists():
        pytest.fail(f"{path} is missing: run make notebooks")
    return nbformat.read(path, 4)


def test_there_are_notebooks():
    assert [path.stem[:2] for path in SOURCES] == [f"0{n}" for n in range(1, len(SOURCES) + 1)]
    assert len(SOURCES) >= 7


@each
def test_the_source_is_short_cells_without_definitions_that_end_in_an_assertion(source):
    notebook = jupytext.read(source)
    cells = code_of(notebook)
    trees = [parsed(cell) for cell in cells]
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    assert not [
        node.name for tree in trees for node in ast.walk(tree) if isinstance(node, definitions)
    ]  # they belong in workbench/
    assert len(cells) <= 16
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    assert "parameters" in cells[0].metadata.tags
    assert "WORKBENCH_SHORT" in cells[0].source
    assert any(isinstance(node, ast.Assert) for tree in trees[-2:] for node in ast.walk(tree))


@each
def test_the_source_begins_and_ends_a_session(source):
    cells = code_of(jupytext.read(source))
    calls = [
        ast.unparse(node.func) for node in ast.walk(parsed(cells[1])) if isinstance(node, ast.Call)
    ]
    assert "from workbench.lab import begin" in cells[1].source
    assert "begin" in calls
    assert ast.unparse(parsed(cells[-1]).body[-1]) == "session.end()"


@each
def test_what_is_kept_is_the_source_executed_in_order(source):
    notebook, asked = kept(source), jupytext.read(source)
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in asked.cells
    ]
    assert [cell.execution_count for cell in code_of(notebook)] == list(
        range(1, len(code_of(notebook)) + 1)
    )
    assert "wall time" in code_of(notebook)[-1].outputs[-1].text


@each
def test_what_is_kept_is_small_and_is_seen_without_javascript(source):
    notebook = kept(source)
    outputs = [output for cell in code_of(notebook) for output in cell.outputs]
    assert source.with_suffix(".ipynb").stat().st_size < LARGEST
    assert "widgets" not in notebook.metadata
    assert not any(WIDGET in output.get("data", {}) for output in outputs)
    assert not [output.ename for output in outputs if output.output_type == "error"]
    assert all("image/png" in output.data for output in outputs if PLOTLY in output.get("data", {}))


@each
def test_executes_with_short_settings(source, tmp_path):
    notebook = executed(source, tmp_path, short=True)
    assert "wall time" in code_of(notebook)[-1].outputs[-1].text
