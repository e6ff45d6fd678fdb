"""Fixtures: tiny SD3 pipelines with random weights, of the same diffusers classes as the real ones."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import pytest
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

from workbench.backends.sd3 import SD3Backend
from workbench.scenes.networks import new_text_encoder, new_tokenizer


def tiny_pipeline(shift: float = 3.0) -> StableDiffusion3Pipeline:
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=128, caption_projection_dim=32, pooled_projection_dim=128, pos_embed_max_size=8, qk_norm="rms_norm")
    vae = AutoencoderKL(down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
                        block_out_channels=(8, 8), layers_per_block=1, latent_channels=4, norm_num_groups=4, sample_size=16,
                        use_quant_conv=False, use_post_quant_conv=False, scaling_factor=1.5, shift_factor=0.06)
    return StableDiffusion3Pipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=shift), vae=vae, text_encoder=new_text_encoder(),
        tokenizer=new_tokenizer(), text_encoder_2=new_text_encoder(), tokenizer_2=new_tokenizer(), text_encoder_3=None,
        tokenizer_3=None)


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory):
    """A saved tiny pipeline, and beside it a file of prompts."""
    folder = tmp_path_factory.mktemp("teacher")
    tiny_pipeline().save_pretrained(folder)
    (folder / "prompts.txt").write_text("a red circle\ntwo stars\na blue shape\n")
    return folder


@pytest.fixture
def backend() -> SD3Backend:
    """A fresh backend on a tiny random pipeline (shift 3)."""
    return SD3Backend(tiny_pipeline())
