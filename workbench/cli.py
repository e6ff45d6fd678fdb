"""The command line: python -m workbench train | plan | resume | sample | evaluate | report | stages | models | export |
study ... | scenes make-teacher.

Its settings are generated from the dataclasses `Recipe` and `TeacherRecipe`, which hold every default and help text.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import typing
from pathlib import Path

from workbench.cards import CARDS
from workbench.presets import PRESETS, SCENES
from workbench.recipe import Recipe


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status. Mistakes of the user end in one line, not in a traceback."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except (ValueError, RuntimeError, OSError) as error:
        print(f"workbench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nworkbench: stopped; nothing written so far is lost", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workbench",
                                     description="Distil few-step students and measure what it does to diversity.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train = _command(commands, "train", "distil a student into a run folder", _train)
    train.add_argument("--preset", choices=PRESETS, default="scenes-dp-dmd", help="recipe to start from (default: %(default)s)")
    train.add_argument("--out", type=Path, help="run folder (default: runs/METHOD-DIGEST)")
    train.add_argument("--dry-run", action="store_true", help="print the resolved recipe and stop")
    _device(train)
    _settings(train, Recipe)
    planned = _command(commands, "plan", "say what a recipe needs in memory and time, without weights or a GPU", _plan)
    planned.add_argument("--preset", choices=PRESETS, default="paper", help="recipe to start from (default: %(default)s)")
    planned.add_argument("--mode", choices=("full", "lora"), help="lora: --lora 64 unless given; full: --lora 0")
    planned.add_argument("--card", choices=CARDS, default="h100", help="whose hours to estimate (default: %(default)s)")
    planned.add_argument("--utilisation", type=float, default=0.4, help="share of the card's peak (default: %(default)s)")
    planned.add_argument("--json", action="store_true", help="print JSON: bytes, operations and hours")
    planned.add_argument("--table", action="store_true", help="print the README's table of SD3.5-Medium and SDXL for these settings")
    _settings(planned, Recipe)
    resume = _command(commands, "resume", "go on with an interrupted run, bit for bit", _resume)
    resume.add_argument("folder", type=Path, metavar="RUN", help="run folder")
    _device(resume)
    sample = _command(commands, "sample", "make one picture: a row of seeds for each prompt", _sample)
    sample.add_argument("prompt", nargs="+", help="prompts")
    sample.add_argument("--out", type=Path, default=Path("sample.png"), help="picture to write (default: %(default)s)")
    _models(sample, "dp-dmd")
    evaluate = _command(commands, "evaluate", "score models on prompts and seeds", _evaluate)
    evaluate.add_argument("--prompts", default="", help="scenes, neutral, pick-a-pic, coco-10k, diffusiondb, geneval, or a file: one prompt a "
                          "line, or .jsonl with GenEval's metadata (default: the 43 captions of scenes that no setting was chosen on; for other "
                          "teachers neutral)")
    evaluate.add_argument("--limit", type=int, default=0, help="take only the first LIMIT prompts (default: all)")
    evaluate.add_argument("--metrics", default="", help="comma-separated: diversity, vendi, coverage, kid, fid, cmmd, spread, geneval, vq-r1, "
                          "maniqa, maniqa-pyiqa, "
                          "image-reward, pickscore, pickscore-26, clipscore; NAME=SOURCE takes weights from another hub id or a folder "
                          "(default: diversity,vendi, and on scenes spread,geneval)")
    evaluate.add_argument("--features", default="", help="what diversity, vendi, coverage, kid and fid are measured on, comma-separated: lite0, "
                          "clip, clip-pooled, clip-projected, clip-336, dinov3, dinov2, or NAME=SOURCE (default: lite0)")
    evaluate.add_argument("--noise", default="per-prompt", choices=("per-prompt", "official"), help="per-prompt: a noise for each prompt and seed; "
                          "official: as the released scripts, the same noises for all prompts (default: %(default)s)")
    evaluate.add_argument("--image-seeds", type=int, default=1, help="seeds of a prompt that are read for quality and preference "
                          "(default: %(default)s)")
    evaluate.add_argument("--out", type=Path, help="folder of images, readings and report, which goes on where it was interrupted (default: "
                          "evaluations/PROMPTS)")
    evaluate.add_argument("--rescore", action="store_true", help="measure the images that --out holds, and make none")
    _models(evaluate, "teacher,dmd,dp-dmd")
    report = _command(commands, "report", "put several evaluations, one for each prompt list, into one report", _report)
    report.add_argument("folder", type=Path, nargs="+", metavar="EVALUATION", help="folders that evaluate wrote")
    report.add_argument("--to", type=Path, default=Path("report"), help="folder to write (default: %(default)s)")
    stages = _command(commands, "stages", "see and measure what each denoising step decides, for one prompt", _stages)
    stages.add_argument("prompt", help="one prompt")
    stages.add_argument("--out", type=Path, help="folder for report.html, numbers.json and the trajectories, which are taken from "
                        "there when they are the same (default: stages/PROMPT)")
    stages.add_argument("--branches", type=int, default=4,
                        help="branches of each parent seed; 0 leaves branching out (default: %(default)s)")
    stages.add_argument("--parents", type=int, default=6, help="seeds that are branched (default: %(default)s)")
    stages.add_argument("--no-swap", action="store_true", help="leave the swap test out")
    stages.add_argument("--no-gradients", action="store_true",
                        help="leave out the gradients of each student, which need memory to train")
    _models(stages, "teacher,dmd,dp-dmd")
    _command(commands, "models", "list the students that --models takes by name, one line each", _list_models)
    export = _command(commands, "export", "write a run's student as a diffusers pipeline or LoRA with a model card", _export)
    export.add_argument("folder", type=Path, metavar="RUN", help="run folder")
    export.add_argument("--to", type=Path, required=True, help="folder to write")
    export.add_argument("--lora", type=int, default=0, metavar="RANK",
                        help="write a whole student as the nearest adapter of this rank (default: as a pipeline)")
    from workbench.study_commands import add_study_commands

    add_study_commands(commands, _command, _models)
    scenes = commands.add_parser("scenes", help="the embedded world").add_subparsers(required=True, metavar="COMMAND")
    make = _command(scenes, "make-teacher", "train the embedded teacher from nothing (hours; resumable)", _make_teacher)
    make.add_argument("--out", type=Path, default=Path("scenes-teacher"), help="work folder (default: %(default)s)")
    make.add_argument("--compile", action="store_true", help="compile the transformer's blocks first (minutes, then a third faster)")
    make.add_argument("--dry-run", action="store_true", help="print the resolved recipe and stop")
    from workbench.scenes.teacher_recipe import TeacherRecipe

    _settings(make, TeacherRecipe)
    return parser


def _command(commands, name: str, text: str, run) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def _device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="cuda, mps or cpu (default: the first that is there)")


def _models(parser: argparse.ArgumentParser, default: str, told: str = "") -> None:
    """`told` says what an empty `default` stands for."""
    parser.add_argument("--models", default=default,
                        help=f"comma-separated: teacher, a run folder, or a name that `models` lists (default: {told or default})")
    parser.add_argument("--teacher", help="as in a recipe (default: that of the first run named, else scenes)")
    parser.add_argument("--resolution", type=int, help="side of the images in pixels (default: that of the first run named, else 0, "
                        "which is what the teacher was made for)")
    parser.add_argument("--guidance", type=float, help="guidance of the teacher (default: that of the first student's recipe)")
    parser.add_argument("--teacher-steps", type=int, default=SCENES.teacher_steps, help="steps of the teacher (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=9, help="seeds 0 to SEEDS - 1 (default: %(default)s)")
    _device(parser)


def _settings(parser: argparse.ArgumentParser, recipe: type) -> None:
    """One option for each field; an option that is not given leaves the preset's value."""
    kinds = typing.get_type_hints(recipe)
    for item in dataclasses.fields(recipe):
        kind = kinds[item.name]
        parser.add_argument("--" + item.name.replace("_", "-"), dest=item.name, type=kind, metavar=kind.__name__.upper(),
                            choices=item.metadata["choices"] or None, default=argparse.SUPPRESS,
                            help=f"{item.metadata['help']} (default: {item.default!r})".replace("%", "%%"))


