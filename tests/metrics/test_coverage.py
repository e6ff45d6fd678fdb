"""Precision, recall, density and coverage against hand-made sets, loops over pairs, and the
expected values of equal distributions.
"""

import pytest
import torch

from workbench.metrics import coverage as module
from workbench.metrics.coverage import Coverage, coverage, coverage_by_prompt, expected_coverage


def normal(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def column(*values):
    return torch.tensor(values)[:, None]


def looped(x, y, k):
    """The four values, pair by pair."""

    def radius(points, i):
        return sorted(float((points[i] - points[j]).norm()) for j in range(len(points)) if j != i)[
            k - 1
        ]

    def share(flags):
        return sum(flags) / len(flags)

    reach, own = ([radius(points, i) for i in range(len(points))] for points in (y, x))
    apart = [[float((a - b).norm()) for b in y] for a in x]
    inside = [[apart[j][i] < reach[i] for i in range(len(y))] for j in range(len(x))]
    met = [any(apart[j][i] < own[j] for j in range(len(x))) for i in range(len(y))]
    held = [any(row[i] for row in inside) for i in range(len(y))]
    return Coverage(
        share([any(row) for row in inside]),
        share(met),
        sum(map(sum, inside)) / (k * len(x)),
        share(held),
        expected_coverage(len(y), len(x), k),
    )


def test_sets_made_by_hand():
    reference = column(
        0.0, 1.0, 3.0, 10.0
    )  # at k = 1 their balls are (-1, 1), (0, 2), (1, 5), (3, 17)
    samples = column(0.5, 0.6, 4.0)  # theirs (0.4, 0.6), (0.5, 0.7), (0.6, 7.4)
    assert coverage(samples, reference, k=1) == (
        1.0,
        2 / 4,
        (2 + 2 + 2) / 3,
        1.0,
        expected_coverage(4, 3, 1),
    )
    far = coverage(column(100.0, 101.0), reference, k=1)
    assert far[:4] == (0, 0, 0, 0)
    collapsed = coverage(column(0.5, 0.5, 0.5), reference, k=1)
    assert collapsed[:4] == (1.0, 0.0, 2.0, 0.5)


def test_a_point_on_the_rim_of_a_ball_is_not_in_it():
    assert (
        coverage(column(1.0, 2.0), column(0.0, 1.0, -1.0), k=1).precision == 0.5
    )  # only 1 itself, in its own ball


def test_identical_sets_have_one_everywhere():
    x = normal(60, 7)
    for k in (1, 5, 59):
        assert coverage(x, x.flip(0), k)[:4] == (1, 1, pytest.approx(1, abs=1e-12), 1)


@pytest.mark.parametrize(
    ("m", "n", "d", "k"), [(12, 17, 3, 5), (17, 12, 3, 1), (4, 9, 20, 3), (9, 9, 2, 8)]
)
def test_loops_over_pairs_give_the_same(m, n, d, k, monkeypatch):
    x, y = normal(m, d) * 0.7 + 0.2, normal(n, d, seed=1)
    for block in (1 << 23, 30, 1):
        monkeypatch.setattr(module, "BLOCK", block)
        assert coverage(x, y, k) == pytest.approx(looped(x, y, k), abs=1e-12)
    assert coverage(x.float(), y.float(), k) == pytest.approx(
        looped(x.float().double(), y.float().double(), k), abs=1e-12
    )


@pytest.mark.parametrize(("n", "m", "k"), [(9, 9, 3), (9, 4, 2), (20, 30, 5)])
def test_an_equal_distribution_has_the_expected_coverage_and_density(n, m, k):
    values = torch.tensor(
        [coverage(normal(m, 3, seed=2 * i), normal(n, 3, seed=2 * i + 1), k) for i in range(600)]
    )
    error = values.std(0) / len(values) ** 0.5
    assert abs(values[:, 3].mean() - expected_coverage(n, m, k)) < 4 * error[3]
    assert abs(values[:, 2].mean() - 1) < 4 * error[2]


def test_the_expected_coverage_is_the_closed_form():
    assert expected_coverage(9, 9, 3) == pytest.approx(1 - (8 * 7 * 6) / (17 * 16 * 15))
    assert expected_coverage(1000, 1000, 5) == pytest.approx(1 - 2**-5, abs=1e-3)
    assert expected_coverage(9, 1, 3) == pytest.approx(3 / 9)
    gaps = {k: expected_coverage(9, 9, k) - expected_coverage(9, 1, k) for k in range(1, 9)}
    assert max(gaps, key=gaps.get) == 3
    for wrong in ((9, 9, 9), (9, 9, 0), (9, 0, 3)):
        with pytest.raises(ValueError, match="1 <= k < n"):
            expected_coverage(*wrong)


def test_lost_modes_cost_coverage_and_not_precision():
    modes = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0], [50.0, 50.0]]).repeat(25, 1)
    reference, whole = modes + normal(100, 2), modes + normal(100, 2, seed=1)
    half = modes[:2].repeat(50, 1) + normal(100, 2, seed=2)
    assert coverage(whole, reference).coverage > 0.9
    lost = coverage(half, reference)
    assert lost.coverage < 0.51
    assert lost.recall < 0.51
    assert lost.precision > 0.9


def test_each_prompt_is_measured_against_its_own_reference():
    samples, reference = (
        normal(4, 9, 5),
        normal(4, 7, 5, seed=1) + 20 * torch.arange(4)[:, None, None],
    )
    found = coverage_by_prompt(samples, reference)
    assert found == [coverage(x, y, 3) for x, y in zip(samples, reference)]
    assert all(
        one.coverage < 0.6 and one.expected_coverage == pytest.approx(expected_coverage(7, 9, 3))
        for one in found[1:]
    )
    assert all(one[:4] == (1, 1, 1, 1) for one in coverage_by_prompt(reference, reference))


def mean_coverage(samples, reference):
    found = coverage_by_prompt(samples, reference)
    return sum(one.coverage for one in found) / len(found)


def test_copies_of_one_image_fall_from_the_expected_coverage_to_what_one_image_has():
    reference = normal(300, 9, 16)
    other, one = normal(300, 9, 16, seed=1), normal(300, 1, 16, seed=2).expand(300, 9, 16)
    assert mean_coverage(other, reference) == pytest.approx(0.918, abs=0.02)
    assert mean_coverage(one, reference) == pytest.approx(0.333, abs=0.03)
    near = reference + 0.3 * normal(300, 9, 16, seed=3)
    assert mean_coverage(near, reference) > 0.98  # the reference's own seeds: not independent


def test_what_cannot_be_measured_is_refused():
    x = normal(6, 3)
    for samples, reference, k in (
        (x, x, 6),
        (x, x, 0),
        (x[:5], normal(9, 3), 5),
        (x[0], x, 1),
        (x[None], x, 1),
    ):
        with pytest.raises(ValueError, match="more than k"):
            coverage(samples, reference, k)
    with pytest.raises(ValueError, match="same features"):
        coverage(x, normal(6, 4))
    broken = x.clone()
    broken[0, 0] = float("inf")
    with pytest.raises(ValueError, match="not finite"):
        coverage(x, broken)
    for samples, reference in (
        (normal(2, 9, 3), normal(3, 9, 3)),
        (x, x),
        (normal(0, 9, 3), normal(0, 9, 3)),
    ):
        with pytest.raises(ValueError, match="same prompts"):
            coverage_by_prompt(samples, reference)
