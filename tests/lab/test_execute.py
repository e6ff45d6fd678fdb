"""Notebooks executed from their sources."""

import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from workbench.lab import execute
from workbench.lab.execute import SHORT, WIDGET, execute_and_save, executed, stripped

CELLS = [
    "import os\nprint(os.environ.get('WORKBENCH_SHORT'), os.getcwd())",
    "import ipywidgets\nipywidgets.IntSlider()",
    "import sys\nfor n in range(4):\n    print(f'\\r{n} of 3', end='', "
    "flush=True)\nprint()\nprint('a warning', file=sys.stderr)",
    "await __import__('asyncio').sleep(0)\n1 + 1",
]


def source(folder: Path, *cells: str) -> Path:
    path = folder / "tiny.py"
    path.write_text("# %% [markdown]\n# # Tiny\n" + "".join(f"\n# %%\n{cell}\n" for cell in cells))
    return path


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """The tiny notebook in full and with short settings, each in its own folder."""
    folder = tmp_path_factory.mktemp("notebook")
    path = source(folder, *CELLS)
    (folder / "short").mkdir()
    return executed(path, folder), executed(path, folder / "short", short=True)


def outputs(notebook):
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def test_it_runs_in_its_folder_and_knows_of_short_settings_only_with_short(twice):
    full, short = (outputs(notebook)[0][0].text.split() for notebook in twice)
    assert full[0] == "None"
    assert short[0] == "1"
    assert Path(short[1]).name == "short"
    assert Path(short[1]).parent == Path(full[1])


def test_short_settings_of_ours_are_not_those_of_a_full_notebook(tmp_path, monkeypatch):
    monkeypatch.setenv(SHORT, "1")
    ((stream,),) = outputs(executed(source(tmp_path, CELLS[0]), tmp_path))
    assert stream.text.startswith("None ")


def test_widgets_and_times_are_left_out(twice):
    for notebook in twice:
        assert "widgets" not in notebook.metadata
        assert all("execution" not in cell.metadata for cell in notebook.cells)
        (slider,) = outputs(notebook)[1]
        assert WIDGET not in slider.data
        assert "IntSlider" in slider.data["text/plain"]
        assert WIDGET not in nbformat.writes(notebook)


def test_logs_are_omitted_and_overwritten_lines_end_as_a_terminal_shows_them(twice):
    (stream,) = outputs(twice[0])[2]
    assert stream.name == "stdout"
    assert stream.text == "3 of 3\n"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("1\r2\r3\n", "3\n"),
        ("a\nb\n", "a\nb\n"),
        ("1\r2\nthen\r\nend", "2\nthen\nend"),
        ("1\r2\r", "2"),
    ],
)
def test_carriage_returns_collapse(text, left):
    cell = nbformat.v4.new_code_cell("", outputs=[nbformat.v4.new_output("stream", text=text)])
    assert stripped(nbformat.v4.new_notebook(cells=[cell])).cells[0].outputs[0].text == left


def test_a_second_execution_has_the_same_cells_and_counts(twice):
    first, second = twice
    assert (
        [cell.id for cell in first.cells]
        == [cell.id for cell in second.cells]
        == [f"cell-{n}" for n in range(5)]
    )
    for notebook in twice:
        assert [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"] == [
            1,
            2,
            3,
            4,
        ]
        assert outputs(notebook)[3][0].data["text/plain"] == "2"
    nbformat.validate(first)


def test_the_written_notebook_is_the_source_with_outputs(tmp_path):
    path = source(tmp_path, "1 + 1")
    assert execute_and_save(path) == tmp_path / "tiny.ipynb"
    kept, written_from = nbformat.read(tmp_path / "tiny.ipynb", 4), jupytext.read(path)
    assert [cell.source for cell in kept.cells] == [cell.source for cell in written_from.cells]
    assert outputs(kept)[0][0].data["text/plain"] == "2"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tiny.ipynb", "tiny.py"]


def test_a_cell_that_fails_stops_it_and_nothing_is_written(tmp_path):
    path = source(tmp_path, "1 / 0", "open('after', 'w')")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        execute_and_save(path)
    assert list(tmp_path.iterdir()) == [path]


def test_too_large_a_notebook_is_refused_and_nothing_is_written(tmp_path):
    path = source(tmp_path, f"print(('x' * 99 + chr(10)) * {execute.LARGEST // 100})")
    (tmp_path / "tiny.ipynb").write_text("the one before")
    with pytest.raises(
        ValueError, match="bytes with its outputs, over 400000: show smaller figures"
    ):
        execute_and_save(path)
    assert (tmp_path / "tiny.ipynb").read_text() == "the one before"
    assert len(list(tmp_path.iterdir())) == 2


def test_the_command_continues_after_a_failing_notebook_and_writes_nothing_with_short(tmp_path):
    fine, dies = source(tmp_path, "print('fine')"), tmp_path / "dies.py"
    dies.write_text("# %%\nimport os\nos._exit(1)\n")
    command = [
        sys.executable,
        "-m",
        "workbench.lab.execute",
        "--short",
        str(tmp_path / "nothing.py"),
        str(dies),
        str(fine),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "nothing.py: " in done.stderr
    assert "Kernel died" in done.stderr
    assert [line.endswith("FAILED") for line in done.stdout.splitlines()] == [True, True, False], (
        done.stdout
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["dies.py", "tiny.py"]
