"""The figure of a training in progress."""

import pytest

from workbench.training.figures import LINE_POINTS, training_figure

TERMS = {"dmd": ["dmd"], "dp-dmd": ["dmd", "diversity"]}


def rows_of(terms, rounds):
    """A fake and a student update per round; every other round a reading, and gradients whose first
    step has the diversity term alone.
    """
    rows = []
    for n in range(1, rounds + 1):
        rows.append(
            {
                "kind": "fake",
                "round": n,
                "update": n,
                "losses": {"denoising": 0.5 / n},
                "grad_norm": 2.0,
                "seconds": 0.1,
            }
        )
        rows.append(
            {
                "kind": "student",
                "round": n,
                "update": n,
                "losses": {term: 1.0 / n for term in terms},
                "grad_norm": 1.0,
                "seconds": 0.1,
            }
        )
        if n % 2 == 0:
            rows.append(
                {"kind": "reading", "round": n, "diversity": 0.3 + n / 1e5, "feature": "lite0@96"}
            )
            rows.append(
                {
                    "kind": "gradients",
                    "round": n,
                    "norms": {"dmd": [0.0, 0.5, 0.25, 0.125], "diversity": [n, 0.0, 0.0, 0.0]},
                }
            )
    return rows


def drawn(rounds, teacher=None):
    return training_figure(
        {name: rows_of(terms, rounds) for name, terms in TERMS.items()}, TERMS, 4, teacher
    )


def test_the_traces_are_the_same_from_no_rows_to_many():
    shapes = [
        [
            (trace.type, trace.name, getattr(trace, "xaxis", None), getattr(trace, "yaxis", None))
            for trace in drawn(rounds, teacher).data
        ]
        for rounds, teacher in ((0, None), (1, None), (2, 0.4), (3 * LINE_POINTS, 0.4))
    ]
    assert all(shape == shapes[0] for shape in shapes)
    # each run: its terms, the denoising loss, two norms, its terms by step, its diversity; then the
    # teacher and the gauge
    assert len(shapes[0]) == (1 + 1 + 2 + 1 + 1) + (2 + 1 + 2 + 2 + 1) + 2


def test_a_live_figure_filled_in_place_is_the_new_one():
    live, new = drawn(0), drawn(6, 0.4)
    for shown, trace in zip(live.data, new.data):
        shown.update(trace.to_plotly_json(), overwrite=False)
    assert [trace.to_plotly_json() for trace in live.data] == [
        trace.to_plotly_json() for trace in new.data
    ]


def test_the_bars_are_of_the_last_reading_and_a_stopped_step_has_none_of_dmds():
    bars = [trace for trace in drawn(6).data if trace.type == "bar"]
    assert [trace.name for trace in bars] == ["dmd", "dmd", "diversity"]
    assert all(list(trace.x) == ["1", "2", "3", "4"] for trace in bars)
    _, dmd, diversity = bars
    assert dmd.y[0] == 0.0
    assert dmd.y[1] == 0.5
    assert list(diversity.y) == [6, 0.0, 0.0, 0.0]
    assert all(
        list(trace.y) == [None] * 4 for trace in drawn(1).data if trace.type == "bar"
    )  # nothing is drawn before it is measured


def test_the_gauge_has_the_last_reading_against_the_teachers():
    gauge = drawn(6, 0.4).data[-1]
    assert gauge.value == pytest.approx(0.30006)
    assert gauge.gauge.threshold.value == 0.4
    assert gauge.gauge.axis.range[1] == pytest.approx(0.5)
    assert drawn(0).data[-1].value is None


def test_long_lines_are_thinned_and_numbers_short():
    longest = max(
        drawn(3 * LINE_POINTS).data,
        key=lambda trace: len(trace.x or ()) if trace.type == "scatter" else 0,
    )
    assert len(longest.x) == LINE_POINTS
    assert all(len(f"{value:g}") <= 9 for value in longest.y)
