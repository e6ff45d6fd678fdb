"""The command `stages`: everything that is measured of some models on one prompt, as a report in a
folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from workbench.io.files import folder_to_write, slug_of
from workbench.models.options import (
    add_model_options,
    check_counts,
    load_models,
    model_names,
    refuse_ignored_options,
)


def add_stages_commands(commands, command) -> None:
    """Adds the parser; `command` is the command line's way to add one."""
    stages = command(
        commands, "stages", "measure what each denoising step decides, for one prompt", _stages
    )
    stages.add_argument("prompt", metavar="PROMPT", help="one prompt")
    stages.add_argument(
        "--out",
        type=folder_to_write,
        help="folder for report.html, numbers.json and the trajectories; those already recorded "
        "with the same settings are reused (default: stages/PROMPT-DIGEST)",
    )
    stages.add_argument(
        "--branches",
        type=int,
        default=4,
        help="branches per parent seed; 0 skips branching (default: %(default)s)",
    )
    stages.add_argument(
        "--parents", type=int, default=6, help="seeds that are branched (default: %(default)s)"
    )
    stages.add_argument("--no-swap", action="store_true", help="skip the swap test")
    stages.add_argument(
        "--no-gradients",
        action="store_true",
        help="skip the gradients of each student, which need memory to train",
    )
    add_model_options(stages, "teacher,dmd,dp-dmd")


BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"


def _stages(options: argparse.Namespace) -> None:
    from workbench.grid.request import GridRequest
    from workbench.io.notation import TEACHER
    from workbench.io.prompt_text import clean_prompt
    from workbench.models.loading import check_prompt
    from workbench.models.students import common_recipe
    from workbench.stages.analysis import (
        StageAnalysis,
        check_folder,
        check_stages,
        saved_trajectories,
    )

    check_counts(options)
    refuse_ignored_options(options, parents="" if options.branches else "--branches is 0")
    options.prompt = clean_prompt(options.prompt)
    request = GridRequest(
        (options.prompt,), tuple(range(options.seeds)), tuple(model_names(options))
    )
    check_stages(request, options.branches, options.parents)
    folder = options.out or Path("stages") / slug_of(options.prompt)
    check_folder(folder, {options.prompt})
    backend, models = load_models(options)
    check_prompt(backend, options.prompt)
    by_name = {model.name: model for model in models}
    analysis = StageAnalysis(
        request,
        backend,
        by_name.__getitem__,
        options.branches,
        options.parents,
        not options.no_swap,
        existing=saved_trajectories(folder),
    )
    students = [] if options.no_gradients else [name for name in by_name if name != TEACHER]
    gradients, failures = [], {name: "not measured" for name in students}
    _, teacher = common_recipe(list(by_name), options.teacher)
    try:
        _follow("stages", analysis.run())
        for name in students:
            try:
                gradients.append(_gradients(by_name[name], analysis, teacher))
                del failures[name]
            except (ValueError, RuntimeError, KeyError) as error:
                # too little memory, an old checkpoint ...: the others are worth having
                failures[name] = str(error)
    finally:  # also when it is interrupted: finished tasks are kept
        _save(folder, analysis, gradients, failures)


def _gradients(model, analysis, teacher: str):
    """The gradients of one student, measured under a progress bar."""
    from workbench.stages.gradient_probe import probe

    return _follow(
        f"gradients of {model.name}",
        probe(model, model.name, analysis.backend, teacher, analysis.prompt),
    )


def _save(folder: Path, analysis, gradients: list, failures: dict[str, str]) -> None:
    """Writes trajectories and report, and prints the unfinished tasks."""
    from workbench.stages.analysis import save_trajectories
    from workbench.stages.report import stage_figures, write_stage_report

    missing = [f"gradients of {name}: {reason}" for name, reason in failures.items()]
    if analysis.trajectories:
        save_trajectories(analysis.trajectories, folder)
        figures = stage_figures(analysis)
        print(write_stage_report(folder, analysis, figures, gradients, missing))
    for line in [*analysis.unfinished, *missing]:
        print(f"not done: {line}")


def _follow(title: str, events: Iterable):
    """Shows `Progress` and `Probed` events under a bar; returns the last event."""
    from tqdm import tqdm

    from workbench.io.progress import Progress
    from workbench.stages.gradient_probe import Probed

    event = None
    with tqdm(total=1.0, desc=title, bar_format=BAR) as bar:
        for event in events:
            if isinstance(event, (Progress, Probed)):
                bar.update(event.done - bar.n)
    return event


def _remake(path: Path, made: dict, device: str | None):
    from workbench.stages.reproduce import remake_stages

    return remake_stages(path, made, device)


STAGES_REMAKERS = {"stages": _remake}
