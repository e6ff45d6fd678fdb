import dataclasses
import json

import pytest

from workbench.core.methods import check_trains, unread_settings
from workbench.core.presets import PRESETS
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
        ({"lam": float("inf")}, "lam = inf is not a finite number"),
        ({"clip": float("nan")}, "clip = nan is not a finite number"),
        ({"tiling": "yes"}, "tiling must be bool, not 'yes'"),
        ({"offload": 1}, "offload must be bool, not 1"),
        ({"anchor": "secan"}, r"not one of secant, denoised \(did you mean 'secant'\?\)"),
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


SWITCHES = ("tiling", "checkpointing", "offload", "compile")


def test_switches_are_saved_as_they_have_always_been():
    """These digests name run folders of before the switches were bools."""
    recipe = Recipe(method="dmd_gan", **dict.fromkeys(SWITCHES, True))
    assert recipe.digest == "2dc020c07b40"
    assert Recipe().digest == "c711bcdffa9b"
    saved = json.loads(recipe.to_json())
    assert {saved[name] for name in SWITCHES} == {"on"}
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_switches_are_read_in_both_spellings():
    assert Recipe.from_json('{"tiling": "on", "compile": true, "offload": "off"}') == Recipe(
        tiling=True, compile=True
    )
    assert Recipe(checkpointing="on").checkpointing is True


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"student_steps": 1}, r"stops behind step 1, .*Eq. \(8\).*Set student_steps to 2 or more"),
        ({"student_steps": 1, "lam": 0.0}, r"stops behind step 1"),
        ({"student_rate": 0.0}, "student_rate = 0 leaves the student as it is"),
        ({"method": "dmd_lpips", "lpips": 0.0}, "lpips = 0 leaves dmd_lpips plain DMD"),
        ({"method": "dmd_gan", "gan": 0.0}, "gan = 0 leaves dmd_gan plain DMD"),
        ({"method": "dmd_gan", "critic": 0.0}, "the head of dmd_gan is never trained"),
        ({"method": "dmd_gan", "fake_updates_per_round": 0}, "the head of dmd_gan is never"),
        ({"method": "dmd_gan", "fake_rate": 0.0}, "the head of dmd_gan is never trained"),
        ({"method": "dmd", "guidance": 1.0, "fake_updates_per_round": 0}, r"is exactly 0"),
        ({"method": "dmd", "guidance": 1.0, "fake_rate": 0.0}, r"\(5\), x0_fake - x0_real"),
    ],
)
def test_settings_by_which_a_term_vanishes_are_read_but_not_trained(change, told):
    recipe = Recipe(**change)
    assert Recipe.from_json(recipe.to_json()) == recipe  # old runs are still read
    with pytest.raises(ValueError, match=told):
        check_trains(recipe)


@pytest.mark.parametrize(
    "change",
    [
        {"lam": 0.0},  # DMD on the steps from the second on
        {"lam": 0.0, "method": "dp_dmd_no_stop"},  # DMD
        {"method": "dmd", "student_steps": 1},
        {"method": "dp_dmd_no_stop", "student_steps": 1},
        {"fake_updates_per_round": 0},  # guidance alone
        {"guidance": 1.0},
        {"rounds": 0, "clip": 0.0, "ema": 0.0},
    ],
)
def test_settings_by_which_every_term_counts_are_trained(change):
    check_trains(Recipe(**change))


def test_every_preset_trains():
    for preset in PRESETS.values():
        check_trains(preset)


def test_the_settings_that_only_other_methods_read_are_known():
    given = ("lam", "k", "lpips", "gan", "critic", "rounds", "guidance")
    assert unread_settings(Recipe(method="dmd"), given) == ["lam", "k", "lpips", "gan", "critic"]
    assert unread_settings(Recipe(), given) == ["lpips", "gan", "critic"]
    assert unread_settings(Recipe(method="dmd_gan"), given) == ["lam", "k", "lpips"]
