"""Tables with grouped columns and lists, as Markdown, LaTeX (booktabs) and HTML; and CSV."""

from __future__ import annotations

import csv
import html
import io
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import groupby


@dataclass(frozen=True)
class Table:
    """`columns` are (group, name), the group "" for none; each row has a cell per column, "" for a
    blank.
    """

    name: str  # of its file
    title: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def markdown(self) -> str:
        """Markdown has one line of headings: the group stands before the name."""
        lines = [
            f"### {self.title}",
            "",
            _row(self._heads),
            _row(["---"] * len(self.columns)),
            *(_row(row) for row in self.rows),
        ]
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)])

    @property
    def csv(self) -> str:
        """One line of headings, then the rows."""
        return csv_text([self._heads, *self.rows])

    @property
    def latex(self) -> str:
        """A tabular of the package booktabs, with its caption."""
        groups = self._groups
        spans = " & ".join(
            rf"\multicolumn{{{count}}}{{c}}{{{_escaped(group)}}}" for group, count in groups
        )
        rules, at = [], 1
        for group, count in groups:
            if group:
                rules.append(rf"\cmidrule(lr){{{at}-{at + count - 1}}}")
            at += count
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escaped(' '.join([self.title + '.', *self.notes]))}}}",
            rf"\begin{{tabular}}{{l{'c' * (len(self.columns) - 1)}}}",
            r"\toprule",
            *([spans + r" \\", *rules] if rules else []),
            _line(name for _, name in self.columns),
            r"\midrule",
            *(_line(row) for row in self.rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
        return "\n".join(lines)

    @property
    def html(self) -> str:
        """A heading, the table, and a paragraph per note."""
        groups = self._groups
        spans = "".join(
            f'<th colspan="{count}" scope="colgroup">{html.escape(group)}</th>'
            for group, count in groups
        )
        names = "".join(f'<th scope="col">{html.escape(name)}</th>' for _, name in self.columns)
        body = "".join(
            f'<tr><th scope="row">{html.escape(row[0])}</th>'
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in self.rows
        )
        over = f"<tr>{spans}</tr>" if any(group for group, _ in groups) else ""
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return (
            f"<h3>{html.escape(self.title)}</h3><table><thead>{over}<tr>{names}</tr></thead>"
            f"<tbody>{body}</tbody></table>{notes}"
        )

    @property
    def _heads(self) -> list[str]:
        return [f"{group}: {name}" if group else name for group, name in self.columns]

    @property
    def _groups(self) -> list[tuple[str, int]]:
        """The groups of neighbouring columns, with their widths."""
        groups = groupby(self.columns, lambda column: column[0])
        return [(group, len(list(columns))) for group, columns in groups]


@dataclass(frozen=True)
class Bullets:
    """A list of statements under a heading, "" for none."""

    title: str
    lines: tuple[str, ...]

    @property
    def markdown(self) -> str:
        """A heading and a list."""
        lines = "\n".join(f"- {' '.join(line.split())}" for line in self.lines)
        return f"## {self.title}\n\n{lines}" if self.title else lines

    @property
    def latex(self) -> str:
        """A list without its heading."""
        items = (rf"\item {_escaped(line)}" for line in self.lines)
        return "\n".join([r"\begin{itemize}", *items, r"\end{itemize}"])

    @property
    def html(self) -> str:
        """A heading and a list."""
        items = "".join(f"<li>{html.escape(line)}</li>" for line in self.lines)
        heading = f"<h2>{html.escape(self.title)}</h2>" if self.title else ""
        return f"{heading}<ul>{items}</ul>"


def interval_text(value: float, low: float, high: float, digits: int = 3) -> str:
    """A number with its interval as every table shows it: "0.43 [0.31, 0.55]", the value alone
    without ends, "" for a value of nan; never "-0.00".
    """
    if math.isnan(value):
        return ""
    if math.isnan(low) or math.isnan(high):
        return number_text(value, digits)
    return f"{number_text(value, digits)} [{number_text(low, digits)}, {number_text(high, digits)}]"


def number_text(value: float, digits: int = 3) -> str:
    """A number with that many digits after the point, never "-0.00"."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def csv_text(rows: Iterable[Iterable]) -> str:
    """Rows as CSV: None and NaN are blank, and no cell is a formula for a spreadsheet."""
    file = io.StringIO()
    csv.writer(file).writerows([guarded(_field(value)) for value in row] for row in rows)
    return file.getvalue()


def _field(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value.value if isinstance(value, Enum) else value)


def guarded(cell: str) -> str:
    """A cell that a spreadsheet does not read as a formula; numbers stay as they are."""
    number = re.match(r"-?[\d.]+(e[+-]?\d+)?( [\[(]|$)", cell)
    return "'" + cell if cell[:1] in ("=", "+", "-", "@", "\t", "\r", "\n") and not number else cell


def _row(cells) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|").replace("\n", " ") for cell in cells) + " |"


def _line(cells) -> str:
    return " & ".join(_escaped(cell) for cell in cells) + r" \\"


_SIGNS = {
    **{sign: "\\" + sign for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "λ": r"$\lambda$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}


def _escaped(text: str) -> str:
    return "".join(_SIGNS.get(sign, sign) for sign in text)
