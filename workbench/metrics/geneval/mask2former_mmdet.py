"""The weights of mmdet 2.x's Mask2Former with a Swin backbone, under the names of transformers'
Mask2FormerForUniversalSegmentation.

The checkpoint GenEval was published with, `FILE`, thus becomes a state dict that loads strictly
into the network that `swin_small()` describes. Most tensors only change their name (`RENAMED`).
The others:

    SPLIT    q, k and v are one tensor there and three here: in the Swin attentions, and in the
             self-attentions of the decoder. (Its cross-attentions are one tensor in both;
             `attentions.0` is cross, `attentions.1` self.)
    MERGED   when Swin merges 2 x 2 patches of C channels, mmdet orders the 4 C values by
             (channel, row, column), transformers by (column, row, channel): this affects the norm
             over them, and the columns of the matrix after it
    IMPLIED  the entry of the bias table for two positions of a window: transformers computes the
             same index itself
    OWN      transformers' own tensors that no output depends on (a last norm that the backbone
             skips, the loss's weights): kept

Nothing else is read from mmdet: this module converts tensors and builds no network. Source: mmdet
2.28.2, configs/mask2former/mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco.py (Apache-2.0).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import Mask2FormerConfig, SwinConfig

from workbench.metrics.weights import MetricError, read_from

FILE = "mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco_20220504_001756-743b7d99.pth"

SWIN, PIXELS, QUERIES = (
    "model.pixel_level_module.encoder.swin",
    "model.pixel_level_module.decoder",
    "model.transformer_module",
)
BLOCK, BLOCK_HERE = "backbone.stages.#.blocks.#", f"{SWIN}.encoder.layers.#.blocks.#"
ENCODER, ENCODER_HERE = "panoptic_head.pixel_decoder.encoder.layers.#", f"{PIXELS}.encoder.layers.#"
DECODER, DECODER_HERE = "panoptic_head.transformer_decoder.layers.#", f"{QUERIES}.decoder.layers.#"
NORMS_HERE = "model.pixel_level_module.encoder.hidden_states_norms"
MASKS_HERE = f"{QUERIES}.decoder.mask_predictor.mask_embedder"
TABLE = "relative_position_bias_table"

# mmdet's name: transformers' name. # is a number, * is weight or bias; both have the same order on
# both sides
RENAMED = {
    "backbone.patch_embed.projection.*": f"{SWIN}.embeddings.patch_embeddings.projection.*",
    "backbone.patch_embed.norm.*": f"{SWIN}.embeddings.norm.*",
    f"{BLOCK}.norm1.*": f"{BLOCK_HERE}.layernorm_before.*",
    f"{BLOCK}.attn.w_msa.{TABLE}": f"{BLOCK_HERE}.attention.relative_position_bias.{TABLE}",
    f"{BLOCK}.attn.w_msa.proj.*": f"{BLOCK_HERE}.attention.o_proj.*",
    f"{BLOCK}.norm2.*": f"{BLOCK_HERE}.layernorm_after.*",
    f"{BLOCK}.ffn.layers.0.0.*": f"{BLOCK_HERE}.mlp.fc1.*",
    f"{BLOCK}.ffn.layers.1.*": f"{BLOCK_HERE}.mlp.fc2.*",
    **{f"backbone.norm{n}.*": f"{NORMS_HERE}.stage{n + 1}.*" for n in range(4)},
    "panoptic_head.pixel_decoder.input_convs.#.conv.*": f"{PIXELS}.input_projections.#.0.*",
    "panoptic_head.pixel_decoder.input_convs.#.gn.*": f"{PIXELS}.input_projections.#.1.*",
    "panoptic_head.pixel_decoder.level_encoding.weight": f"{PIXELS}.level_embed",
    **{
        f"{ENCODER}.attentions.0.{part}.*": f"{ENCODER_HERE}.self_attn.{part}.*"
        for part in ("sampling_offsets", "attention_weights", "value_proj", "output_proj")
    },
    f"{ENCODER}.norms.0.*": f"{ENCODER_HERE}.self_attn_layer_norm.*",
    f"{ENCODER}.ffns.0.layers.0.0.*": f"{ENCODER_HERE}.fc1.*",
    f"{ENCODER}.ffns.0.layers.1.*": f"{ENCODER_HERE}.fc2.*",
    f"{ENCODER}.norms.1.*": f"{ENCODER_HERE}.final_layer_norm.*",
    "panoptic_head.pixel_decoder.lateral_convs.0.conv.weight": f"{PIXELS}.adapter_1.0.weight",
    "panoptic_head.pixel_decoder.lateral_convs.0.gn.*": f"{PIXELS}.adapter_1.1.*",
    "panoptic_head.pixel_decoder.output_convs.0.conv.weight": f"{PIXELS}.layer_1.0.weight",
    "panoptic_head.pixel_decoder.output_convs.0.gn.*": f"{PIXELS}.layer_1.1.*",
    "panoptic_head.pixel_decoder.mask_feature.*": f"{PIXELS}.mask_projection.*",
    f"{DECODER}.attentions.0.attn.in_proj_*": f"{DECODER_HERE}.cross_attn.in_proj_*",
    f"{DECODER}.attentions.0.attn.out_proj.*": f"{DECODER_HERE}.cross_attn.out_proj.*",
    f"{DECODER}.norms.0.*": f"{DECODER_HERE}.cross_attn_layer_norm.*",
    f"{DECODER}.attentions.1.attn.out_proj.*": f"{DECODER_HERE}.self_attn.out_proj.*",
    f"{DECODER}.norms.1.*": f"{DECODER_HERE}.self_attn_layer_norm.*",
    f"{DECODER}.ffns.0.layers.0.0.*": f"{DECODER_HERE}.fc1.*",
    f"{DECODER}.ffns.0.layers.1.*": f"{DECODER_HERE}.fc2.*",
    f"{DECODER}.norms.2.*": f"{DECODER_HERE}.final_layer_norm.*",
    "panoptic_head.transformer_decoder.post_norm.*": f"{QUERIES}.decoder.layernorm.*",
    "panoptic_head.query_embed.weight": f"{QUERIES}.queries_embedder.weight",
    "panoptic_head.query_feat.weight": f"{QUERIES}.queries_features.weight",
    "panoptic_head.level_embed.weight": f"{QUERIES}.level_embed.weight",
    "panoptic_head.cls_embed.*": "class_predictor.*",
    **{f"panoptic_head.mask_embed.{2 * n}.*": f"{MASKS_HERE}.{n}.0.*" for n in range(3)},
}
SPLIT = {
    f"{BLOCK}.attn.w_msa.qkv.*": f"{BLOCK_HERE}.attention.?_proj.*",
    f"{DECODER}.attentions.1.attn.in_proj_*": f"{DECODER_HERE}.self_attn.?_proj.*",
}  # ? is q, k, v, from the top
MERGED = {
    f"backbone.stages.#.downsample.{part}.*": f"{SWIN}.encoder.layers.#.downsample.{part}.*"
    for part in ("reduction", "norm")
}
IMPLIED = (f"{BLOCK}.attn.w_msa.relative_position_index",)
OWN = (f"{SWIN}.layernorm.weight", f"{SWIN}.layernorm.bias", "criterion.empty_weight")


def swin_small() -> Mask2FormerConfig:
    """The architecture of `FILE`: Swin-S, 100 queries, COCO's 80 classes. 68.7 M parameters."""
    backbone = SwinConfig(
        depths=[2, 2, 18, 2],
        num_heads=[3, 6, 12, 24],
        embed_dim=96,
        window_size=7,
        out_features=[f"stage{n}" for n in range(1, 5)],
    )
    return Mask2FormerConfig(backbone_config=backbone, num_labels=80)


