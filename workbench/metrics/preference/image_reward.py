"""ImageReward: how well people would like an image for its prompt; higher is better.

    reward = (m(t) - 0.16717362830052426) / 1.0333394966054072
    t   CLS token of BLIP's text encoder, which reads the prompt and attends to the tokens of
        BLIP's ViT-L/16
    m   five linear maps, 768 - 1024 - 128 - 64 - 16 - 1, with nothing between them

The image: shortest side 224 (PIL's bicubic), middle 224 x 224, CLIP's mean and deviation. The
prompt: BERT's uncased tokens between [CLS] and [SEP], cut or padded to 35. Each pair alone, in
fp32: what the released test_preference.py reads.

The networks are transformers' BLIP classes, not the `image-reward` package, which cannot be
imported with transformers 5. `converted_state` maps between their names. The text encoder is built
as a decoder, which gives it attention to an image, and called without a causal mask, so that every
token sees the whole prompt.

Source: Xu et al. 2023 (arXiv 2304.05977), https://github.com/THUDM/ImageReward.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import init_empty_weights
from PIL import Image
from torch import Tensor, nn
from transformers import (
    BertTokenizer,
    BlipTextConfig,
    BlipTextModel,
    BlipVisionConfig,
    BlipVisionModel,
)

from workbench.metrics.inputs import CLIP, eight_bit, normalised, pictures
from workbench.metrics.weights import MetricError, by_content, protocol_of, read_from, weights_file

SOURCE, FILE, SIZE, TOKENIZER = (
    "zai-org/ImageReward",
    "ImageReward.pt",
    "1.8 GB",
    "bert-base-uncased",
)
SIDE, TOKENS, VOCABULARY = 224, 35, 30522
MEAN, DEVIATION = (
    0.16717362830052426,
    1.0333394966054072,
)  # of raw rewards, as published
VISION = dict(
    hidden_size=1024,
    intermediate_size=4096,
    num_hidden_layers=24,
    num_attention_heads=16,
    image_size=SIDE,
    patch_size=16,
    layer_norm_eps=1e-6,
    hidden_act="gelu",
)
TEXT = dict(
    vocab_size=VOCABULARY + 2,
    hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=12,
    max_position_embeddings=512,
    layer_norm_eps=1e-12,
    hidden_act="gelu",
    is_decoder=True,
)  # + [DEC] and [ENC], never read

UNUSED = (
    r"blip\.(vision_proj|text_proj)\.(weight|bias)|blip\.text_encoder\.embeddings\.position_ids"
)
_IMAGE, _LAYER = r"blip\.visual_encoder\.", r"blip\.visual_encoder\.blocks\.(\d+)\."
NAMES = (  # theirs, in full, and ours
    (_IMAGE + "cls_token", "vision.embeddings.class_embedding"),
    (_IMAGE + "pos_embed", "vision.embeddings.position_embedding"),
    (_IMAGE + r"patch_embed\.proj\.(\w+)", r"vision.embeddings.patch_embedding.\1"),
    (_LAYER + r"norm([12])\.(\w+)", r"vision.encoder.layers.\1.layer_norm\2.\3"),
    (_LAYER + r"attn\.qkv\.(\w+)", r"vision.encoder.layers.\1.self_attn.qkv.\2"),
    (_LAYER + r"attn\.proj\.(\w+)", r"vision.encoder.layers.\1.self_attn.projection.\2"),
    (_LAYER + r"mlp\.(fc[12])\.(\w+)", r"vision.encoder.layers.\1.mlp.\2.\3"),
    (_IMAGE + r"norm\.(\w+)", r"vision.post_layernorm.\1"),
    (r"blip\.text_encoder\.(.+)", r"text.\1"),
    (r"mlp\.(layers\..+)", r"mlp.\1"),
)


def converted_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict under the names of `RewardNetwork`, each tensor once, without those
    that a score never reads: `vision_proj`, `text_proj` and `position_ids`.

    Raises `MetricError` with the names that it does not know.
    """
    names = {name: _renamed(name) for name in state if not re.fullmatch(UNUSED, name)}
    if unknown := [name for name, ours in names.items() if ours is None]:
        raise MetricError(f"ImageReward knows no {', '.join(unknown)}")
    return {ours: state[name] for name, ours in names.items()}


def _renamed(name: str) -> str | None:
    return next(
        (match.expand(ours) for theirs, ours in NAMES if (match := re.fullmatch(theirs, name))),
        None,
    )


