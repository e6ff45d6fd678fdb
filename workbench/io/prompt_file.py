"""Prompt lists as files: text, JSON, JSON Lines, CSV and TSV, checked entry by entry.

    .txt              one prompt per line, also with the `123-----` of the released lists before it
    .json             a list of prompts, or of objects with a "prompt"; such a list under "prompts";
                      objects with a "prompt" by their names
    .jsonl, .ndjson   an object with a "prompt", or a text, per line
    .csv, .tsv        a table whose first line names a column "prompt"

Endings count in any case. A .txt, or a file of another ending, that holds JSON or a table is read
as that, never line by line. Files are UTF-8, or begin with the byte-order mark of UTF-16 or UTF-32.
Prompts are cleaned (`workbench.io.prompt_text`).
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.io.prompt_text import LINE_END, clean_prompt


class PromptFileError(ValueError):
    """A prompt file that cannot be used; the message names the file, the line and the way out."""


@dataclass(frozen=True)
class Entry:
    """One prompt of a file, its place there in words, and the JSON object that it came in."""

    text: str
    place: str
    fields: dict[str, Any] | None = None


def read_prompts(path: str | Path, check: Callable[[str], object] | None = None) -> list[str]:
    """The prompts of a file in its order; blank lines are skipped.

    `check(prompt)` may raise ValueError (over the encoder's limit, outside a grammar).

    Raises:
        PromptFileError: As `read_entries`; with the place, for a prompt that `check` refuses.
    """
    entries = read_entries(path)
    for entry in entries:
        try:
            if check:
                check(entry.text)
        except ValueError as error:
            raise PromptFileError(f"{path}, {entry.place}: {error}") from error
    return [entry.text for entry in entries]


def read_entries(path: str | Path) -> list[Entry]:
    """The prompts of a file in its order, with what a JSON file says about each.

    Raises:
        PromptFileError: The file cannot be read, is of another kind, or has no prompts; with the
            place, an entry without a prompt or with a character that cannot be read.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PromptFileError(f"cannot read the prompt file {path}: {error.strerror}") from error
    if kind := _FOREIGN.get(path.suffix.lower()) or _kind_of(data):
        raise PromptFileError(
            f"{path} is {kind}, not a prompt list: save it as text with one prompt per line, or as "
            "CSV, TSV, JSON or JSONL"
        )
    entries = []
    try:
        text = _decoded(data)
        for place, value, fields in _reader(path, text)(text):
            entry = Entry(_prompt(place, value), place, fields)
            if not entry.text and fields is not None:
                raise ValueError(f"{place}: the prompt is empty")
            entries += [entry] if entry.text else []
    except ValueError as error:
        raise PromptFileError(f"{path}, {error}") from error
    if not entries:
        raise PromptFileError(f"{path} has no prompts; write one prompt per line")
    return entries


_Found = Iterable[tuple[str, Any, dict[str, Any] | None]]  # place, prompt, its object
NAMES = ("prompt", "prompts")  # of a field or column, in any case; the second is DrawBench's
_FOREIGN = {
    ".yaml": "a YAML file",
    ".yml": "a YAML file",
    ".toml": "a TOML file",
    ".xlsx": "a spreadsheet",
    ".ods": "a spreadsheet",
    ".numbers": "a spreadsheet",
}
_SIGNATURES = {
    b"PK\x03\x04": "a zip archive, or a spreadsheet or document that is one",
    b"PK\x05\x06": "an empty zip archive",
    b"\xd0\xcf\x11\xe0": "a spreadsheet or document of an old Office",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"PAR1": "a parquet file",
    b"%PDF": "a PDF",
    b"{\\rtf": "an RTF document",
    b"SQLite format 3": "a SQLite database",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"<?xml": "an XML file",
    b"<!doctype": "an HTML page",
    b"<html": "an HTML page",
}
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # begins as UTF-16's does
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def _encoding(data: bytes) -> str:
    return next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")


def _kind_of(data: bytes) -> str:
    """A file that is no text, in words; empty for text."""
    head = data[:512].removeprefix(codecs.BOM_UTF8).lstrip().lower()
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature.lower()):
            return kind
    wide = _encoding(data).startswith(("utf-16", "utf-32"))
    if not wide and data[:4096].count(0) * 10 > min(len(data), 4096):
        return "binary, or UTF-16 without its byte-order mark"
    return ""


def _decoded(data: bytes) -> str:
    encoding = _encoding(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, "ignore")
        raise ValueError(
            f"line {len(LINE_END.split(before))}: not {encoding.removesuffix('-sig').upper()} "
            f"({error.reason}); save the file as UTF-8"
        ) from error


