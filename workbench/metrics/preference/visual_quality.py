"""VisualQuality-R1: a vision-language model rates the quality of a picture from 1 to 5.

The network is a Qwen2.5-VL-7B trained by reinforcement to rank pictures by quality. It gets the
picture, resized to multiples of 28 px (bicubic; 4 to 16384 tokens of 28 x 28 px, so 1024 x 1024
becomes 1036 x 1036 and 1369 tokens), and `QUESTION`, which asks for the score alone, without
thinking first. It answers in words: up to 512 tokens, sampled from the 50 most likely (top-p 1)
with the temperature and the repetition penalty of its own generation_config, and `parse_score`
reads the score. The prompt of the picture is not read.

Input and question are those of the released test_quality.py. Departs: an answer without a score
counts as none (nan), whereas the script invents a random integer; the sampling seed is reset for
every batch, so a picture scored again has the same score; attention is torch's.

Source: Wu et al. 2025, arXiv 2505.14460.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerBase,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

from workbench.metrics.inputs import eight_bit, pictures
from workbench.metrics.weights import MetricError, pretrained, protocol_of, weights_file

NAME, SOURCE = "vq-r1", "TianheWu/VisualQuality-R1-7B"
QUESTION = (
    "You are doing the image quality assessment task. Here is the question: What is your overall "
    "rating on the quality of "
    "this picture? The rating should be a float between 1 and 5, rounded to two decimal places, "
    "with 1 representing very poor "
    "quality and 5 representing excellent quality. Please only output the final answer with only "
    "one score in <answer> "
    "</answer> tags."
)
IMAGE_TOKENS = (4, 16384)
SAMPLING = {"max_new_tokens": 512, "do_sample": True, "top_k": 50, "top_p": 1.0}
LOWEST, HIGHEST = 1.0, 5.0

_ANSWER, _NUMBER = (
    re.compile(r"<answer>(.*?)</answer>", re.DOTALL),
    re.compile(r"-?[0-9]*\.?[0-9]+"),
)


def parse_score(text: str) -> float | None:
    """The score in [1, 5] in an answer, or None: the first number in the last <answer>, or the
    whole text if it is a number and nothing else.

    Departs: the script takes the first number of a text without tags, which may be any, and
    numbers outside 1 to 5.
    """
    tagged = _ANSWER.findall(text)
    number = _NUMBER.search(tagged[-1]) if tagged else _NUMBER.fullmatch(text.strip())
    score = float(number.group()) if number else math.nan
    return score if LOWEST <= score <= HIGHEST else None


@dataclass(frozen=True)
class VisualQuality:
    """A loaded VisualQuality-R1."""

    protocol: str
    network: Qwen2_5_VLForConditionalGeneration
    tokenizer: PreTrainedTokenizerBase
    question: str  # in the chat template
    seed: int
    batch: int

    @classmethod
    def load(
        cls, source: str = SOURCE, device: str = "cpu", seed: int = 0, batch: int = 1
    ) -> VisualQuality:
        """From the hub (16.6 GB) or a folder; bf16 on a GPU, fp32 on the CPU.

        Larger batches are faster. They are part of the protocol: a picture's answer then depends
        on the others in its batch. Raises `MetricError`.
        """
        file = weights_file(NAME, source, "config.json", "16.6 GB")
        dtype = torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16
        network = pretrained(
            NAME,
            source,
            file,
            Qwen2_5_VLForConditionalGeneration,
            dtype=dtype,
            attn_implementation="sdpa",
        )
        try:
            tokenizer = AutoTokenizer.from_pretrained(source)
        except (OSError, RuntimeError, ValueError) as error:
            raise MetricError(f"{source} cannot be loaded as {NAME}: {error}") from error
        if tokenizer.chat_template is None:  # older checkpoints keep it in another file
            tokenizer.chat_template = json.loads(
                weights_file(NAME, source, "chat_template.json").read_text()
            )["chat_template"]
        own = network.generation_config
        protocol = protocol_of(
            NAME,
            source,
            file,
            "no thinking",
            f"{IMAGE_TOKENS[0]} to {IMAGE_TOKENS[1]} image tokens",
            str(dtype).removeprefix("torch."),
            f"temperature {own.temperature or 1.0:g}",
            f"repetition penalty {own.repetition_penalty or 1.0:g}",
            "top-k 50, top-p 1, at most 512 tokens",
            f"seed {seed}",
            f"batch {batch}",
        )
        return cls(protocol, network.to(device), tokenizer, _question(tokenizer), seed, batch)

    @classmethod
    def from_config(
        cls,
        config: Qwen2_5_VLConfig,
        tokenizer: PreTrainedTokenizerBase,
        seed: int = 0,
        batch: int = 1,
    ) -> VisualQuality:
        """One with random weights. Raises `MetricError` for a tokenizer whose chat template has no
        place for a picture.
        """
        network = Qwen2_5_VLForConditionalGeneration(config).eval().requires_grad_(False)
        return cls(f"{NAME} random", network, tokenizer, _question(tokenizer), seed, batch)

    def score(self, images: Tensor, prompts: list[str]) -> Tensor:
        """[B] fp32 scores in [1, 5] of images [B, 3, H, W] in [0, 1], nan for an answer without a
        score; `prompts` are not read.

        Raises ValueError for other images, and for sides of more than 200 to 1.
        """
        return torch.tensor(
            [
                math.nan if (score := parse_score(text)) is None else score
                for text in self.answers(images)
            ]
        )

    @torch.inference_mode()
    def answers(self, images: Tensor) -> list[str]:
        """The network's answer for each image, to look up a missing score. Leaves torch's random
        state as it was.
        """
        return [
            text for part in eight_bit(images).split(self.batch) for text in self._written(part)
        ]

    def inputs(self, images: Tensor) -> dict[str, Tensor]:
        """The network's input for 8-bit images [B, 3, H, W] of one size, on the CPU: the question
        with as many image tokens as the picture has, and the patches.
        """
        vision, image_token = self.network.config.vision_config, self.network.config.image_token_id
        area = (vision.patch_size * vision.spatial_merge_size) ** 2  # of a token, in px
        processor = Qwen2VLImageProcessorPil(
            size={
                "shortest_edge": IMAGE_TOKENS[0] * area,
                "longest_edge": IMAGE_TOKENS[1] * area,
            },  # its own limit is 1280 tokens
            patch_size=vision.patch_size,
            merge_size=vision.spatial_merge_size,
            temporal_patch_size=vision.temporal_patch_size,
        )
        patches = processor(pictures(images), return_tensors="pt")
        count = int(patches["image_grid_thw"][0].prod()) // vision.spatial_merge_size**2
        ids = [
            token
            for token in self.tokenizer(self.question)["input_ids"]
            for _ in range(count if token == image_token else 1)
        ]
        ids = torch.tensor([ids]).expand(len(images), -1)
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "mm_token_type_ids": (ids == image_token).int(),
            "pixel_values": patches["pixel_values"],
            "image_grid_thw": patches["image_grid_thw"],
        }

    def _written(self, images: Tensor) -> list[str]:
        device = self.network.device
        inputs = {name: value.to(device) for name, value in self.inputs(images).items()}
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(self.seed)
            written = self.network.generate(
                **inputs, **SAMPLING, pad_token_id=self.tokenizer.pad_token_id
            )
        return self.tokenizer.batch_decode(
            written[:, inputs["input_ids"].shape[1] :],
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )


def _question(tokenizer: PreTrainedTokenizerBase) -> str:
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=False,
        add_generation_prompt=True,
        add_vision_id=True,
    )
    if text.count("<|image_pad|>") != 1 or QUESTION not in text:
        raise MetricError(
            f"{NAME}: the chat template has no place for one picture and the question: choose "
            "another source"
        )
    return text