def _given(options: argparse.Namespace, recipe: type) -> dict:
    return {item.name: getattr(options, item.name) for item in dataclasses.fields(recipe) if hasattr(options, item.name)}


def _train(options: argparse.Namespace) -> None:
    recipe = dataclasses.replace(PRESETS[options.preset], **_given(options, Recipe))
    if options.dry_run:
        print(recipe.to_json())
        return
    from accelerate import PartialState

    from workbench.runs import Run

    device = _own_device(options)
    folder = options.out or Path("runs") / f"{recipe.method.replace('_', '-')}-{recipe.digest}"
    if PartialState().is_main_process:  # of several processes the first makes the folder
        Run.create(folder, recipe, device)
    PartialState().wait_for_everyone()
    _follow(Run.open(folder), device)


def _plan(options: argparse.Namespace) -> None:
    from workbench.backends.planner import plan
    from workbench.plan_report import as_dict, as_markdown, as_text

    if not 0 < options.utilisation <= 1:
        raise ValueError(f"utilisation = {options.utilisation} is not a share between 0 and 1")
    recipe = dataclasses.replace(PRESETS[options.preset], **_given(options, Recipe))
    if options.mode:
        recipe = dataclasses.replace(recipe, lora=(recipe.lora or 64) if options.mode == "lora" else 0)
    if options.table:
        for line in as_markdown(recipe, ("sd3.5-medium", "sdxl"), (512, 1024)):
            print(line, flush=True)  # it takes minutes in all
        return
    planned = plan(recipe)
    report = as_dict if options.json else as_text
    shown = report(planned, options.card, options.utilisation)
    print(json.dumps(shown, indent=1) if options.json else shown)


