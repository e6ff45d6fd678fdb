"""What made a file: embedded or beside it, read again, and gone when the file was changed."""

import json

import pytest

from workbench.io.files import packages
from workbench.io.page import report_page
from workbench.io.provenance import (
    BESIDE,
    ProvenanceError,
    read_made,
    signed,
    unsigned,
    write_files,
)
from workbench.io.tables import Bullets

MADE = {
    "kind": "evaluation",
    "prompts": [
        "a -- b --> c",
        "</script><b>",
        "% workbench: {",
        "<!-- workbench: {",
        "猫\n\u2028",
    ],
    "packages": packages(),
}
TEXTS = {
    "report.html": report_page("T", Bullets("A", ("<!-- workbench: no",))),
    "report.md": "# T\n",
    "report.tex": "\\begin{table}\n% workbench: no\n",
    "numbers.csv": "a,b\r\n1,2\r\n",
    "numbers.json": "[]",
}


@pytest.mark.parametrize("name", TEXTS)
def test_every_kind_of_file_says_what_made_it(name, tmp_path):
    write_files(tmp_path, TEXTS, MADE)
    assert read_made(tmp_path / name) == MADE
    text = (tmp_path / name).read_bytes().decode()
    assert unsigned(name, text) == TEXTS[name]
    if name.endswith(("csv", "json")):
        assert text == TEXTS[name]
    else:
        assert "</script><b>" not in text
        assert signed(name, TEXTS[name], MADE) == text


def test_a_plain_file_is_known_by_its_content(tmp_path):
    write_files(tmp_path, {"numbers.csv": "1\n"}, MADE)
    (tmp_path / "numbers.csv").rename(tmp_path / "renamed.csv")
    assert read_made(tmp_path / "renamed.csv") == MADE
    (tmp_path / "numbers.csv").write_text("2\n")
    with pytest.raises(ProvenanceError, match="was changed since it was written"):
        read_made(tmp_path / "numbers.csv")


def test_a_file_beside_keeps_those_of_others_and_is_always_the_same(tmp_path):
    write_files(tmp_path, {"a.csv": "1\n", "b.csv": "1\n"}, {"kind": "first"})
    write_files(tmp_path, {"b.csv": "2\n"}, {"kind": "second"})
    assert read_made(tmp_path / "a.csv")["kind"] == "first"
    assert read_made(tmp_path / "b.csv")["kind"] == "second"
    before = (tmp_path / BESIDE).read_bytes()
    write_files(tmp_path, {"b.csv": "2\n"}, {"kind": "second"})
    assert (tmp_path / BESIDE).read_bytes() == before
    assert len(json.loads(before)) == 2


def test_other_files_are_told(tmp_path):
    for name in ("x.csv", "x.md", "x.html", "x.txt"):
        (tmp_path / name).write_text("x")
        with pytest.raises(ProvenanceError, match="does not say what made it"):
            read_made(tmp_path / name)
    with pytest.raises(ProvenanceError, match="is a folder"):
        read_made(tmp_path)
    (tmp_path / "x.md").write_text("# T\n\n<!-- workbench: {oops -->\n")
    with pytest.raises(ProvenanceError, match="damaged"):
        read_made(tmp_path / "x.md")
    (tmp_path / BESIDE).write_text("{")
    with pytest.raises(ProvenanceError, match="damaged"):
        read_made(tmp_path / "x.csv")
