"""The command `stages`: everything that the Stages tab shows for one prompt, as a report in a
folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from workbench.models.options import add_model_options, common_recipe, load_models


def add_stages_commands(commands, command) -> None:
    """Adds the parser; `command` is the command line's way to add one."""
    stages = command(
        commands, "stages", "measure what each denoising step decides, for one prompt", _stages
    )
    stages.add_argument("prompt", metavar="PROMPT", help="one prompt")
    stages.add_argument(
        "--out",
        type=Path,
        help="folder for report.html, numbers.json and the trajectories; those already recorded "
        "with the same settings are reused (default: stages/PROMPT)",
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


def _stages(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from workbench.grid.request import GridRequest
    from workbench.io.notation import TEACHER
    from workbench.models.loading import check_prompt
    from workbench.stages.analysis import (
        StageAnalysis,
        check_folder,
        save_trajectories,
        saved_trajectories,
    )
    from workbench.stages.gradient_probe import probe
    from workbench.stages.report import stage_figures, write_stage_report

    folder = options.out or Path("stages") / "-".join(options.prompt.lower().split())
    check_folder(folder, {options.prompt})
    backend, models = load_models(options)
    check_prompt(backend, options.prompt)
    by_name = {model.name: model for model in models}
    request = GridRequest((options.prompt,), tuple(range(options.seeds)), tuple(by_name))
    seen = StageAnalysis(
        request,
        backend,
        by_name.__getitem__,
        options.branches,
        options.parents,
        not options.no_swap,
        known=saved_trajectories(folder),
    )
    gradients, students = (
        [],
        [] if options.no_gradients else [name for name in by_name if name != TEACHER],
    )
    left = {name: "not measured" for name in students}
    _, teacher = common_recipe(options, list(by_name))
    try:
        _advance(
            tqdm(total=1.0, desc="stages", bar_format=BAR),
            ((step.done, None) for step in seen.run() if hasattr(step, "done")),
        )
        for name in students:
            events = probe(by_name[name], name, backend, teacher, options.prompt)
            try:
                gradients.append(
                    _advance(
                        tqdm(total=1.0, desc=f"gradients of {name}", bar_format=BAR),
                        ((p.done, p) for p in events),
                    )
                )
                del left[name]
            except (ValueError, RuntimeError, KeyError) as error:
                # too little memory, an old checkpoint ...: the others are worth having
                left[name] = str(error)
    finally:  # also when it is interrupted: what is done is kept
        missing = [f"gradients of {name}: {reason}" for name, reason in left.items()]
        if seen.trajectories:
            save_trajectories(seen.trajectories, folder)
            print(write_stage_report(folder, seen, stage_figures(seen), gradients, missing))
        for line in [*seen.left, *missing]:
            print(f"not done: {line}")


BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"


def _advance(bar, events):
    """Follows (part done, result) events with a bar; returns the last result."""
    with bar:
        for done, result in events:
            bar.update(done - bar.n)
    return result