def _resume(options: argparse.Namespace) -> None:
    from workbench.runs import Run

    _follow(Run.open(options.folder), _own_device(options))


def _own_device(options: argparse.Namespace) -> str:
    """The device of this process: each of several has a GPU of its own."""
    from accelerate import PartialState

    from workbench.build import best_device

    device = options.device or best_device()
    state = PartialState(cpu=device == "cpu")
    return str(state.device) if device == "cuda" and state.num_processes > 1 else device


def _follow(run, device: str) -> None:
    """Trains under a progress bar."""
    from tqdm import tqdm

    from workbench.build import new_distiller
    from workbench.training import Reading, train

    distiller, shown = new_distiller(run.recipe, device), {}
    main = distiller.accelerator.is_main_process
    with tqdm(total=run.recipe.rounds, unit="round", disable=not main) as bar:
        for event in train(run, distiller):
            if isinstance(event, Reading):
                shown["div"] = f"{event.diversity:.3f}"
            else:
                shown |= {name: f"{loss:.4f}" for name, loss in event.losses.items()}
            bar.set_postfix(shown)
            bar.update(distiller.rounds_done - bar.n)
        bar.update(distiller.rounds_done - bar.n)
    if main:
        print(f"{run.path}: {distiller.rounds_done} rounds, {distiller.student_updates} student updates, "
              f"{distiller.fake_updates} fake updates; student in {run.path / 'student'}")


def _loaded(options: argparse.Namespace):
    """The backend and the models that `--models` names."""
    backend, names, open_model = _openable(options)
    return backend, [open_model(name) for name in names]


