"""The documentation's settings; `make docs` builds it offline and fails on any warning."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]
(HERE / "notebooks").mkdir(exist_ok=True)
for notebook in (ROOT / "notebooks").glob("*.ipynb"):  # pages have to lie below this folder
    shutil.copy2(notebook, HERE / "notebooks")

project = "DP-DMD workbench"
author = "The DP-DMD workbench authors"
copyright = f"2026, {author}"
release = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)[1]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxarg.ext",
]
exclude_patterns = ["_build"]
default_role = "code"
highlight_language = "text"
nitpick_ignore_regex = [("py:.*", ".*")]  # names in docstrings are no links
suppress_warnings = ["mystnb.unknown_mime_type"]  # a plotly figure: its PNG is shown

nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "attrs_block", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
copybutton_exclude = ".linenos, .gp, .go"

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature shows them
autodoc_default_options = {"members": True}
napoleon_google_docstring = True

html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["katex/katex.min.css", "site.css"]
html_js_files = ["katex/katex.min.js", "formulas.js"]
html_math_renderer = "katex"
html_copy_source = False


def formula(inline: bool):
    """Writes a formula's TeX for KaTeX, which is a file of this folder: nothing is fetched."""
    tag = "span" if inline else "div"

    def visit(self, node):
        from docutils.nodes import SkipNode

        number = self.encode(f"({node['number']})") if node.get("number") else ""
        self.body.append(f'<{tag} class="formula">{self.encode(node.astext())}</{tag}>{number}')
        raise SkipNode

    return visit, None


def plain_text(app, what, name, obj, options, lines: list[str]) -> None:
    """Docstrings are text, not reStructuredText: `|x|`, `*` and `_` stand for themselves, and an
    indented block (a table, formulas) is shown as it is.
    """
    # an empty line first, lest Napoleon takes "text: text" of a property for its type
    result = [""] if what in ("attribute", "property", "data") else []
    block = google = False
    for line in lines:
        indented = line.startswith("    ")
        if re.fullmatch(r"(Args|Returns|Raises|Yields|Attributes|Notes?|Examples?):", line):
            google = True
        elif line and not indented:
            google = False
        if indented and not google and not block:
            result += ["", "::", ""]
            block = True
        elif line and not indented:
            result += [""] if block else []
            block = False
        result.append(line if block else re.sub(r"(`[^`]*`)|([|*\\]|_\b)", _escape, line))
    lines[:] = result


def _escape(match: re.Match) -> str:
    code, character = match.groups()
    if character:
        return "\\" + character
    return code.replace("\\", "\\\\") + "\\ "  # a letter may follow: `Model`s


def setup(app) -> None:
    """Sphinx calls it with the application."""
    app.add_html_math_renderer("katex", formula(inline=True), formula(inline=False))
    app.connect("autodoc-process-docstring", plain_text, priority=400)
