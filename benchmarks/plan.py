"""The planner's peak memory against a measured one: rounds of a small random SD3 network on the
CPU.

    python benchmarks/plan.py [--precision fp32] [--checkpointing off,on] [--lora 0,16]

The measured peak is the most memory that torch's CPU allocator held, by its profiler (which records
every allocation and knows nothing of the planner), from before the pipeline is made to the end of
the second round. The network is wide enough that activations, gradients and optimizer states all
count.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
from dataclasses import replace
from itertools import accumulate, product

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from torch.profiler import ProfilerActivity, profile

from workbench.core.distiller import Distiller
from workbench.core.recipe import Recipe
from workbench.models.backends.sd3 import SD3Backend
from workbench.scenes.networks import new_text_encoder, new_tokenizer
from workbench.training.build import new_objective
from workbench.training.plan.planner import plan

RECIPE = Recipe(
    batch=4, rounds=2, fake_updates_per_round=1, teacher_steps=3, k=1, guidance=2.0, student_steps=3
)


def new_teacher(side: int = 16, layers: int = 2, width: int = 512) -> StableDiffusion3Pipeline:
    """A random pipeline with a `width` wide transformer for latents of `side` x `side`."""
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=side,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=layers,
        attention_head_dim=64,
        num_attention_heads=width // 64,
        joint_attention_dim=128,
        caption_projection_dim=width,
        pooled_projection_dim=128,
        pos_embed_max_size=side,
        qk_norm="rms_norm",
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=1.5,
        shift_factor=0.06,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae,
        text_encoder=new_text_encoder(),
        tokenizer=new_tokenizer(),
        text_encoder_2=new_text_encoder(),
        tokenizer_2=new_tokenizer(),
        text_encoder_3=None,
        tokenizer_3=None,
    )


def measured(recipe: Recipe) -> int:
    """The most bytes allocated at a time, by the profiler, from the creation of the teacher to the
    end of two rounds.

    The teacher is created, not loaded: weights mapped from a file bypass the allocator.
    """
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        distiller = Distiller(
            recipe, SD3Backend(new_teacher()), new_objective(recipe), ["a red circle", "two stars"]
        )
        list(distiller.rounds(2))
    changes = [
        event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    return max(
        accumulate(event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns()))
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--checkpointing", default="off,on")
    parser.add_argument("--lora", default="0,16")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| precision | lora | checkpointing | planned MiB | measured MiB | error "
        "|\n|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        new_teacher().save_pretrained(folder)
        for lora, checkpointing in product(
            map(int, options.lora.split(",")), options.checkpointing.split(",")
        ):
            recipe = replace(
                RECIPE,
                teacher=folder,
                precision=options.precision,
                lora=lora,
                checkpointing=checkpointing,
            )
            planned, peak = plan(recipe, device="cpu").peak, measured(recipe)
            print(
                f"| {options.precision} | {lora} | {checkpointing} | {planned / 2**20:.1f} | "
                f"{peak / 2**20:.1f} | "
                f"{planned / peak - 1:+.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
