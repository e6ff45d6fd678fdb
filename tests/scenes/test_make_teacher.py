"""The command that makes the embedded teachers, at a size where they learn nothing: it resumes,
and what it saves is a pipeline.
"""

import json

import pytest
import torch
from diffusers import StableDiffusion3Pipeline, StableDiffusionXLPipeline

from workbench.scenes.make_teacher import make_teacher
from workbench.scenes.teacher_recipe import TeacherRecipe

TINY = dict(autoencoder_steps=2, autoencoder_batch=4, scenes=256, batch=8, long_text_every=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a flow teacher of two updates was made."""
    path = tmp_path_factory.mktemp("make")
    make_teacher(path, TeacherRecipe(steps=2, **TINY))
    return path


def opened(kind, folder):
    """The saved pipeline, having made a picture; no argument but the path."""
    pipeline = kind.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline("a red circle", num_inference_steps=2, output_type="np").images.shape == (
        1,
        64,
        64,
        3,
    )
    return pipeline


def test_it_resumes_with_more_steps_and_saves_a_plain_pipeline(folder):
    before = {
        name: torch.load(folder / "work" / name) for name in ("autoencoder.pt", "transformer.pt")
    }
    teacher = make_teacher(folder, TeacherRecipe(steps=3, **TINY))
    after = {name: torch.load(folder / "work" / name) for name in before}
    assert (before["transformer.pt"]["step"], after["transformer.pt"]["step"]) == (2, 3)
    assert all(
        torch.equal(before["autoencoder.pt"]["model"][name], tensor)
        for name, tensor in after["autoencoder.pt"]["model"].items()
    )
    moved = [
        not torch.equal(before["transformer.pt"]["average"][name], tensor)
        for name, tensor in after["transformer.pt"]["average"].items()
        if tensor.is_floating_point()
    ]
    assert sum(moved) > 0.8 * len(
        moved
    )  # position tables do not, nor what starts at zero behind zeros
    assert json.loads((teacher / "recipe.json").read_text())["steps"] == 3
    assert not any(str(folder) in path.read_text() for path in teacher.rglob("*.json"))
    opened(StableDiffusion3Pipeline, teacher)


def test_the_eps_teacher_shares_the_autoencoder_and_starts_from_the_flow_teachers_words(folder):
    flow = opened(StableDiffusion3Pipeline, folder / "teacher")
    eps = opened(
        StableDiffusionXLPipeline,
        make_teacher(folder, TeacherRecipe(family="sdxl", steps=1, **TINY)),
    )
    assert eps.config.force_zeros_for_empty_prompt
    assert (folder / "work" / "unet.pt").exists()
    for part, difference in (
        ("vae", 0.0),
        ("text_encoder", 2e-3),
        ("text_encoder_2", 2e-3),
    ):  # one update of 5e-6, in fp16
        ours, theirs = getattr(eps, part), getattr(flow, part)
        theirs = (
            theirs.text_model if part == "text_encoder" else theirs
        )  # SDXL's first encoder has no projection
        assert all(
            torch.allclose(a, b, rtol=0, atol=difference)
            for a, b in zip(ours.parameters(), theirs.parameters())
        ), part
