"""Named recipes: the paper's, the released script's, and those of the embedded world."""

from __future__ import annotations

from dataclasses import replace

from workbench.core.recipe import Recipe, same_teacher

SD3 = "stabilityai/stable-diffusion-3-medium-diffusers"
SD35 = "stabilityai/stable-diffusion-3.5-medium"
SDXL = "stabilityai/stable-diffusion-xl-base-1.0"

# One fake update per round and a student that learns twice as fast as the fake network, which
# therefore lags: here DMD loses diversity. Its anchor (t = 0.66) lies a little beyond the end of
# the first step (t = 0.75). Chosen on the captions of `chosen_on`.
SCENES = Recipe(
    guidance=2.0,
    student_rate=8e-4,
    fake_rate=4e-4,
    fake_updates_per_round=1,
    rounds=200,
    ema=0.95,
    lam=1.0,
    k=10,
)
# Its twin with a teacher that predicts eps: there DMD collapses sooner, so half the rounds show it.
_EPS = replace(SCENES, teacher="scenes-eps", anchor="denoised", rounds=100)
# the paper's five fake updates per round, K and lambda: the fake network keeps up
_PAPER_ROUND = replace(SCENES, student_rate=4e-4, fake_updates_per_round=5, lam=0.05, k=5)

PRESETS: dict[str, Recipe] = {
    # Section 5.1: K = 5, lambda = 0.05, 5 fake updates per round, AdamW 1e-5
    "paper": Recipe(teacher=SD35, prompts="prompts.txt", batch=4),
    # as train_sd35_dpdmd.py where it differs: its grid, one time per batch, K = 10 of its shell
    # script
    "released-script": Recipe(
        teacher=SD35,
        prompts="prompts.txt",
        batch=4,
        k=10,
        student_grid="diffusers",
        times="per_batch",
    ),
    # Appendix C: 50 deterministic teacher steps, x0 targets; the guidance is SDXL's usual one, the
    # paper's value is lost
    "sdxl": Recipe(
        teacher=SDXL,
        prompts="prompts.txt",
        batch=4,
        anchor="denoised",
        teacher_steps=50,
        guidance=7.5,
    ),
    # the embedded world; the shipped students are scenes-dmd and scenes-dp-dmd
    "scenes-dp-dmd": SCENES,
    "scenes-dmd": replace(SCENES, method="dmd"),
    "scenes-dmd-lpips": replace(SCENES, method="dmd_lpips"),
    "scenes-dmd-gan": replace(SCENES, method="dmd_gan"),
    "scenes-dp-dmd-5": _PAPER_ROUND,
    "scenes-dmd-5": replace(_PAPER_ROUND, method="dmd"),
    "scenes-eps-dp-dmd": _EPS,
    "scenes-eps-dmd": replace(_EPS, method="dmd"),
}


def recipe_of(teacher: str) -> Recipe:
    """The first preset of a teacher (a hub id, or a folder of the same name), with its steps and
    guidance; for an unknown teacher the paper's.
    """
    return next(
        (recipe for recipe in PRESETS.values() if same_teacher(recipe.teacher, teacher)),
        PRESETS["paper"],
    )
