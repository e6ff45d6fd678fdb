"""A small distillation, and models that are watched."""

import dataclasses

import torch
from torch.distributed.tensor import DTensor

from tests.support.pipelines import tiny_pipeline
from workbench.core.distiller import Distiller
from workbench.core.objectives import dmd_gan, dp_dmd
from workbench.core.recipe import Recipe
from workbench.models.backends.sd3 import SD3Backend

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


def trained(method: str, accumulate: int = 1) -> dict:
    """Two rounds on this process's share of the batch: its first noise, the student's weights,
    losses and gradient norms.
    """
    objective = {"dp_dmd": dp_dmd(0.05, 2), "dmd_gan": dmd_gan()}[method]
    d = distiller(SD3Backend(tiny_pipeline()), objective, accumulate=accumulate)
    x1 = torch.cat([micro.x1 for micro in d.draws("student", 0)])
    steps = [(step.losses, step.grad_norm) for step in d.rounds(2)]
    parameters = list(d.learners["student"].bare.parameters())
    weights = [p.full_tensor() if isinstance(p, DTensor) else p.detach() for p in parameters]
    return {
        "x1": x1,
        "student": torch.cat([weight.flatten() for weight in weights]),
        "steps": steps,
        "processes": d.accelerator.num_processes,
        "rank": d.accelerator.process_index,
        "kinds": {type(p).__name__ for p in parameters},
    }


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
