"""The site builds offline, without a warning."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="the site needs the extra docs")
pytest.importorskip("myst_nb", reason="the site needs the extra docs")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = ["-m", "sphinx", "-W", "--keep-going", "-n", "-q", str(ROOT / "docs"), str(folder)]
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def test_every_page_and_notebook_is_built(site):
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    notebooks = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert len(notebooks) == 7
    assert pages <= {path.stem for path in site.glob("*.html")}
    assert notebooks == {path.stem for path in (site / "notebooks").glob("*.html")}


def test_no_page_fetches_anything(site):
    for page in site.rglob("*.html"):
        for tag in re.findall(r"<(?:script|img|link)[^>]*>", page.read_text()):
            source = re.search(r'(?:src|href)="(?:https?:)?//', tag)
            assert not source or 'rel="canonical"' in tag, f"{page.name}: {tag}"


def test_the_command_line_page_lists_every_command(site):
    text = (site / "cli.html").read_text()
    for command in ("train", "plan", "resume", "sample", "evaluate", "stages", "models", "export"):
        assert f"python -m workbench {command}" in text
    assert "--fake-updates-per-round" in text


def test_formulas_are_left_to_katex(site):
    text = (site / "concepts.html").read_text()
    assert text.count('class="formula"') > 20
    assert (site / "_static" / "katex" / "katex.min.js").exists()
