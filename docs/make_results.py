"""Writes docs/results.md, and the tables of results in the README and docs/study.md, from
results/*.json.

    python docs/make_results.py            # or: make results
    python docs/make_results.py --check    # exit status 1 where a page is not what the files say

A file of results is what a benchmark measured:

    name, command, commit, date, machine, protocol     texts
    seeds                                              training seeds, evaluation seeds, ...
    recipes                                            {label: {"digest": ...}}
    rows                                               [{column: cell}]

A cell is a number, a text, [mean, deviation], or {"value", "low", "high"}. Optional: `title`,
`order` (a number: where on the page), `decimals` ({column: digits}), `notes` (paragraphs),
`reprinted` (true: the numbers as an earlier README printed them; their raw files were not kept),
and `pictures` ([{"file", "alt"}]).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
REQUIRED = ("name", "command", "commit", "date", "machine", "protocol", "recipes", "rows")
README_TABLE = ("phenomenon", "eps")  # the files whose rows the README shows
README_COLUMNS = ("model", "NFE", "diversity", "factor spread", "correct", "training, min")
MARKS = ("<!-- results: made by docs/make_results.py -->", "<!-- end of results -->")

INTRODUCTION = """# Results

This page is generated from `results/*.json` by `make results`; no number on it is typed by hand.
Everything was measured on the scenes world, on two CPU cores. **No number here was ever measured
on a GPU or on SD3.5-Medium or SDXL.** The sections marked *reprinted* hold the numbers that the
README of version 0.1.0 printed: the raw files of those runs were not kept, so the recipes are
those of the presets that the commands name.

[The glossary](concepts.md#glossary) explains lite0, factor spread, correct, `chosen_on` and
`reported_on`. ± is the standard deviation over training seeds unless a section says otherwise.
"""


def read_results(folder: Path = ROOT / "results") -> list[dict]:
    """The files in the order of the page. Raises ValueError, naming the file, for a missing key."""
    found = []
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text())
        if missing := [key for key in REQUIRED if key not in result]:
            raise ValueError(f"{path.name} has no {', '.join(missing)}")
        found.append(result)
    return sorted(found, key=lambda result: (result.get("order", 1000), result["name"]))


def cell_text(cell, digits: int | None = None) -> str:
    """A cell as the page shows it; `digits` are its decimals (default: as few as it needs)."""

    def number(value: float) -> str:
        if value is None:
            return ""
        # + 0.0: no "-0.0"
        return f"{value:g}" if digits is None else f"{round(value, digits) + 0.0:.{digits}f}"

    if isinstance(cell, str) or cell is None:
        return cell or ""
    if isinstance(cell, list):
        return f"{number(cell[0])} ± {number(cell[1])}"
    if isinstance(cell, dict):
        return f"{number(cell['value'])} [{number(cell['low'])}, {number(cell['high'])}]"
    return number(cell)


def table(rows: list[dict], columns: list[str], decimals: dict[str, int]) -> str:
    """Rows as a Markdown table; a row without a column leaves it blank."""
    lines = [f"| {' | '.join(columns)} |", f"| {' | '.join('---' for _ in columns)} |"]
    for row in rows:
        cells = (cell_text(row.get(column), decimals.get(column)) for column in columns)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def section(result: dict) -> str:
    """One file as a section of the page."""
    columns = list(dict.fromkeys(column for row in result["rows"] for column in row))
    source = [f"`{result['command']}`", result["machine"], f"commit {result['commit']}"]
    source += [f"measured {result['date']}"] if result["date"] else []
    recipes = [f"{label} `{recipe['digest']}`" for label, recipe in result["recipes"].items()]
    parts = [
        f"## {result.get('title', result['name'])}",
        result["protocol"],
        table(result["rows"], columns, result.get("decimals", {})),
        *result.get("notes", []),
        *(f"![{picture['alt']}]({picture['file']})" for picture in result.get("pictures", [])),
        ("*Reprinted from the README of 0.1.0.* " if result.get("reprinted") else "")
        + "Measured by "
        + "; ".join(source)
        + (f"; recipes: {', '.join(recipes)}" if recipes else "")
        + f". File: `results/{result['name']}.json`.",
    ]
    return "\n\n".join(parts)


def results_page(results: list[dict]) -> str:
    """The whole of docs/results.md."""
    return "\n\n".join([INTRODUCTION.strip(), *(section(result) for result in results)]) + "\n"


def readme_with_table(text: str, results: list[dict]) -> str:
    """The README with its table of results renewed."""
    shown = [result for name in README_TABLE for result in results if result["name"] == name]
    rows = [row for result in shown for row in result["rows"]]
    decimals = {key: digits for result in shown for key, digits in result["decimals"].items()}
    new = f"{MARKS[0]}\n{table(rows, list(README_COLUMNS), decimals)}\n{MARKS[1]}"
    pattern = re.escape(MARKS[0]) + ".*" + re.escape(MARKS[1])
    return re.sub(pattern, lambda _: new, text, flags=re.DOTALL)


def with_tables(text: str, results: list[dict]) -> str:
    """A page with its tables renewed: each stands between a mark with the name of its file, such as
    `<!-- results: careless -->`, and the end of results.
    """
    for result in results:
        columns = list(dict.fromkeys(column for row in result["rows"] for column in row))
        mark = f"<!-- results: {result['name']} -->"
        new = f"{mark}\n{table(result['rows'], columns, result.get('decimals', {}))}\n{MARKS[1]}"
        pattern = re.escape(mark) + ".*?" + re.escape(MARKS[1])
        text = re.sub(pattern, lambda _, new=new: new, text, flags=re.DOTALL)
    return text


def pages() -> dict[Path, str]:
    """Each page that the files make, and what it should hold."""
    results, readme, study = read_results(), ROOT / "README.md", ROOT / "docs" / "study.md"
    return {
        study: with_tables(study.read_text(), results),
        ROOT / "docs" / "results.md": results_page(results),
        readme: readme_with_table(readme.read_text(), results),
    }


def main() -> int:
    """Writes or checks the pages; returns the exit status."""
    parser = argparse.ArgumentParser(description="Write docs/results.md from results/*.json.")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 for an old page")
    check, status = parser.parse_args().check, 0
    for path, text in pages().items():
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            print(f"{path.relative_to(ROOT)} is old: run `make results`", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
