"""Perceptual distances for DMD-LPIPS: LPIPS itself on full models, and the same formula on lite0's
maps, which need no download.

    D(a, b) = sum over stages l of  mean over positions of  | a_l / |a_l| - b_l / |b_l| |^2

with a_l the C values at a position of stage l. LPIPS (Zhang et al. 2018, arXiv 1801.03924) weights
the channels by people's answers; the lite0 pyramid weights them equally, so its numbers are not
LPIPS.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.core.objectives.perceptual import Distance
from workbench.metrics.lite0 import Lite0


def new_distance(name: str, device: str = "cpu") -> Distance:
    """The distance [B] of images [B, 3, H, W] in about [-1, 1], with gradients: "lite0" or "lpips"
    (VGG).

    Raises ModuleNotFoundError, with the way out, if the package lpips is missing.
    """
    return lite0_distance(Lite0.load(device=device)) if name == "lite0" else _lpips(device)


def lite0_distance(reader: Lite0) -> Distance:
    """The formula above on the seven stages of lite0, at the images' own size."""

    def distance(a: Tensor, b: Tensor) -> Tensor:
        pairs = zip(*(reader.network.pyramid(_normalised(images)) for images in (a, b)))
        return sum(
            (F.normalize(x, dim=1) - F.normalize(y, dim=1)).square().sum(1).mean((1, 2))
            for x, y in pairs
        )

    return distance


def _normalised(images: Tensor) -> Tensor:
    """lite0's input, from [-1, 1]."""
    return (((images + 1) * 127.5 - 127) / 128).contiguous(memory_format=torch.channels_last)


def _lpips(device: str) -> Distance:
    try:
        import lpips
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "DMD-LPIPS with distance lpips needs the package: pip install "
            '"dp-dmd-workbench[lpips]", or use distance lite0',
            name=error.name,
        ) from error
    network = lpips.LPIPS(net="vgg", verbose=False).eval().requires_grad_(False).to(device)
    return lambda a, b: network(a, b).flatten()
