"""mmdet's Mask2Former under transformers' names: every tensor has its place, and both networks
compute the same.
"""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import Mask2FormerForUniversalSegmentation

from tests.support.metric_networks import FULL, TINY, network, shapes
from workbench.metrics.geneval.mask2former_mmdet import (
    FILE,
    OWN,
    checkpoint,
    converted_from_mmdet,
    swin_small,
)
from workbench.metrics.weights import MetricError


def window_index(window=7):
    """mmdet's entry of the bias table for two positions of a window."""
    rows = torch.arange(0, (2 * window - 1) * window, 2 * window - 1)
    steps = (rows[:, None] + torch.arange(window)).reshape(1, -1)
    return (steps + steps.T).flip(1)


def weights(size=TINY, seed=0):
    """Random tensors under mmdet's names: matrices that keep the scale, norms near 1, small
    biases.
    """
    generator, made = torch.Generator().manual_seed(seed), {}
    for name, shape in shapes(**size).items():
        values = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            made[name] = (
                window_index() if name.endswith("_index") else values / values[0].numel() ** 0.5
            )
        else:
            made[name] = 0.1 * values + (
                1.0 if re.search(r"(norm\w*|norms\.\d|gn)\.weight$", name) else 0.0
            )
    return made


@pytest.fixture(scope="module")
def source():
    return weights()


@pytest.fixture(scope="module")
def loaded(source):
    made = network()
    made.load_state_dict(converted_from_mmdet(source, made.state_dict()))
    return made


def test_the_published_architecture_is_covered_completely():
    with torch.device("meta"):
        target = Mask2FormerForUniversalSegmentation(swin_small()).state_dict()
        source = {name: torch.empty(shape) for name, shape in shapes(**FULL).items()}
    assert len(source) == 649
    made = converted_from_mmdet(source, target)
    assert made.keys() == target.keys()
    assert all(made[name].shape == target[name].shape for name in target)
    assert (
        sum(value.numel() for name, value in made.items() if name not in OWN)
        == sum(value.numel() for name, value in source.items() if not name.endswith("_index"))
        == 68_739_547
    )


def test_each_of_these_lies_where_it_belongs(source, loaded):
    swin, pixels, queries = (
        "pixel_level_module.encoder.",
        "pixel_level_module.decoder.",
        "transformer_module.",
    )
    encoder, decoder = (
        "panoptic_head.pixel_decoder.encoder.layers.0.",
        "panoptic_head.transformer_decoder.layers.",
    )
    places = {
        "backbone.patch_embed.projection.weight": swin
        + "swin.embeddings.patch_embeddings.projection.weight",
        "backbone.patch_embed.norm.bias": swin + "swin.embeddings.norm.bias",
        "backbone.stages.0.blocks.1.norm1.weight": swin
        + "swin.encoder.layers.0.blocks.1.layernorm_before.weight",
        "backbone.stages.0.blocks.1.norm2.weight": swin
        + "swin.encoder.layers.0.blocks.1.layernorm_after.weight",
        "backbone.stages.2.blocks.0.attn.w_msa.proj.bias": swin
        + "swin.encoder.layers.2.blocks.0.attention.o_proj.bias",
        "backbone.stages.3.blocks.0.ffn.layers.0.0.weight": swin
        + "swin.encoder.layers.3.blocks.0.mlp.fc1.weight",
        "backbone.stages.3.blocks.0.ffn.layers.1.bias": swin
        + "swin.encoder.layers.3.blocks.0.mlp.fc2.bias",
        "backbone.norm2.weight": swin + "hidden_states_norms.stage3.weight",
        "panoptic_head.pixel_decoder.input_convs.2.conv.weight": pixels
        + "input_projections.2.0.weight",
        "panoptic_head.pixel_decoder.input_convs.2.gn.weight": pixels
        + "input_projections.2.1.weight",
        "panoptic_head.pixel_decoder.level_encoding.weight": pixels + "level_embed",
        encoder + "attentions.0.value_proj.weight": pixels
        + "encoder.layers.0.self_attn.value_proj.weight",
        encoder + "norms.0.weight": pixels + "encoder.layers.0.self_attn_layer_norm.weight",
        encoder + "norms.1.weight": pixels + "encoder.layers.0.final_layer_norm.weight",
        "panoptic_head.pixel_decoder.lateral_convs.0.gn.bias": pixels + "adapter_1.1.bias",
        "panoptic_head.pixel_decoder.output_convs.0.conv.weight": pixels + "layer_1.0.weight",
        decoder + "2.attentions.0.attn.in_proj_weight": queries
        + "decoder.layers.2.cross_attn.in_proj_weight",
        decoder + "2.attentions.1.attn.out_proj.bias": queries
        + "decoder.layers.2.self_attn.out_proj.bias",
        decoder + "1.norms.0.weight": queries + "decoder.layers.1.cross_attn_layer_norm.weight",
        decoder + "1.norms.1.weight": queries + "decoder.layers.1.self_attn_layer_norm.weight",
        decoder + "1.norms.2.weight": queries + "decoder.layers.1.final_layer_norm.weight",
        "panoptic_head.transformer_decoder.post_norm.weight": queries + "decoder.layernorm.weight",
        "panoptic_head.query_embed.weight": queries + "queries_embedder.weight",
        "panoptic_head.query_feat.weight": queries + "queries_features.weight",
        "panoptic_head.mask_embed.2.weight": queries
        + "decoder.mask_predictor.mask_embedder.1.0.weight",
    }
    found = loaded.model.state_dict()
    for name, place in places.items():
        assert torch.equal(source[name], found[place]), name
    assert torch.equal(source["panoptic_head.cls_embed.weight"], loaded.class_predictor.weight)


