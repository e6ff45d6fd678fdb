"""A small distillation, and models that are watched."""

import dataclasses

from workbench.core.distiller import Distiller
from workbench.core.objectives import dp_dmd
from workbench.core.recipe import Recipe

PROMPTS = ["a red circle", "two stars", "a blue shape", "a circle left of a triangle"]
RECIPE = Recipe(
    batch=4,
    rounds=4,
    fake_updates_per_round=2,
    teacher_steps=6,
    k=2,
    guidance=2.0,
    student_rate=1e-3,
    fake_rate=1e-3,
    precision="fp32",
    student_steps=3,
)


def distiller(backend, objective=None, **changes):
    return Distiller(
        dataclasses.replace(RECIPE, **changes), backend, objective or dp_dmd(0.05, 2), PROMPTS
    )


def spying(open_model, look):
    """An opener whose models call `look(x_t, t)` before each evaluation."""

    class Spied:
        def __init__(self, denoiser):
            self.denoiser = denoiser

        def __call__(self, x_t, t, condition):
            look(x_t, t)
            return self.denoiser(x_t, t, condition)

    def opened(name):
        model = open_model(name)
        return dataclasses.replace(model, denoiser=Spied(model.denoiser))

    return opened
