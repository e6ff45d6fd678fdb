"""PickScore and CLIPScore on tiny networks with random weights: the formulas, the input, long
prompts, and what cannot be loaded.
"""

import shutil

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, Dinov2Config, Dinov2Model

from tests.support.hub import cached
from tests.support.metric_networks import clip_config as config
from workbench.metrics.preference import text_match
from workbench.metrics.preference.text_match import ClipScore, PickScore
from workbench.metrics.weights import MetricError, by_content
from workbench.scenes.networks import new_tokenizer

PROMPTS = ["a red circle", "two blue stars and a very large yellow square", "a"]
LONG = "red " * 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    network = CLIPModel(config())
    network.logit_scale.data.fill_(4.5)
    network.save_pretrained(folder)
    new_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 40, 57, generator=torch.Generator().manual_seed(1))


def prepared(image, side=224):
    """CLIP's input, computed with PIL and numpy: shortest side resized, middle cropped."""
    picture = Image.fromarray((image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
    width, height = picture.size
    width, height = (
        (side * width // height, side) if width > height else (side, side * height // width)
    )
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - side) // 2, (height - side) // 2
    values = np.array(picture.crop((left, top, left + side, top + side))) / 255
    normal = (values - [0.48145466, 0.4578275, 0.40821073]) / [0.26862954, 0.26130258, 0.27577711]
    return torch.from_numpy(normal).permute(2, 0, 1).float()


def expected_cosines(network, images, prompts, side=224):
    """One image and one prompt at a time, from the parts of the network."""
    tokenizer, found = new_tokenizer(), []
    for image, prompt in zip(images, prompts):
        ids = tokenizer(prompt)["input_ids"]
        ids = ids if len(ids) <= 77 else [*ids[:76], tokenizer.eos_token_id]
        with torch.no_grad():
            states = network.text_model(torch.tensor([ids])).last_hidden_state[0, -1]
            text = network.text_projection(states)
            picture = network.visual_projection(
                network.vision_model(prepared(image, side)[None]).pooler_output
            )[0]
        found.append(picture @ text / picture.norm() / text.norm())
    return torch.stack(found)


def test_pickscore_is_the_scaled_cosine_of_each_image_with_its_own_prompt(folder, images):
    network = CLIPModel.from_pretrained(folder).eval()
    expected = torch.tensor(4.5).exp() * expected_cosines(network, images, PROMPTS)
    scorer = PickScore.load(folder)
    torch.testing.assert_close(scorer.score(images, PROMPTS), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        PickScore.load(folder, divided=True).score(images, PROMPTS),
        expected / 26,
        atol=1e-5,
        rtol=0,
    )
    assert scorer.score(images, PROMPTS).dtype == torch.float32


def test_clipscore_is_a_hundred_times_the_cosine_and_never_negative(folder, images):
    cosines = expected_cosines(CLIPModel.from_pretrained(folder).eval(), images, PROMPTS)
    scorer = ClipScore.load(folder)
    torch.testing.assert_close(
        scorer.score(images, PROMPTS), 100 * cosines.clamp(min=0), atol=1e-4, rtol=0
    )
    scorer.match.network.visual_projection.weight.mul_(-1)
    torch.testing.assert_close(
        scorer.score(images, PROMPTS), 100 * (-cosines).clamp(min=0), atol=1e-4, rtol=0
    )
    assert cosines.abs().min() > 1e-3


def test_another_size_of_the_network_is_another_input(images):
    torch.manual_seed(1)
    scorer = PickScore.from_config(config(side=56), new_tokenizer())
    expected = scorer.match.network.logit_scale.exp() * expected_cosines(
        scorer.match.network, images, PROMPTS, side=56
    )
    torch.testing.assert_close(scorer.score(images, PROMPTS), expected, atol=1e-5, rtol=0)


def test_batches_change_nothing(folder, images):
    scorer = PickScore.load(folder)
    for batch in (1, 2):
        torch.testing.assert_close(
            scorer.score(images, PROMPTS, batch=batch),
            scorer.score(images, PROMPTS),
            atol=1e-4,
            rtol=0,
        )
    torch.testing.assert_close(
        scorer.score(images[1:2], PROMPTS[1:2])[0],
        scorer.score(images, PROMPTS)[1],
        atol=1e-4,
        rtol=0,
    )


def test_prompts_are_cut_at_77_tokens_and_told(folder, images):
    scorer = ClipScore.load(folder)
    per_word = len(new_tokenizer()("red")["input_ids"]) - 2
    fits = "red " * (75 // per_word)
    assert scorer.too_long(["red", fits, fits + "red", LONG]) == [False, False, True, True]
    assert PickScore.load(folder).too_long([LONG, ""]) == [True, False]
    prompts = [LONG, LONG + " star", "a star"]
    cosines = expected_cosines(CLIPModel.from_pretrained(folder).eval(), images, prompts)
    torch.testing.assert_close(
        scorer.score(images, prompts), 100 * cosines.clamp(min=0), atol=1e-4, rtol=0
    )


def test_the_protocol_says_what_changes_the_number(folder, tmp_path, monkeypatch):
    assert (
        ClipScore.load(folder).protocol
        == f"clipscore {by_content(folder)}, 224 px, prompts cut at 77 tokens, 100 max(cos, 0)"
    )
    assert (
        PickScore.load(folder, divided=True).protocol
        == f"pickscore {by_content(folder)}, 224 px, prompts cut at 77 tokens, divided by 26"
    )
    CLIPModel.from_pretrained(folder).save_pretrained(tmp_path)
    assert PickScore.load(str(tmp_path), tokenizer=folder).protocol == (
        f"pickscore {by_content(str(tmp_path))}, tokenizer {by_content(folder)}, 224 px, "
        "prompts cut at 77 tokens"
    )
    monkeypatch.setattr(text_match, "PICKSCORE_TOKENIZER", folder)
    assert f"tokenizer {by_content(folder)}" in PickScore.load(str(tmp_path)).protocol


def test_images_and_prompts_that_do_not_fit_are_refused(folder, images):
    scorer = PickScore.load(folder)
    with pytest.raises(ValueError, match="3 images and 2 prompts"):
        scorer.score(images, PROMPTS[:2])
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        scorer.score(images * 2, PROMPTS)


def test_a_hub_that_cannot_be_reached_names_the_ways_out(tmp_path):
    with pytest.raises(
        MetricError, match=r"PickScore_v1 \(3.9 GB\), .* pickscore=FOLDER, or leave pickscore out"
    ):
        PickScore.load()
    with pytest.raises(MetricError, match="clipscore=FOLDER"):
        ClipScore.load()
    CLIPModel(config()).save_pretrained(tmp_path)
    with pytest.raises(MetricError, match=r"tokenizer_config.json of laion/CLIP-ViT-H-14"):
        PickScore.load(str(tmp_path))
    with pytest.raises(MetricError, match=r"holds no tokenizer_config.json, which clipscore needs"):
        ClipScore.load(str(tmp_path))


def test_a_network_of_another_kind_is_refused(folder, tmp_path):
    other = Dinov2Model(Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2))
    half = CLIPModel(config()).vision_model
    for network, told in (
        (other, "is a dinov2, and clipscore reads a clip"),
        (half, "lacks weights that clipscore needs"),
    ):
        network.save_pretrained(tmp_path / told)
        new_tokenizer().save_pretrained(tmp_path / told)
        with pytest.raises(MetricError, match=told):
            ClipScore.load(str(tmp_path / told))


def test_weights_that_are_missing_or_broken_are_told(folder, tmp_path):
    CLIPModel.from_pretrained(folder).save_pretrained(tmp_path)
    new_tokenizer().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file(
        {
            name: value
            for name, value in load_file(file).items()
            if name != "text_projection.weight"
        },
        file,
        {"format": "pt"},
    )
    with pytest.raises(
        MetricError, match=r"lacks weights that pickscore needs, text_projection.weight"
    ):
        PickScore.load(str(tmp_path))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(MetricError, match="cannot be loaded as pickscore"):
        PickScore.load(str(tmp_path))
    file.unlink()
    with pytest.raises(MetricError, match="cannot be loaded as pickscore"):
        PickScore.load(str(tmp_path))


def test_a_network_from_the_hub_is_named_with_its_revision(folder, tmp_path, monkeypatch, images):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    shutil.copytree(folder, cached(tmp_path, text_match.CLIPSCORE), dirs_exist_ok=True)
    scorer = ClipScore.load()
    assert scorer.protocol.startswith("clipscore openai/clip-vit-large-patch14@0123456, 224 px")
    torch.testing.assert_close(
        scorer.score(images, PROMPTS), ClipScore.load(folder).score(images, PROMPTS)
    )
