"""What made a file, inside it or beside it: a JSON object with its `kind`, and all that makes it
again.

    PNG     a text chunk (`workbench.io.png`)
    HTML    <script type="application/json" id="workbench-made">
    Markdown, LaTeX    a comment, in the last line
    ZIP     its manifest.json
    others  (CSV, JSON: they stay plain) provenance.json in their folder, by their SHA-256

A report gets it by one call: `write_files(folder, {"report.md": text, ...}, made)`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from workbench.io.files import write_atomically
from workbench.io.notation import TEACHER
from workbench.io.strict_json import to_json

BESIDE = "provenance.json"
ROUNDING = 1e-4  # of a number that is shown with three decimals
_MARKS = {  # by ending: what stands before and after the JSON
    ".html": ('<script type="application/json" id="workbench-made">', "</script>"),
    ".md": ("\n<!-- workbench: ", " -->\n"),
    ".tex": ("\n% workbench: ", "\n"),
}


class ProvenanceError(ValueError):
    """A file that does not say what made it, or one that cannot be made again; the message tells
    why.
    """


class Remade(NamedTuple):
    """Whether a file that was made again is equal to what it was, and how, in words."""

    equal: bool
    words: str


def compared_numbers(
    before: Mapping[str, float | None],
    after: Mapping[str, float | None],
    same_text: bool,
    changes: str = "",
) -> Remade:
    """The verdict on a table by its numbers, and on whether its text is the same, made again on a
    machine with these `changes`. Up to `ROUNDING`, numbers are equal to rounding.
    """
    note = f" ({changes})" if changes else ""
    if same_text:
        return Remade(True, f"equal, letter for letter{note}")
    names = list({**before, **after})
    apart = {
        name: _apart(before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    }
    if not apart:
        why = "another version of the workbench or of plotly wrote it, or it was edited"
        return Remade(False, f"the numbers are equal, the text is not: {why}{note}")
    worst = max(apart, key=apart.__getitem__)
    how = (
        f"{len(apart)} of {len(names)} numbers differ, most of all {worst}: "
        f"{_number(after.get(worst))}, was {_number(before.get(worst))}{note}"
    )
    if apart[worst] <= ROUNDING:
        return Remade(True, f"equal to rounding: {how}")
    return Remade(False, f"not equal: {how}")


def _apart(one: float | None, other: float | None) -> float:
    return math.inf if one is None or other is None else abs(one - other)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def write_files(folder: Path, texts: Mapping[str, str], made: Mapping) -> None:
    """Writes each text to its name in `folder`, as UTF-8 with its own line ends, with what made it.
    The same arguments give the same files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digests = {}
    for name, text in texts.items():
        content = signed(name, text, made).encode()
        write_atomically(folder / name, lambda part, content=content: part.write_bytes(content))
        if Path(name).suffix not in _MARKS:
            digests[name] = hashlib.sha256(content).hexdigest()
    if digests:
        known = [
            entry | {"files": left}
            for entry in _beside(folder)
            if (left := {name: one for name, one in entry["files"].items() if name not in texts})
        ]
        beside = to_json([*known, {"files": digests, "made": made}], ensure_ascii=False, indent=1)
        write_atomically(folder / BESIDE, lambda part: part.write_text(beside, encoding="utf-8"))


def text_digest(text: str) -> str:
    """The SHA-256 of a text as `write_files` writes it."""
    return hashlib.sha256(text.encode()).hexdigest()


def signed(name: str, text: str, made: Mapping) -> str:
    """The text with what made it, if a file of this name can carry it."""
    before, after = _MARKS.get(Path(name).suffix, ("", ""))
    if not before:
        return text
    content = to_json(made, ensure_ascii=False)
    # neither a comment nor a script may end within it
    for mark, escaped in (("--", r"\u002d\u002d"), ("<", r"\u003c"), (">", r"\u003e")):
        content = content.replace(mark, escaped)
    mark = f"{before}{content}{after}"
    head, body, tail = text.rpartition("</body>")
    return f"{head}{mark}{body}{tail}" if body else f"{text}{mark}"


