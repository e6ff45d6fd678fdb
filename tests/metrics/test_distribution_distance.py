"""Distances of distributions against closed forms, double loops and scipy."""

import math

import numpy as np
import pytest
import torch
from scipy import linalg

from workbench.metrics import distribution_distance
from workbench.metrics.distribution_distance import FrechetDistance, cmmd, fid, kid_by_prompt


def normal(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kid_of_all_pairs(x, y):
    """The U-statistic of all images, as if those of a prompt were independent."""

    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(f):
        values = kernel(f, f)
        return (values.sum() - values.diagonal().sum()) / (len(f) * (len(f) - 1))

    return float(within(x) + within(y) - 2 * kernel(x, y).mean())


def looped_cmmd(x, y):
    """The V-statistic, pair by pair, times 1000."""
    x, y = ([f / f.norm() for f in part] for part in (x, y))

    def mean(first, second):
        return sum(
            math.exp(-float((a - b).square().sum()) / 200) for a in first for b in second
        ) / (len(first) * len(second))

    return 1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y))


def sqrtm_distance(x, y):
    """FID as its papers write it."""
    x, y = x.numpy(), y.numpy()
    first, second = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = linalg.sqrtm(first @ second)
    return float(
        ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(first + second - 2 * np.real(root))
    )


def gaussian(count, mean, deviation, seed):
    """Features whose mean and covariance are exactly these (diagonal) ones."""
    z = normal(count, len(mean), seed=seed)
    z = z - z.mean(0)
    z = z @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(z.T))).T
    return z * torch.tensor(deviation) + torch.tensor(mean)


def test_kid_of_two_hand_made_prompts():
    x = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    y = torch.tensor([[[1.0, 1.0]], [[-1.0, 1.0]]])
    # x . x' = 0: 1; y . y' = 0: 1; x . y' = -1 and x' . y = 1: (1/2)^3 and (3/2)^3
    assert kid_by_prompt(x, y).mean == pytest.approx(1 + 1 - 0.125 - 3.375, abs=1e-14)


def test_cmmd_is_its_double_loop(monkeypatch):
    x, y = normal(7, 5), normal(9, 5, seed=1) * 1.5 + 0.3
    for block in (1 << 24, 20, 1):
        monkeypatch.setattr(distribution_distance, "BLOCK", block)
        assert cmmd(x, y) == pytest.approx(looped_cmmd(x, y), rel=1e-10)


@pytest.mark.parametrize(("prompts", "n", "m"), [(2, 1, 3), (5, 2, 2), (30, 1, 1)])
def test_kid_is_unbiased_at_every_size(prompts, n, m):
    values = torch.tensor(
        [
            kid_by_prompt(
                normal(prompts, n, 4, seed=2 * i), normal(prompts, m, 4, seed=2 * i + 1)
            ).mean
            for i in range(1500)
        ]
    )
    assert abs(values.mean()) < 4 * values.std() / len(values) ** 0.5
    assert (values < 0).float().mean() > 0.2


def test_kid_grows_to_the_closed_form_of_shifted_gaussians():
    # for z = x . x' / D of N(mu, I) and N(nu, I) in D = 2: E z = a, E z^2 = a^2 + (|mu|^2 + |nu|^2)
    # / D^2 + 1 / D, E z^3 = a^3 + 3 a (|mu|^2 + |nu|^2 + D) / D^2 + 6 a / D^2 with a = mu . nu / D
    def expected(mu, nu):
        dot, norms, d = mu @ nu / 2, mu @ mu + nu @ nu, 2
        return (
            (dot**3 + 3 * dot * (norms + d) / d**2 + 6 * dot / d**2)
            + 3 * (dot**2 + norms / d**2 + 1 / d)
            + 3 * dot
            + 1
        )

    mu, nu = np.array([0.0, 0.0]), np.array([1.0, 0.5])
    truth = expected(mu, mu) + expected(nu, nu) - 2 * expected(mu, nu)
    values = torch.tensor(
        [
            kid_by_prompt(
                normal(40, 1, 2, seed=2 * i), normal(40, 2, 2, seed=2 * i + 1) + torch.tensor(nu)
            ).mean
            for i in range(500)
        ]
    )
    assert truth > 0.5
    assert abs(values.mean() - truth) < 4 * values.std() / len(values) ** 0.5


def test_kid_by_prompt_reads_pairs_of_different_prompts_and_leaves_prompts_out(monkeypatch):
    x, y = normal(5, 4, 8), normal(5, 3, 8, seed=1) + 0.5

    def value(kept):
        pairs = [(p, q) for p in kept for q in kept if p != q]

        def mean(a, b):
            return sum(((float(f @ g) / 8 + 1) ** 3) for f in a for g in b) / (len(a) * len(b))

        return sum(
            mean(x[p], x[q]) + mean(y[p], y[q]) - mean(x[p], y[q]) - mean(y[p], x[q])
            for p, q in pairs
        ) / len(pairs)

    deviation = math.sqrt(np.var([value([q for q in range(5) if q != p]) for p in range(5)]) * 4)
    found = kid_by_prompt(x, y)
    assert found.mean == pytest.approx(value(range(5)), rel=1e-9)
    assert (found.high - found.low) / 2 == pytest.approx(2.776445 * deviation, rel=1e-6)
    monkeypatch.setattr(distribution_distance, "BLOCK", 40)
    assert kid_by_prompt(x, y) == pytest.approx(found, rel=1e-12)
    assert kid_by_prompt(x[:, :1], x[:, 1:2]).mean != 0
    assert math.isnan(kid_by_prompt(x[:2], y[:2]).low)
    with pytest.raises(ValueError, match="of the same prompts"):
        kid_by_prompt(x, y[:4])
    x[0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="not finite"):
        kid_by_prompt(x, y)


