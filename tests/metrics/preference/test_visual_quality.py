"""VisualQuality-R1 on a tiny Qwen2.5-VL with random weights: what it is asked, what it sees, what
is made of its words.
"""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import Dinov2Config, Dinov2Model, PreTrainedTokenizerFast, Qwen2_5_VLConfig

from workbench.metrics.preference.visual_quality import VisualQuality, parse_score
from workbench.metrics.weights import MetricError, by_content

# what Qwen2.5-VL's template makes of one picture and one text
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' "
    "%}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "{% if add_vision_id %}Picture {{ loop.index }}: {% endif "
    "%}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ASKED = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    "Picture 1: <|vision_start|><|image_pad|><|vision_end|>"
    "You are doing the image quality assessment task. Here is the question: What is your overall "
    "rating on the quality of this "
    "picture? The rating should be a float between 1 and 5, rounded to two decimal places, with 1 "
    "representing very poor quality and "
    "5 representing excellent quality. Please only output the final answer with only one score in "
    "<answer> </answer> tags.<|im_end|>\n"
    "<|im_start|>assistant\n"
)
SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
SCORED = "<answer>4.25</answer>"  # one token here, so that a network can be made to say it


@pytest.fixture(scope="module")
def tokenizer():
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(
        models.BPE(vocab={letter: n for n, letter in enumerate(letters)}, merges=[])
    )
    backend.pre_tokenizer, backend.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    backend.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    backend.add_tokens([SCORED])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=TEMPLATE,
    )


def config(tokenizer):
    ids = dict(
        zip(
            (
                "endoftext",
                "start",
                "end",
                "vision_start_token_id",
                "vision_end_token_id",
                "image_token_id",
                "video_token_id",
            ),
            tokenizer.convert_tokens_to_ids(SPECIAL),
        )
    )
    text = dict(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=4096,
        bos_token_id=ids["endoftext"],
        eos_token_id=ids["end"],
        pad_token_id=ids["endoftext"],
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
    )
    vision = dict(
        depth=2,
        hidden_size=32,
        intermediate_size=32,
        num_heads=2,
        out_hidden_size=32,
        fullatt_block_indexes=[1],
    )
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        **{name: id for name, id in ids.items() if name.endswith("_id")},
    )


@pytest.fixture(scope="module")
def scorer(tokenizer):
    torch.manual_seed(0)
    return VisualQuality.from_config(config(tokenizer), tokenizer)


