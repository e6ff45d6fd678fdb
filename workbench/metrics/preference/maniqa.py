"""MANIQA: the quality of an image without a reference, as the mean score of 224 px crops of it.

    protocol   crops                                                   scale of the Swin layers
    dpdmd      10 at random, the same for all images of one size       0.8
    pyiqa      20 on a uniform grid                                    0.13

Both run the PIPAL weights that pyiqa publishes, on crops at the image's own size. `dpdmd` is the
released test_quality.py: top and left of each crop drawn in turn from numpy's RandomState(20),
reset for every image; pixels 2 x / 255 - 1. `pyiqa` follows the documentation of that library, not
its code (whose licence is non-commercial): the scale and the number of crops are its own. The grid
of 4 x 5, the 5 along the longer side (the width of a square), from edge to edge, and the scaling
of pixels as above are our choice: expect small differences from the library. The scale moves all
scores: numbers of the two are never compared.

Source: Yang et al. 2022 (arXiv 2204.08958); `maniqa_network` is the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workbench.metrics.inputs import eight_bit, normalised
from workbench.metrics.preference.maniqa_network import ManiqaNetwork
from workbench.metrics.weights import MetricError, protocol_of, read_from, weights_file

SOURCE, FILE, SIZE = "chaofengc/IQA-PyTorch-Weights", "MANIQA_PIPAL-ae6d356b.pth", "543 MB"
MIDDLE = ((0.5,) * 3, (0.5,) * 3)
Corners = list[tuple[int, int]]


def random_corners(
    height: int, width: int, side: int = 224, count: int = 10, seed: int = 20
) -> Corners:
    """(top, left) of `count` crops, drawn as in the released script: the same at each call."""
    random = np.random.RandomState(seed)
    return [
        (int(random.randint(0, height - side + 1)), int(random.randint(0, width - side + 1)))
        for _ in range(count)
    ]


def grid_corners(
    height: int, width: int, side: int = 224, shorter: int = 4, longer: int = 5
) -> Corners:
    """(top, left) of `shorter` x `longer` crops, row by row, evenly spaced from edge to edge,
    rounded down.
    """
    rows, columns = (longer, shorter) if height > width else (shorter, longer)
    tops, lefts = (
        np.linspace(0, length - side, n).astype(int).tolist()
        for length, n in ((height, rows), (width, columns))
    )
    return list(product(tops, lefts))


@dataclass(frozen=True)
class Crops:
    """A row of the table above."""

    corners: Callable[[int, int, int], Corners]  # of height, width and a crop's side
    scale: float
    words: str


CROPS = {
    "dpdmd": Crops(random_corners, 0.8, "10 random crops, seed 20"),
    "pyiqa": Crops(grid_corners, 0.13, "20 crops on a 4 x 5 grid"),
}


@dataclass(frozen=True)
class Maniqa:
    """A loaded network and its crops: `Maniqa.load().score(images)`."""

    protocol: str
    network: ManiqaNetwork
    corners: Callable[[int, int, int], Corners]

    @classmethod
    def load(cls, source: str = SOURCE, device: str = "cpu", protocol: str = "dpdmd") -> Maniqa:
        """MANIQA with the weights of a hub id or a folder, in fp32.

        Raises `MetricError` for a protocol that is not in the table, and if the file cannot be
        loaded or is not this network's.
        """
        crops = _crops(protocol)
        file = weights_file("maniqa", source, FILE, SIZE)
        network = load_maniqa(file, crops.scale).eval().requires_grad_(False).to(device)
        return cls(
            protocol_of("maniqa", source, file, *_words(protocol, crops)), network, crops.corners
        )

    @classmethod
    def from_config(cls, protocol: str = "dpdmd", **config: int) -> Maniqa:
        """A network of other sizes (`ManiqaNetwork`'s arguments; crops are its `side`) with random
        weights, for tests.

        Raises `MetricError` for a protocol that is not in the table.
        """
        crops = _crops(protocol)
        network = ManiqaNetwork(crops.scale, **config).eval().requires_grad_(False)
        return cls(
            protocol_of("maniqa", "random weights", Path(), *_words(protocol, crops)),
            network,
            crops.corners,
        )

    @torch.inference_mode()
    def score(self, images: Tensor, prompts: Sequence[str] = (), batch: int = 10) -> Tensor:
        """[B] fp32 on the CPU, higher is better, of images [B, 3, H, W] in [0, 1]; the prompts are
        not read.

        `batch` crops are in the network at a time, of one image or of several. Raises ValueError
        for another shape or range, and for images with a side below a crop's.
        """
        pixels, side = eight_bit(images), self.network.side
        count, _, height, width = pixels.shape
        if min(height, width) < side:
            raise ValueError(
                f"maniqa reads crops of {side} x {side} at the image's own size, and {height} x "
                f"{width} is too small: score images of at least {side} px on each side, or leave "
                "maniqa out"
            )
        device = self.network.conv1.weight.device
        places = list(product(range(count), self.corners(height, width, side)))
        scores = []
        for start in range(0, len(places), batch):
            part = torch.stack(
                [
                    pixels[n, :, top : top + side, left : left + side]
                    for n, (top, left) in places[start : start + batch]
                ]
            )
            scores.append(self.network(normalised(part, *MIDDLE).to(device)).cpu())
        return torch.cat(scores).view(count, -1).mean(1)


def load_maniqa(file: Path, scale: float, **config: int) -> ManiqaNetwork:
    """The fp32 network of a published file with exactly its names, bare or under the key `params`.

    Raises `MetricError`.
    """
    with torch.device("meta"):  # the file has every value
        network = ManiqaNetwork(scale, **config)
    with read_from(file, FILE):
        state = torch.load(file, map_location="cpu", weights_only=True)
        network.load_state_dict(state.get("params", state), assign=True)
    return network.float()


def _crops(protocol: str) -> Crops:
    if protocol not in CROPS:
        raise MetricError(f"maniqa has no protocol {protocol!r}; one of {', '.join(CROPS)}")
    return CROPS[protocol]


def _words(protocol: str, crops: Crops) -> tuple[str, ...]:
    return f"{protocol} protocol", crops.words, f"scale {crops.scale}"