def _openable(options: argparse.Namespace):
    """The backend, the names in `--models`, and what opens one of them."""
    from workbench.build import best_device, load_backend
    from workbench.models import Residents, check_model, recipe_of_student, shipped_students, teacher_model

    names = _names(options)
    run, teacher = _common_recipe(options, names)
    shipped = shipped_students(teacher)
    for name in names:
        if name != "teacher":
            check_model(name, teacher)
    resolution = run.get("resolution", 0) if options.resolution is None else options.resolution
    backend = load_backend(teacher, options.device or best_device(), resolution=resolution)
    recipes = filter(None, (recipe_of_student(Path(shipped.get(name, name))) for name in names))
    guidance = options.guidance if options.guidance is not None else next(recipes, {}).get("guidance", SCENES.guidance)
    residents = Residents(backend)

    def open_model(name: str):
        return teacher_model(backend, options.teacher_steps, guidance) if name == "teacher" else residents.open(shipped.get(name, name), name)

    return backend, names, open_model


def _names(options: argparse.Namespace) -> list[str]:
    return [name.strip() for name in options.models.split(",") if name.strip()]


def _common_recipe(options: argparse.Namespace, names: list[str]) -> tuple[dict, str]:
    """The recipe of the first run named, if there is one, and the teacher."""
    from workbench.models import recipe_of_student

    run = next(filter(None, (recipe_of_student(Path(name)) for name in names)), {})
    return run, options.teacher or run.get("teacher", "scenes")


def _list_models(options: argparse.Namespace) -> None:
    from workbench.backends.published import PUBLISHED
    from workbench.backends.scenes import EMBEDDED
    from workbench.models import STUDENT_FILE, shipped_students

    rows = [(name, teacher, f"{len(json.loads((folder / STUDENT_FILE).read_text())['times']) - 1} steps", "no CFG",
             "shipped with this project", "") for teacher in EMBEDDED for name, folder in shipped_students(teacher).items()]
    rows += [(name, entry.teacher, f"{entry.steps} steps", f"CFG {entry.guidance:g}" if entry.guidance != 1 else "no CFG",
              entry.licence, entry.source) for name, entry in PUBLISHED.items()]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def _sample(options: argparse.Namespace) -> None:
    from workbench.evaluation import images_of
    from workbench.training import tile

    backend, models = _loaded(options)
    rows = [row for model in models for row in images_of(model, backend, options.prompt, list(range(options.seeds)))]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    tile(rows).save(options.out)
    print(f"{options.out}: {len(models)} models x {len(options.prompt)} prompts x {options.seeds} seeds")


def _evaluate(options: argparse.Namespace) -> int:
    from workbench.build import best_device
    from workbench.evaluation import Evaluation
    from workbench.evaluation_report import write_report
    from workbench.evaluation_tables import number_table
    from workbench.progress import watched

    device = options.device or best_device()
    if options.rescore and not options.out:
        raise ValueError("--rescore measures the images of an evaluation: say with --out which folder it is in")
    if options.rescore:
        written = Evaluation.open(options.out)
        evaluation = dataclasses.replace(written, request=dataclasses.replace(written.request, **_given_metrics(options)))
    else:
        evaluation = generated(options, options.out)
    watched(evaluation.read(device))
    results = evaluation.results()
    report = write_report(evaluation.folder, [(evaluation, results)])
    evaluation.save()
    print(number_table(evaluation, results).markdown)
    print(f"\n{report}, with tables as Markdown, CSV and LaTeX beside it")
    for what, why in evaluation.missing.items():
        print(f"not done: {what}: {why}")
    return 1 if evaluation.missing else 0


def generated(options: argparse.Namespace, out: Path | None):
    """The evaluation that was asked for, with its images, in the folder `out` or one that is called after its prompts."""
    from workbench.backends.scenes import EMBEDDED
    from workbench.evaluation import Evaluation
    from workbench.evaluation_metrics import usual_metrics
    from workbench.evaluation_request import EvaluationRequest
    from workbench.progress import watched
    from workbench.prompt_lists import folder_name, prompt_list

    names = _names(options)
    _, teacher = _common_recipe(options, names)
    listed = options.prompts or ("scenes" if teacher in EMBEDDED else "neutral")
    asked = {name: getattr(options, name) for name in ("noise", "image_seeds") if hasattr(options, name)}
    asked |= {"metrics": usual_metrics(teacher)} | _given_metrics(options)
    # before anything is loaded: it may make no sense
    request = EvaluationRequest(tuple(names), prompt_list(listed, options.limit), tuple(range(options.seeds)), teacher=teacher, **asked)
    backend, _, open_model = _openable(options)
    request = dataclasses.replace(request, prompts=prompt_list(listed, options.limit, backend.rewrite))
    if request.prompts.dropped:
        print(f"dropped from {listed}: {request.prompts.told}")
    evaluation = Evaluation(out or Path("evaluations") / folder_name(request.prompts), request)
    watched(evaluation.generate(backend, open_model))
    return evaluation


