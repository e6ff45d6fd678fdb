"""Nothing that is written as JSON holds NaN or Infinity."""

import ast
import json
import math
from pathlib import Path

import pytest

from workbench.io.png import png_bytes
from workbench.io.strict_json import to_json

ROOT = Path(__file__).parents[2]


def refused(constant):
    raise AssertionError(f"{constant} is not JSON")


def test_numbers_that_are_not_finite_are_null_at_any_depth():
    value = {"a": math.nan, "b": [1.5, (math.inf, {"c": -math.inf})], math.nan: "x", "d": True}
    read = json.loads(to_json(value), parse_constant=refused)
    assert read == {"a": None, "b": [1.5, [None, {"c": None}]], "nan": "x", "d": True}


@pytest.mark.parametrize("value", [{"a": [1, 0.1, "é", None, True]}, [], "x", {"b": {"a": 1e300}}])
@pytest.mark.parametrize("options", [{}, {"indent": 1}, {"sort_keys": True, "ensure_ascii": False}])
def test_anything_else_is_written_as_ever(value, options):
    assert to_json(value, **options) == json.dumps(value, **options)


def test_a_picture_carries_json(tmp_path):
    from PIL import Image

    (tmp_path / "a.png").write_bytes(png_bytes(Image.new("RGB", (1, 1)), {"guidance": math.nan}))
    with Image.open(tmp_path / "a.png") as image:
        assert json.loads(image.text["workbench"], parse_constant=refused) == {"guidance": None}


def test_no_other_place_writes_json_that_could_hold_nan():
    """By `to_json`, or with allow_nan=False where io may not be imported."""
    files = [*(ROOT / "workbench").rglob("*.py"), ROOT / "benchmarks" / "record.py"]
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("json.dump", "json.dumps")
    ]
    lawful = {"workbench/io/strict_json.py", "workbench/core/recipe.py"}
    assert [place for place in wrong if place.partition(":")[0] not in lawful] == []
