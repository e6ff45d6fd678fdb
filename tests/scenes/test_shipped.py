"""The weights that ship: read by plain diffusers, as right and as diverse as the README says.

Bounds are looser than the README's numbers by what so few samples can be off.
"""

import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from workbench import seeds
from workbench.backends.scenes import WEIGHTS, load_scenes
from workbench.models import load_student, shipped_students, teacher_model
from workbench.denoiser import Backend
from workbench.evaluation import Score, evaluate, images_of
from workbench.metrics.factors import relative_spread
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


@pytest.fixture(scope="module")
def scores(teacher) -> dict[str, Score]:
    """Teacher and shipped students on the captions that no setting was chosen on."""
    models = [teacher_model(teacher), *(load_student(path, teacher, name) for name, path in shipped_students().items())]
    return {model.name: evaluate(model, teacher, PROMPTS, [100, 101, 102, 103], feature_size=96) for model in models}


def test_the_guided_teacher_shows_what_its_captions_ask(scores):
    correct = scores["teacher"].correct
    print(correct)
    assert correct["single_object"] >= 0.9 and correct["colors"] >= 0.9 and correct["overall"] >= 0.8


def test_the_unguided_teacher_is_about_as_diverse_as_the_data(teacher):
    prompts = PROMPTS[::4]
    rows = list(images_of(teacher_model(teacher, guidance=1.0), teacher, prompts, list(range(8))))
    spread = relative_spread([detect(row) for row in rows], [parse(prompt) for prompt in prompts])
    print(spread)
    assert 0.8 <= spread.mean <= 1.2


def test_shipped_students_draw_their_captions_in_four_evaluations(scores):
    assert set(scores) == {"teacher", "dmd", "dp-dmd"}
    for name in ("dmd", "dp-dmd"):
        print(name, scores[name].correct)
        assert scores[name].evaluations == 4 and scores[name].correct["overall"] >= 0.7


@pytest.mark.parametrize("measure", ["diversity", "spread"])
def test_dmd_loses_diversity_and_dp_dmd_wins_most_of_it_back(scores, measure):
    """The phenomenon, on the shipped students: at least 15 % lost and 40 % of the loss won back (the README has three seeds)."""
    teacher, dmd, dp_dmd = (getattr(scores[name], measure) for name in ("teacher", "dmd", "dp-dmd"))
    print(measure, teacher, dmd, dp_dmd)
    assert dmd <= 0.85 * teacher and dp_dmd - dmd >= 0.4 * (teacher - dmd)