def _prompt(place: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{place}: the prompt is {value!r:.40}, not a text")
    try:
        return clean_prompt(value)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def _reader(path: Path, text: str) -> Callable[[str], _Found]:
    """By the ending; for one that says nothing, by the content."""
    ending = path.suffix.lower()
    if ending in _READERS:
        return _READERS[ending]
    first = next(filter(str.strip, LINE_END.split(text)), "")
    if _is_json(text):
        return _of_json
    if _is_json(first):
        return _of_json_lines
    return _of_table if _is_table(text, first) else _of_lines


def _is_json(text: str) -> bool:
    """Whether a text is a JSON list or object."""
    try:
        return text.lstrip().startswith(("[", "{")) and isinstance(json.loads(text), (list, dict))
    except (ValueError, RecursionError):
        return False


def _is_table(text: str, first: str) -> bool:
    """Whether the first line names a column of prompts among others, and all lines have as many."""
    delimiter = next((d for d, row in _heads(first).items() if _column(row) and len(row) > 1), "")
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if delimiter else ()
        return len({len(row) for row in rows if row}) == 1
    except csv.Error:
        return False


def _of_lines(text: str) -> _Found:
    for number, line in enumerate(LINE_END.split(text), 1):
        yield f"line {number}", re.sub(r"^[\s\ufeff]*\d+-----", "", line), None


def _of_json_lines(text: str) -> _Found:
    # a raw U+2028 may stand inside a JSON text, a raw CR may not
    for number, line in enumerate(re.split("\r\n|[\r\n]", text), 1):
        place = f"line {number}"
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(
                    f'{place}: not a JSON object with a "prompt": {error}; a file whose one JSON '
                    "value goes over several lines is called .json"
                ) from error
            yield _of_value(place, value)


def _of_json(text: str) -> _Found:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return _of_json_lines(text)
        raise ValueError(f"line {error.lineno}: not JSON: {error.msg}") from error
    except RecursionError as error:
        raise ValueError("line 1: JSON with too many levels") from error
    return list(_of_values(value))


def _of_values(value: Any) -> Iterator[tuple[str, Any, dict[str, Any] | None]]:
    if isinstance(value, dict):
        column = _column(value)
        listed = column is not None and isinstance(value[column], list)
        if listed:
            value = value[column]
        elif column is not None:
            value = [value]
        elif value and all(isinstance(entry, dict) for entry in value.values()):
            for name, entry in value.items():
                yield _of_value(f'entry "{name}"', entry)
            return
    if not isinstance(value, list):
        raise ValueError(
            'line 1: neither a list of prompts, nor an object with a list called "prompts"'
        )
    for number, entry in enumerate(value, 1):
        yield _of_value(f"entry {number}", entry)


def _of_value(place: str, value: Any) -> tuple[str, Any, dict[str, Any] | None]:
    """The prompt of one JSON value: an object with a "prompt", or a text."""
    if isinstance(value, str):
        return place, value, {}
    column = _column(value) if isinstance(value, dict) else None
    if column is None:
        raise ValueError(f'{place}: not a JSON object with a "prompt", nor a text')
    return place, value[column], value


def _column(names: Iterable[str]) -> str | None:
    """The one of `names` under which prompts stand; None if there is none."""
    by_name = {name.strip().lower(): name for name in reversed(list(names))}
    return next((by_name[wanted] for wanted in NAMES if wanted in by_name), None)


def _heads(line: str, delimiters: str = ",\t;") -> dict[str, list[str]]:
    """A table's first line, cut at each delimiter; a spreadsheet writes semicolons where a comma is
    the decimal point.
    """
    return {d: next(csv.reader([line], delimiter=d), []) for d in delimiters}


def _of_table(text: str, delimiters: str = ",\t;") -> _Found:
    """The column "prompt" of a table; fields in quotes may hold the delimiter and line ends."""
    heads = _heads(next(filter(str.strip, LINE_END.split(text)), ""), delimiters)
    delimiter = next((d for d in delimiters if _column(heads[d])), delimiters[0])
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    head, column = [], 0
    while True:
        begun = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise ValueError(f"line {begun}: {error}; a quote inside quotes is doubled") from error
        if row is None:
            return
        if not any(map(str.strip, row)):
            continue
        if not head:
            head, column = row, _place_of_column(begun, row)
            continue
        if len(row) > len(head):
            raise ValueError(
                f"line {begun}: {len(row)} fields, but the first line names {len(head)}: put "
                "quotes around a prompt with a comma in it"
            )
        yield f"line {begun}", row[column] if column < len(row) else "", {}


def _place_of_column(line: int, head: list[str]) -> int:
    name = _column(head)
    if name is None:
        listed = ", ".join(cell.strip()[:40] for cell in head[:8])
        raise ValueError(
            f'line {line}: no column is called "prompt"; the first line of a table names its '
            f"columns, and this one has: {listed}"
        )
    if [cell.strip().lower() for cell in head].count(name.strip().lower()) > 1:
        raise ValueError(f"line {line}: two columns are called {name.strip()}")
    return head.index(name)


_READERS: dict[str, Callable[[str], _Found]] = {
    ".json": _of_json,
    ".jsonl": _of_json_lines,
    ".ndjson": _of_json_lines,
    ".csv": _of_table,
    ".tsv": lambda text: _of_table(text, "\t"),
}
