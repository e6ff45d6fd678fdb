"""An exported student, loaded by diffusers alone with the call of its own model card, makes the
same images.
"""

import json

import pytest
import torch
from diffusers import StableDiffusion3Pipeline, StableDiffusionXLPipeline
from PIL import Image
from safetensors.torch import load_file

from tests.support.pipelines import tiny_pipeline, tiny_sdxl_pipeline
from workbench.cli import main
from workbench.core import seeds
from workbench.core.recipe import Recipe
from workbench.io.files import FolderError
from workbench.models.backends.lora import LORA_FILE, merged_state
from workbench.models.loading import load_backend
from workbench.models.model import Model
from workbench.models.students import load_student
from workbench.training.export import card_code, export_student
from workbench.training.run import Run
from workbench.training.train import train

PROMPTS = ["a red circle", "two stars"]
SETTINGS = dict(
    rounds=1,
    batch=2,
    fake_updates_per_round=1,
    teacher_steps=6,
    k=2,
    anchor="denoised",
    student_rate=3e-3,
    precision="fp32",
    sample_every=0,
)


def a_run(tmp_path, pipeline, **changes) -> Run:
    teacher = tmp_path / "teacher"
    pipeline.save_pretrained(teacher)
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    run = Run.create(
        tmp_path / "run",
        Recipe(teacher=str(teacher), prompts=str(tmp_path / "prompts.txt"), **SETTINGS | changes),
        "cpu",
    )
    list(train(run))
    return run


def by_the_card(folder, kind, latents, teacher=None):
    """Runs the code of the model card with our prompts and noise, and tiny images."""
    code = card_code(folder, str(teacher))
    for name, value in (
        ("(PROMPT,", "(PROMPTS, latents=LATENTS, height=16, width=16,"),
        (".images[0]", ".images"),
    ):
        code = code.replace(name, value)
    scope = {"PROMPTS": PROMPTS, "LATENTS": latents}
    exec(code, scope)
    return scope["image"]


@pytest.mark.parametrize(
    ("new", "kind", "changes"),
    [
        (tiny_pipeline, StableDiffusion3Pipeline, {}),
        (tiny_pipeline, StableDiffusion3Pipeline, {"student_grid": "diffusers"}),
        (tiny_pipeline, StableDiffusion3Pipeline, {"lora": 2}),
        (tiny_sdxl_pipeline, StableDiffusionXLPipeline, {}),
        (tiny_sdxl_pipeline, StableDiffusionXLPipeline, {"lora": 2}),
        (tiny_sdxl_pipeline, StableDiffusionXLPipeline, {"student_grid": "diffusers"}),
    ],
)
def test_diffusers_alone_makes_the_same_images(new, kind, changes, tmp_path):
    run = a_run(tmp_path, new(), **changes)
    out = export_student(run.path, tmp_path / "out")
    backend = load_backend(run.recipe.teacher)
    model = load_student(run.path / "student", backend)
    noise = seeds.grid_noise(backend.latent_shape, [0, 1])
    ours = backend.decode(model.sampled(noise, backend.encode(PROMPTS), [0, 1]))
    theirs = by_the_card(out, kind, noise, run.recipe.teacher)
    assert all(isinstance(image, Image.Image) for image in theirs)
    for image, expected in zip(theirs, (ours.permute(0, 2, 3, 1) * 255).round()):
        got = torch.tensor(list(image.getdata()), dtype=torch.float).view_as(expected)
        assert (got - expected).abs().mean() < 2, (
            (got - expected).abs().mean()
        )  # of 255: weights were halved


