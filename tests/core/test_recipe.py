import dataclasses

import pytest

from workbench.core.recipe import Recipe


def test_json_round_trip_and_digest():
    recipe = Recipe(method="dmd", rounds=7, guidance=2)
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert (
        recipe.digest
        == Recipe.from_json(recipe.to_json()).digest
        != Recipe(method="dmd", rounds=8, guidance=2).digest
    )
    assert len(recipe.digest) == 12


def test_defaults_are_the_papers():
    recipe = Recipe()
    assert (
        recipe.k,
        recipe.lam,
        recipe.fake_updates_per_round,
        recipe.student_steps,
        recipe.teacher_steps,
    ) == (5, 0.05, 5, 4, 30)
    assert (recipe.student_rate, recipe.fake_rate, recipe.weight_decay, recipe.clip) == (
        1e-5,
        1e-5,
        0,
        1,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "dpdmd"}, "did you mean 'dp_dmd'"),
        ({"rounds": "7"}, "rounds must be int, not '7'"),
        ({"batch": 0}, "batch = 0 is outside its range"),
        ({"lam": float("nan")}, "lam"),
        ({"k": 31}, "k = 31 is more than the teacher's teacher_steps = 30"),
        ({"batch": 10, "accumulate": 4}, "does not divide"),
        ({"ema": 1.0}, "ema = 1.0 is outside"),
    ],
)
def test_wrong_values_are_refused_with_the_way_out(change, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**change)


def test_unknown_keys_name_the_nearest_one():
    with pytest.raises(ValueError, match="unknown setting 'guidence'; did you mean 'guidance'"):
        Recipe.from_json('{"guidence": 2.0}')


def test_every_setting_has_a_help_text():
    assert all(item.metadata["help"] for item in dataclasses.fields(Recipe))
