"""A small evaluation, from its request to its numbers."""

import dataclasses

from workbench.evaluation.evaluation import Evaluation
from workbench.evaluation.prompt_lists import Prompt, PromptList
from workbench.evaluation.request import EvaluationRequest
from workbench.models.model import Model, teacher_model

PROMPTS = ["a red circle", "two stars", "a blue shape"]
LIST = PromptList("mine", tuple(map(Prompt, PROMPTS)), {"sexual": 2})


def asked(*models: str, **settings) -> EvaluationRequest:
    return EvaluationRequest(
        **dict(models=models or ("teacher",), prompts=LIST, seeds=(0, 1, 2), features=("lite0=32",))
        | settings
    )


def opener(backend):
    def opened(name: str) -> Model:
        if name == "gone":
            raise ValueError("there is no model and no folder called gone")
        model = teacher_model(backend, steps=2)
        return (
            model
            if name == "teacher"
            else dataclasses.replace(model, name=name, denoiser=model.denoiser.denoiser)
        )

    return opened


def done(evaluation: Evaluation, backend) -> Evaluation:
    for _ in (*evaluation.generate(backend, opener(backend)), *evaluation.read()):
        pass
    return evaluation
