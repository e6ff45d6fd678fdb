"""Band power of pictures made of single waves."""

import math

import numpy as np
import pytest
import torch

from workbench.stages.bands import band_edges, band_names, band_power, relative_power


def wave(u: int, v: int, height: float, side: int = 64) -> torch.Tensor:
    """A cosine of u / 2 and v / 2 cycles per image, mirrored at the edges; its mean square is
    height^2 / 4 (/ 2 with u or v = 0).
    """
    x = (torch.arange(side, dtype=torch.float64) + 0.5) * math.pi / side
    return (height * torch.cos(v * x)[:, None] * torch.cos(u * x)[None]).expand(3, side, side)


def test_octaves_of_a_picture():
    assert band_edges(64) == (0, 2, 4, 8, 16, math.inf)
    assert band_names(64) == ["below 2", "2 to 4", "4 to 8", "8 to 16", "16 and above"]
    assert len(band_edges(256)) == 8


@pytest.mark.parametrize(
    ("u", "v", "band"),
    [(1, 0, 0), (3, 2, 0), (4, 0, 1), (0, 8, 2), (9, 12, 2), (12, 13, 3), (30, 20, 4), (63, 63, 4)],
)
def test_a_wave_lies_in_the_octave_of_its_frequency(u, v, band):
    power = band_power(wave(u, v, 0.4))
    expected = torch.zeros(5, dtype=torch.float64)
    expected[band] = 0.16 / (4 if u and v else 2)
    torch.testing.assert_close(power, expected, atol=1e-12, rtol=1e-9)


def test_all_bands_and_the_mean_are_the_mean_square():
    images = torch.rand(
        2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    mean = images.mean((-2, -1)).square().mean(-1)
    torch.testing.assert_close(
        band_power(images).sum(-1) + mean, images.square().mean((-3, -2, -1))
    )


def test_a_straight_ramp_leaks_next_to_nothing_into_high_bands():
    ramp = torch.linspace(0, 1, 64, dtype=torch.float64).expand(3, 64, 64)
    power = band_power(ramp)
    assert power[4] / power.sum() < 1e-4  # a Fourier transform without a window: 3e-2


def test_power_relative_to_the_final_image():
    finals = torch.stack([wave(2, 0, 0.3) + wave(40, 0, 0.2), wave(2, 0, 0.1) + wave(40, 0, 0.4)])
    beliefs = torch.stack([torch.stack([wave(2, 0, 0.3), wave(2, 0, 0.1)]), finals])
    known = relative_power(beliefs, finals).relative
    torch.testing.assert_close(
        known[0, [0, 4]], torch.tensor([1.0, 0.0], dtype=torch.float64), atol=1e-12, rtol=1e-9
    )
    torch.testing.assert_close(known[1, [0, 4]], torch.ones(2, dtype=torch.float64))


def test_the_interval_is_wide_where_seeds_differ():
    finals = torch.stack([wave(2, 0, 1.0)] * 4)
    same, different = (
        relative_power([torch.stack([wave(2, 0, height) for height in heights])], finals)
        for heights in ([0.5] * 4, [0, 0.5, 1, 1])
    )
    assert same.interval(0, 0) == pytest.approx((0.25, math.nan, math.nan), nan_ok=True)
    mean, low, high = different.interval(0, 0)
    assert mean == pytest.approx(2.25 / 4)
    assert low < 0
    assert high > 1
    assert high - mean == pytest.approx(3.1824 * np.std([0, 0.25, 1, 1], ddof=1) / 2, rel=1e-3)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="square images"):
        band_power(torch.zeros(3, 8, 16))