def checkpoint(file: Path) -> dict[str, Tensor]:
    """The tensors of an mmdet checkpoint. Raises `MetricError` for another file."""
    with read_from(file, FILE):
        return torch.load(file, map_location="cpu", weights_only=True)["state_dict"]


def converted_from_mmdet(
    source: Mapping[str, Tensor], target: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The state dict of mmdet's tensors under the names, and in the shapes, of `target`: the
    network's own state dict, from which `OWN` is taken. Neither is changed.

    Raises `MetricError`, with the names, if a tensor of one has no counterpart in the other, or
    one of another shape.
    """
    converted: dict[str, Tensor] = {name: target[name] for name in OWN if name in target}
    unknown, twice = [], []
    for key, value in source.items():
        moves = list(_moves(key, value))
        unknown += (
            [key] if not moves and not any(_match(pattern, key) for pattern in IMPLIED) else []
        )
        twice += [name for name, _ in moves if name in converted]
        converted.update(moves)
    faults = {
        "no place in transformers' network for": unknown + sorted(converted.keys() - target.keys()),
        "nothing there for": sorted(target.keys() - converted.keys()),
        "more than one tensor for": twice,
        "another shape of": sorted(
            name
            for name in converted.keys() & target.keys()
            if converted[name].shape != target[name].shape
        ),
    }
    if any(faults.values()):
        raise MetricError(
            "this is not mmdet 2.x's Mask2Former of this size: "
            + "; ".join(f"{what} {_some(names)}" for what, names in faults.items() if names)
        )
    return converted


def _moves(key: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The names in transformers' network, and the values, of one of mmdet's tensors."""
    tables: tuple[tuple[dict[str, str], Callable[[Tensor], Iterable[Tensor]]], ...] = (
        (RENAMED, lambda v: [v]),
        (SPLIT, lambda v: v.chunk(3)),
        (MERGED, lambda v: [_by_column(v)]),
    )
    for table, change in tables:
        for pattern, name in table.items():
            match = _match(pattern, key)
            if match:
                for part in match.groups():
                    name = re.sub(r"[#*]", part, name, count=1)
                # a name without ? has one tensor, and zip stops there
                yield from (
                    (name.replace("?", letter), tensor)
                    for letter, tensor in zip("qkv", change(value))
                )


def _match(pattern: str, key: str) -> re.Match | None:
    return re.fullmatch(
        re.escape(pattern).replace(r"\#", r"(\d+)").replace(r"\*", "(weight|bias)"), key
    )


def _by_column(value: Tensor) -> Tensor:
    """The last dimension from (channel, row, column) to (column, row, channel)."""
    return value.unflatten(-1, (-1, 2, 2)).transpose(-1, -3).flatten(-3)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} others" if len(names) > 5 else "")
