"""ImageReward on a small network with random weights, against the published definition written out
under the published names.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from workbench.metrics.preference.image_reward import (
    FILE,
    TEXT,
    TOKENS,
    VISION,
    VOCABULARY,
    ImageReward,
    RewardNetwork,
    converted_state,
    load_reward_network,
    prepared,
)
from workbench.metrics.weights import MetricError, by_content

SMALL_VISION = dict(
    hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=3, patch_size=32
)
SMALL_TEXT = dict(
    vocab_size=12,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=40,
)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "cat", "and", "##s", ","]
PROMPTS = ["A red cat", "cats, zebra", "a " * 40, ""]
NUMBERS = [[2, 5, 6, 7, 3], [2, 7, 9, 10, 1, 3], [2, *[5] * 33, 3], [2, 3]]


def published(vision, text, value):
    """A state dict under the published names; `value(shape)` makes a tensor."""
    wide, width = vision["hidden_size"], text["hidden_size"]
    state = {}

    def linear(name, inputs, outputs):
        state[f"{name}.weight"], state[f"{name}.bias"] = value((outputs, inputs)), value((outputs,))

    def norm(name, size):
        state[f"{name}.weight"], state[f"{name}.bias"] = value((size,)), value((size,))

    image, words, patch = "blip.visual_encoder.", "blip.text_encoder.", vision["patch_size"]
    state |= {
        f"{image}cls_token": value((1, 1, wide)),
        f"{image}pos_embed": value((1, (224 // patch) ** 2 + 1, wide)),
        f"{image}patch_embed.proj.weight": value((wide, 3, patch, patch)),
        f"{image}patch_embed.proj.bias": value((wide,)),
    }
    for n in range(vision["num_hidden_layers"]):
        layer = f"{image}blocks.{n}."
        norm(f"{layer}norm1", wide), norm(f"{layer}norm2", wide)
        linear(f"{layer}attn.qkv", wide, 3 * wide), linear(f"{layer}attn.proj", wide, wide)
        (
            linear(f"{layer}mlp.fc1", wide, vision["intermediate_size"]),
            linear(f"{layer}mlp.fc2", vision["intermediate_size"], wide),
        )
    norm(f"{image}norm", wide)
    state |= {
        f"{words}embeddings.position_ids": torch.arange(text["max_position_embeddings"])[None],
        f"{words}embeddings.word_embeddings.weight": value((text["vocab_size"], width)),
        f"{words}embeddings.position_embeddings.weight": value(
            (text["max_position_embeddings"], width)
        ),
    }
    norm(f"{words}embeddings.LayerNorm", width)
    for n in range(text["num_hidden_layers"]):
        layer = f"{words}encoder.layer.{n}."
        for kind, inputs in (("attention", width), ("crossattention", wide)):
            (
                linear(f"{layer}{kind}.self.query", width, width),
                linear(f"{layer}{kind}.self.key", inputs, width),
            )
            (
                linear(f"{layer}{kind}.self.value", inputs, width),
                linear(f"{layer}{kind}.output.dense", width, width),
            )
            norm(f"{layer}{kind}.output.LayerNorm", width)
        linear(f"{layer}intermediate.dense", width, text["intermediate_size"])
        (
            linear(f"{layer}output.dense", text["intermediate_size"], width),
            norm(f"{layer}output.LayerNorm", width),
        )
    linear("blip.vision_proj", wide, 256), linear("blip.text_proj", width, 256)
    for n, inputs, outputs in (
        (0, width, 1024),
        (2, 1024, 128),
        (4, 128, 64),
        (6, 64, 16),
        (7, 16, 1),
    ):
        linear(f"mlp.layers.{n}", inputs, outputs)
    return state


def reward(state, pixels, numbers):
    """The published definition for one image and the numbers of one prompt's tokens, without
    padding.
    """

    def linear(name, x):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name, x, eps):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)

    def attended(q, k, v, heads):
        q, k, v = (x.view(len(x), heads, -1).transpose(0, 1) for x in (q, k, v))
        return ((q @ k.mT / math.sqrt(q.shape[2])).softmax(-1) @ v).transpose(0, 1).flatten(1)

    image, words = "blip.visual_encoder.", "blip.text_encoder."
    weight = state[f"{image}patch_embed.proj.weight"]
    patches = (
        F.conv2d(
            pixels[None], weight, state[f"{image}patch_embed.proj.bias"], stride=weight.shape[2]
        )[0]
        .flatten(1)
        .T
    )
    x = torch.cat([state[f"{image}cls_token"][0], patches]) + state[f"{image}pos_embed"][0]
    for n in range(2):
        layer = f"{image}blocks.{n}."
        x = x + linear(
            f"{layer}attn.proj",
            attended(
                *linear(f"{layer}attn.qkv", norm(f"{layer}norm1", x, 1e-6)).chunk(3, dim=1), 3
            ),
        )
        x = x + linear(
            f"{layer}mlp.fc2", F.gelu(linear(f"{layer}mlp.fc1", norm(f"{layer}norm2", x, 1e-6)))
        )
    seen = norm(f"{image}norm", x, 1e-6)

    places = state[f"{words}embeddings.position_embeddings.weight"][: len(numbers)]
    x = norm(
        f"{words}embeddings.LayerNorm",
        state[f"{words}embeddings.word_embeddings.weight"][numbers] + places,
        1e-12,
    )
    for n in range(2):
        for kind in ("attention", "crossattention"):
            part = f"{words}encoder.layer.{n}.{kind}."
            others = x if kind == "attention" else seen
            read = attended(
                linear(f"{part}self.query", x),
                linear(f"{part}self.key", others),
                linear(f"{part}self.value", others),
                4,
            )
            x = norm(f"{part}output.LayerNorm", x + linear(f"{part}output.dense", read), 1e-12)
        layer = f"{words}encoder.layer.{n}."
        wide = F.gelu(linear(f"{layer}intermediate.dense", x))
        x = norm(f"{layer}output.LayerNorm", x + linear(f"{layer}output.dense", wide), 1e-12)
    m = x[0]
    for n in (0, 2, 4, 6, 7):
        m = linear(f"mlp.layers.{n}", m)
    return (m.item() - 0.16717362830052426) / 1.0333394966054072


def pil_inputs(picture):
    """Shortest side 224, middle, CLIP's mean and deviation, in float64."""
    width, height = picture.size
    short = min(width, height)
    small = np.array(
        picture.resize((int(224 * width / short), int(224 * height / short)), Image.BICUBIC)
    )
    top, left = (round((side - 224) / 2.0) for side in small.shape[:2])
    middle = small[top : top + 224, left : left + 224] / 255
    return torch.from_numpy(
        (middle - [0.48145466, 0.4578275, 0.40821073]) / [0.26862954, 0.26130258, 0.27577711]
    ).permute(2, 0, 1)


