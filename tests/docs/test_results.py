"""docs/results.md and the tables of the README and docs/study.md say what results/*.json say."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("make_results", ROOT / "docs" / "make_results.py")
make_results = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_results)


def test_the_pages_are_what_the_files_say():
    for path, text in make_results.pages().items():
        assert path.read_text() == text, f"{path.name} is old: run `make results`"


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*.json")), ids=lambda p: p.stem)
def test_a_file_says_how_its_numbers_came_about(path):
    result = json.loads(path.read_text())
    assert result["name"] == path.stem
    assert all(key in result for key in make_results.REQUIRED)
    assert result.get("reprinted") or (result["date"] and result["commit"])
    assert result["rows"]


def test_cells_keep_their_digits_spread_and_interval():
    assert make_results.cell_text(0.2, 3) == "0.200"
    assert make_results.cell_text([0.132, 0.01], 3) == "0.132 ± 0.010"
    assert (
        make_results.cell_text({"value": 0.9, "low": 0.85, "high": 0.93}, 2) == "0.90 [0.85, 0.93]"
    )
    assert make_results.cell_text("+ 0.03 GB") == "+ 0.03 GB"
    assert make_results.cell_text(None) == ""


def test_a_file_with_the_required_keys_alone_is_a_section(tmp_path):
    result = {key: "x" for key in make_results.REQUIRED} | {
        "recipes": {"DMD": {"digest": "abc"}},
        "rows": [{"model": "DMD", "diversity": [0.1, 0.02]}],
    }
    (tmp_path / "x.json").write_text(json.dumps(result))
    page = make_results.results_page(make_results.read_results(tmp_path))
    assert "| DMD | 0.1 ± 0.02 |" in page
    assert "DMD `abc`" in page
    (tmp_path / "x.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(ValueError, match=r"x\.json has no command"):
        make_results.read_results(tmp_path)


def test_a_page_has_a_table_between_the_marks_of_its_file():
    results = [{"name": "one", "rows": [{"a": 1}]}, {"name": "two", "rows": [{"b": 2.5}]}]
    end = make_results.MARKS[1]
    text = f"x\n<!-- results: two -->\nold\n{end}\ny\n<!-- results: three -->\n{end}\n"
    assert make_results.with_tables(text, results) == (
        f"x\n<!-- results: two -->\n| b |\n| --- |\n| 2.5 |\n{end}\ny\n"
        f"<!-- results: three -->\n{end}\n"
    )


def test_the_default_rule_finds_the_careless_and_leaves_the_honest():
    """In the published table; the suite has a small version of its simulation."""
    rows = json.loads((ROOT / "results" / "careless.json").read_text())["rows"]
    promised = rows[:-2]
    assert sum(row["people"].startswith("honest") for row in promised) == 7
    for row in promised:
        share = row["excluded, %"]["value"]
        assert share <= 2 if row["people"].startswith("honest") else share >= 95, row["people"]
    rules = json.loads((ROOT / "results" / "careless-rules.json").read_text())["rows"]
    assert "default" in rules[0]["rule"]
    assert rules[0]["always left, %"] < 5  # one key passed by construction


def test_the_pictures_of_a_study_tell_what_the_page_says_they_tell():
    """The length of an answer nothing, the pixels much: docs/study.md says so."""
    path = ROOT / "results" / "picture-leaks.json"
    length, *others, _ = json.loads(path.read_text())["rows"]
    assert length["right, %"] == length["by chance, %"] == 33.3
    assert all(row["right, %"] > 50 for row in others)
