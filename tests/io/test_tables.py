"""Numbers and intervals as every table shows them."""

import math

import pytest

from workbench.io.tables import interval_text, number_text

NAN = math.nan


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        ((0.4321, 0.4, 0.5), "0.432 [0.400, 0.500]"),
        ((0.4321, NAN, NAN), "0.432"),
        ((NAN, NAN, NAN), ""),
        ((0.4321, 0.4, NAN), "0.432"),
        ((-4.4e-16, -1e-9, -0.0), "0.000 [0.000, 0.000]"),
        ((-0.0004, -0.0006, 0.0), "0.000 [-0.001, 0.000]"),
    ],
)
def test_an_interval_as_text(interval, text):
    assert interval_text(*interval) == text


def test_the_digits_are_the_columns():
    assert interval_text(3, 2, 4, digits=0) == "3 [2, 4]"
    assert number_text(-0.04, 1) == "0.0"
    assert number_text(-0.06, 1) == "-0.1"
