"""GenEval: the detector finds objects, CLIP names the colours that a request asks for, the rules
judge.

Four images of each of the 553 prompts are usual. Two protocols are never compared: geneval-mmdet
is the published one, geneval-hf uses another training of the same detector (`object_detector`).
This module downloads no prompts and generates no images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from workbench.metrics.geneval import colours as geneval_colours
from workbench.metrics.geneval import object_detector
from workbench.metrics.geneval.colours import ObjectColours
from workbench.metrics.geneval.object_detector import ObjectDetector
from workbench.metrics.geneval.rules import Verdict, check, judge
from workbench.metrics.inputs import eight_bit


@dataclass(frozen=True)
class GenEval:
    """The two loaded networks: `GenEval.load().verdicts(images, requests)`."""

    detector: ObjectDetector
    colours: ObjectColours

    @classmethod
    def load(
        cls,
        detector: str = object_detector.SOURCE,
        colours: str = geneval_colours.SOURCE,
        device: str = "cpu",
    ) -> GenEval:
        """Both networks, from hub ids, folders, or an mmdet checkpoint (see
        `ObjectDetector.load`). Raises `MetricError`.
        """
        return cls(ObjectDetector.load(detector, device), ObjectColours.load(colours, device))

    @property
    def protocol(self) -> str:
        """The networks, their sources and revisions."""
        return f"{self.detector.protocol}; {self.colours.protocol}"

    def verdicts(self, images: Tensor, requests: Sequence[dict], batch: int = 1) -> list[Verdict]:
        """One verdict for each of the images [B, 3, H, W] in [0, 1] and its request, a line of
        evaluation_metadata.jsonl.

        Raises ValueError for another shape, range or number, and, before anything is computed, for
        a request that is not GenEval's.
        """
        if len(images) != len(requests):
            raise ValueError(
                f"{len(images)} images and {len(requests)} requests; GenEval judges one image by "
                "one request"
            )
        for request in requests:
            check(request)
        found = self.detector.detect(images, batch=batch)
        return [
            judge(objects, request, partial(self.colours.names, image))
            for image, objects, request in zip(eight_bit(images), found, requests)
        ]
