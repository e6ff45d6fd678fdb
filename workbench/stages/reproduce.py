"""A report of the stages made again: its numbers, all but those of the gradients."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from workbench.grid.request import GridRequest
from workbench.io.provenance import Remade, compared_numbers
from workbench.io.strict_json import to_json
from workbench.metrics.lite0 import Lite0
from workbench.models.provenance import reopened
from workbench.stages.analysis import StageAnalysis
from workbench.stages.report import numbers_of

NOT_AGAIN = ("gradients", "left")  # of a report's numbers


def remake_stages(path: Path, made: Mapping, device: str | None) -> Remade:
    """The verdict on a report's numbers. Raises as `reopened` does."""
    there = reopened(made["origin"], device)
    asked = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in made["request"].items()
    }
    size = int(made["numbers"]["feature"].partition("@")[2])
    analysis = StageAnalysis(
        GridRequest(**asked),
        there.backend,
        there.models.__getitem__,
        made["branches"],
        made["parents"],
        made["swaps"],
        feature=partial(Lite0.load, size, str(there.backend.device)),
    )
    for _ in analysis.run():
        pass
    own = json.loads(path.read_text("utf-8")) if path.suffix == ".json" else made["numbers"]
    before, after = (
        {key: value for key, value in numbers.items() if key not in NOT_AGAIN}
        for numbers in (own, json.loads(to_json(numbers_of(analysis))))
    )
    return compared_numbers(dict(_flat(before)), dict(_flat(after)), before == after, there.changes)


def _flat(value, name: str = "") -> Iterator[tuple[str, float | None]]:
    """Every number with its path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{name}/{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _flat(item, f"{name}/{index}")
    elif value is None or isinstance(value, (int, float)):
        yield name, value
