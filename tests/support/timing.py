"""Time limits of the tests, which a slow machine can stretch: TEST_TIMEOUT_SCALE=3 pytest ..."""

import os

SCALE = float(os.environ.get("TEST_TIMEOUT_SCALE", "1"))


def seconds(n: float) -> float:
    return n * SCALE


def milliseconds(n: float) -> float:
    """Of `n` seconds."""
    return n * 1000 * SCALE
