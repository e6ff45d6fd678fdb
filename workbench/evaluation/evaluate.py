"""An evaluation in one call: models by name, prompts and metrics, to their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from workbench.core.presets import SCENES
from workbench.evaluation.evaluation import Evaluation, ModelResult
from workbench.evaluation.metrics import usual_metrics
from workbench.evaluation.prompt_lists import PromptList, folder_name, prompt_list
from workbench.evaluation.request import EvaluationRequest
from workbench.io.notation import TEACHER
from workbench.io.progress import watched
from workbench.models.loading import best_device, load_backend
from workbench.models.model import Model, teacher_model
from workbench.models.model_cache import ModelCache
from workbench.models.students import check_model, shipped_students


def evaluate(
    models: Sequence[str],
    prompts: str | PromptList,
    seeds: Sequence[int] = range(9),
    metrics: Sequence[str] = (),
    *,
    teacher: str = "scenes",
    teacher_steps: int = SCENES.teacher_steps,
    guidance: float = SCENES.guidance,
    folder: str | Path = "",
    device: str = "",
    **settings,
) -> tuple[Evaluation, list[ModelResult]]:
    """The evaluation, saved in its folder, and the numbers of each model; what has no number is
    listed in `evaluation.missing`.

    Args:
        models: "teacher", run folders, and names of shipped or published students.
        prompts: the name of a prompt list, a file, or a `PromptList`.
        seeds: two or more per prompt.
        metrics: names in `METRICS`; empty takes those that need no download.
        teacher: as in a recipe; also the reference of metrics that need one.
        teacher_steps: sampling steps of the teacher.
        guidance: classifier-free guidance of the teacher.
        folder: keeps images, features and report; empty is evaluations/PROMPTS. An evaluation
            in it is continued: existing images are not sampled again.
        device: "cuda", "mps" or "cpu"; empty takes the first available.
        settings: further fields of `EvaluationRequest`, such as `features` and `noise`.

    Raises ValueError for models, prompts and metrics that are unknown or do not go together.
    """
    device = device or best_device()
    students = shipped_students(teacher)
    for name in models:
        if name != TEACHER:
            check_model(name, teacher)
    backend = load_backend(teacher, device)
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
    cache = ModelCache(backend)

    def open_model(name: str) -> Model:
        if name == TEACHER:
            return teacher_model(backend, teacher_steps, guidance)
        return cache.open(students.get(name, name), name)

    evaluation = Evaluation(Path(folder or Path("evaluations") / folder_name(prompts)), request)
    watched(evaluation.generate(backend, open_model))
    watched(evaluation.read(device))
    results = evaluation.results()
    evaluation.save()
    return evaluation, results
