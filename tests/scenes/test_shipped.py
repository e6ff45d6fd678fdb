"""The weights that ship: read by plain diffusers, as right and as diverse as the README says.

Bounds are looser than the README's numbers by what so few samples can be off.
"""

import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from workbench import seeds
from workbench.backends.scenes import WEIGHTS, load_scenes
from workbench.build import load_student, shipped_students, teacher_model
from workbench.denoiser import Backend
from workbench.evaluation import evaluate, images_of
from workbench.metrics.factors import correctness, relative_spread
from workbench.sampler import sampled
from workbench.scenes.detector import detect, satisfies
from workbench.scenes.grammar import GrammarError, parse
from workbench.scenes.prompt_sets import reported_on

PROMPTS = [request.text for request in reported_on()]


@pytest.fixture(scope="module")
def teacher() -> Backend:
    return load_scenes()


def test_plain_diffusers_loads_and_samples_the_teacher():
    """Also with its default 256 empty text tokens, which the workbench leaves out."""
    pipeline = StableDiffusion3Pipeline.from_pretrained(WEIGHTS / "teacher")
    pipeline.set_progress_bar_config(disable=True)
    prompts = ["a red circle", "a green star", "a blue square", "a yellow triangle"] * 2
    images = pipeline(prompts, num_inference_steps=20, guidance_scale=2.0, output_type="pt",
                      generator=torch.Generator().manual_seed(0)).images
    right = [satisfies(seen, parse(prompt)) for seen, prompt in zip(detect(images), prompts)]
    assert sum(right) >= 3, right


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


def test_the_guided_teacher_shows_what_its_captions_ask(teacher):
    rows = list(images_of(teacher_model(teacher), teacher, PROMPTS, [100, 101, 102]))
    seen = [one for row in rows for one in detect(row)]
    correct = correctness(seen, [parse(prompt) for prompt in PROMPTS for _ in range(3)])
    print(correct)
    assert correct["single_object"] >= 0.5 and correct["colors"] >= 0.6 and correct["overall"] >= 0.45


def test_the_unguided_teacher_is_about_as_diverse_as_the_data(teacher):
    prompts = PROMPTS[::4]
    rows = list(images_of(teacher_model(teacher, guidance=1.0), teacher, prompts, list(range(8))))
    spread = relative_spread([detect(row) for row in rows], [parse(prompt) for prompt in prompts])
    print(spread)
    assert 0.8 <= spread.mean <= 1.2


def test_shipped_students_draw_their_captions_in_four_evaluations(teacher):
    students = shipped_students()
    assert set(students) == {"dmd", "dp-dmd"}
    for name, path in students.items():
        model = load_student(path, teacher, name)
        score = evaluate(model, teacher, PROMPTS[::3], list(range(4)), feature_size=96)
        print(name, score.diversity, score.spread, score.correct)
        assert model.evaluations == 4 and score.correct["overall"] >= 0.2 and score.spread >= 0.7
