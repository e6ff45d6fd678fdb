"""The networks of the embedded teachers: diffusers and transformers classes at toy size, saved as
SD3 and SDXL pipelines.

A prompt is 12 CLIP tokens wide. The SD3 pipeline's third text encoder (T5) is silent: it gives
`max_sequence_length` (256 by default) zero tokens, exactly those that diffusers inserts without
one, but a plain `from_pretrained` needs one. The teacher is trained with 0 and with 256 of them;
the workbench leaves T5 out and samples with 0, which is about eight times faster.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import torch
from diffusers import (
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from workbench.io.strict_json import to_json
from workbench.scenes.autoencoder import LATENT_CHANNELS, LATENT_SIDE
from workbench.scenes.grammar import WORDS
from workbench.scenes.renderer import SIDE

WIDTH, LAYERS, HEADS, TEXT_WIDTH, MAX_TOKENS = 128, 6, 4, 64, 12
# an SDXL pipeline's default input to its UNet: original size, crop, target size
SIZES = (SIDE, SIDE, 0, 0, SIDE, SIDE)
# of the sampling times: SD3's 3.0 belongs to 1024 px, where layout is decided at higher noise
SHIFT = 1.0


@cache
def new_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer over bytes whose merges make one token of each word of the grammar."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.Whitespace()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        min_frequency=1,
        end_of_word_suffix="</w>",
        initial_alphabet=letters,
        show_progress=False,
    )
    learner.train_from_iterator([" ".join(WORDS)], trainer)
    learned = json.loads(learner.to_str())["model"]
    words = [*letters, *(letter + "</w>" for letter in letters)]
    words += [a + b for a, b in learned["merges"]]
    words = list(dict.fromkeys(words)) + ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={word: n for n, word in enumerate(words)},
        merges=[tuple(m) for m in learned["merges"]],
        model_max_length=MAX_TOKENS,
        pad_token="<|endoftext|>",
    )


def new_text_encoder() -> CLIPTextModelWithProjection:
    """An untrained text encoder (0.2 M parameters); SD3 reads its last but one hidden state and
    its projection.
    """
    tokenizer = new_tokenizer()
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def without_projection(encoder: CLIPTextModelWithProjection) -> CLIPTextModel:
    """The same encoder in the class of SDXL's first one."""
    result = CLIPTextModel(encoder.config)
    result.load_state_dict(encoder.text_model.state_dict())
    return result


def silent_t5() -> tuple[T5EncoderModel, T5TokenizerFast]:
    """A T5 encoder (7,000 parameters) that always gives zeros, and its tokenizer, which knows no
    word.
    """
    encoder = T5EncoderModel(
        T5Config(vocab_size=4, d_model=2 * TEXT_WIDTH, d_kv=8, d_ff=8, num_layers=1, num_heads=1)
    )
    torch.nn.init.zeros_(encoder.encoder.final_layer_norm.weight)
    return encoder, T5TokenizerFast(
        vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -1.0)], extra_ids=0
    )


def new_transformer() -> SD3Transformer2DModel:
    """An untrained flow transformer (3.5 M parameters): 16 image tokens of 2 x 2 latent cells, 12
    text tokens.
    """
    return SD3Transformer2DModel(
        sample_size=LATENT_SIDE,
        patch_size=2,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=LAYERS,
        attention_head_dim=WIDTH // HEADS,
        num_attention_heads=HEADS,
        joint_attention_dim=2 * TEXT_WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=2 * TEXT_WIDTH,
        pos_embed_max_size=LATENT_SIDE,
        qk_norm="rms_norm",
    )


def new_unet() -> UNet2DConditionModel:
    """An untrained eps UNet of SDXL's kind (4.4 M parameters): 8 x 8 and 4 x 4 positions, each with
    attention to 12 text tokens.
    """
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(64, 128),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        layers_per_block=1,
        transformer_layers_per_block=1,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        norm_num_groups=16,
        cross_attention_dim=2 * TEXT_WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=TEXT_WIDTH + 6 * 16,
    )


def save_pipeline(folder: Path, **parts: torch.nn.Module) -> None:
    """Saves an ordinary StableDiffusion3Pipeline (given a `transformer`) or
    StableDiffusionXLPipeline (given a `unet`) of these parts in half precision.
    """
    tokenizers = {"tokenizer": new_tokenizer(), "tokenizer_2": new_tokenizer()}
    if "transformer" in parts:
        parts["text_encoder_3"], parts["tokenizer_3"] = silent_t5()
        pipeline = StableDiffusion3Pipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT), **tokenizers, **parts
        )
    else:
        scheduler = EulerDiscreteScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            steps_offset=1,
            timestep_spacing="leading",
        )
        parts["text_encoder"] = without_projection(parts["text_encoder"])
        pipeline = StableDiffusionXLPipeline(
            scheduler=scheduler, force_zeros_for_empty_prompt=True, **tokenizers, **parts
        )
    pipeline.to(torch.float16).save_pretrained(folder)
    for path in folder.glob("*/config.json"):
        config = json.loads(path.read_text())
        config.pop("_name_or_path", None)  # a path of this machine
        if "text_encoder" in path.parent.name:
            config["dtype"] = "float32"  # else transformers would load fp16 beside diffusers' fp32
        path.write_text(to_json(config, indent=2))