def test_the_network_computes_what_mmdet_computes(loaded):
    """The expected values are mmdet 2.28.2's, of its network of this size with these weights (ours
    differ by 6e-6 at most).
    """
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        output = loaded(pixel_values=x)
    classes = torch.tensor(
        [
            [-2.570267, -0.251419, -1.401636],
            [-2.498169, -0.685477, -1.695263],
            [-2.212679, -0.170895, -1.184097],
            [-2.384047, -0.726004, -1.625675],
        ]
    )
    masks = torch.tensor(
        [
            [2.630217, 2.938728, -1.581779],
            [2.277924, 3.376535, -1.554772],
            [2.911664, 2.696750, -1.598842],
            [2.339486, 3.204146, -1.461688],
        ]
    )
    torch.testing.assert_close(output.class_queries_logits[0, :, :3], classes, atol=1e-4, rtol=0)
    torch.testing.assert_close(output.masks_queries_logits[0, :, 5, ::8], masks, atol=1e-4, rtol=0)


def test_windows_attend_as_with_the_fused_matrix(source, loaded):
    name = "backbone.stages.0.blocks.1.attn.w_msa"
    x = torch.randn(3, 49, 8, generator=torch.Generator().manual_seed(1))
    q, k, v = (
        F.linear(x, source[f"{name}.qkv.weight"], source[f"{name}.qkv.bias"])
        .view(3, 49, 3, 2, 4)
        .permute(2, 0, 3, 1, 4)
    )
    bias = source[f"{name}.relative_position_bias_table"][window_index()].permute(2, 0, 1)
    mixed = ((q / 4**0.5 @ k.mT + bias).softmax(-1) @ v).transpose(1, 2).reshape(3, 49, 8)
    expected = F.linear(mixed, source[f"{name}.proj.weight"], source[f"{name}.proj.bias"])
    attention = loaded.model.pixel_level_module.encoder.swin.encoder.layers[0].blocks[1].attention
    assert torch.equal(
        attention.relative_position_bias.relative_position_index.view(49, 49), window_index()
    )
    torch.testing.assert_close(attention(x)[0], expected, atol=1e-6, rtol=1e-5)


def test_patches_merge_as_unfold_orders_them(source, loaded):
    name, rows, columns = "backbone.stages.1.downsample", 4, 6
    x = torch.randn(2, rows * columns, 16, generator=torch.Generator().manual_seed(2))
    patches = nn.Unfold(2, stride=2)(x.view(2, rows, columns, 16).permute(0, 3, 1, 2)).transpose(
        1, 2
    )
    patches = F.layer_norm(
        patches, (64,), source[f"{name}.norm.weight"], source[f"{name}.norm.bias"]
    )
    merge = loaded.model.pixel_level_module.encoder.swin.encoder.layers[1].downsample
    torch.testing.assert_close(
        merge(x, (rows, columns)),
        patches @ source[f"{name}.reduction.weight"].T,
        atol=1e-5,
        rtol=1e-5,
    )


def test_queries_attend_as_with_the_fused_matrix(source, loaded):
    name = "panoptic_head.transformer_decoder.layers.0.attentions.1.attn"
    fused = nn.MultiheadAttention(32, 8)
    fused.load_state_dict({part: source[f"{name}.{part}"] for part in fused.state_dict()})
    x, place = torch.randn(2, 4, 1, 32, generator=torch.Generator().manual_seed(3))
    expected = fused(x + place, x + place, x)[0]
    found = loaded.model.transformer_module.decoder.layers[0].self_attn(
        hidden_states=x, position_embeddings=place
    )[0]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_a_tensor_too_many_too_few_or_of_another_shape_is_named(source):
    target = network().state_dict()
    with pytest.raises(
        MetricError, match=r"no place in transformers' network for backbone.norm4.weight$"
    ):
        converted_from_mmdet({**source, "backbone.norm4.weight": torch.zeros(8)}, target)
    with pytest.raises(MetricError, match=r"nothing there for class_predictor.bias$"):
        converted_from_mmdet(
            {
                name: value
                for name, value in source.items()
                if name != "panoptic_head.cls_embed.bias"
            },
            target,
        )
    with pytest.raises(
        MetricError, match=r"another shape of class_predictor.bias, class_predictor.weight$"
    ):
        converted_from_mmdet(
            {name: value[:-1] if "cls_embed" in name else value for name, value in source.items()},
            target,
        )
    # of a layer that the network does not have
    fourth = "panoptic_head.transformer_decoder.layers.3.attentions.1.attn.in_proj_bias"
    with pytest.raises(
        MetricError,
        match=r"no place .*layers.3.self_attn.k_proj.bias, .*q_proj.bias, .*v_proj.bias$",
    ):
        converted_from_mmdet({**source, fourth: torch.zeros(96)}, target)


def test_another_file_is_not_taken_for_a_checkpoint(tmp_path):
    for content in ({"model": {}}, [1, 2]):
        torch.save(content, tmp_path / "other.pth")
        with pytest.raises(
            MetricError,
            match=f"other.pth is not the network published as {FILE}, download it again",
        ):
            checkpoint(tmp_path / "other.pth")
    (tmp_path / "cut.pth").write_bytes(b"cut")
    with pytest.raises(
        MetricError,
        match=r"is not the network published as .*: it is cut short, or holds more than tensors",
    ):
        checkpoint(tmp_path / "cut.pth")
