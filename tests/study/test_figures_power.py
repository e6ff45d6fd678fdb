"""The figures of planning a study carry the numbers they are made of."""

import pytest

from workbench.study.analysis.power import power
from workbench.study.figures_power import p_histogram, power_curves


def test_power_curves_carry_each_power_with_its_interval():
    plans = [
        power(
            participants=6,
            prompts=prompts,
            votes_per_participant=5,
            rate=rate,
            repetitions=50,
        )
        for rate in (0.6, 0.8)
        for prompts in (20, 10)
    ]
    figure = power_curves(plans, "power")
    assert [line.name for line in figure.data] == ["true rate 0.6", "true rate 0.8"]
    for line, (large, small) in zip(figure.data, (plans[:2], plans[2:])):
        assert list(line.x) == [10, 20]
        assert list(line.y) == [small.power, large.power]
        highs = [y + up for y, up in zip(line.y, line.error_y.array)]
        lows = [y - down for y, down in zip(line.y, line.error_y.arrayminus)]
        assert highs == pytest.approx([small.high, large.high])
        assert lows == pytest.approx([small.low, large.low])
    assert list(figure.layout.xaxis.tickvals) == [10, 20]


def test_a_p_histogram_has_bins_of_the_level():
    figure = p_histogram({"naive": [0.01, 0.5, 0.123456], "clustered": [0.2]}, "null")
    naive, clustered = figure.data
    assert (naive.name, clustered.name) == ("naive", "clustered")
    assert list(naive.x) == [0.01, 0.5, 0.1235]
    assert list(clustered.x) == [0.2]
    assert naive.xbins.size == 0.05
