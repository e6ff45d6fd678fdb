"""The options by which commands name models, and the function that opens those models."""

from __future__ import annotations

import argparse

from workbench.core.presets import SCENES
from workbench.io.settings import refuse_ignored


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Adds `--device`."""
    parser.add_argument("--device", help="cuda, mps or cpu (default: the first available one)")


def add_model_options(parser: argparse.ArgumentParser, default: str, summary: str = "") -> None:
    """Adds the options that name models; `summary` explains an empty `default`."""
    parser.add_argument(
        "--models",
        default=default,
        help="comma-separated: teacher, a run folder, or a name that `models` lists (default: "
        f"{summary or default})",
    )
    parser.add_argument(
        "--teacher", help="as in a recipe (default: that of the first run named, else scenes)"
    )
    parser.add_argument(
        "--resolution",
        type=int,
        help="side of the images in pixels (default: that of the first run named, else 0, "
        "the size that the teacher was trained at)",
    )
    parser.add_argument(
        "--guidance",
        type=float,
        help="guidance of the teacher (default: that of the first student's recipe, else of the "
        "teacher's preset)",
    )
    parser.add_argument(
        "--teacher-steps",
        type=int,
        default=SCENES.teacher_steps,
        help="steps of the teacher (default: %(default)s)",
    )
    parser.add_argument(
        "--seeds", type=int, default=9, help="seeds 0 to SEEDS - 1 (default: %(default)s)"
    )
    parser.add_argument(
        "--accept-other-teacher",
        action="store_true",
        help="sample a student also on another teacher than the one it was trained on; its "
        "pictures and tables say so",
    )
    add_verify_option(parser)
    add_device_option(parser)


def add_verify_option(parser: argparse.ArgumentParser) -> None:
    """Adds `--verify`."""
    parser.add_argument(
        "--verify",
        action="store_true",
        help="read all weights to tell whether they have changed; by default those that have kept "
        "size and time are trusted, which misses a change that keeps both",
    )


def refuse_ignored_options(options: argparse.Namespace, **reasons: str) -> None:
    """Raises ValueError for options of the teacher when no teacher is sampled, and for those that
    `reasons` say are ignored (see `workbench.io.settings.refuse_ignored`).
    """
    names = model_names(options)
    absent = "" if "teacher" in names else "the teacher is not among --models"
    alone = "there is no student among --models" if names == ["teacher"] else ""
    given = {"guidance": absent, "teacher_steps": absent, "accept_other_teacher": alone}
    refuse_ignored(options, given | reasons)


def openable(options: argparse.Namespace):
    """The backend, the names in `--models`, and a function that opens one of them."""
    from workbench.models.model_cache import model_opener

    names = model_names(options)
    backend, open_model = model_opener(
        names,
        options.teacher,
        teacher_steps=options.teacher_steps,
        guidance=options.guidance,
        resolution=options.resolution,
        device=options.device,
        other_teacher=options.accept_other_teacher,
    )
    return backend, names, open_model


def load_models(options: argparse.Namespace):
    """The backend and the models that `--models` names."""
    backend, names, open_model = openable(options)
    return backend, [open_model(name) for name in names]


def model_names(options: argparse.Namespace) -> list[str]:
    """The names in `--models`. Raises ValueError for none, and for one that is listed twice."""
    names = [name.strip() for name in options.models.split(",") if name.strip()]
    if not names:
        raise ValueError("There are no models: name at least one, as in --models teacher,dp-dmd.")
    if len(set(names)) < len(names):
        raise ValueError(f"A model is listed twice: --models {options.models}.")
    return names


def check_counts(options: argparse.Namespace) -> None:
    """Raises ValueError, before anything is loaded, for no models, no seeds and no steps, and for
    an empty prompt.
    """
    model_names(options)
    if options.seeds < 1:
        raise ValueError(
            f"There are no seeds: --seeds must be a whole number from 1 on, not {options.seeds}."
        )
    if options.teacher_steps < 1:
        raise ValueError(
            "Teacher steps must be a whole number from 1 on, not --teacher-steps "
            f"{options.teacher_steps}."
        )
    prompts = getattr(options, "prompt", None)
    for prompt in [prompts] if isinstance(prompts, str) else prompts or ():
        if not prompt.strip():
            raise ValueError("A prompt is empty: write what the picture should show.")