def unsigned(name: str, text: str) -> str:
    """The text that `signed` was given."""
    before, after = _MARKS.get(Path(name).suffix, ("", ""))
    start = text.rfind(before) if before else -1
    if start < 0:
        return text
    end = text.index(after, start + len(before)) + len(after)
    return text[:start] + text[end:]


def read_made(path: Path) -> dict:
    """What made the file. Raises `ProvenanceError` if it does not say so, or was changed since."""
    if path.is_dir():
        raise ProvenanceError(f"{path} is a folder: name a file in it")
    content = path.read_bytes()
    if content.startswith(b"\x89PNG"):
        from workbench.io.png import read_settings  # torch

        return read_settings(path)
    if zipfile.is_zipfile(path):
        return _in_archive(path)
    found = _in_text(path, content) or _by_digest(path, hashlib.sha256(content).hexdigest())
    if found is None:
        raise ProvenanceError(
            f"{path} does not say what made it: it is not a file of the workbench, or of a version "
            "before 0.3, or it was changed since"
        )
    return found


@contextmanager
def report_in(path: Path, kind: str) -> Iterator[Path]:
    """The file itself, or the report.html of an exported report, unpacked while it is used."""
    if kind == "seed grid" or not zipfile.is_zipfile(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
        yield next(Path(folder).rglob("report.html"))


def moved(made: dict, places: Mapping[str, str]) -> dict:
    """The same with teacher and models at other places, by their names. Raises `ProvenanceError`
    for a name that is not in it.
    """
    found: set[str] = set()

    def walked(value: Any, name: str = "") -> Any:
        if isinstance(value, list):
            return [walked(item) for item in value]
        if not isinstance(value, dict):
            return value
        value = {key: walked(item, key) for key, item in value.items()}
        key = "source" if name == TEACHER else "place"
        if name in places and key in value:
            found.add(name)
            value[key] = places[name]
        return value

    there = walked(made)
    if unknown := sorted(set(places) - found):
        raise ProvenanceError(f"nothing called {unknown[0]!r} made this file; show prints what did")
    return there


def _in_text(path: Path, content: bytes) -> dict | None:
    before, after = _MARKS.get(path.suffix.lower(), ("", ""))
    text = content.decode("utf-8", "replace")
    start = text.rfind(before) if before else -1
    if start < 0:
        return None
    start += len(before)
    try:
        return json.loads(text[start : text.index(after, start)])
    except ValueError as error:
        raise ProvenanceError(f"what {path} says of its making is damaged: {error}") from error


def _in_archive(path: Path) -> dict:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if re.fullmatch(r"(.*/)?manifest\.json", name):
                return json.loads(archive.read(name))
        for name in archive.namelist():  # an exported report
            if name.endswith(".html"):
                found = _in_text(Path(name), archive.read(name))
                if found:
                    return found
    raise ProvenanceError(f"{path} holds no manifest.json and no report of the workbench")


def _by_digest(path: Path, digest: str) -> dict | None:
    """The entry of the folder's provenance.json: a file is known by its content, not its name."""
    for entry in _beside(path.parent):
        if digest in entry["files"].values():
            return entry["made"]
        if path.name in entry["files"]:
            raise ProvenanceError(
                f"{path} was changed since it was written: its SHA-256 is {digest[:12]}…, and "
                f"{BESIDE} beside it is of {entry['files'][path.name][:12]}…"
            )
    return None


def _beside(folder: Path) -> list[dict]:
    try:
        entries = json.loads((folder / BESIDE).read_text(encoding="utf-8"))
        return [entry for entry in entries if entry["files"] and entry["made"]]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError) as error:
        raise ProvenanceError(
            f"{folder / BESIDE} is damaged ({error}): move it away, and write the report again"
        ) from error