@pytest.fixture(scope="module")
def state():
    generator = torch.Generator().manual_seed(0)
    return published(
        VISION | SMALL_VISION,
        TEXT | SMALL_TEXT,
        lambda shape: torch.randn(shape, generator=generator) * 0.3,
    )


@pytest.fixture(scope="module")
def scorer(state):
    scorer = ImageReward.from_config(SMALL_VISION, SMALL_TEXT, WORDS)
    scorer.network.load_state_dict(converted_state(state))
    return scorer


@pytest.fixture(scope="module")
def images():
    coarse = torch.rand(len(PROMPTS), 3, 9, 7, generator=torch.Generator().manual_seed(1))
    return F.interpolate(coarse, (260, 241), mode="bicubic").clamp(0, 1)


def test_rewards_are_those_of_the_published_definition(scorer, state, images):
    pictures = [
        Image.fromarray((image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
        for image in images
    ]
    expected = [
        reward(state, pil_inputs(picture).float(), numbers)
        for picture, numbers in zip(pictures, NUMBERS)
    ]
    found = scorer.score(images, PROMPTS)
    assert found.dtype == torch.float32
    assert found.shape == (4,)
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-4, rtol=1e-5)
    assert found.std() > 0.1  # far more than the tolerance


def test_every_published_name_becomes_one_of_ours_or_is_never_read(state):
    ours = converted_state(state)
    assert set(ours) == set(RewardNetwork(SMALL_VISION, SMALL_TEXT).state_dict())
    unread = {
        "blip.vision_proj.weight",
        "blip.vision_proj.bias",
        "blip.text_proj.weight",
        "blip.text_proj.bias",
        "blip.text_encoder.embeddings.position_ids",
    }
    used = [id(value) for name, value in state.items() if name not in unread]
    assert sorted(map(id, ours.values())) == sorted(used)
    qkv = state["blip.visual_encoder.blocks.1.attn.qkv.weight"]
    assert ours["vision.encoder.layers.1.self_attn.qkv.weight"] is qkv


def test_names_that_are_unknown_or_missing_are_told(state, tmp_path):
    file, extra = tmp_path / FILE, torch.zeros(1)
    with pytest.raises(
        MetricError, match=r"knows no blip\.other, blip\.visual_encoder\.blocks\.0\.attn\.gate$"
    ):
        converted_state(
            state | {"blip.other": extra, "blip.visual_encoder.blocks.0.attn.gate": extra}
        )
    torch.save(state, file)
    network = load_reward_network(file, SMALL_VISION, SMALL_TEXT)
    assert all(
        torch.equal(value, converted_state(state)[name])
        for name, value in network.state_dict().items()
    )
    for wrong, told in (
        (
            state | {"blip.text_encoder.pooler.dense.bias": extra},
            r"Unexpected key.*text\.pooler\.dense\.bias",
        ),
        (
            {n: v for n, v in state.items() if n != "mlp.layers.6.weight"},
            r"Missing key.*mlp\.layers\.6\.weight",
        ),
        (state | {"mlp.layers.7.bias": torch.zeros(2)}, r"size mismatch for mlp\.layers\.7\.bias"),
        (state | {"mlp.gate": extra}, r"knows no mlp\.gate"),
        ([1], "download it again"),
    ):
        torch.save(wrong, file)
        with pytest.raises(MetricError, match=f"(?s){told}"):
            load_reward_network(file, SMALL_VISION, SMALL_TEXT)
    file.write_bytes(b"not a file of torch")
    with pytest.raises(MetricError, match="download it again"):
        load_reward_network(file, SMALL_VISION, SMALL_TEXT)


def test_the_published_sizes_load_from_a_folder(tmp_path):
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *(f"word{n}" for n in range(VOCABULARY - 5)),
    ]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    torch.save(
        published(VISION, TEXT, lambda shape: torch.zeros(()).expand(shape)), tmp_path / FILE
    )  # one value each: a small file
    found = ImageReward.load(str(tmp_path))
    own = by_content(str(tmp_path))
    assert found.protocol == f"image-reward {own}, tokenizer {own}, 35 tokens"
    assert round(sum(p.numel() for p in found.network.parameters()) / 1e6, 1) == 446.2
    assert not any(p.requires_grad for p in found.network.parameters())
    assert not found.network.training
    assert found.tokenizer("Word7")["input_ids"] == [2, 12, 3]
    (tmp_path / "vocab.txt").write_text("\n".join(words[:-1]))
    with pytest.raises(
        MetricError,
        match="holds 30521 tokens, and image-reward was trained with the 30522 of "
        "bert-base-uncased",
    ):
        ImageReward.load(str(tmp_path))