@pytest.mark.parametrize(
    ("new", "kind"),
    [(tiny_pipeline, StableDiffusion3Pipeline), (tiny_sdxl_pipeline, StableDiffusionXLPipeline)],
)
def test_a_whole_student_becomes_an_adapter_that_comes_nearer_with_its_rank(new, kind, tmp_path):
    run = a_run(tmp_path, new(), rounds=3)
    backend = load_backend(run.recipe.teacher)
    noise, condition = seeds.grid_noise(backend.latent_shape, [0, 1]), backend.encode(PROMPTS)
    teacher, whole = backend.network, load_student(run.path / "student", backend)
    start = Model("teacher", backend.denoiser(teacher), whole.times).sampled(
        noise, condition, [0, 1]
    )
    expected, errors = whole.sampled(noise, condition, [0, 1]), []
    for rank in (2, 64):  # 64 is more than these layers have
        out = export_student(run.path, tmp_path / f"rank-{rank}", rank)
        errors.append(
            (load_student(out, backend).sampled(noise, condition, [0, 1]) - expected).norm()
        )
    distance = (start - expected).norm()
    assert errors[1] < errors[0] < distance
    assert errors[1] < 0.4 * distance  # biases and norms stay the teacher's
    theirs = by_the_card(out, kind, noise, run.recipe.teacher)
    ours = backend.decode(load_student(out, backend).sampled(noise, condition, [0, 1]))
    for image, pixels in zip(theirs, (ours.permute(0, 2, 3, 1) * 255).round()):
        assert (
            torch.tensor(list(image.getdata()), dtype=torch.float).view_as(pixels) - pixels
        ).abs().mean() < 2


@pytest.mark.parametrize("new", [tiny_pipeline, tiny_sdxl_pipeline])
def test_an_adapter_is_written_at_a_lower_rank_and_refused_at_a_higher(new, tmp_path):
    run = a_run(tmp_path, new(), rounds=3, lora=4)
    backend = load_backend(run.recipe.teacher)
    whole = merged_state(load_student(run.path / "student", backend).network)
    base, errors = merged_state(backend.network), {}
    for rank in (1, 2, 4):
        out = export_student(run.path, tmp_path / f"rank-{rank}", rank)
        tensors = load_file(out / LORA_FILE)
        assert {t.shape[0] for name, t in tensors.items() if "lora_A" in name} == {rank}
        info = json.loads((out / "student.json").read_text())
        assert info.get("extracted_rank") == (rank if rank < 4 else None)
        state = merged_state(load_student(out, backend).network)
        errors[rank] = sum(float((state[name] - whole[name]).norm()) for name in whole)
    distance = sum(float((base[name] - whole[name]).norm()) for name in whole)
    assert errors[4] == 0
    assert 0 < errors[2] < errors[1] < distance
    with pytest.raises(ValueError, match="an adapter of rank 4, which no higher rank adds to"):
        export_student(run.path, tmp_path / "rank-5", 5)
    assert not (tmp_path / "rank-5").exists()


@pytest.mark.parametrize(
    ("new", "name"),
    [(tiny_pipeline, "FlowMatchEulerDiscreteScheduler"), (tiny_sdxl_pipeline, "LCMScheduler")],
)
def test_a_re_noised_student_is_exported_with_a_scheduler_that_re_noises(new, name, tmp_path):
    run = a_run(tmp_path, new(), student_sampler="renoise")
    config = json.loads(
        (
            export_student(run.path, tmp_path / "out") / "scheduler" / "scheduler_config.json"
        ).read_text()
    )
    assert config["_class_name"] == name
    assert config.get("stochastic_sampling", True)


def test_times_that_no_scheduler_walks_are_refused_before_anything_is_written(tmp_path):
    run = a_run(tmp_path, tiny_sdxl_pipeline(), student_sampler="renoise", student_steps=3)
    with pytest.raises(FolderError, match="no diffusers scheduler walks"):
        export_student(run.path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_card_of_another_size_says_it(tmp_path):
    run = a_run(tmp_path, tiny_pipeline(), resolution=8)
    assert (
        "guidance_scale=1.0, height=8, width=8, sigmas="
        in (export_student(run.path, tmp_path / "out") / "README.md").read_text()
    )


def test_the_model_card_describes_the_student(tmp_path):
    run = a_run(tmp_path, tiny_pipeline(), sample_every=1)
    assert main(["export", str(run.path), "--to", str(tmp_path / "out")]) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\n")
    assert "DP-DMD student" in card
    assert f"digest {Run.open(run.path).manifest['digest']}" in card
    assert "Diversity (Eq. 9) on lite0@224" in card
    assert "| lam | 0.05 |" in card


def test_an_impossible_export_says_why(tmp_path):
    with pytest.raises(FolderError, match="holds no student"):
        export_student(tmp_path / "nothing", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("precious")
    with pytest.raises(FolderError, match="not empty"):
        export_student(tmp_path / "nothing", tmp_path / "full")
