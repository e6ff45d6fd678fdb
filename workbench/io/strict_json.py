"""JSON as the standard has it. Python's own writes NaN and Infinity, which other readers refuse."""

from __future__ import annotations

import json
import math
from typing import Any


def to_json(value: Any, **options: Any) -> str:
    """`json.dumps(value, **options)`, with null for a number that is not finite."""
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {_finite_key(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return value


def _finite_key(key: Any) -> Any:
    return str(key) if isinstance(key, float) and not math.isfinite(key) else key
