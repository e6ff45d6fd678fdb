"""Eq. (9) against a loop over pairs and closed forms; the intervals against populations whose
value is known.
"""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from workbench.io.tables import interval_text
from workbench.metrics.diversity import (
    diversity,
    mean_interval,
    seed_interval,
    t_interval,
    vendi,
)


def random_features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) + 0.5


def test_equation_nine_equals_its_loop_over_pairs():
    features = random_features(4, 6, 32)
    expected = []
    for prompt in features.double():
        cosines = [
            torch.cosine_similarity(prompt[i], prompt[j], dim=0)
            for i in range(6)
            for j in range(i + 1, 6)
        ]
        expected.append(1 - sum(cosines) * 2 / (6 * 5))
    torch.testing.assert_close(diversity(features), torch.stack(expected), rtol=1e-12, atol=1e-12)


def test_identical_orthogonal_and_opposite_features():
    same, orthogonal = torch.ones(1, 9, 5), torch.eye(9)[None]
    opposite = torch.tensor([[[1.0, 0.0], [-2.0, 0.0]]])
    assert diversity(same).item() == pytest.approx(0, abs=1e-12)
    assert diversity(orthogonal).item() == pytest.approx(1, abs=1e-12)
    assert diversity(opposite).item() == pytest.approx(2, abs=1e-12)


def test_length_of_a_feature_does_not_matter_and_nearly_equal_ones_are_resolved():
    features = random_features(2, 5, 16)
    scale = torch.rand(2, 5, 1, generator=torch.Generator().manual_seed(1)) + 0.1
    torch.testing.assert_close(diversity(features * scale), diversity(features), rtol=1e-6, atol=0)
    angle = 1e-5  # 1 - cos(1e-5) = 5e-11, lost in fp32
    pair = torch.tensor([[[1.0, 0.0], [math.cos(angle), math.sin(angle)]]], dtype=torch.float64)
    assert diversity(pair).item() == pytest.approx(angle**2 / 2, rel=1e-4)


