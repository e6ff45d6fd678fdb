"""The perceptual distance of DMD-LPIPS."""

import pytest
import torch

from workbench.metrics.lite0 import Lite0
from workbench.metrics.perceptual import lite0_distance, new_distance
from workbench.scenes.grammar import parse
from workbench.scenes.renderer import draw_scenes, render_scenes


def images(text: str, seed: int) -> torch.Tensor:
    return (
        render_scenes(draw_scenes([parse(text)] * 4, torch.Generator().manual_seed(seed))) * 2 - 1
    )


def test_it_is_zero_for_equal_images_symmetric_and_grows_with_the_difference():
    distance, stars = new_distance("lite0"), images("a red star", 0)
    noisy = [
        stars + scale * torch.randn(stars.shape, generator=torch.Generator().manual_seed(1))
        for scale in (0.02, 0.2)
    ]
    assert distance(stars, stars).abs().max() < 1e-5
    torch.testing.assert_close(distance(stars, noisy[0]), distance(noisy[0], stars))
    near, far = (distance(stars, other) for other in noisy)
    assert near.shape == (4,)
    assert (0 < near).all()
    assert (near < far).all()
    assert (far < distance(stars, images("a blue circle", 3))).float().mean() >= 0.5


def test_gradients_reach_the_images():
    a, b = images("a red star", 0).requires_grad_(), images("a blue circle", 1)
    lite0_distance(Lite0.load())(a, b).sum().backward()
    assert a.grad.abs().amax((1, 2, 3)).min() > 0


def test_the_pyramid_ends_in_the_pooled_features():
    reader, x = Lite0.load(), torch.randn(1, 3, 64, 64)
    assert [level.shape[1] for level in reader.network.pyramid(x)] == [
        16,
        24,
        40,
        80,
        112,
        192,
        320,
    ]


def test_lpips_names_its_package_where_it_is_missing():
    try:
        import lpips  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(ModuleNotFoundError, match="pip install"):
            new_distance("lpips")
