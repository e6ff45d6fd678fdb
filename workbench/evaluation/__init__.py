"""Measuring models on a prompt list: images, readings, numbers and a report, in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.evaluation.evaluation import Evaluation, ModelResult
    from workbench.evaluation.prompt_lists import PromptList


def evaluate(
    models: Sequence[str],
    prompts: str | PromptList,
    seeds: Sequence[int] = range(9),
    metrics: Sequence[str] = (),
    *,
    teacher: str = "",
    teacher_steps: int = 30,
    guidance: float | None = None,
    folder: str | Path = "",
    device: str = "",
    **settings: Any,
) -> tuple[Evaluation, list[ModelResult]]:
    """The evaluation, saved in its folder, and each model's numbers; what has no number is listed
    in `evaluation.missing`.

    Args:
        models: "teacher", run folders, and names of shipped or published students.
        prompts: the name of a prompt list, a file, or a `PromptList`.
        seeds: two or more per prompt.
        metrics: names in `METRICS`; empty takes those that need no download.
        teacher: as in a recipe; also the reference of metrics that need one. Empty takes that of
            the first run named, else scenes.
        teacher_steps: sampling steps of the teacher.
        guidance: classifier-free guidance of the teacher; None takes that of the first student's
            recipe, else of the teacher's preset.
        folder: keeps images, features and numbers; empty is evaluations/PROMPTS, for other teachers
            than scenes evaluations/PROMPTS-TEACHER. An evaluation in it is continued: existing
            images are not sampled again.
        device: "cuda", "mps" or "cpu"; empty takes the first available.
        settings: further fields of `EvaluationRequest`, such as `features` and `noise`.

    Raises ValueError for models, prompts and metrics that are unknown or do not go together.
    """
    from workbench.evaluation.evaluation import Evaluation
    from workbench.evaluation.metrics import usual_metrics
    from workbench.evaluation.prompt_lists import PromptList, prompt_list
    from workbench.evaluation.request import EvaluationRequest
    from workbench.io.progress import watched
    from workbench.models.model_cache import model_opener
    from workbench.models.students import common_recipe

    _, teacher = common_recipe(models, teacher)
    backend, open_model = model_opener(
        models, teacher, teacher_steps=teacher_steps, guidance=guidance, device=device
    )
    if not isinstance(prompts, PromptList):
        prompts = prompt_list(prompts, check=backend.rewrite)
    request = EvaluationRequest(
        tuple(models),
        prompts,
        tuple(seeds),
        tuple(metrics) or usual_metrics(teacher),
        teacher=teacher,
        **settings,
    )
    folder = folder or Path("evaluations") / request.default_folder(backend.parts)
    evaluation = Evaluation(Path(folder), request)
    watched(evaluation.generate(backend, open_model))
    watched(evaluation.read(str(backend.device)))
    results = evaluation.results()
    evaluation.save()
    return evaluation, results
