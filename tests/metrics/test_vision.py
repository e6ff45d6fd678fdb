"""The hub's features on tiny networks with random weights: what is read, the input, and what is
said when they cannot be had.
"""

import csv
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from huggingface_hub import errors
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
    DINOv3ViTConfig,
    DINOv3ViTModel,
)

from tests.support.hub import response
from workbench.cli import main
from workbench.metrics import weights
from workbench.metrics.inputs import eight_bit
from workbench.metrics.lite0 import Lite0
from workbench.metrics.vision import KINDS, load_feature
from workbench.metrics.weights import MetricError, by_content

SMALL = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    torch.manual_seed(0)
    made = {
        "clip": CLIPModel(
            CLIPConfig(
                vision_config=SMALL | dict(image_size=224, patch_size=32, projection_dim=16),
                text_config=SMALL | dict(vocab_size=20, eos_token_id=1, bos_token_id=0),
                projection_dim=16,
            )
        ),
        "clip-336": CLIPVisionModelWithProjection(
            CLIPVisionConfig(**SMALL, image_size=336, patch_size=56, projection_dim=16)
        ),
        "dinov3": DINOv3ViTModel(DINOv3ViTConfig(**SMALL, image_size=224, patch_size=32)),
        "dinov2": Dinov2Model(
            Dinov2Config(
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=224,
                patch_size=28,
            )
        ),
    }
    folder = tmp_path_factory.mktemp("features")
    for name, network in made.items():
        network.eval().save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 40, 56, generator=torch.Generator().manual_seed(1))


