"""MANIQA on a small network with random weights: its parts against their definitions, the file's
names, the crops.
"""

import numpy as np
import pytest
import torch
from torch import nn

from workbench.metrics.preference.maniqa import (
    FILE,
    Maniqa,
    grid_corners,
    load_maniqa,
    random_corners,
)
from workbench.metrics.preference.maniqa_network import (
    TAPS,
    ChannelAttention,
    ManiqaNetwork,
    SwinBlock,
    ViTBlock,
)
from workbench.metrics.weights import MetricError, by_content

SMALL = dict(
    side=64, width=16, heads=2, depth=11, classes=5, swin_heads=2, swin_hidden=8
)  # 8 x 8 tokens


def randomised(network):
    """The network in evaluation, each parameter drawn, of a size that keeps the signal up."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(
                torch.randn(parameter.shape, generator=generator)
                * (0.7 / parameter[0].numel() ** 0.5 + 0.1)
            )
    return network.eval().requires_grad_(False)


def scorer(protocol="dpdmd"):
    found = Maniqa.from_config(protocol, **SMALL)
    nn.init.constant_(
        randomised(found.network).fc_score[3].bias, 2.0
    )  # its ReLU lets something through
    return found


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 80, 100, generator=torch.Generator().manual_seed(1))


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


def test_the_published_network_has_its_size_and_names():
    with torch.device("meta"):
        network = ManiqaNetwork(0.8)
    state = network.state_dict()
    assert len(state) == 316
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == 135.75
    shapes = {
        "vit.cls_token": (1, 1, 768),
        "vit.pos_embed": (1, 785, 768),
        "vit.patch_embed.proj.weight": (768, 3, 8, 8),
        "vit.blocks.11.attn.qkv.weight": (2304, 768),
        "vit.blocks.0.mlp.fc1.bias": (3072,),
        "vit.norm.bias": (768,),
        "vit.head.weight": (1000, 768),
        "tablock2.1.c_v.weight": (784, 784),
        "conv1.weight": (768, 3072, 1, 1),
        "conv2.weight": (384, 768, 1, 1),
        "swintransformer1.downsample.weight": (768, 768, 3, 3),
        "swintransformer2.layers.1.conv.weight": (384, 384, 3, 3),
        "swintransformer1.layers.0.blocks.1.attn_mask": (49, 16, 16),
        "swintransformer2.layers.0.blocks.0.attn.relative_position_bias_table": (49, 4),
        "swintransformer2.layers.0.blocks.0.attn.relative_position_index": (16, 16),
        "swintransformer2.layers.1.blocks.1.mlp.fc1.weight": (768, 384),
        "fc_score.3.weight": (1, 384),
        "fc_weight.0.bias": (384,),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    assert (
        "swintransformer1.layers.0.blocks.0.attn_mask" not in state
    )  # no mask where nothing is shifted


def test_a_block_of_the_vit_is_torchs_encoder_layer():
    block = randomised(ViTBlock(16, 2))
    layer = nn.TransformerEncoderLayer(
        16, 2, 64, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    ).eval()
    names = {
        "self_attn.in_proj_": "attn.qkv.",
        "self_attn.out_proj.": "attn.proj.",
        "linear": "mlp.fc",
        "norm": "norm",
    }
    state = block.state_dict()
    for name in layer.state_dict():
        theirs, ours = next(pair for pair in names.items() if name.startswith(pair[0]))
        layer.state_dict()[name].copy_(state[name.replace(theirs, ours, 1)])
    x = draw(2, 5, 16)
    torch.testing.assert_close(block(x), layer(x), atol=1e-5, rtol=1e-5)


def test_the_vit_gives_the_patches_behind_blocks_6_to_9():
    network, crops = scorer().network, draw(2, 3, 64, 64)
    vit, x, kept = network.vit, None, []
    patches = crops.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).reshape(2, 64, 3 * 64)
    tokens = patches @ vit.patch_embed["proj"].weight.flatten(1).T + vit.patch_embed["proj"].bias
    x = torch.cat([vit.cls_token.repeat(2, 1, 1), tokens], dim=1) + vit.pos_embed
    for block in vit.blocks:
        x = block(x)
        kept.append(x[:, 1:])
    assert TAPS == (6, 7, 8, 9)
    torch.testing.assert_close(vit(crops), torch.cat(kept[6:10], dim=2), atol=1e-4, rtol=1e-4)


def test_channels_attend_to_channels_and_the_result_is_shuffled():
    block, x = randomised(ChannelAttention(6)), draw(2, 4, 6)
    q, k, v = (
        torch.einsum("bcn,mn->bcm", x, part.weight) + part.bias
        for part in (block.c_q, block.c_k, block.c_v)
    )
    attention = (torch.einsum("bcn,bdn->bcd", q, k) / 6**0.5).softmax(-1)
    y = torch.einsum("bcd,bdn->bcn", attention, v)
    shuffled = torch.stack(
        [torch.stack([y[b].T.flatten()[6 * c : 6 * c + 6] for c in range(4)]) for b in range(2)]
    )
    torch.testing.assert_close(block(x), x + shuffled, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shift", [0, 2])
def test_a_token_attends_to_its_window_and_never_over_the_edge(shift):
    grid, window, heads, width = 12, 4, 2, 8
    block, x = (
        randomised(SwinBlock(width, grid, heads, window, 16, shift)),
        draw(1, grid, grid, width),
    )
    normed = block.norm1(x)[0]
    q, k, v = (
        part.view(grid, grid, heads, width // heads)
        for part in block.attn.qkv(normed).chunk(3, dim=-1)
    )
    attended = torch.zeros(grid, grid, heads, width // heads)
    window_of = [
        (place - shift) // window for place in range(grid)
    ]  # -1 is the strip before the first window
    for i in range(grid):
        for j in range(grid):
            near = [
                (y, z)
                for y in range(grid)
                for z in range(grid)
                if (window_of[y], window_of[z]) == (window_of[i], window_of[j])
            ]
            for head in range(heads):
                bias = block.attn.relative_position_bias_table[:, head]
                logits = torch.stack(
                    [
                        q[i, j, head] @ k[y, z, head] / (width // heads) ** 0.5
                        + bias[(i - y + window - 1) * (2 * window - 1) + (j - z + window - 1)]
                        for y, z in near
                    ]
                )
                attended[i, j, head] = logits.softmax(0) @ torch.stack(
                    [v[y, z, head] for y, z in near]
                )
    expected = x[0] + block.attn.proj(attended.flatten(2))
    expected = expected + block.mlp(block.norm2(expected))
    torch.testing.assert_close(block(x)[0], expected, atol=1e-5, rtol=1e-5)


def test_a_crops_score_is_the_weighted_mean_over_tokens():
    network, crops = scorer().network, draw(2, 3, 64, 64)
    maps = []
    handle = network.swintransformer2.register_forward_hook(
        lambda module, inputs, output: maps.append(output)
    )
    found = network(crops)
    handle.remove()
    score, weight = [
        part[3](part[0](maps[0].permute(0, 2, 3, 1)).relu())
        for part in (network.fc_score, network.fc_weight)
    ]
    score, weight = score.relu()[..., 0], 1 / (1 + torch.exp(-weight[..., 0]))
    torch.testing.assert_close(
        found, (score * weight).sum((1, 2)) / weight.sum((1, 2)), atol=1e-5, rtol=1e-5
    )
    assert found.min() > 0
    assert score.std() > 1e-3


def test_the_scale_weights_what_a_swin_layer_adds():
    swin, x = scorer("pyiqa").network.swintransformer1, draw(1, 16, 8, 8)
    expected = x.permute(0, 2, 3, 1)
    for layer in swin.layers:
        expected = expected + 0.13 * layer(expected)
    torch.testing.assert_close(swin(x).permute(0, 2, 3, 1), expected)
    assert scorer().network.swintransformer2.scale == 0.8


def test_the_ten_crops_of_a_large_image_are_those_of_the_released_script():
    ten = [
        (355, 474),
        (271, 223),
        (218, 393),
        (404, 790),
        (583, 162),
        (118, 552),
        (469, 474),
        (794, 763),
        (784, 765),
        (742, 742),
    ]
    np.random.seed(5)  # the global state is neither read nor changed
    before = np.random.get_state()[1].copy()
    assert random_corners(1024, 1024) == ten == random_corners(1024, 1024)
    assert (np.random.get_state()[1] == before).all()
    assert random_corners(224, 224) == [(0, 0)] * 10


def test_the_grids_crops_reach_the_edges():
    tops, lefts = [0, 266, 533, 800], [0, 200, 400, 600, 800]
    assert grid_corners(1024, 1024) == [(top, left) for top in tops for left in lefts]
    assert grid_corners(1200, 1024) == [
        (top, left) for top in (0, 244, 488, 732, 976) for left in tops
    ]
    assert grid_corners(224, 224) == [(0, 0)] * 20


@pytest.mark.parametrize(
    ("protocol", "corners"),
    [("dpdmd", random_corners(80, 100, 64)), ("pyiqa", grid_corners(80, 100, 64))],
)
def test_a_score_is_the_mean_over_crops_in_any_batch(images, protocol, corners):
    found = scorer(protocol)
    eight_bit = (images.numpy() * 255).round() / 255
    expected = []
    for image in eight_bit:
        crops = np.stack(
            [(image[:, top : top + 64, left : left + 64] - 0.5) / 0.5 for top, left in corners]
        )
        expected.append(found.network(torch.from_numpy(crops).float()).mean())
    for batch in (1, 7, 100):
        score = found.score(images, ["any"] * 3, batch=batch)
        torch.testing.assert_close(score, torch.stack(expected), atol=1e-5, rtol=1e-5)
    assert score.dtype == torch.float32
    assert score.std() > 1e-3


def test_the_protocols_are_two_numbers_with_two_names(images):
    one, other = scorer("dpdmd"), scorer("pyiqa")
    assert (
        one.protocol == "maniqa random weights, dpdmd protocol, 10 random crops, seed 20, scale 0.8"
    )
    assert (
        other.protocol
        == "maniqa random weights, pyiqa protocol, 20 crops on a 4 x 5 grid, scale 0.13"
    )
    assert not torch.allclose(one.score(images), other.score(images), rtol=1e-2)
    with pytest.raises(MetricError, match="no protocol 'koniq'; one of dpdmd, pyiqa"):
        Maniqa.load(protocol="koniq")


def test_a_file_is_read_strictly_bare_or_under_params(tmp_path):
    network, file = scorer().network, tmp_path / FILE
    state = network.state_dict()
    for written in (state, {"params": state}):
        torch.save(written, file)
        found = load_maniqa(file, 0.8, **SMALL).eval()
        assert found.state_dict().keys() == state.keys()
        assert torch.equal(found(torch.ones(1, 3, 64, 64)), network(torch.ones(1, 3, 64, 64)))
    for wrong, told in (
        ({n: v for n, v in state.items() if n != "vit.cls_token"}, "Missing key.*vit.cls_token"),
        (state | {"vit.gate": torch.zeros(1)}, "Unexpected key.*vit.gate"),
        (state | {"fc_score.3.bias": torch.zeros(2)}, "size mismatch for fc_score.3.bias"),
        ([1], "download it again"),
    ):
        torch.save(wrong, file)
        with pytest.raises(MetricError, match=f"(?s){told}"):
            load_maniqa(file, 0.8, **SMALL)
    file.write_bytes(b"not a file of torch")
    with pytest.raises(MetricError, match=r"is not the network published as .* download it again"):
        load_maniqa(file, 0.8, **SMALL)


def test_the_published_sizes_load_from_a_folder(tmp_path):
    with torch.device("meta"):
        shapes = {
            name: (value.shape, value.dtype)
            for name, value in ManiqaNetwork(0.8).state_dict().items()
        }
    torch.save(
        {
            name: torch.zeros((), dtype=dtype).expand(shape)
            for name, (shape, dtype) in shapes.items()
        },
        tmp_path / FILE,
    )  # small
    found = Maniqa.load(str(tmp_path), protocol="pyiqa")
    own = by_content(str(tmp_path))
    assert found.protocol == f"maniqa {own}, pyiqa protocol, 20 crops on a 4 x 5 grid, scale 0.13"
    assert found.network.side == 224
    assert found.network.swintransformer1.scale == 0.13
    assert not found.network.training
    assert not any(p.requires_grad or p.is_meta for p in found.network.parameters())


def test_what_is_wrong_is_told(images, tmp_path):
    with pytest.raises(
        ValueError, match=r"crops of 64 x 64 .* 63 x 100 is too small: .* or leave maniqa out"
    ):
        scorer().score(images[:, :, :63])
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        scorer().score(images * 2)
    with pytest.raises(MetricError, match="maniqa=FOLDER, or leave maniqa out"):
        Maniqa.load()
    with pytest.raises(MetricError, match=f"holds no {FILE}, which maniqa needs"):
        Maniqa.load(str(tmp_path))
