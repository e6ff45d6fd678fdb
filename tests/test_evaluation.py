import math

import pytest
import torch

from workbench.models import Model, teacher_model
from workbench.evaluation import Score, evaluate, images_of, noise_seed, table
from workbench.metrics.lite0 import Lite0

PROMPTS = ["a red circle", "two stars", "a blue shape"]


def test_every_prompt_and_seed_has_noise_of_its_own():
    assert len({noise_seed(prompt, seed) for prompt in PROMPTS for seed in range(50)}) == 150


def test_images_do_not_depend_on_how_prompts_are_batched(backend):
    model = teacher_model(backend, steps=3)
    together = list(images_of(model, backend, PROMPTS, [0, 1]))
    alone = [next(images_of(model, backend, [prompt], [0, 1], batch=1)) for prompt in PROMPTS]
    assert len(together) == 3 and together[0].shape == (2, 3, 16, 16)
    torch.testing.assert_close(torch.stack(together), torch.stack(alone), rtol=0, atol=1e-5)


def test_a_score_carries_its_protocol_and_scenes_numbers_only_where_they_mean_something(backend):
    score = evaluate(teacher_model(backend, steps=3), backend, PROMPTS, [0, 1, 2], Lite0.load(96))
    assert (score.model, score.prompts, score.seeds, score.feature, score.evaluations) == ("teacher", 3, 3, "lite0@96", 6)
    assert score.spread is None and score.correct is None  # 16 px images
    low, high = score.diversity_interval
    assert low <= score.diversity <= high and math.isclose(score.diversity, sum(score.diversity_by_prompt) / 3)


def test_one_seed_has_no_diversity(backend):
    with pytest.raises(ValueError, match="at least two seeds"):
        evaluate(teacher_model(backend), backend, PROMPTS, [0])


def test_the_table_leaves_blank_what_was_not_measured():
    score = Score("mine", 3, 9, "lite0@224", 0.25, (0.2, 0.3), [0.25] * 3, 4, 12.3)
    assert table([score]).splitlines()[-1] == "| mine | 4 | 12.3 | 0.250 [0.200, 0.300] |  |  |  |"


def test_guidance_doubles_the_evaluations(backend):
    assert teacher_model(backend, 30, 2.0).evaluations == 60 and teacher_model(backend, 30, 1.0).evaluations == 30
    assert Model("student", backend.denoiser(backend.network), torch.linspace(1, 0, 5), {}).evaluations == 4
