"""python -m workbench evaluate | report."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path

from workbench.io.files import folder_to_write
from workbench.io.provenance import compared_numbers, unsigned
from workbench.models.options import (
    add_model_options,
    check_counts,
    model_names,
    openable,
    refuse_ignored_options,
)

OF_IMAGES = (  # options that say which images to generate
    "prompts",
    "limit",
    "noise",
    "image_seeds",
    "models",
    "teacher",
    "resolution",
    "guidance",
    "teacher_steps",
    "seeds",
    "accept_other_teacher",
)


def add_evaluation_commands(commands, command) -> None:
    """Adds the parsers; `command` is the command line's own way to add one."""
    evaluate = command(commands, "evaluate", "score models on prompts and seeds", _evaluate)
    evaluate.add_argument(
        "--prompts",
        default="",
        help="scenes, neutral, pick-a-pic, coco-10k, diffusiondb, geneval, or a file: text, JSON, "
        "JSONL, CSV or TSV, also with GenEval's metadata (default: the 43 captions of scenes that "
        "no setting was chosen on; for other teachers neutral)",
    )
    evaluate.add_argument(
        "--limit", type=int, default=0, help="use only the first LIMIT prompts (default: all)"
    )
    metrics = evaluate.add_argument(
        "--metrics",
        default="",
        help="comma-separated: METRICS; NAME=SOURCE takes weights from another hub id or a folder "
        "(default: diversity,vendi, and on scenes spread,geneval)",
    )
    features = evaluate.add_argument(
        "--features",
        default="",
        help="the features that diversity, vendi, coverage, kid and fid are measured on, "
        "comma-separated: FEATURES, or NAME=SOURCE (default: lite0)",
    )
    _name_when_shown(evaluate, metrics, features)
    evaluate.add_argument(
        "--noise",
        default="per-prompt",
        choices=("per-prompt", "official"),
        help="per-prompt: a noise for each prompt and seed; official: as the released scripts, "
        "the same noises for all prompts (default: %(default)s)",
    )
    evaluate.add_argument(
        "--image-seeds",
        type=int,
        default=1,
        help="seeds per prompt that are read for quality and preference (default: %(default)s)",
    )
    evaluate.add_argument(
        "--out",
        type=folder_to_write,
        help="folder of images, readings and report, which resumes after an interruption "
        "(default: evaluations/PROMPTS, for other teachers evaluations/PROMPTS-TEACHER)",
    )
    evaluate.add_argument(
        "--rescore",
        action="store_true",
        help="measure the images in --out, and generate none",
    )
    add_model_options(evaluate, "teacher,dmd,dp-dmd")
    report = command(
        commands, "report", "put several evaluations, one per prompt list, into one report", _report
    )
    report.add_argument(
        "folder", type=Path, nargs="+", metavar="EVALUATION", help="folders that evaluate wrote"
    )
    report.add_argument(
        "--to",
        type=folder_to_write,
        default=Path("report"),
        help="folder to write (default: %(default)s)",
    )


def _name_when_shown(parser, metrics: argparse.Action, features: argparse.Action) -> None:
    """Puts the names into the help when it is shown, for importing them takes seconds."""
    format_help = parser.format_help

    def named() -> str:
        from workbench.evaluation.metrics import FEATURES, METRICS

        metrics.help = metrics.help.replace("METRICS", ", ".join(METRICS))
        features.help = features.help.replace("FEATURES", ", ".join(FEATURES))
        return format_help()

    parser.format_help = named


def _evaluate(options: argparse.Namespace) -> int:
    from workbench.evaluation.evaluation import Evaluation
    from workbench.evaluation.report import write_evaluation_report
    from workbench.evaluation.tables import number_table
    from workbench.io.progress import watched
    from workbench.models.loading import best_device

    device = options.device or best_device()
    if options.rescore and not options.out:
        raise ValueError(
            "--rescore measures the images of an evaluation: name its folder with --out"
        )
    if options.rescore:
        _check_rescore(options)
        evaluation = Evaluation.open(options.out)
        evaluation.request = dataclasses.replace(evaluation.request, **_given_metrics(options))
    else:
        evaluation = generated(options, options.out)
    watched(evaluation.read(device))
    results = evaluation.results()
    report = write_evaluation_report(evaluation.folder, [(evaluation, results)])
    evaluation.save()
    print(number_table(evaluation, results).markdown)
    print(f"\n{report}, with tables as Markdown, CSV and LaTeX beside it")
    for task, reason in evaluation.missing.items():
        print(f"not done: {task}: {reason}")
    return 1 if evaluation.missing else 0


def _check_rescore(options: argparse.Namespace) -> None:
    """Raises ValueError for options that say which images to generate."""
    given = [f"--{name.replace('_', '-')}" for name in OF_IMAGES if name in options.given]
    if given:
        raise ValueError(
            f"--rescore measures the existing images: leave out {', '.join(given)}, or --rescore"
        )


def _refuse_unread(options: argparse.Namespace, request) -> None:
    """Raises ValueError for options that none of the metrics reads."""
    from workbench.evaluation.metrics import parse_metrics

    def readers(feature: str) -> set[str]:
        parsed = parse_metrics(request.metrics, (feature,), request.prompts.prompts)
        return {metric.reader for metric in parsed}

    named = ", ".join(request.metrics)
    single = any(not metric.seeds for metric in request.parsed)
    refuse_ignored_options(
        options,
        features="" if readers("lite0=64") != readers("lite0=96") else f"{named} reads no features",
        image_seeds="" if single else f"{named} reads all seeds",
    )


