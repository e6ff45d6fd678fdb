"""The objects in an image and their masks, as GenEval finds them: Mask2Former with a Swin-S
backbone, trained on COCO's 80 classes.

    label           weights                                   numbers
    geneval-mmdet   mmdet 2.x's, of GenEval; converted by     of the published protocol
                    `mask2former_mmdet`
    geneval-hf      facebook/mask2former-swin-small-coco-     close, not equal: the same network,
                    instance                                  trained by others

Input, as in mmdet: the 8-bit image resized to the largest size of its shape within 1333 x 800
(1024 x 1024 to 800 x 800), padded with grey 128 on the right and below to multiples of 32,
ImageNet's mean and deviation. Resizing is OpenCV's bilinear for 8-bit images: two neighbours in
each direction and no antialiasing, in integers with weights of 11 bits. `resized` has OpenCV's
values bit for bit.

Output, as in mmdet: with p the softmax of a query over classes and "no object", the 100 largest p
of all queries and classes; the mask logits resized (bilinear) to the padded input, cut to the
image, resized to the original size; mask = logit > 0; score = p times the mean sigmoid inside the
mask; box = extent of the mask. Nothing is suppressed: a query may name two classes, and boxes may
overlap.

transformers' own processor does none of this: it resizes masks by way of 384 x 384 and gives no
boxes. Source: Cheng et al. 2022 (arXiv 2112.01527); mmdet 2.28.2, configs/mask2former and
maskformer_fusion_head.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, Mask2FormerConfig, Mask2FormerForUniversalSegmentation

from workbench.metrics.geneval.mask2former_mmdet import (
    FILE,
    OWN,
    checkpoint,
    converted_from_mmdet,
    swin_small,
)
from workbench.metrics.geneval.rules import NAMES, THRESHOLD, Detection
from workbench.metrics.inputs import IMAGENET, eight_bit, normalised
from workbench.metrics.weights import MetricError, protocol_of, quiet, weights_file

NAME, SOURCE, SIZE = "geneval", "facebook/mask2former-swin-small-coco-instance", "275 MB"
LONGER, SHORTER, MULTIPLE, GREY = 1333, 800, 32, 128
MAX_PER_IMAGE = 100


@dataclass(frozen=True)
class ObjectDetector:
    """A loaded network: `ObjectDetector.load().detect(images)`."""

    protocol: str
    network: Mask2FormerForUniversalSegmentation
    limits: tuple[int, int]  # of the longer and the shorter side

    @classmethod
    def load(cls, source: str = SOURCE, device: str = "cpu") -> ObjectDetector:
        """The detector in fp32, of a folder or hub id in transformers' format (geneval-hf), or of
        an mmdet checkpoint (geneval-mmdet): FILE.pth, OWNER/NAME/FILE.pth on the hub, or a folder
        with the published file.

        Raises `MetricError` if the weights cannot be loaded or are of another network.
        """
        path = Path(source)
        if path.is_dir() and not (path / "config.json").is_file() and (path / FILE).is_file():
            path = path / FILE
        if path.suffix == ".pth":
            file = weights_file(NAME, str(path.parent), path.name, SIZE)
            label, network = "geneval-mmdet", _of_mmdet(file)
        else:
            file = weights_file(NAME, source, "config.json", SIZE)
            label, network = "geneval-hf", _of_transformers(source, file)
        return cls._of(protocol_of(label, source, file), network.to(device), (LONGER, SHORTER))

    @classmethod
    def from_config(
        cls, config: Mask2FormerConfig, limits: tuple[int, int] = (LONGER, SHORTER)
    ) -> ObjectDetector:
        """A network with random weights, for tests."""
        return cls._of(
            "geneval with random weights", Mask2FormerForUniversalSegmentation(config), limits
        )

    @classmethod
    def _of(
        cls, name: str, network: Mask2FormerForUniversalSegmentation, limits: tuple[int, int]
    ) -> ObjectDetector:
        return cls(
            f"{name}, at most {limits[0]} x {limits[1]}, fp32",
            network.eval().requires_grad_(False),
            limits,
        )

    @torch.inference_mode()
    def detect(
        self, images: Tensor, above: float = THRESHOLD, batch: int = 1
    ) -> list[list[Detection]]:
        """The objects in each of the images [B, 3, H, W] in [0, 1] whose score is above a value
        (GenEval reads no others), by decreasing p; their masks are on the CPU, and one tensor if a
        query has two classes.

        Raises ValueError for another shape or range.
        """
        pixels, device = eight_bit(images), self.network.device
        height, width = scaled(*pixels.shape[2:], *self.limits)
        detections = []
        for part in resized(pixels, (height, width)).split(batch):
            output = self.network(pixel_values=normalised(padded(part), *IMAGENET).to(device))
            for classes, masks in zip(output.class_queries_logits, output.masks_queries_logits):
                logits = upsampled(masks, (height, width), tuple(pixels.shape[2:]))
                detections.append(objects(classes, logits, above))
        return detections


def scaled(
    height: int, width: int, longer: int = LONGER, shorter: int = SHORTER
) -> tuple[int, int]:
    """The largest (height, width) of the same shape, rounded, with sides of at most `longer` and
    `shorter`.
    """
    factor = min(longer / max(height, width), shorter / min(height, width))
    return int(height * factor + 0.5), int(width * factor + 0.5)


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """8-bit images [..., H, W] at another size, as resized by OpenCV's INTER_LINEAR."""
    left, right, near, far = _neighbours(images.shape[-1], size[1])
    values = images.int()
    values = values[..., left] * near + values[..., right] * far
    above, below, near, far = _neighbours(images.shape[-2], size[0])
    upper, lower = (
        (values[..., row, :] >> 4) * weight[:, None] >> 16
        for row, weight in ((above, near), (below, far))
    )
    return (upper + lower + 2 >> 2).byte()  # 11 + 11 bits of weights less 4 + 16 + 2


