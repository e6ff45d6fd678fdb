"""The colour of an object, named by CLIP ViT-L/14 as GenEval does it: zero-shot among ten, from
the object alone.

    picture   the image inside the mask, grey #999 elsewhere, cut to the object's box, at 8 bits;
              then CLIP's input: shorter side 224 (bicubic), the middle 224 x 224
    text      for each colour c and class n, the mean of the unit embeddings of "a photo of a c n",
              "a photo of a c-colored n" and "a photo of a c object", again at unit length
    colour    the one whose text has the largest cosine with the picture; the first of equal ones

Everything is fp32. Departs: the original runs CLIP under fp16 autocast, so if two colours are
nearly equal it may name the other. Source: Ghosh et al. 2023 (arXiv 2310.11513),
evaluation/evaluate_images.py; clip_benchmark's zeroshot_classification.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, CLIPConfig, CLIPModel, CLIPTokenizer

from workbench.metrics.geneval.rules import GENEVAL_COLOURS, Detection
from workbench.metrics.inputs import CLIP, normalised, pictures
from workbench.metrics.weights import MetricError, protocol_of, quiet, weights_file

NAME, SOURCE, SIZE = "geneval", "openai/clip-vit-large-patch14", "1.7 GB"
SETTING = "geneval=DETECTOR+FOLDER"
TEMPLATES = (
    "a photo of a {colour} {name}",
    "a photo of a {colour}-colored {name}",
    "a photo of a {colour} object",
)
BACKGROUND = 0x99
SIDE = 224


@dataclass(frozen=True)
class ObjectColours:
    """A loaded CLIP: `ObjectColours.load().names(image, "car", objects)`."""

    protocol: str
    network: CLIPModel
    tokenizer: Callable
    texts: dict[str, Tensor] = field(
        default_factory=dict, repr=False, compare=False
    )  # by class, as they are needed

    @classmethod
    def load(cls, source: str = SOURCE, device: str = "cpu") -> ObjectColours:
        """CLIP of a hub id or a folder, in fp32. Raises `MetricError` if it cannot be loaded or is
        another network.
        """
        file = weights_file(NAME, source, "config.json", SIZE, SETTING)
        try:
            kind = AutoConfig.from_pretrained(file.parent).model_type
            if kind != "clip":
                raise MetricError(
                    f"{source} is a {kind}, and {NAME} is a clip: choose another source"
                )
            with quiet():
                network, report = CLIPModel.from_pretrained(
                    source, dtype=torch.float32, output_loading_info=True
                )
            tokenizer = CLIPTokenizer.from_pretrained(source)
        except MetricError:
            raise
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise MetricError(
                f"{source} cannot be loaded as {NAME}, a CLIPModel with its tokenizer: {error}"
            ) from error
        absent = sorted(report["missing_keys"])
        if absent:
            raise MetricError(
                f"{source} lacks {len(absent)} of {NAME}'s tensors, {', '.join(absent[:5])}: "
                "download it again"
            )
        return cls(
            _protocol(source, file), network.eval().requires_grad_(False).to(device), tokenizer
        )

    @classmethod
    def from_config(cls, config: CLIPConfig, tokenizer: Callable) -> ObjectColours:
        """A network with random weights, for tests."""
        return cls(
            _protocol("random weights", Path()),
            CLIPModel(config).eval().requires_grad_(False),
            tokenizer,
        )

    @torch.inference_mode()
    def names(self, image: Tensor, name: str, objects: Sequence[Detection]) -> list[str]:
        """One of `GENEVAL_COLOURS` for each object of class `name` in an 8-bit image [3, H, W]. A
        mask may be None; a box is not empty.
        """
        inputs = normalised(
            torch.stack([object_crop(image, thing) for thing in objects]), *CLIP
        ).to(self.network.device)
        seen = F.normalize(self.network.get_image_features(pixel_values=inputs).pooler_output)
        return [GENEVAL_COLOURS[n] for n in (seen @ self._text(name).T).argmax(1).tolist()]

    def _text(self, name: str) -> Tensor:
        """[10, D] of unit length, the colours of a class."""
        if name not in self.texts:
            words = [
                template.format(colour=colour, name=name)
                for colour in GENEVAL_COLOURS
                for template in TEMPLATES
            ]
            tokens = self.tokenizer(words, padding=True, return_tensors="pt").to(
                self.network.device
            )
            units = F.normalize(self.network.get_text_features(**tokens).pooler_output)
            self.texts[name] = F.normalize(
                units.view(len(GENEVAL_COLOURS), len(TEMPLATES), -1).mean(1)
            )
        return self.texts[name]


def object_crop(image: Tensor, thing: Detection) -> Tensor:
    """8-bit [3, 224, 224]: CLIP's view of an object in an 8-bit image [3, H, W]."""
    if thing.mask is not None:
        image = torch.where(thing.mask, image, torch.tensor(BACKGROUND, dtype=torch.uint8))
    (whole,) = pictures(image[None])
    cut = whole.crop(thing.box)
    width, height = (int(SIDE * side / min(cut.size)) for side in cut.size)
    cut = cut.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - SIDE) / 2), round((height - SIDE) / 2)
    return torch.from_numpy(np.array(cut.crop((left, top, left + SIDE, top + SIDE)))).permute(
        2, 0, 1
    )


def _protocol(source: str, file: Path) -> str:
    return protocol_of("colours", source, file, "three templates", "fp32")
