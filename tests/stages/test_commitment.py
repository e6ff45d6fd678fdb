"""Commitment on hand-made beliefs, whose share is known exactly."""

import math

import numpy as np
import pytest
import torch

from workbench.stages.commitment import commitment, first_step, fixed_by, fixed_curve, low_passed

FINALS = torch.eye(6).reshape(6, 1, 2, 3)  # six seeds, each as far from every other


def blurred(amounts):
    """Beliefs that are the final image times a: the effect of a blur on independent finals."""
    return torch.stack([a * FINALS for a in amounts])


def test_a_right_but_blurred_belief_has_the_share_of_the_formula():
    amounts = [0.0, 0.2, 0.5, 0.9, 1.0]
    seen = commitment(blurred(amounts), FINALS)
    expected = torch.tensor([2 * a / (1 + a * a) for a in amounts], dtype=torch.float64)
    torch.testing.assert_close(seen.fixed, expected)
    torch.testing.assert_close(seen.by_seed, expected[:, None].expand(5, 6))


def test_a_belief_in_another_seeds_image_is_worse_than_none():
    swapped = FINALS.roll(1, 0)[None]
    # own 2 each; others: 0 for one, 2 for the four others -> 8/5
    torch.testing.assert_close(
        commitment(swapped, FINALS).fixed, torch.tensor([1 - 2 / (8 / 5)], dtype=torch.float64)
    )


def test_the_low_passed_version_does_not_see_blur():
    torch.manual_seed(0)
    coarse = torch.rand(5, 3, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    checker = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 2.0 - 1
    finals = coarse + 0.5 * checker * torch.randn(5, 3, 1, 1)
    beliefs = coarse[None]  # all but the finest detail
    assert commitment(beliefs, finals).fixed < 0.9
    assert commitment(low_passed(beliefs), low_passed(finals)).fixed == pytest.approx(1, abs=1e-9)


def test_a_share_counts_from_the_step_on_from_which_it_stays():
    share = torch.tensor([0.2, 0.6, 0.4, 0.7, 0.95, 1.0])
    assert [first_step(share, level) for level in (0.1, 0.5, 0.9, 1.0)] == [1, 4, 5, 6]
    assert first_step(torch.tensor([0.5, 0.6]), 0.9) == 3  # never


def test_equal_seeds_have_no_interval_and_different_ones_a_wide_one():
    equal = commitment(blurred([0.1, 0.5, 1.0]), FINALS)
    for share, step in ((0.5, 2), (0.9, 3)):
        assert fixed_by(equal, share) == pytest.approx((step, math.nan, math.nan), nan_ok=True)
    early = blurred([0.0, 0.0, 0.0, 1.0])
    early[:3, :3] = FINALS[:3]  # half of the seeds are there from step 1 on, the others at step 4
    seen = commitment(early, FINALS)
    assert seen.fixed.tolist() == pytest.approx(
        [1 - 3 / 9] * 3 + [1]
    )  # own 0, 0, 0, 1, 1, 1; others 2, 2, 2, 1, 1, 1
    assert fixed_by(seen, 0.8) == (4, 1, 4)
    curve = fixed_curve(seen)
    assert curve[0].low < 0.3
    assert curve[0].high > 0.9
    assert curve[3] == pytest.approx((1, math.nan, math.nan), nan_ok=True)  # by definition


def test_the_interval_of_a_share_is_the_jackknifes():
    rng = np.random.default_rng(1)
    finals = torch.from_numpy(rng.normal(size=(5, 6)))
    beliefs = [0.6 * finals + 0.3 * torch.from_numpy(rng.normal(size=(5, 6)))]
    (found,) = fixed_curve(commitment(beliefs, finals))
    without = []
    for omitted in range(5):
        kept = [seed for seed in range(5) if seed != omitted]
        without.append(float(commitment([beliefs[0][kept]], finals[kept]).fixed))
    half = 2.7764451 * math.sqrt(np.var(without) * 4)  # Student's t, 4; (n - 1) / n sum of squares
    assert found.low == pytest.approx(found.mean - half)
    assert found.high == pytest.approx(min(found.mean + half, 1))
    two = fixed_curve(commitment([beliefs[0][:2]], finals[:2]))[0]
    assert math.isnan(two.low)
    assert math.isnan(two.high)


def test_intervals_cover_the_truth():
    """Beliefs a F + noise of independent finals F: fixed = 1 - ((1 - a)^2 + n) / (a^2 + 1 + n)."""
    rng, hits, a, n = np.random.default_rng(0), 0, 0.6, 0.05
    truth = 1 - ((1 - a) ** 2 + n) / (a * a + 1 + n)
    for _ in range(200):
        finals = torch.from_numpy(rng.normal(size=(9, 3)))
        belief = a * finals + n**0.5 * torch.from_numpy(rng.normal(size=(9, 3)))
        (found,) = fixed_curve(commitment([belief], finals))
        hits += found.low <= truth <= found.high
    print(f"covered {hits / 200:.3f}")
    assert 0.89 <= hits / 200 <= 0.99


def test_one_seed_has_no_control():
    with pytest.raises(ValueError, match="two or more seeds"):
        commitment(torch.zeros(3, 1, 4), torch.zeros(1, 4))