def pil(images):
    return [
        Image.fromarray((image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
        for image in images
    ]


def test_clip_is_the_cls_token_before_norm_and_projection(folders, images):
    network = CLIPModel.from_pretrained(folders / "clip").eval()
    inputs = CLIPImageProcessorPil()(pil(images), return_tensors="pt")
    with torch.no_grad():
        output = network.vision_model(**inputs)
        expected = {
            "clip": output.last_hidden_state[:, 0],
            "clip-pooled": output.pooler_output,
            "clip-projected": network.visual_projection(output.pooler_output),
        }
    for name, value in expected.items():
        found = load_feature(f"{name}={folders / 'clip'}")
        torch.testing.assert_close(found.features(images), value)
        assert found.protocol == f"{name} {by_content(str(folders / 'clip'))}"
    assert not torch.allclose(expected["clip"], expected["clip-pooled"])


@pytest.mark.parametrize("size", [(3, 3, 400, 400), (2, 3, 41, 56), (2, 3, 500, 341)])
def test_clip_336_crops_the_middle_square_and_then_resizes_it(folders, size):
    images = torch.rand(size, generator=torch.Generator().manual_seed(2))
    inputs = []
    for picture in pil(images):
        side, (width, height) = min(picture.size), picture.size
        left, top = (width - side) // 2, (height - side) // 2
        square = picture.crop((left, top, left + side, top + side)).resize(
            (336, 336), Image.Resampling.BICUBIC
        )
        inputs.append(
            (np.array(square) / 255 - [0.48145466, 0.4578275, 0.40821073])
            / [0.26862954, 0.26130258, 0.27577711]
        )
    inputs = torch.from_numpy(np.stack(inputs)).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(
        KINDS["clip-336"].prepare(eight_bit(images)), inputs, atol=1e-6, rtol=0
    )
    with torch.no_grad():
        network = CLIPVisionModelWithProjection.from_pretrained(folders / "clip-336").eval()
        expected = network.visual_projection(network.vision_model(inputs).pooler_output)
    torch.testing.assert_close(
        load_feature(f"clip-336={folders / 'clip-336'}").features(images), expected
    )


def test_dinov3_stretches_and_normalises(folders, images):
    network = DINOv3ViTModel.from_pretrained(folders / "dinov3").eval()
    eight_bit = (
        torch.stack(
            [torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in pil(images)]
        ).float()
        / 255
    )
    resized = F.interpolate(eight_bit, (224, 224), mode="bilinear", antialias=True)
    inputs = (resized - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    with torch.no_grad():
        output = network(pixel_values=inputs)
    torch.testing.assert_close(
        load_feature(f"dinov3={folders / 'dinov3'}").features(images), output.pooler_output
    )
    torch.testing.assert_close(output.pooler_output, output.last_hidden_state[:, 0])


def test_dinov2_crops_the_middle(folders, images):
    found = load_feature(f"dinov2={folders / 'dinov2'}")
    wide = torch.rand(1, 3, 64, 128)
    cropped = wide.clone()
    cropped[..., :8] = cropped[..., -8:] = 0.5  # outside the middle square
    torch.testing.assert_close(found.features(wide), found.features(cropped))
    assert found.features(images).shape == (3, 32)


def test_models_are_scored_on_the_feature_that_is_asked_for(
    folders, teacher_folder, tmp_path, capsys
):
    asked = [
        "evaluate",
        "--teacher",
        str(teacher_folder),
        "--models",
        "teacher",
        "--teacher-steps",
        "2",
        "--seeds",
        "3",
        "--device",
        "cpu",
        "--prompts",
        str(teacher_folder / "prompts.txt"),
        "--out",
        str(tmp_path),
    ]
    assert (
        main(
            [
                *asked,
                "--features",
                f"lite0=96,dinov2={folders / 'dinov2'}",
                "--metrics",
                "diversity",
            ]
        )
        == 0
    )
    assert f"dinov2 {folders / 'dinov2'}" in capsys.readouterr().out
    numbers = list(csv.DictReader((tmp_path / "numbers.csv").open()))
    assert [(row["number"], row["protocol"]) for row in numbers] == [
        ("diversity lite0", "lite0@96"),
        ("diversity dinov2", f"dinov2 {by_content(str(folders / 'dinov2'))}"),
    ]
    assert all(0 < float(row["value"]) < 2 for row in numbers)
    assert main([*asked, "--features", "dino"]) == 1
    assert "one of lite0, clip" in capsys.readouterr().err


def test_batches_change_nothing(folders, images):
    found = load_feature(f"clip={folders / 'clip'}")
    torch.testing.assert_close(found.features(images, batch=1), found.features(images))


def test_lite0_is_the_feature_that_is_always_there():
    assert isinstance(load_feature(), Lite0)
    assert load_feature().protocol == "lite0@224"
    assert load_feature("lite0=96").protocol == "lite0@96"


@pytest.mark.parametrize(
    "wrong",
    [torch.rand(2, 3, 8, 8) * 2, torch.full((1, 3, 8, 8), float("nan")), torch.rand(3, 8, 8)],
)
def test_images_of_another_range_or_shape_are_refused(folders, wrong):
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        load_feature(f"clip={folders / 'clip'}").features(wrong)


def test_names_sources_and_networks_that_are_not_right_are_told(folders, tmp_path):
    with pytest.raises(MetricError, match="there is no feature 'dino'; one of lite0, clip"):
        load_feature("dino")
    with pytest.raises(
        MetricError, match=r"dinov2 cannot be loaded as clip|is a dinov2, and clip reads a clip"
    ):
        load_feature(f"clip={folders / 'dinov2'}")
    with pytest.raises(MetricError, match=r"holds no config.json, which dinov3 needs"):
        load_feature(f"dinov3={tmp_path}")


def test_weights_that_are_missing_are_not_made_up(folders, tmp_path):
    shutil.copytree(folders / "dinov2", tmp_path / "part")
    state = load_file(tmp_path / "part" / "model.safetensors")
    gone = next(name for name in state if "attention" in name)
    save_file(
        {name: tensor for name, tensor in state.items() if name != gone},
        tmp_path / "part" / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(
        MetricError, match=r"lacks weights that dinov2 needs, .*attention.* and 0 more"
    ):
        load_feature(f"dinov2={tmp_path / 'part'}")


def test_a_hub_that_cannot_be_reached_names_the_ways_out():
    with pytest.raises(MetricError, match="clip=FOLDER, or leave clip out"):
        load_feature("clip")


def test_the_gate_of_dinov3_is_named(monkeypatch):
    def gated(*_, **__):
        raise errors.GatedRepoError("gated", response=response(403))

    monkeypatch.setattr(weights, "hf_hub_download", gated)
    with pytest.raises(
        MetricError, match=r"is gated: accept its licence .* HF_TOKEN .* dinov3=SOURCE"
    ):
        load_feature("dinov3")
