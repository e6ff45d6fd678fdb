"""PickScore and CLIPScore: how well an image fits its prompt, as one CLIP network with two
readings of the same cosine.

    PickScore   exp(logit scale) cos(image, prompt)      CLIP ViT-H/14 trained on people's choices
    CLIPScore   100 max(cos(image, prompt), 0)           CLIP ViT-L/14 as OpenAI trained it

Each image is compared with its own prompt only. Images are rounded to 8 bits, their shortest side
resized to the network's size (bicubic) and the middle cropped; prompts are cut at 77 tokens, the
end token kept, and `too_long` finds them. Everything is fp32. Both are insensitive to several
things, counts or colours in a prompt: CLIP compares one vector with one vector.

Source: Kirstain et al. 2023, arXiv 2305.01569; Hessel et al. 2021, arXiv 2104.08718.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from workbench.metrics.inputs import eight_bit, processed
from workbench.metrics.weights import MetricError, by_content, pretrained, protocol_of, weights_file

MAX_TOKENS = 77  # with the start and the end token
PICKSCORE, PICKSCORE_TOKENIZER = (
    "yuvalkirstain/PickScore_v1",
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
)
CLIPSCORE = "openai/clip-vit-large-patch14"
DIVISOR = 26  # of the released script, which scales PickScore to about 0 to 1


@dataclass(frozen=True)
class TextMatch:
    """A CLIP network and its tokenizer: cosines of images with their prompts."""

    network: CLIPModel
    tokenizer: CLIPTokenizer

    @classmethod
    def from_config(cls, config: CLIPConfig, tokenizer: CLIPTokenizer) -> TextMatch:
        """One with random weights."""
        return cls(CLIPModel(config).eval().requires_grad_(False), tokenizer)

    @torch.inference_mode()
    def cosines(self, images: Tensor, prompts: list[str], batch: int) -> Tensor:
        """[B] fp32 on the CPU, of images [B, 3, H, W] in [0, 1]. Raises ValueError for other
        images, or another number of prompts.
        """
        if len(images) != len(prompts):
            raise ValueError(
                f"an image is scored with its own prompt, but there are {len(images)} images and "
                f"{len(prompts)} prompts"
            )
        starts = range(0, len(prompts), batch)
        parts = zip(
            eight_bit(images).split(batch),
            (prompts[start : start + batch] for start in starts),
            strict=True,
        )
        return torch.cat(
            [
                torch.cosine_similarity(self._of_images(part), self._of_prompts(its_prompts)).cpu()
                for part, its_prompts in parts
            ]
        )

    def too_long(self, prompts: list[str]) -> list[bool]:
        """Whether each prompt has more than 77 tokens, so that its end is not read."""
        return [
            len(ids) > MAX_TOKENS
            for ids in self.tokenizer(prompts, truncation=False, verbose=False)["input_ids"]
        ]

    def _of_images(self, images: Tensor) -> Tensor:
        side = self.network.config.vision_config.image_size
        processor = CLIPImageProcessorPil(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        )
        return self.network.get_image_features(
            processed(processor, images).to(self.network.device)
        ).pooler_output

    def _of_prompts(self, prompts: list[str]) -> Tensor:
        tokens = self.tokenizer(
            prompts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        return self.network.get_text_features(**tokens.to(self.network.device)).pooler_output


@dataclass(frozen=True)
class PickScore:
    """A loaded PickScore."""

    protocol: str
    match: TextMatch
    divided: bool = False

    @classmethod
    def load(
        cls,
        source: str = PICKSCORE,
        device: str = "cpu",
        divided: bool = False,
        tokenizer: str = "",
    ) -> PickScore:
        """From the hub (3.9 GB) or a folder. The paper prints the raw logit; the released script
        prints it `divided` by 26.

        `tokenizer` is a hub id or a folder; by default the source itself if it is a folder that
        holds one, otherwise that of the network PickScore was trained from, as its authors load
        it. Raises `MetricError`.
        """
        own = (Path(source) / "tokenizer_config.json").is_file()
        words_from = tokenizer or (source if own else PICKSCORE_TOKENIZER)
        match, protocol = _loaded("pickscore", source, words_from, device, "3.9 GB")
        return cls(f"{protocol}, divided by {DIVISOR}" if divided else protocol, match, divided)

    @classmethod
    def from_config(
        cls, config: CLIPConfig, tokenizer: CLIPTokenizer, divided: bool = False
    ) -> PickScore:
        """One with random weights."""
        return cls("pickscore random", TextMatch.from_config(config, tokenizer), divided)

    def score(self, images: Tensor, prompts: list[str], batch: int = 16) -> Tensor:
        """[B] fp32 PickScores of images [B, 3, H, W] in [0, 1]. Raises ValueError as
        `TextMatch.cosines` does.
        """
        logits = self.match.network.logit_scale.exp().cpu() * self.match.cosines(
            images, prompts, batch
        )
        return logits / DIVISOR if self.divided else logits

    def too_long(self, prompts: list[str]) -> list[bool]:
        """Whether each prompt is too long to be read to its end."""
        return self.match.too_long(prompts)


@dataclass(frozen=True)
class ClipScore:
    """A loaded CLIPScore."""

    protocol: str
    match: TextMatch

    @classmethod
    def load(cls, source: str = CLIPSCORE, device: str = "cpu") -> ClipScore:
        """From the hub (1.7 GB) or a folder. Raises `MetricError`."""
        match, protocol = _loaded("clipscore", source, source, device, "1.7 GB")
        return cls(f"{protocol}, 100 max(cos, 0)", match)

    @classmethod
    def from_config(cls, config: CLIPConfig, tokenizer: CLIPTokenizer) -> ClipScore:
        """One with random weights."""
        return cls("clipscore random", TextMatch.from_config(config, tokenizer))

    def score(self, images: Tensor, prompts: list[str], batch: int = 16) -> Tensor:
        """[B] fp32 CLIPScores in [0, 100] of images [B, 3, H, W] in [0, 1]. Raises ValueError as
        `TextMatch.cosines` does.

        Departs: Hessel et al. write 2.5 max(cos, 0) with ViT-B/32 and "A photo depicts" before
        each prompt. Network and factor here are torchmetrics' defaults; it cuts the mean at 0 and
        not each image, the same unless a cosine is negative, and loses the end token of a prompt
        that is too long.
        """
        return 100 * self.match.cosines(images, prompts, batch).clamp(min=0)

    def too_long(self, prompts: list[str]) -> list[bool]:
        """Whether each prompt is too long to be read to its end."""
        return self.match.too_long(prompts)


def _loaded(
    name: str, source: str, words_from: str, device: str, size: str
) -> tuple[TextMatch, str]:
    """The network and its protocol."""
    file = weights_file(name, source, "config.json", size)
    weights_file(name, words_from, "tokenizer_config.json")
    network = pretrained(name, source, file, CLIPModel, dtype=torch.float32)
    try:
        tokenizer = CLIPTokenizer.from_pretrained(words_from)
    except (OSError, RuntimeError, ValueError) as error:
        raise MetricError(
            f"{words_from} cannot be loaded as the tokenizer of {name}: {error}"
        ) from error
    words = [] if words_from == source else [f"tokenizer {by_content(words_from)}"]
    side = network.config.vision_config.image_size
    protocol = protocol_of(
        name, source, file, *words, f"{side} px", f"prompts cut at {MAX_TOKENS} tokens"
    )
    return TextMatch(network.to(device), tokenizer), protocol
