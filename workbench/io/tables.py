"""A table with grouped columns, as Markdown, CSV, LaTeX (booktabs) and HTML."""

from __future__ import annotations

import csv
import html
import io
import re
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True)
class Table:
    """`columns` are (group, name), the group "" for none; `rows` hold as many cells; "" is a
    blank.
    """

    name: str  # of a file
    title: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def markdown(self) -> str:
        """Markdown knows one line of headings: the group stands before the name."""
        heads = [f"{group}: {name}" if group else name for group, name in self.columns]
        lines = [
            f"### {self.title}",
            "",
            _row(heads),
            _row(["---"] * len(heads)),
            *(_row(row) for row in self.rows),
        ]
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)])

    @property
    def csv(self) -> str:
        file = io.StringIO()
        writer = csv.writer(file)
        writer.writerow([f"{group}: {name}" if group else name for group, name in self.columns])
        writer.writerows([guarded(cell) for cell in row] for row in self.rows)
        return file.getvalue()

    @property
    def latex(self) -> str:
        """A tabular of the package booktabs, with its caption."""
        groups = [
            (group, len(list(part)))
            for group, part in groupby(self.columns, lambda column: column[0])
        ]
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
        groups = [
            (group, len(list(part)))
            for group, part in groupby(self.columns, lambda column: column[0])
        ]
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
        return f"<h3>{html.escape(self.title)}</h3><table><thead>{over}<tr>{names}</tr></thead><tbody>{body}</tbody></table>{notes}"


def listed(lines: list[str]) -> str:
    """A LaTeX list."""
    return "\n".join(
        [r"\begin{itemize}", *(rf"\item {_escaped(line)}" for line in lines), r"\end{itemize}"]
    )


def guarded(cell: str) -> str:
    """A cell that a spreadsheet does not take for a formula; numbers stay as they are."""
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
