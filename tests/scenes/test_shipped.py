"""The weights that ship: read by plain diffusers, as right and as diverse as the README says.

Bounds are looser than the README's numbers by what so few samples can be off.
"""

import pytest
import torch
from diffusers import StableDiffusion3Pipeline, StableDiffusionXLPipeline

from workbench import seeds
from workbench.backends.scenes import EMBEDDED, WEIGHTS, load_scenes
from workbench.build import load_backend
from workbench.models import load_student, shipped_students, teacher_model
from workbench.denoiser import Backend
from workbench.evaluation import Score, evaluate, images_of
from workbench.metrics.factors import relative_spread
from workbench.metrics.lite0 import Lite0
from workbench.sampler import sampled
from workbench.scenes.detector import detect, satisfies
from workbench.scenes.grammar import GrammarError, parse
from workbench.scenes.prompt_sets import reported_on

PROMPTS = [request.text for request in reported_on()]


@pytest.fixture(scope="module")
def teacher() -> Backend:
    return load_scenes()


@pytest.fixture(scope="module", params=EMBEDDED)
def world(request) -> tuple[str, Backend, dict[str, Score]]:
    """An embedded teacher's name and backend; and scores, on the captions that no setting was chosen on, of it and its DMD and DP-DMD
    students."""
    backend = load_backend(request.param)
    students = shipped_students(request.param)
    models = [teacher_model(backend), *(load_student(students[name], backend, name) for name in ("dmd", "dp-dmd"))]
    return request.param, backend, {model.name: evaluate(model, backend, PROMPTS, [100, 101, 102, 103], Lite0.load(96))
                                    for model in models}


def test_plain_diffusers_loads_and_samples_the_teacher():
    """Also with its default 256 empty text tokens, which the workbench leaves out."""
    pipeline = StableDiffusion3Pipeline.from_pretrained(WEIGHTS / "teacher")
    pipeline.set_progress_bar_config(disable=True)
    prompts = ["a red circle", "a green star", "a blue square", "a yellow triangle"] * 2
    images = pipeline(prompts, num_inference_steps=20, guidance_scale=2.0, output_type="pt",
                      generator=torch.Generator().manual_seed(0)).images
    right = [satisfies(seen, parse(prompt)) for seen, prompt in zip(detect(images), prompts)]
    assert sum(right) >= 7, right


def test_plain_diffusers_loads_and_samples_the_eps_teacher():
    pipeline = StableDiffusionXLPipeline.from_pretrained(EMBEDDED["scenes-eps"] / "teacher", add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    prompts = ["a red circle", "a green star", "a blue square", "a yellow triangle"] * 2
    images = pipeline(prompts, num_inference_steps=20, guidance_scale=2.0, output_type="pt", height=64, width=64,
                      generator=torch.Generator().manual_seed(0)).images
    right = [satisfies(seen, parse(prompt)) for seen, prompt in zip(detect(images), prompts)]
    assert sum(right) >= 7, right


def test_our_sampling_equals_the_pipelines(teacher):
    pipeline, noise = teacher.pipeline, seeds.grid_noise(teacher.latent_shape, [0, 1])
    theirs = pipeline(["a red circle"] * 2, latents=noise.clone(), num_inference_steps=30, guidance_scale=2.0, output_type="latent",
                      max_sequence_length=0, height=64, width=64).images
    model = teacher_model(teacher, 30, 2.0)
    ours = sampled(model.denoiser, noise, teacher.encode(["a red circle"] * 2), model.times)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)


def test_prompts_outside_the_grammar_say_what_can_be_written(teacher):
    with pytest.raises(GrammarError, match='does not know the word "dog"'):
        teacher.encode(["a red dog"])


def test_the_guided_teacher_shows_what_its_captions_ask(world):
    correct = world[2]["teacher"].correct
    print(correct)
    assert correct["single_object"] >= 0.9 and correct["colors"] >= 0.9 and correct["overall"] >= 0.8


def test_the_unguided_teacher_is_about_as_diverse_as_the_data(world):
    prompts, backend = PROMPTS[::4], world[1]
    rows = list(images_of(teacher_model(backend, guidance=1.0), backend, prompts, list(range(8))))
    spread = relative_spread([detect(row) for row in rows], [parse(prompt) for prompt in prompts])
    print(spread)
    assert 0.8 <= spread.mean <= 1.2


def test_shipped_students_draw_their_captions_in_four_evaluations(world):
    for name in ("dmd", "dp-dmd"):
        score = world[2][name]
        print(name, score.correct)
        assert score.evaluations == 4 and score.correct["overall"] >= 0.7


@pytest.mark.parametrize("measure", ["diversity", "spread"])
def test_dmd_loses_diversity_and_dp_dmd_wins_most_of_it_back(world, measure):
    """The phenomenon, on the shipped students: at least 15 % lost and 40 % of the loss won back (the README has three seeds)."""
    teacher, dmd, dp_dmd = (getattr(world[2][name], measure) for name in ("teacher", "dmd", "dp-dmd"))
    print(measure, teacher, dmd, dp_dmd)
    assert dmd <= 0.85 * teacher and dp_dmd - dmd >= 0.4 * (teacher - dmd)


@pytest.mark.parametrize("name", ["dmd-lpips", "dmd-gan"])
def test_the_other_baselines_draw_their_captions_too(name, teacher):
    model = load_student(shipped_students("scenes")[name], teacher)
    correct = evaluate(model, teacher, PROMPTS[::2], [100, 101], Lite0.load(96)).correct
    print(correct)
    assert model.evaluations == 4 and correct["overall"] >= 0.65
