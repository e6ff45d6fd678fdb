"""README and documentation, as text: size, links, commands, snippets."""

import ast
import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from workbench.cli import _parser
from workbench.core.presets import PRESETS
from workbench.core.recipe import Recipe
from workbench.io.settings import given_settings
from workbench.training.commands import _plan, _train

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = (README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
RUN = {"README.md", "scenes.md", "distil.md"}  # whose first snippet runs; others only import


def snippets(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    found = re.findall(
        rf"^( *)```{language}\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE
    )
    return [re.sub(f"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]


def commands(page: Path) -> list[str]:
    """What follows `python -m workbench` or `workbench` in the page's shell blocks and text."""
    lines = []
    for block in snippets(page, "sh"):
        lines += block.replace("\\\n", " ").splitlines()
    lines += re.findall(r"`((?:python -m )?workbench [^`\n]+)`", page.read_text())
    matches = (re.match(r"(?:.* -m )?workbench ([a-z].*)", line) for line in lines)
    return [match[1] for match in matches if match and "--help" not in match[1]]


def python_snippets() -> list[tuple[Path, int, str]]:
    return [
        (page, number, code)
        for page in PAGES
        for number, code in enumerate(snippets(page, "python"))
    ]


def test_the_readme_fits_on_a_screen():
    text = README.read_text()
    assert len(text.splitlines()) <= 150
    assert len(text.encode()) <= 10_000


def test_the_readme_names_the_paper_its_link_the_licence_and_the_citation():
    text = README.read_text()
    assert (
        "Diversity-Preserved Distribution Matching Distillation for Fast Visual Synthesis" in text
    )
    assert "https://arxiv.org/abs/2602.03139" in text
    for file in ("LICENSE", "NOTICE", "CITATION.cff", "CHANGELOG.md", "CONTRIBUTING.md"):
        assert f"]({file})" in text


def test_commands_are_there_to_be_checked():
    assert sum(len(commands(page)) for page in PAGES) >= 40
    assert len(commands(README)) >= 7


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_parses_and_its_recipe_is_one(page):
    for line in commands(page):
        line = line.replace("NAME", "scenes-dmd")
        try:
            options = _parser().parse_args(shlex.split(line, comments=True))
        except SystemExit:
            pytest.fail(f"{page.name}: python -m workbench {line} does not parse")
        if options.run in (_train, _plan):  # the recipe's own checks
            dataclasses.replace(PRESETS[options.preset], **given_settings(options, Recipe))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_long_training_command_forgets_its_rounds(page):
    for line in commands(page):
        if line.startswith("train") and re.search("--preset (paper|sdxl|released-script)", line):
            assert "--rounds" in line or "--dry-run" in line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        file = target.split("#")[0]
        if file and "://" not in file:
            folder = ROOT if file.startswith("notebooks/") else page.parent  # conf.py copies them
            assert (folder / file).exists(), f"{page.name} links to {file}"


@pytest.mark.parametrize(
    ("page", "number", "code"),
    python_snippets(),
    ids=[f"{page.name}-{number}" for page, number, _ in python_snippets()],
)
def test_python_snippets_compile_and_import_what_is_there(page, number, code):
    tree = ast.parse(code)
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    exec(compile(ast.Module(imports, []), page.name, "exec"), {})


@pytest.mark.parametrize("name", sorted(RUN))
def test_the_first_snippet_runs_as_it_stands(name, monkeypatch):
    page = next(page for page in PAGES if page.name == name)
    monkeypatch.chdir(ROOT)
    exec(compile(snippets(page, "python")[0], name, "exec"), {"__name__": "snippet"})