class RewardNetwork(nn.Module):
    """The three parts, of `VISION` and `TEXT` with the given changes."""

    def __init__(self, vision: dict | None = None, text: dict | None = None):
        super().__init__()
        vision_config = BlipVisionConfig(**VISION | (vision or {}))
        text_config = BlipTextConfig(
            **TEXT | (text or {}), encoder_hidden_size=vision_config.hidden_size
        )
        self.vision, self.text = (
            BlipVisionModel(vision_config),
            BlipTextModel(text_config, add_pooling_layer=False),
        )
        # Identity in place of the published network's dropout: the names count it
        self.mlp = nn.ModuleDict(
            {
                "layers": nn.Sequential(
                    nn.Linear(text_config.hidden_size, 1024),
                    nn.Identity(),
                    nn.Linear(1024, 128),
                    nn.Identity(),
                    nn.Linear(128, 64),
                    nn.Identity(),
                    nn.Linear(64, 16),
                    nn.Linear(16, 1),
                )
            }
        )

    def forward(self, pixels: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """[B] rewards of images [B, 3, 224, 224] and tokens [B, L]; `mask` is 0 for padding."""
        tokens_seen = self.vision(pixel_values=pixels).last_hidden_state
        read = self.text(
            input_ids=tokens,
            attention_mask=mask,
            encoder_hidden_states=tokens_seen,
            is_decoder=False,
        ).last_hidden_state
        return (self.mlp["layers"](read[:, 0])[:, 0] - MEAN) / DEVIATION


@dataclass(frozen=True)
class ImageReward:
    """A loaded network and its tokenizer: `ImageReward.load().score(images, prompts)`."""

    protocol: str
    network: RewardNetwork
    tokenizer: BertTokenizer

    @classmethod
    def load(
        cls, source: str = SOURCE, device: str = "cpu", tokenizer: str | None = None
    ) -> ImageReward:
        """ImageReward with the weights of a hub id or a folder, in fp32. `tokenizer` is the source
        of vocab.txt: by default that of the weights, if that is a folder with one, otherwise
        bert-base-uncased on the hub.

        Raises `MetricError` if a file cannot be loaded or is not the published one.
        """
        file = weights_file("image-reward", source, FILE, SIZE)
        place = tokenizer or (source if (Path(source) / "vocab.txt").is_file() else TOKENIZER)
        words, named = vocabulary(place), f"tokenizer {by_content(place)}"
        network = load_reward_network(file).eval().requires_grad_(False).to(device)
        return cls(
            protocol_of("image-reward", source, file, named, f"{TOKENS} tokens"),
            network,
            BertTokenizer(words),
        )

    @classmethod
    def from_config(cls, vision: dict, text: dict, words: Sequence[str]) -> ImageReward:
        """A network of other sizes (changes to `VISION` and `TEXT`) with random weights and its own
        vocabulary, for tests.
        """
        network = RewardNetwork(vision, text).eval().requires_grad_(False)
        return cls(
            protocol_of("image-reward", "random weights", Path(), f"{TOKENS} tokens"),
            network,
            BertTokenizer(_numbered(words)),
        )

    @torch.inference_mode()
    def score(self, images: Tensor, prompts: Sequence[str], batch: int = 16) -> Tensor:
        """[B] fp32 on the CPU of images [B, 3, H, W] in [0, 1] and their prompts, `batch` pairs in
        the network at a time.

        Raises ValueError for another shape or range, and unless there is one prompt per image.
        """
        pixels, device = eight_bit(images), self.network.text.device
        if len(prompts) != len(pixels):
            raise ValueError(
                f"image-reward reads a prompt for each image, not {len(prompts)} for {len(pixels)}"
            )
        rewards = []
        for start in range(0, len(pixels), batch):
            text = self.tokenizer(
                list(prompts[start : start + batch]),
                padding="max_length",
                truncation=True,
                max_length=TOKENS,
                return_tensors="pt",
            ).to(device)
            inputs = prepared(pixels[start : start + batch]).to(device)
            rewards.append(self.network(inputs, text["input_ids"], text["attention_mask"]).cpu())
        return torch.cat(rewards)


def prepared(images: Tensor) -> Tensor:
    """[B, 3, 224, 224] fp32 inputs of 8-bit images. The longer side's length is rounded down, and
    the middle's corner to the nearest pixel (a half to the even one), as in torchvision;
    transformers' processor rounds it down, at times to another pixel.
    """
    crops = []
    for picture in pictures(images):
        small = picture.resize(
            [SIDE * side // min(picture.size) for side in picture.size], Image.Resampling.BICUBIC
        )
        left, top = (round((side - SIDE) / 2) for side in small.size)
        crops.append(np.array(small.crop((left, top, left + SIDE, top + SIDE))))
    return normalised(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2), *CLIP)


def load_reward_network(
    file: Path, vision: dict | None = None, text: dict | None = None
) -> RewardNetwork:
    """The fp32 network of a published file with exactly its names. Raises `MetricError`."""
    with init_empty_weights():  # the file has every value
        network = RewardNetwork(vision, text)
    with read_from(file, FILE):
        network.load_state_dict(
            converted_state(torch.load(file, map_location="cpu", weights_only=True)), assign=True
        )
    return network.float()


def vocabulary(tokenizer: str) -> dict[str, int]:
    """BERT's uncased tokens and their numbers, from the vocab.txt of a hub id or a folder. Raises
    `MetricError`.
    """
    try:
        file = weights_file("image-reward", tokenizer, "vocab.txt", "0.2 MB")
    except MetricError as error:
        raise MetricError(f"{error}. The vocab.txt may be in one FOLDER with {FILE}") from error
    words = _numbered(file.read_text(encoding="utf-8").removesuffix("\n").split("\n"))
    if len(words) != VOCABULARY or "[CLS]" not in words:
        raise MetricError(
            f"{file} holds {len(words)} tokens, and image-reward was trained with the "
            f"{VOCABULARY} of {TOKENIZER}"
        )
    return words


def _numbered(words: Sequence[str]) -> dict[str, int]:
    return {word: number for number, word in enumerate(words)}
