"""Named recipes: the paper's, the released script's, and those of the embedded world."""

from __future__ import annotations

from dataclasses import replace

from workbench.recipe import Recipe

_SCENES = Recipe(guidance=2.0, student_rate=4e-4, fake_rate=4e-4, rounds=240, fake_updates_per_round=2)

PRESETS: dict[str, Recipe] = {
    # Section 5.1: K = 5, lambda = 0.05, 5 fake updates a round, AdamW 1e-5
    "paper": Recipe(teacher="stabilityai/stable-diffusion-3.5-medium", prompts="prompts.txt", batch=4),
    # what train_sd35_dpdmd.py does where it differs: its grid, one time a batch, K = 10 of its shell script
    "released-script": Recipe(teacher="stabilityai/stable-diffusion-3.5-medium", prompts="prompts.txt", batch=4, k=10,
                              student_grid="diffusers", times="per_batch"),
    # the embedded world, where DMD collapses within minutes: few fake updates, so that the fake network lags
    "scenes-dp-dmd": _SCENES,
    "scenes-dmd": replace(_SCENES, method="dmd"),
    # the embedded world with the paper's 5 fake updates a round
    "scenes-dp-dmd-5": replace(_SCENES, fake_updates_per_round=5),
    "scenes-dmd-5": replace(_SCENES, method="dmd", fake_updates_per_round=5),
}