@pytest.fixture
def folder(scorer, tokenizer, tmp_path):
    scorer.network.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def saying(folder, text_token):
    """Makes a saved network say one token and stop, by the biases of its own generation_config."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    token, end = tokenizer.convert_tokens_to_ids([text_token, "<|im_end|>"])
    biases = [[[token], 100.0], [[token, end], 300.0]]
    (folder / "generation_config.json").write_text(
        json.dumps(
            {
                "temperature": 1e-6,
                "repetition_penalty": 1.05,
                "eos_token_id": end,
                "sequence_bias": biases,
            }
        )
    )
    return str(folder)


def images(count, height=40, width=57):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("<answer>4.25</answer>", 4.25),
        ("<answer> 3 </answer>", 3),
        ("<answer>\n2.5\n</answer>", 2.5),
        ("<answer>1</answer>", 1),
        ("<answer>5.00</answer>", 5),
        ("I rate it <answer>4.1 out of 5</answer>.", 4.1),
        ("<answer>about 3.7.</answer>", 3.7),
        ("<answer>2</answer> no, <answer>3.5</answer>", 3.5),
        ("<think>1 or 2</think><answer>4.4</answer>", 4.4),
        ("4.31", 4.31),
        (" 2\n", 2),
        # nothing to read, or nothing that was asked for: never a number
        ("", None),
        ("excellent", None),
        ("<answer></answer>", None),
        ("<answer>good</answer>", None),
        ("<answer>0</answer>", None),
        ("<answer>0.99</answer>", None),
        ("<answer>.5</answer>", None),
        ("<answer>5.01</answer>", None),
        ("<answer>85</answer>", None),
        ("<answer>-3</answer>", None),
        ("<answer>4.2</answer> or <answer>none</answer>", None),
        ("<answer>4.2", None),
        ("4.2</answer>", None),
        ("On a scale of 1 to 5 it is good", None),
        ("The rating is 4.2", None),
        ("3 4", None),
        ("7", None),
        ("nan", None),
    ],
)
def test_an_answer_is_read_or_it_is_none(text, score):
    assert parse_score(text) == score


def test_the_question_is_the_released_one(scorer):
    assert scorer.question == ASKED


@pytest.mark.parametrize(
    ("height", "width", "tokens"),
    [
        (1024, 1024, 37 * 37),
        (512, 512, 18 * 18),
        (28, 28, 4),
        (40, 57, 2 * 3),
        (100, 300, 4 * 11),
        (1300, 900, 46 * 32),
    ],
)
def test_the_network_gets_as_many_image_tokens_as_the_picture_has(scorer, height, width, tokens):
    found = scorer.inputs((images(2, height, width) * 255).byte())
    is_image = found["input_ids"] == scorer.network.config.image_token_id
    assert is_image.sum(1).tolist() == [tokens, tokens]
    assert found["pixel_values"].shape == (2 * 4 * tokens, 3 * 2 * 14 * 14)
    assert torch.equal(found["mm_token_type_ids"], is_image.int())
    assert found["attention_mask"].all()
    for ids in found["input_ids"]:
        assert scorer.tokenizer.decode(ids) == ASKED.replace(
            "<|image_pad|>", "<|image_pad|>" * tokens
        )


def test_patches_are_those_of_the_resized_picture(scorer):
    picture = (images(1, 100, 300) * 255).byte()
    resized = Image.fromarray(picture[0].permute(1, 2, 0).numpy()).resize(
        (308, 112), Image.Resampling.BICUBIC
    )
    values = (np.array(resized) / 255 - [0.48145466, 0.4578275, 0.40821073]) / [
        0.26862954,
        0.26130258,
        0.27577711,
    ]
    expected = [
        np.stack(
            [values[y : y + 14, x : x + 14].transpose(2, 0, 1)] * 2, axis=1
        ).ravel()  # a still is two equal frames
        for top in range(0, 112, 28)
        for left in range(0, 308, 28)  # four patches a token
        for y in (top, top + 14)
        for x in (left, left + 14)
    ]
    found = scorer.inputs(picture)
    np.testing.assert_allclose(found["pixel_values"].numpy(), np.stack(expected), atol=1e-5)
    assert found["image_grid_thw"].tolist() == [[1, 8, 22]]


def test_an_answer_without_a_score_is_nan_and_can_be_read(folder):
    scorer = VisualQuality.load(saying(folder, "x"))
    scores = scorer.score(images(2), ["", ""])
    assert scores.dtype == torch.float32
    assert scores.shape == (2,)
    assert scores.isnan().all()
    assert scorer.answers(images(2)) == ["x", "x"]


def test_what_the_network_says_is_the_score(folder):
    scorer = VisualQuality.load(saying(folder, SCORED), batch=2)
    assert scorer.answers(images(3)) == [SCORED] * 3
    assert scorer.score(images(3), [""] * 3).tolist() == [4.25] * 3
    assert scorer.network.dtype == torch.float32
    assert scorer.protocol == (
        f"vq-r1 {by_content(str(folder))}, no thinking, 4 to 16384 image tokens, float32, "
        "temperature 1e-06, repetition penalty 1.05, "
        "top-k 50, top-p 1, at most 512 tokens, seed 0, batch 2"
    )


def test_sampling_is_seeded_and_no_picture_depends_on_another(scorer, tokenizer):
    state = torch.random.get_rng_state()
    written = scorer.answers(images(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(5)
    assert scorer.answers(images(2)) == written
    assert scorer.answers(images(2)[1:]) == written[1:]
    other = VisualQuality(
        scorer.protocol, scorer.network, tokenizer, scorer.question, seed=1, batch=1
    )
    assert other.answers(images(1)) != written[:1]


def test_a_template_of_an_older_checkpoint_is_found(folder):
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(MetricError, match=r"holds no chat_template.json, which vq-r1 needs"):
        VisualQuality.load(str(folder))
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    assert VisualQuality.load(str(folder)).question == ASKED
    (folder / "chat_template.json").write_text(
        json.dumps({"chat_template": "{{ messages[0]['content'][1]['text'] }}"})
    )
    with pytest.raises(MetricError, match="no place for one picture"):
        VisualQuality.load(str(folder))


def test_images_of_another_range_are_refused(scorer):
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        scorer.score(images(1) * 2, [""])


def test_what_cannot_be_loaded_names_the_cause(folder, tmp_path):
    with pytest.raises(
        MetricError, match=r"VisualQuality-R1-7B \(16.6 GB\), .* vq-r1=FOLDER, or leave vq-r1 out"
    ):
        VisualQuality.load()
    file = folder / "model.safetensors"
    kept = {
        name: value for name, value in load_file(file).items() if "layers.1.mlp.up_proj" not in name
    }
    save_file(kept, file, {"format": "pt"})
    with pytest.raises(MetricError, match=r"lacks weights that vq-r1 needs, .*up_proj"):
        VisualQuality.load(str(folder))
    file.unlink()
    with pytest.raises(MetricError, match="cannot be loaded as vq-r1"):
        VisualQuality.load(str(folder))
    Dinov2Model(
        Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    ).save_pretrained(tmp_path / "other")
    with pytest.raises(MetricError, match="is a dinov2, and vq-r1 reads a qwen2_5_vl"):
        VisualQuality.load(str(tmp_path / "other"))