def test_the_prompt_is_read_in_both_directions(scorer):
    """Called as a decoder, the text encoder would show CLS nothing of the prompt."""
    pixels = torch.zeros(2, 3, 224, 224)
    tokens = torch.tensor([[2, 5, 6, 3], [2, 5, 7, 3]])
    one, other = scorer.network(pixels, tokens, torch.ones_like(tokens))
    assert (one - other).abs() > 1e-3


def test_a_prompt_is_cut_at_35_tokens_and_padding_is_not_read(scorer, images):
    same, more = (
        scorer.score(images[:1], ["a " * 33]),
        scorer.score(images[:1], ["a " * 33 + "red cat"]),
    )
    assert torch.equal(same, more)
    assert not torch.allclose(same, scorer.score(images[:1], ["a " * 32 + "red"]), atol=1e-3)
    pixels, tokens = torch.zeros(1, 3, 224, 224), torch.tensor([[2, 5, 6, 3]])
    padded = torch.cat([tokens, torch.full((1, TOKENS - 4), 7)], dim=1)  # whatever it is that pads
    mask = (torch.arange(TOKENS) < 4).long()[None]
    torch.testing.assert_close(
        scorer.network(pixels, padded, mask),
        scorer.network(pixels, tokens, torch.ones_like(tokens)),
        atol=1e-5,
        rtol=1e-5,
    )


def test_the_head_is_linear_and_its_result_standardised(scorer):
    layers = scorer.network.mlp["layers"]
    assert [
        type(layer).__name__ for layer in layers if not isinstance(layer, torch.nn.Identity)
    ] == ["Linear"] * 5
    x, y = torch.randn(2, 16, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(
        layers(x + y) + layers(torch.zeros(16)), layers(x) + layers(y), atol=1e-4, rtol=1e-4
    )
    flat = ImageReward.from_config(SMALL_VISION, SMALL_TEXT, WORDS)
    torch.nn.init.zeros_(flat.network.mlp["layers"][-1].weight)
    for raw, value in ((0.16717362830052426, 0.0), (0.16717362830052426 + 1.0333394966054072, 1.0)):
        torch.nn.init.constant_(flat.network.mlp["layers"][-1].bias, raw)
        assert flat.score(torch.rand(1, 3, 224, 224), ["a"]).item() == pytest.approx(
            value, abs=1e-6
        )


@pytest.mark.parametrize(
    "size", [(224, 224), (512, 512), (300, 411), (600, 803), (224, 227), (451, 223), (20, 20)]
)
def test_images_are_prepared_as_the_published_pipeline_prepares_them(size):
    pixels = np.random.RandomState(0).randint(0, 256, (*size, 3), dtype=np.uint8)
    found = prepared(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    torch.testing.assert_close(
        found[0].double(), pil_inputs(Image.fromarray(pixels)), atol=1e-6, rtol=0
    )


def test_batches_change_nothing(scorer, images):
    whole = scorer.score(images, PROMPTS)
    for batch in (1, 3):
        torch.testing.assert_close(
            scorer.score(images, PROMPTS, batch=batch), whole, atol=1e-5, rtol=1e-5
        )


def test_what_is_wrong_is_told(scorer, images, tmp_path):
    with pytest.raises(ValueError, match="a prompt for each image, not 1 for 4"):
        scorer.score(images, ["a"])
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        scorer.score(images * 2, PROMPTS)
    with pytest.raises(MetricError, match="image-reward=FOLDER, or leave image-reward out"):
        ImageReward.load()
    with pytest.raises(MetricError, match=f"holds no {FILE}, which image-reward needs"):
        ImageReward.load(str(tmp_path))
    (tmp_path / FILE).touch()
    with pytest.raises(
        MetricError,
        match=f"vocab.txt of bert-base-uncased.* The vocab.txt may be in one FOLDER with {FILE}",
    ):
        ImageReward.load(str(tmp_path))
