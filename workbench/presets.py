"""Named recipes: the paper's, the released script's, and those of the embedded world."""

from __future__ import annotations

from dataclasses import replace

from workbench.recipe import Recipe

SCENES = Recipe(guidance=2.0, student_rate=4e-4, fake_rate=4e-4, rounds=240, fake_updates_per_round=2)
# one fake update a round and a student that learns faster than the fake network, which therefore lags: DMD collapses
_LAGGING = replace(SCENES, student_rate=1e-3, rounds=120, fake_updates_per_round=1)
# the paper's five fake updates a round
_PAPER_ROUND = replace(SCENES, fake_updates_per_round=5)

PRESETS: dict[str, Recipe] = {
    # Section 5.1: K = 5, lambda = 0.05, 5 fake updates a round, AdamW 1e-5
    "paper": Recipe(teacher="stabilityai/stable-diffusion-3.5-medium", prompts="prompts.txt", batch=4),
    # what train_sd35_dpdmd.py does where it differs: its grid, one time a batch, K = 10 of its shell script
    "released-script": Recipe(teacher="stabilityai/stable-diffusion-3.5-medium", prompts="prompts.txt", batch=4, k=10,
                              student_grid="diffusers", times="per_batch"),
    # the embedded world; the shipped students are scenes-dmd and scenes-dp-dmd
    "scenes-dp-dmd": SCENES,
    "scenes-dmd": replace(SCENES, method="dmd"),
    "scenes-dmd-lpips": replace(SCENES, method="dmd_lpips"),
    "scenes-dmd-gan": replace(SCENES, method="dmd_gan"),
    "scenes-dp-dmd-lagging": _LAGGING,
    "scenes-dmd-lagging": replace(_LAGGING, method="dmd"),
    "scenes-dp-dmd-5": _PAPER_ROUND,
    "scenes-dmd-5": replace(_PAPER_ROUND, method="dmd"),
}