def _neighbours(old: int, new: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The two old pixels next to the centre of each new one, and their weights times 2048."""
    centre = ((torch.arange(new, dtype=torch.float64) + 0.5) * (old / new) - 0.5).float()
    first = centre.floor()
    share = centre - first
    first = first.long()
    return (
        first.clamp(0, old - 1),
        (first + 1).clamp(0, old - 1),
        ((1 - share) * 2048).round().int(),
        (share * 2048).round().int(),
    )


def padded(images: Tensor, multiple: int = MULTIPLE, value: int = GREY) -> Tensor:
    """Images [..., H, W] with rows below and columns on the right, so that both sides are
    multiples.
    """
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % multiple, 0, -height % multiple), value=value)


def upsampled(masks: Tensor, inside: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Mask logits [Q, h, w] of a padded image at the size [Q, *size] of the original; (height,
    width) `inside` is without padding.
    """
    full = [side + -side % MULTIPLE for side in inside]
    masks = F.interpolate(masks[None], full, mode="bilinear", align_corners=False)[
        ..., : inside[0], : inside[1]
    ]
    return F.interpolate(masks, size, mode="bilinear", align_corners=False)[0]


def objects(classes: Tensor, logits: Tensor, above: float = THRESHOLD) -> list[Detection]:
    """The detections of an image, of class logits [Q, 81], the last "no object", and mask logits
    [Q, H, W] at its size.

    An empty mask has score 0 and no box, (0, 0, 0, 0).
    """
    masks = logits > 0
    quality = (logits.sigmoid() * masks).flatten(1).sum(1) / (masks.flatten(1).sum(1) + 1e-6)
    likely = classes.softmax(-1)[:, :-1].flatten().topk(min(MAX_PER_IMAGE, len(masks) * len(NAMES)))
    query, label = likely.indices // len(NAMES), likely.indices % len(NAMES)
    scores = likely.values * quality[query]
    wanted = scores > above
    boxes = _extents(masks).tolist()
    shapes = {
        n: masks[n].cpu() for n in set(query[wanted].tolist())
    }  # one tensor for all classes of a query
    return [
        Detection(NAMES[name], score, tuple(boxes[n]), shapes[n])
        for score, n, name in zip(
            scores[wanted].tolist(), query[wanted].tolist(), label[wanted].tolist()
        )
    ]


def _extents(masks: Tensor) -> Tensor:
    """[Q, 4] left, top, right, bottom of masks [Q, H, W], right and bottom exclusive."""
    sides = []
    for dimension in (1, 2):  # columns, then rows, with any pixel
        filled = masks.any(dimension).int()
        last = filled.shape[1] - filled.flip(1).argmax(1)
        sides.append((filled.argmax(1), torch.where(filled.any(1), last, 0)))
    (left, right), (top, bottom) = sides
    return torch.stack([left, top, right, bottom], 1).float()


def _of_mmdet(file: Path) -> Mask2FormerForUniversalSegmentation:
    network = Mask2FormerForUniversalSegmentation(swin_small())
    network.load_state_dict(converted_from_mmdet(checkpoint(file), network.state_dict()))
    return network


def _of_transformers(source: str, file: Path) -> Mask2FormerForUniversalSegmentation:
    try:
        config = AutoConfig.from_pretrained(file.parent)
        if config.model_type != "mask2former" or config.num_labels != len(NAMES):
            raise MetricError(
                f"{source} is a {config.model_type} of {config.num_labels} classes, and {NAME} is "
                f"a mask2former of COCO's {len(NAMES)}: choose another source"
            )
        with quiet():
            network, report = Mask2FormerForUniversalSegmentation.from_pretrained(
                source, dtype=torch.float32, output_loading_info=True
            )
    except MetricError:
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise MetricError(
            f"{source} cannot be loaded as {NAME}, a Mask2FormerForUniversalSegmentation: {error}"
        ) from error
    absent = sorted(set(report["missing_keys"]) - set(OWN))
    if absent:
        raise MetricError(
            f"{source} lacks {len(absent)} of {NAME}'s tensors, {', '.join(absent[:5])}: download "
            "it again"
        )
    return network
