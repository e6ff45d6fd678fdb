"""One scale for every timeout of the tests: TEST_TIMEOUT_SCALE=5 on a machine five times slower."""

import os

SCALE = float(os.environ.get("TEST_TIMEOUT_SCALE", "1"))


def seconds(n: float) -> float:
    """`n` seconds, scaled."""
    return n * SCALE


def milliseconds(n: float) -> float:
    """`n` seconds, scaled, in milliseconds."""
    return 1000 * seconds(n)