def generated(options: argparse.Namespace, out: Path | None):
    """The requested evaluation, with its images, in the folder `out` or one named after its
    prompts.
    """
    from workbench.evaluation.evaluation import Evaluation
    from workbench.evaluation.metrics import usual_metrics
    from workbench.evaluation.prompt_lists import prompt_list
    from workbench.evaluation.request import EvaluationRequest
    from workbench.io.progress import watched
    from workbench.models.embedded import EMBEDDED
    from workbench.models.students import common_recipe

    check_counts(options)
    names = model_names(options)
    _, teacher = common_recipe(names, options.teacher)
    prompts = options.prompts or ("scenes" if teacher in EMBEDDED else "neutral")
    settings = {
        name: getattr(options, name) for name in ("noise", "image_seeds") if hasattr(options, name)
    }
    settings |= {"metrics": usual_metrics(teacher)} | _given_metrics(options)
    # checked before anything is loaded
    request = EvaluationRequest(
        tuple(names),
        prompt_list(prompts, options.limit),
        tuple(range(options.seeds)),
        teacher=teacher,
        **settings,
    )
    _refuse_unread(options, request)
    backend, _, open_model = openable(options)
    request = dataclasses.replace(
        request, prompts=prompt_list(prompts, options.limit, backend.rewrite)
    )
    if request.prompts.dropped:
        print(f"dropped from {prompts}: {request.prompts.summary}")
    folder = out or Path("evaluations") / request.default_folder(backend.parts)
    evaluation = Evaluation(folder, request)
    watched(evaluation.generate(backend, open_model))
    return evaluation


def _given_metrics(options: argparse.Namespace) -> dict:
    """The metrics and features in the options."""
    return {
        name: tuple(part.strip() for part in text.split(",") if part.strip())
        for name, text in ((name, getattr(options, name, "")) for name in ("metrics", "features"))
        if text
    }


def _report(options: argparse.Namespace) -> None:
    from workbench.evaluation.evaluation import Evaluation
    from workbench.evaluation.report import write_evaluation_report

    evaluations = [Evaluation.open(folder) for folder in options.folder]
    results = [(evaluation, evaluation.results()) for evaluation in evaluations]
    print(write_evaluation_report(options.to, results))


def remake_image(path: Path, settings: Mapping, device: str | None):
    """One image of an evaluation, sampled alone: in another batch than at first, which rounds in
    another order.
    """
    import numpy as np
    from PIL import Image

    from workbench.io.png import compared, picture_of
    from workbench.models.provenance import reopened
    from workbench.models.sampling import draw_of, sampled_images

    there = reopened(settings["origin"], device)
    model = there.models[settings["model"]]
    (image,) = sampled_images(model, there.backend, [draw_of(settings)])
    changes = ", ".join(filter(None, (there.changes, "sampled alone")))
    return compared(np.asarray(Image.open(path)), np.asarray(picture_of(image)), changes)


def remake_report(path: Path, made: Mapping, device: str | None):
    """The evaluations of a report, sampled, read and written again in a temporary folder."""
    from workbench.evaluation.report import report_made, write_evaluation_report

    with tempfile.TemporaryDirectory() as name:
        folder, evaluated, changes = Path(name), [], ""
        for number, saved in enumerate(made["evaluations"]):
            evaluation, changes = _remade(saved, folder / str(number), made["packages"], device)
            evaluated.append((evaluation, evaluation.results()))
        report = write_evaluation_report(folder / "report", evaluated).parent
        own = unsigned(path.name, path.read_bytes().decode())
        same = any(
            unsigned(file.name, file.read_bytes().decode()) == own
            for file in report.glob(f"*{path.suffix}")
        )
        return compared_numbers(
            _named(made["numbers"]), _named(report_made(evaluated)["numbers"]), same, changes
        )


def _remade(saved: Mapping, folder: Path, packages: Mapping, device: str | None):
    """An evaluation as saved, made again in `folder`, and what of the machine is another."""
    from workbench.evaluation.evaluation import Evaluation
    from workbench.evaluation.request import EvaluationRequest
    from workbench.models.provenance import reopened

    about, images = saved["about"], saved["images"]
    there = reopened(
        {
            "teacher": about["teacher"],
            "models": {
                name: how["settings"] | {"place": how["place"]} for name, how in images.items()
            },
            "device": about["device"],
            "packages": packages,
        },
        device,
    )

    def opened(name: str):
        if name not in there.models:
            raise ValueError("it was not opened at first")
        return there.models[name]

    evaluation = Evaluation(folder, EvaluationRequest.from_dict(saved["request"]))
    for _ in (
        *evaluation.generate(there.backend, opened),
        *evaluation.read(str(there.backend.device)),
    ):
        pass
    for name, how in images.items():  # times are those of the first making
        evaluation.images[name] = dataclasses.replace(
            evaluation.images[name], milliseconds=how["milliseconds"]
        )
    return evaluation, there.changes


def _named(numbers: list[dict]) -> dict[str, float | None]:
    """Every number and bound of a report's `numbers`, by its name in words."""
    return {
        " of ".join(
            (f"{column} ({bound})", one["model"], f"{one['prompts']}, {one['teacher']}")
        ): value
        for one in numbers
        for column, bounds in one["numbers"].items()
        for bound, value in bounds.items()
    }


EVALUATION_REMAKERS = {"evaluation": remake_report, "evaluation image": remake_image}