def _given_metrics(options: argparse.Namespace) -> dict:
    """The metrics and features that were asked for."""
    return {name: tuple(part.strip() for part in text.split(",") if part.strip())
            for name, text in ((name, getattr(options, name, "")) for name in ("metrics", "features")) if text}


def _report(options: argparse.Namespace) -> None:
    from workbench.evaluation import Evaluation
    from workbench.evaluation_report import write_report

    evaluations = [Evaluation.open(folder) for folder in options.folder]
    print(write_report(options.to, [(evaluation, evaluation.results()) for evaluation in evaluations]))


def _stages(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from workbench.build import check_prompt
    from workbench.examination import Examination, check_folder, save_trajectories, saved_trajectories
    from workbench.gradient_probe import probe
    from workbench.grid_request import TEACHER, GridRequest
    from workbench.stages_report import figures_of, write_report

    folder = options.out or Path("stages") / "-".join(options.prompt.lower().split())
    check_folder(folder, {options.prompt})
    backend, models = _loaded(options)
    check_prompt(backend, options.prompt)
    by_name = {model.name: model for model in models}
    request = GridRequest((options.prompt,), tuple(range(options.seeds)), tuple(by_name))
    seen = Examination(request, backend, by_name.__getitem__, options.branches, options.parents, not options.no_swap,
                       known=saved_trajectories(folder))
    gradients, students = [], [] if options.no_gradients else [name for name in by_name if name != TEACHER]
    left = {name: "not measured" for name in students}
    _, teacher = _common_recipe(options, list(by_name))
    try:
        _advance(tqdm(total=1.0, desc="stages", bar_format=BAR), ((step.done, None) for step in seen.run() if hasattr(step, "done")))
        for name in students:
            events = probe(by_name[name], name, backend, teacher, options.prompt)
            try:
                gradients.append(_advance(tqdm(total=1.0, desc=f"gradients of {name}", bar_format=BAR), ((p.done, p) for p in events)))
                del left[name]
            except (ValueError, RuntimeError, KeyError) as error:
                # too little memory, an old checkpoint ...: the others are worth having
                left[name] = str(error)
    finally:  # also when it is interrupted: what is done is kept
        missing = [f"gradients of {name}: {reason}" for name, reason in left.items()]
        if seen.trajectories:
            save_trajectories(seen.trajectories, folder)
            print(write_report(folder, seen, figures_of(seen), gradients, missing))
        for line in [*seen.left, *missing]:
            print(f"not done: {line}")


BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"


def _advance(bar, events):
    """Follows (part done, result) events with a bar; returns the last result."""
    with bar:
        for done, result in events:
            bar.update(done - bar.n)
    return result


def _export(options: argparse.Namespace) -> None:
    from workbench.export_student import export_student

    print(f"saved {export_student(options.folder, options.to, options.lora)}; its README.md says how to sample it")


def _make_teacher(options: argparse.Namespace) -> None:
    from workbench.scenes.teacher_recipe import TeacherRecipe

    recipe = TeacherRecipe(**_given(options, TeacherRecipe))
    if options.dry_run:
        print(json.dumps(dataclasses.asdict(recipe), indent=1))
        return
    from workbench.scenes.make_teacher import make_teacher

    print(f"saved {make_teacher(options.out, recipe, options.compile)}")