@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
def test_kid_of_equal_images_has_no_interval(scale):
    x = scale * normal(6, 4, 8)
    for one, other in ((x, x), (x[:1, :1].expand(6, 4, 8), x[:1, :1].expand(6, 4, 8))):
        found = kid_by_prompt(one, other)
        assert found.mean == pytest.approx(0, abs=1e-9 * (scale**2 + 1) ** 3)
        assert math.isnan(found.low)
        assert math.isnan(found.high)


def test_kid_by_prompt_is_unbiased_where_images_of_a_prompt_are_alike():
    """Prompts far apart, images of one prompt near each other, equal distributions: 0 within 4
    standard errors; all pairs are not.
    """
    found, naive, held = [], [], 0
    for trial in range(300):
        middle = 2 * normal(20, 1, 8, seed=3 * trial)
        x, y = (middle + normal(20, 5, 8, seed=3 * trial + n) for n in (1, 2))
        interval = kid_by_prompt(x, y)
        found.append(interval.mean)
        naive.append(kid_of_all_pairs(x.flatten(0, 1), y.flatten(0, 1)))
        held += interval.low <= 0 <= interval.high
    error = np.std(found) / math.sqrt(len(found))
    assert abs(np.mean(found)) < 4 * error
    assert np.mean(naive) < -4 * error
    assert held / 300 >= 0.9


def test_cmmd_of_equal_sets_is_zero_and_reads_directions_only():
    x = normal(30, 6)
    assert cmmd(x, x) == pytest.approx(0, abs=1e-10)
    y = normal(20, 6, seed=1)
    assert cmmd(3 * x, y * torch.linspace(1, 2, 20)[:, None]) == pytest.approx(cmmd(x, y), rel=1e-9)
    ends = torch.tensor([[1.0, 0.0]]).expand(4, 2)
    assert cmmd(ends, -ends) == pytest.approx(
        1000 * 2 * (1 - math.exp(-0.02)), rel=1e-12
    )  # the largest there is


def test_cmmd_is_biased_by_what_its_docstring_says():
    values = torch.tensor(
        [cmmd(normal(40, 64, seed=2 * i), normal(25, 64, seed=2 * i + 1)) for i in range(300)]
    )
    bias = (
        1000 * (1 - math.exp(-0.01)) * (1 / 40 + 1 / 25)
    )  # unrelated directions: a cosine of 0 on average, |x - y|^2 = 2
    assert abs(values.mean() - bias) < 4 * values.std() / len(values) ** 0.5


def test_fid_of_gaussians_is_the_closed_form():
    x = gaussian(50, [0.0, 1.0, 2.0], [1.0, 2.0, 3.0], seed=1)
    y = gaussian(80, [3.0, 1.0, -2.0], [2.0, 2.0, 0.5], seed=2)
    assert fid(x, y).value == pytest.approx(9 + 16 + 1 + 2.5**2, rel=1e-12)
    assert fid(x, x).value == pytest.approx(0, abs=1e-12)
    assert fid(x, x + 1).value == pytest.approx(3, rel=1e-12)


def test_fid_is_scipys_matrix_root():
    x, y = (
        normal(60, 12) @ normal(12, 12, seed=1),
        normal(40, 12, seed=2) @ normal(12, 12, seed=3) + 0.5,
    )
    assert fid(x, y).value == pytest.approx(sqrtm_distance(x, y), rel=1e-10)
    assert fid(x.float(), y.float()).value == pytest.approx(fid(x, y).value, rel=1e-5)


def test_fid_of_covariances_without_full_rank():
    x, y = normal(6, 30), normal(9, 30, seed=1)  # ranks 5 and 8 of 30
    assert fid(x, y).value == pytest.approx(
        sqrtm_distance(x, y), rel=1e-5
    )  # scipy's root of a singular matrix is the less exact one
    flat = torch.zeros(5, 3)
    flat[:, 0] = torch.arange(5.0)  # variance 2.5 along one axis against the same along another
    assert fid(flat, flat.flip(1)).value == pytest.approx(2 * 2.5 + 4 + 4, rel=1e-12)
    assert fid(flat, torch.zeros(4, 3)).value == pytest.approx(2.5 + 4, rel=1e-12)


def test_fid_says_when_it_is_biased():
    assert fid(normal(10_000, 2), normal(10_000, 2, seed=1)) == FrechetDistance(
        pytest.approx(0, abs=1e-2), ""
    )
    assert (
        "biased: 9,999 images are fewer than 10,000; prefer KID or CMMD"
        == fid(normal(9999, 2), normal(10_000, 2)).note
    )
    assert "no more than the 10,001 dimensions" in distribution_distance._fid_note(10_000, 10_001)
    small, large = (
        np.mean(
            [fid(normal(n, 8, seed=2 * i), normal(n, 8, seed=2 * i + 1)).value for i in range(30)]
        )
        for n in (20, 200)
    )
    assert small > 5 * large > 0


@pytest.mark.parametrize("distance", [cmmd, fid])
def test_features_that_make_no_sets_are_refused(distance):
    x = normal(4, 3)
    for wrong in (x[:1], normal(4, 2), x[0], x[None]):
        with pytest.raises(ValueError, match="2 or more images"):
            distance(x, wrong)
    broken = x.clone()
    broken[1, 2] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        distance(broken, x)


def test_cmmd_refuses_a_feature_without_direction():
    with pytest.raises(ValueError, match="has no direction"):
        cmmd(normal(4, 3), torch.zeros(4, 3))
