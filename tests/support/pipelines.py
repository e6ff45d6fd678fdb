"""Tiny SD3 and SDXL pipelines with random weights, of the real ones' diffusers classes."""

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)

from workbench.scenes.networks import new_text_encoder, new_tokenizer, without_projection


def tiny_vae(**settings) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
        use_quant_conv=False,
        use_post_quant_conv=False,
        **{"scaling_factor": 1.5, "shift_factor": 0.06} | settings,
    )


def tiny_pipeline(shift: float = 3.0, **settings) -> StableDiffusion3Pipeline:
    """`settings` are the transformer's."""
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        **dict(
            sample_size=8,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=128,
            caption_projection_dim=32,
            pooled_projection_dim=128,
            pos_embed_max_size=8,
            qk_norm="rms_norm",
        )
        | settings
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=shift),
        vae=tiny_vae(),
        text_encoder=new_text_encoder(),
        tokenizer=new_tokenizer(),
        text_encoder_2=new_text_encoder(),
        tokenizer_2=new_tokenizer(),
        text_encoder_3=None,
        tokenizer_3=None,
    )


def tiny_sdxl_pipeline() -> StableDiffusionXLPipeline:
    """With the scheduler settings of the published SDXL."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=1,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        cross_attention_dim=128,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=64 + 6 * 8,
    )
    scheduler = EulerDiscreteScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        steps_offset=1,
        timestep_spacing="leading",
        interpolation_type="linear",
    )
    return StableDiffusionXLPipeline(
        unet=unet,
        scheduler=scheduler,
        vae=tiny_vae(scaling_factor=0.13, shift_factor=None),
        text_encoder=without_projection(new_text_encoder()),
        tokenizer=new_tokenizer(),
        text_encoder_2=new_text_encoder(),
        tokenizer_2=new_tokenizer(),
    )
