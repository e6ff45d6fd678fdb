"""Tiny networks of the metrics, and mmdet's names for the tensors of one."""

from transformers import (
    CLIPConfig,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    SwinConfig,
)

from workbench.scenes.networks import new_tokenizer

FULL = dict(
    width=96,
    depths=(2, 2, 18, 2),
    heads=(3, 6, 12, 24),
    feature=256,
    encoder=6,
    decoder=9,
    hidden=(1024, 2048),
    queries=100,
)
TINY = dict(
    width=8,
    depths=(2, 1, 1, 1),
    heads=(2, 2, 4, 4),
    feature=32,
    encoder=1,
    decoder=3,
    hidden=(16, 24),
    queries=4,
)
SMALL = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)


def linear(name, outputs, inputs, kernel=()):
    return {f"{name}.weight": (outputs, inputs, *kernel), f"{name}.bias": (outputs,)}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def feed_forward(name, width, hidden):
    return {
        **linear(f"{name}.layers.0.0", hidden, width),
        **linear(f"{name}.layers.1", width, hidden),
    }


def shapes(width, depths, heads, feature, encoder, decoder, hidden, queries, classes=80, window=7):
    """The names and shapes of mmdet 2.28.2's own state dict, in its order; written down from its
    modules.
    """
    return (
        backbone_shapes(width, depths, heads, window)
        | pixel_decoder_shapes(width, feature, encoder, hidden[0])
        | decoder_shapes(feature, decoder, hidden[1], queries, classes)
    )


def backbone_shapes(width, depths, heads, window):
    made = linear("backbone.patch_embed.projection", width, 3, (4, 4)) | norm(
        "backbone.patch_embed.norm", width
    )
    for stage, depth in enumerate(depths):
        wide = width * 2**stage
        for block in range(depth):
            name = f"backbone.stages.{stage}.blocks.{block}"
            made |= norm(f"{name}.norm1", wide)
            made[f"{name}.attn.w_msa.relative_position_bias_table"] = (
                (2 * window - 1) ** 2,
                heads[stage],
            )
            made[f"{name}.attn.w_msa.relative_position_index"] = (window**2, window**2)
            made |= linear(f"{name}.attn.w_msa.qkv", 3 * wide, wide) | linear(
                f"{name}.attn.w_msa.proj", wide, wide
            )
            made |= norm(f"{name}.norm2", wide) | feed_forward(f"{name}.ffn", wide, 4 * wide)
        if stage < 3:
            made |= norm(f"backbone.stages.{stage}.downsample.norm", 4 * wide)
            made[f"backbone.stages.{stage}.downsample.reduction.weight"] = (2 * wide, 4 * wide)
    for stage in range(4):
        made |= norm(f"backbone.norm{stage}", width * 2**stage)
    return made


def pixel_decoder_shapes(width, feature, encoder, hidden):
    pixels, made = "panoptic_head.pixel_decoder", {}
    for n in range(3):
        made |= linear(f"{pixels}.input_convs.{n}.conv", feature, width * 2 ** (3 - n), (1, 1))
        made |= norm(f"{pixels}.input_convs.{n}.gn", feature)
    for n in range(encoder):
        layer = f"{pixels}.encoder.layers.{n}"
        for part, outputs in (
            ("sampling_offsets", 192),
            ("attention_weights", 96),
            ("value_proj", feature),
            ("output_proj", feature),
        ):
            made |= linear(f"{layer}.attentions.0.{part}", outputs, feature)
        made |= feed_forward(f"{layer}.ffns.0", feature, hidden)
        made |= norm(f"{layer}.norms.0", feature) | norm(f"{layer}.norms.1", feature)
    made[f"{pixels}.level_encoding.weight"] = (3, feature)
    made[f"{pixels}.lateral_convs.0.conv.weight"] = (feature, width, 1, 1)
    made |= norm(f"{pixels}.lateral_convs.0.gn", feature)
    made[f"{pixels}.output_convs.0.conv.weight"] = (feature, feature, 3, 3)
    made |= norm(f"{pixels}.output_convs.0.gn", feature) | linear(
        f"{pixels}.mask_feature", feature, feature, (1, 1)
    )
    return made


def decoder_shapes(feature, decoder, hidden, queries, classes):
    made = {}
    for n in range(decoder):
        layer = f"panoptic_head.transformer_decoder.layers.{n}"
        for attention in (f"{layer}.attentions.0.attn", f"{layer}.attentions.1.attn"):
            made |= {
                f"{attention}.in_proj_weight": (3 * feature, feature),
                f"{attention}.in_proj_bias": (3 * feature,),
            }
            made |= linear(f"{attention}.out_proj", feature, feature)
        made |= feed_forward(f"{layer}.ffns.0", feature, hidden)
        made |= (
            norm(f"{layer}.norms.0", feature)
            | norm(f"{layer}.norms.1", feature)
            | norm(f"{layer}.norms.2", feature)
        )
    made |= norm("panoptic_head.transformer_decoder.post_norm", feature)
    made |= {
        "panoptic_head.query_embed.weight": (queries, feature),
        "panoptic_head.query_feat.weight": (queries, feature),
        "panoptic_head.level_embed.weight": (3, feature),
    }
    made |= linear("panoptic_head.cls_embed", classes + 1, feature)
    for n in (0, 2, 4):
        made |= linear(f"panoptic_head.mask_embed.{n}", feature, feature)
    return made


def network():
    backbone = SwinConfig(
        embed_dim=8,
        depths=[2, 1, 1, 1],
        num_heads=[2, 2, 4, 4],
        window_size=7,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    return Mask2FormerForUniversalSegmentation(
        Mask2FormerConfig(
            backbone_config=backbone,
            num_labels=80,
            feature_size=32,
            mask_feature_size=32,
            hidden_dim=32,
            encoder_feedforward_dim=16,
            dim_feedforward=24,
            encoder_layers=1,
            decoder_layers=4,
            num_attention_heads=8,
            num_queries=4,
        )
    ).eval()


def clip_config(side=224):
    tokenizer = new_tokenizer()
    words = dict(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_position_embeddings=77,
    )
    return CLIPConfig(
        vision_config=SMALL | dict(image_size=side, patch_size=side // 7),
        text_config=SMALL | words,
        projection_dim=16,
    )