def test_expected_diversity_does_not_depend_on_the_number_of_seeds():
    few, many = (diversity(random_features(20_000 // s, s, 8, seed=s)) for s in (3, 40))
    assert abs(few.mean() - many.mean()) < 4 * few.std() / math.sqrt(
        len(few)
    ) + 4 * many.std() / math.sqrt(len(many))


@pytest.mark.parametrize("function", [diversity, seed_interval])
def test_fewer_than_two_seeds_are_an_error(function):
    with pytest.raises(ValueError, match="2 or more seeds"):
        function(torch.ones(1, 4))


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_feature_without_direction_is_an_error(value):
    features = random_features(1, 3, 4)
    features[0, 1] = value
    with pytest.raises(ValueError, match="zero or not finite"):
        diversity(features)


def test_vendi_counts_distinct_images():
    assert vendi(torch.ones(6, 3)).item() == pytest.approx(1, abs=1e-9)
    assert vendi(torch.eye(6)).item() == pytest.approx(6)
    assert vendi(torch.eye(3).repeat(2, 1)).item() == pytest.approx(3)
    # two unit vectors with cosine c: eigenvalues (1 +- c) / 2
    c, p = 0.6, np.array([0.8, 0.2])
    assert vendi(torch.tensor([[1.0, 0.0], [c, 0.8]])).item() == pytest.approx(
        math.exp(-(p * np.log(p)).sum()), rel=1e-6
    )
    batch = random_features(3, 5, 8)
    torch.testing.assert_close(vendi(batch), torch.stack([vendi(one) for one in batch]))


def test_the_mean_has_students_interval():
    """Values and interval of scipy's t-test of one sample."""
    values = random_features(30, seed=3).double().numpy()
    interval = mean_interval(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert interval == pytest.approx((values.mean(), expected.low, expected.high))
    wide = mean_interval(values, level=0.99)
    assert wide.low < interval.low
    assert wide.high > interval.high


def test_an_interval_stays_in_its_range_and_leans_to_the_side_with_room():
    values = [0.0, 0.0, 0.1, 0.9]
    mean, error = 0.25, np.std(values, ddof=1) / 2
    t = stats.t.ppf(0.975, 3)
    above = mean_interval(values, within=(0.0, math.inf))
    assert above.low == pytest.approx(mean * math.exp(-t * error / mean))
    assert above.high == pytest.approx(mean * math.exp(t * error / mean))
    share = mean_interval(values, within=(0.0, 1.0))
    ends = special.logit(mean) + np.array([-t, t]) * error / (mean * (1 - mean))
    assert share[1:] == pytest.approx(tuple(special.expit(ends)))
    other = mean_interval([2 - value for value in values], within=(1.0, 2.0))
    assert other == pytest.approx((2 - share.mean, 2 - share.high, 2 - share.low))
    assert 0 < share.low < mean < share.high < 1
    at_the_end = t_interval(0.0, 0.1, 3, 0.95, (0.0, 1.0))
    assert at_the_end == (0.0, 0.0, pytest.approx(0.1 * t))
    two = mean_interval([0.1, 0.9], within=(0.0, math.inf))
    assert two == (0.5, 0.0, pytest.approx(0.5 + 0.4 * stats.t.ppf(0.975, 1)))
    outside = t_interval(1 - 1e-12, 1e-3, 3, 0.95, (1.0, 9.0))  # by rounding
    assert outside.low == outside.mean < outside.high


@pytest.mark.parametrize("prompts", [3, 43])
def test_the_interval_of_a_mean_covers_with_few_prompts(prompts):
    """The bootstrap (BCa) covered 70 % with 3."""
    draws = np.random.default_rng(0).gamma(4, 0.05, (1000, prompts))
    found = [mean_interval(values, within=(0.0, 2.0)) for values in draws]
    assert 0.925 <= np.mean([low <= 0.2 <= high for _, low, high in found]) <= 0.975


def test_one_prompt_and_equal_prompts_have_no_interval():
    for values in ([0.3], [0.3] * 5, [0.0] * 4, [1e-16, 0.0, 2e-16]):
        interval = mean_interval(values, within=(0.0, 1.0))
        assert interval.mean == pytest.approx(values[0], abs=1e-15)
        assert math.isnan(interval.low)
        assert math.isnan(interval.high)
    for bad in ([], [0.1, float("nan")], np.ones((2, 2))):
        with pytest.raises(ValueError, match="finite values"):
            mean_interval(bad)


@pytest.mark.parametrize("seeds", [2, 3, 9])
def test_equal_images_have_a_diversity_of_exactly_zero_and_no_interval(seeds):
    """Rounding left -4.4e-16 with [0, -4.4e-16] of nine equal rows, shown as "-0.000 [0.000,
    -0.000]".
    """
    for number in range(20):
        features = random_features(1, 7, seed=number).expand(seeds, 7)
        interval = seed_interval(features)
        assert str(interval.mean) == "0.0"
        assert math.isnan(interval.low)
        assert math.isnan(interval.high)
        assert interval_text(*interval) == "0.000"
        assert diversity(features[None]).tolist() == [0.0]


def test_seed_interval_agrees_with_leaving_out_each_seed():
    features = random_features(9, 16)
    interval = seed_interval(features, level=0.9)
    without = np.array(
        [diversity(torch.cat([features[:i], features[i + 1 :]])[None]).item() for i in range(9)]
    )
    error = math.sqrt(8 / 9 * ((without - without.mean()) ** 2).sum())
    assert interval.mean == pytest.approx(diversity(features[None]).item())
    half = stats.t.ppf(0.95, 8) * error
    assert interval[1:] == pytest.approx((interval.mean - half, interval.mean + half))


@pytest.mark.parametrize(
    ("width", "concentration", "seeds"),
    [(16, 60.0, 9), (16, 60.0, 5), (64, 150.0, 9), (64, 150.0, 25)],
)
def test_seed_interval_covers_the_population_value(width, concentration, seeds):
    """Von Mises-Fisher features: E cos = A^2, A = I_{D/2}(k) / I_{D/2 - 1}(k), so the true value
    of Eq. (9) is 1 - A^2.
    """
    ratio = special.ive(width / 2, concentration) / special.ive(width / 2 - 1, concentration)
    true, repeats = 1 - ratio**2, 500
    draws = stats.vonmises_fisher(np.eye(width)[0], concentration).rvs(
        repeats * seeds, random_state=np.random.default_rng(1)
    )
    features = torch.from_numpy(draws).view(repeats, seeds, width)
    assert diversity(features).mean().item() == pytest.approx(true, rel=0.02)
    inside = sum(low <= true <= high for _, low, high in map(seed_interval, features))
    assert 0.92 <= inside / repeats <= 0.99


def test_seed_interval_where_seeds_cannot_tell():
    two = seed_interval(torch.eye(2))
    assert two.mean == pytest.approx(1)
    assert math.isnan(two.low)
    assert math.isnan(two.high)
    rare = seed_interval(torch.cat([torch.eye(8)[:1].repeat(8, 1), torch.eye(8)[1:2]]))
    assert 0 == rare.low < rare.mean < rare.high < 1
    with pytest.raises(ValueError, match="one prompt"):
        seed_interval(random_features(2, 3, 4))
