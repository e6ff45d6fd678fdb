"""The variance split: hand-made numbers, an independent analysis of variance, Eq. (9), and its
intervals' coverage.
"""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from workbench.metrics.diversity import diversity
from workbench.stages.branching import variance_split


def test_hand_made_branches():
    # parents' means 1, 5, 9; MSW = 2; MSB = 2 * 16
    split = variance_split(torch.tensor([[[0.0], [2.0]], [[4.0], [6.0]], [[8.0], [10.0]]]))
    assert split.within.mean == pytest.approx(2)
    assert split.cross.mean == pytest.approx((32 - 2) / 2 + 2)
    assert split.icc.mean == pytest.approx((32 - 2) / (32 + 2))


def test_it_is_the_one_way_analysis_of_variance():
    features = torch.from_numpy(
        np.random.default_rng(0).normal(size=(7, 4, 1)) + np.arange(7)[:, None, None] * 0.4
    )
    f = stats.f_oneway(*features[..., 0].numpy()).statistic
    assert variance_split(features).icc.mean == pytest.approx((f - 1) / (f - 1 + 4))


def test_within_and_cross_are_eq_9_of_unit_features():
    features = F.normalize(
        torch.randn(5, 3, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64),
        dim=-1,
    )
    split = variance_split(features)
    assert split.within.mean == pytest.approx(float(diversity(features).mean()))
    pairs = [
        1 - float(a @ b)
        for p, q in itertools.combinations(range(5), 2)
        for a in features[p]
        for b in features[q]
    ]
    assert split.cross.mean == pytest.approx(np.mean(pairs))


def test_all_decided_and_nothing_decided():
    parents = torch.randn(4, 1, 6, generator=torch.Generator().manual_seed(2))
    decided = variance_split(parents.expand(4, 3, 6))
    assert decided.within == pytest.approx((0, math.nan, math.nan), nan_ok=True)
    assert decided.icc.mean == pytest.approx(1)
    same = variance_split(
        torch.randn(1, 3, 6).expand(4, 3, 6)
    )  # every parent has the same branches
    assert same.icc.mean == pytest.approx(-0.5)  # the estimator's lowest value, -1 / (B - 1)
    assert math.isnan(variance_split(torch.ones(4, 3, 2)).icc.mean)


def test_intervals_cover_the_truth():
    """sigma_between^2 = 1, sigma_within^2 = 1 in 8 dimensions: an ICC of 0.5."""
    rng, hits = np.random.default_rng(3), {"within": 0, "icc": 0}
    for _ in range(300):
        features = torch.from_numpy(rng.normal(size=(6, 1, 8)) + rng.normal(size=(6, 4, 8)))
        split = variance_split(features)
        hits["within"] += split.within.low <= 8 <= split.within.high
        hits["icc"] += split.icc.low <= 0.5 <= split.icc.high
    print({name: count / 300 for name, count in hits.items()})
    assert all(0.90 <= count / 300 <= 0.985 for count in hits.values()), hits


@pytest.mark.parametrize("shape", [(1, 3, 2), (3, 1, 2), (3, 3)])
def test_too_few_parents_or_branches_are_refused(shape):
    with pytest.raises(ValueError, match="two or more parents and branches"):
        variance_split(torch.randn(*shape))
    assert math.isnan(variance_split(torch.randn(2, 2, 2)).icc.low)
