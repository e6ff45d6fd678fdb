"""A research workbench for Diversity-Preserved Distribution Matching Distillation (DP-DMD).

Read core/ first, in this order: recipe, schedules, prediction, denoiser, sampler, objectives,
distiller. docs/architecture.md names the other rooms.

Every name below can be imported from `workbench`; its module, and torch with it, is imported when
the name is first used, never by `import workbench`:

    from workbench import PRESETS, Run, train
    for event in train(Run.create("runs/mine", PRESETS["scenes-dp-dmd"], "cpu")):
        print(event)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and documentation; MODULES below says the same to Python
    from workbench.core.distiller import Distiller as Distiller
    from workbench.core.methods import METHODS as METHODS
    from workbench.core.presets import PRESETS as PRESETS
    from workbench.core.recipe import Recipe as Recipe
    from workbench.evaluation import evaluate as evaluate
    from workbench.evaluation.evaluation import Evaluation as Evaluation
    from workbench.evaluation.metrics import METRICS as METRICS
    from workbench.evaluation.prompt_lists import prompt_list as prompt_list
    from workbench.evaluation.report import write_evaluation_report as write_evaluation_report
    from workbench.evaluation.request import EvaluationRequest as EvaluationRequest
    from workbench.grid.generate import generate_grid as generate_grid
    from workbench.grid.request import GridRequest as GridRequest
    from workbench.io.png import tile as tile
    from workbench.lab.dashboard import Dashboard as Dashboard
    from workbench.models.backends.source import FAMILIES as FAMILIES
    from workbench.models.loading import load_backend as load_backend
    from workbench.models.model import Model as Model
    from workbench.models.model import teacher_model as teacher_model
    from workbench.models.sampling import images_of as images_of
    from workbench.models.students import open_model as open_model
    from workbench.stages.analysis import StageAnalysis as StageAnalysis
    from workbench.study.design import StudyDesign as StudyDesign
    from workbench.study.folder import open_study as open_study
    from workbench.study.stimuli import create_study as create_study
    from workbench.training.build import new_distiller as new_distiller
    from workbench.training.export import export_student as export_student
    from workbench.training.plan.planner import plan as plan
    from workbench.training.run import Run as Run
    from workbench.training.sweep import Sweep as Sweep
    from workbench.training.train import train as train

MODULES = {
    # the method
    "Recipe": "core.recipe",
    "PRESETS": "core.presets",
    "METHODS": "core.methods",
    "Distiller": "core.distiller",
    # teachers, students and their images
    "load_backend": "models.loading",
    "Model": "models.model",
    "teacher_model": "models.model",
    "open_model": "models.students",
    "images_of": "models.sampling",
    "tile": "io.png",
    "FAMILIES": "models.backends.source",
    # distil
    "new_distiller": "training.build",
    "Run": "training.run",
    "train": "training.train",
    "Sweep": "training.sweep",
    "export_student": "training.export",
    "plan": "training.plan.planner",
    "Dashboard": "lab.dashboard",
    # compare and measure
    "GridRequest": "grid.request",
    "generate_grid": "grid.generate",
    "evaluate": "evaluation",
    "Evaluation": "evaluation.evaluation",
    "EvaluationRequest": "evaluation.request",
    "METRICS": "evaluation.metrics",
    "prompt_list": "evaluation.prompt_lists",
    "write_evaluation_report": "evaluation.report",
    "StageAnalysis": "stages.analysis",
    # ask people
    "StudyDesign": "study.design",
    "create_study": "study.stimuli",
    "open_study": "study.folder",
}
__all__ = [*MODULES]


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        import difflib

        near = difflib.get_close_matches(name, MODULES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise AttributeError(f"module 'workbench' has no attribute {name!r}{hint}")
    import importlib

    value = getattr(importlib.import_module(f"workbench.{MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *MODULES})
