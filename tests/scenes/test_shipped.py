"""The weights that ship: read by plain diffusers, as right and as diverse as the README says.

Bounds are looser than the README's numbers by what so few samples can be off.
"""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusion3Pipeline, StableDiffusionXLPipeline

import workbench
from workbench.core import seeds
from workbench.core.denoiser import Backend
from workbench.core.sampler import sampled
from workbench.evaluation.evaluation import Evaluation
from workbench.evaluation.prompt_lists import prompt_list
from workbench.evaluation.request import EvaluationRequest
from workbench.metrics.factors import relative_spread
from workbench.models.embedded import EMBEDDED, WEIGHTS, load_scenes
from workbench.models.loading import load_backend
from workbench.models.model import Model, teacher_model
from workbench.models.sampling import images_of
from workbench.models.students import load_student, shipped_students
from workbench.scenes.detector import detect, satisfies
from workbench.scenes.grammar import GrammarError, parse
from workbench.scenes.prompt_sets import reported_on

PACKAGE = Path(workbench.__file__).parent
PROMPTS = [request.text for request in reported_on()]


@pytest.fixture(scope="module")
def teacher() -> Backend:
    return load_scenes()


def numbers_of(
    models: list[Model], backend: Backend, folder, seeds: tuple[int, ...]
) -> dict[str, dict[str, float]]:
    """Each model's numbers by name, on captions that no setting was chosen on."""
    by_name = {model.name: model for model in models}
    asked = EvaluationRequest(
        tuple(by_name),
        prompt_list("scenes"),
        seeds,
        ("diversity", "spread", "geneval"),
        ("lite0=96",),
    )
    evaluation = Evaluation(folder, asked)
    for _ in (*evaluation.generate(backend, by_name.__getitem__), *evaluation.read()):
        pass
    assert not evaluation.failures
    return {
        result.model: {
            column.name: number.interval.mean for column, number in result.numbers.items()
        }
        for result in evaluation.results()
    }


def evaluation_folder(config: pytest.Config, name: str) -> Path:
    """A folder in pytest's cache for the images of a world: the evaluation finds them there as long
    as its weights and the package are the same files.
    """
    files = [*EMBEDDED[name].rglob("*.*"), *PACKAGE.rglob("*.py")]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(str(file).encode() + file.read_bytes())
    folder = config.cache.mkdir(f"shipped-{name}")
    for earlier in folder.iterdir():
        if earlier.name != digest.hexdigest():
            shutil.rmtree(earlier)
    return folder / digest.hexdigest()


@pytest.fixture(scope="module", params=EMBEDDED)
def world(request) -> tuple[str, Backend, dict[str, dict[str, float]]]:
    """An embedded teacher's name and backend; and the numbers of it and its DMD and DP-DMD
    students.
    """
    backend = load_backend(request.param)
    students = shipped_students(request.param)
    models = [
        teacher_model(backend),
        *(load_student(students[name], backend, name) for name in ("dmd", "dp-dmd")),
    ]
    return (
        request.param,
        backend,
        numbers_of(
            models,
            backend,
            evaluation_folder(request.config, request.param),
            (100, 101, 102, 103),
        ),
    )


def test_plain_diffusers_loads_and_samples_the_teacher():
    """Also with its default 256 empty text tokens, which the workbench leaves out."""
    pipeline = StableDiffusion3Pipeline.from_pretrained(WEIGHTS / "teacher")
    pipeline.set_progress_bar_config(disable=True)
    prompts = ["a red circle", "a green star", "a blue square", "a yellow triangle"] * 2
    images = pipeline(
        prompts,
        num_inference_steps=20,
        guidance_scale=2.0,
        output_type="pt",
        generator=torch.Generator().manual_seed(0),
    ).images
    right = [satisfies(seen, parse(prompt)) for seen, prompt in zip(detect(images), prompts)]
    assert sum(right) >= 7, right


def test_plain_diffusers_loads_and_samples_the_eps_teacher():
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        EMBEDDED["scenes-eps"] / "teacher", add_watermarker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    prompts = ["a red circle", "a green star", "a blue square", "a yellow triangle"] * 2
    images = pipeline(
        prompts,
        num_inference_steps=20,
        guidance_scale=2.0,
        output_type="pt",
        height=64,
        width=64,
        generator=torch.Generator().manual_seed(0),
    ).images
    right = [satisfies(seen, parse(prompt)) for seen, prompt in zip(detect(images), prompts)]
    assert sum(right) >= 7, right


def test_our_sampling_equals_the_pipelines(teacher):
    pipeline, noise = teacher.pipeline, seeds.grid_noise(teacher.latent_shape, [0, 1])
    theirs = pipeline(
        ["a red circle"] * 2,
        latents=noise.clone(),
        num_inference_steps=30,
        guidance_scale=2.0,
        output_type="latent",
        max_sequence_length=0,
        height=64,
        width=64,
    ).images
    model = teacher_model(teacher, 30, 2.0)
    ours = sampled(model.denoiser, noise, teacher.encode(["a red circle"] * 2), model.times)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)


def test_prompts_outside_the_grammar_say_what_can_be_written(teacher):
    with pytest.raises(GrammarError, match='does not know the word "dog"'):
        teacher.encode(["a red dog"])


def test_the_guided_teacher_shows_what_its_captions_ask(world):
    numbers = world[2]["teacher"]
    print(numbers)
    assert numbers["single_object"] >= 0.9
    assert numbers["colors"] >= 0.9
    assert numbers["correct"] >= 0.8


def test_the_unguided_teacher_is_about_as_diverse_as_the_data(world):
    prompts, backend = PROMPTS[::4], world[1]
    rows = list(images_of(teacher_model(backend, guidance=1.0), backend, prompts, list(range(8))))
    spread = relative_spread([detect(row) for row in rows], [parse(prompt) for prompt in prompts])
    print(spread)
    assert 0.8 <= spread.mean <= 1.2


def test_shipped_students_draw_their_captions(world):
    for name in ("dmd", "dp-dmd"):
        print(name, world[2][name])
        assert world[2][name]["correct"] >= 0.7


@pytest.mark.parametrize("measure", ["diversity lite0", "factor spread"])
def test_dmd_loses_diversity_and_dp_dmd_wins_most_of_it_back(world, measure):
    """The phenomenon, on the shipped students: at least 15 % lost and 40 % of the loss won back
    (the README has three seeds).
    """
    teacher, dmd, dp_dmd = (world[2][name][measure] for name in ("teacher", "dmd", "dp-dmd"))
    print(measure, teacher, dmd, dp_dmd)
    assert dmd <= 0.85 * teacher
    assert dp_dmd - dmd >= 0.4 * (teacher - dmd)


@pytest.mark.parametrize("name", ["dmd-lpips", "dmd-gan"])
def test_the_other_baselines_draw_their_captions_too(name, teacher, tmp_path):
    model = load_student(shipped_students("scenes")[name], teacher, name)
    numbers = numbers_of([model], teacher, tmp_path, (100, 101))[name]
    print(numbers)
    assert model.evaluations == 4
    assert numbers["correct"] >= 0.65
