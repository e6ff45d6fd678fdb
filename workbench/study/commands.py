"""python -m workbench study create | serve | status | export | report | backup | power.

The settings of `create` are fields of `StudyDesign`, which holds every default.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import secrets
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.evaluation.commands import generated
from workbench.io.files import file_to_write, folder_to_write
from workbench.io.settings import check_applies
from workbench.io.strict_json import to_json
from workbench.models.options import add_model_options
from workbench.study.analysis.exclusion import chance_of_passing
from workbench.study.design import StudyDesign, read_criteria, read_text
from workbench.study.errors import StudyError

if TYPE_CHECKING:
    from workbench.study.store.records import Status

MODELS = "dmd,dp-dmd"  # compared unless models or images are named
ANY_IMAGES = (  # destinations of `create`'s options that do not say where the images come from
    "out",
    "title",
    "pairs",
    "criteria",
    "consent",
    "instructions",
    "trials",
    "no_ties",
    "database",
)
OF_IMAGES = {  # option: the others about images that go with it, and what it does
    "images": (("limit",), "takes the images in these folders"),
    "evaluation": (("limit", "models"), "takes the images of an evaluation"),
}


def _or_none(text: str) -> float | None:
    return None if text == "none" else float(text)


_or_none.__name__ = "number"  # for argparse's message
SETTINGS = {  # option: (field of the design, type, help)
    "votes": ("votes_per_item", int, "votes to collect per pair and prompt"),
    "gold": ("gold", int, "additional questions with a known answer, or as many as there are"),
    "repeats": ("repeats", int, "questions that are asked a second time"),
    "max-gold-failures": (
        "max_gold_failures",
        int,
        "exclude participants who fail more gold questions",
    ),
    "min-seconds": (
        "min_seconds",
        _or_none,
        "an answer in less is too fast; none: no limit",
    ),
    "max-fast": (
        "max_fast",
        _or_none,
        "exclude participants with a larger share of answers that are too fast; none: with a "
        "median that is",
    ),
    "min-side-p": (
        "min_side_p",
        _or_none,
        "exclude participants whose answers are so much on one side that chance does it with a "
        "smaller probability; none: no limit",
    ),
    "expires": (
        "expires_minutes",
        float,
        "minutes for which an unanswered question stays reserved",
    ),
    "seed": ("seed", int, "seed of every random choice of who sees what"),
}


def add_study_commands(commands, command) -> None:
    """Adds the parsers; `command` is the command line's helper that adds one."""
    study = commands.add_parser("study", help="a blind pairwise user study").add_subparsers(
        required=True, metavar="COMMAND"
    )
    create = command(
        study,
        "create",
        "freeze a study and render its pictures from models, an evaluation, or folders of images",
        _create,
    )
    create.add_argument(
        "--out",
        type=folder_to_write,
        required=True,
        help="folder of the new study, on a local disk",
    )
    create.add_argument(
        "--title",
        default="Comparison of pictures",
        help="title shown to participants (default: %(default)s)",
    )
    create.add_argument(
        "--evaluation",
        type=Path,
        help="take the images of this evaluation instead of sampling; --models chooses among its "
        "models",
    )
    create.add_argument(
        "--images",
        default="",
        help="take images from NAME=FOLDER,NAME=FOLDER, each with one folder of images per prompt",
    )
    create.add_argument(
        "--prompts",
        default="",
        help="prompt list or file, as for evaluate (default: scenes, or neutral)",
    )
    create.add_argument(
        "--limit", type=int, default=0, help="take only the first LIMIT prompts (default: all)"
    )
    create.add_argument("--pairs", default="", help="pairs to compare, as A:B,A:C (default: all)")
    create.add_argument(
        "--criteria",
        type=Path,
        help='JSON file of questions to replace the two of Appendix D: [{"name": ..., "question": '
        '..., "explanation": ..., "gold": true}], gold if a blurred sheet is the wrong answer',
    )
    create.add_argument(
        "--consent",
        type=Path,
        metavar="FILE",
        help="text that participants agree to (default: a general text)",
    )
    create.add_argument(
        "--instructions",
        type=Path,
        metavar="FILE",
        help="text that explains the task (default: a general text)",
    )
    create.add_argument(
        "--trials",
        type=int,
        default=0,
        help="questions per participant (default: 20, or all if there are fewer)",
    )
    defaults = {field.name: field.default for field in dataclasses.fields(StudyDesign)}
    for option, (name, kind, text) in SETTINGS.items():
        default = defaults[name]
        create.add_argument(
            f"--{option}",
            dest=name,
            type=kind,
            default=default,
            metavar=option.split("-")[-1].upper(),
            help=f"{text} (default: {'none' if default is None else format(default, 'g')})",
        )
    create.add_argument(
        "--no-ties", action="store_true", help="leave out the answer “no difference”"
    )
    create.add_argument(
        "--database",
        default="",
        help="address of a PostgreSQL database (default: a SQLite file in the folder)",
    )
    add_model_options(create, "", f"{MODELS}; with --evaluation: all its models")
    serve = command(study, "serve", "serve a study to participants", _serve)
    serve.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 admits other machines (default: %(default)s)",
    )
    serve.add_argument(
        "--port", type=int, default=7870, help="port to listen on (default: %(default)s)"
    )
    serve.add_argument(
        "--address",
        default="",
        help="public address if a proxy is in front, such as https://study.example.org or "
        "https://example.org/study/",
    )
    serve.add_argument(
        "--behind-proxy",
        default="",
        metavar="ADDRESS",
        help="the proxy's IP address as this server sees it, such as 127.0.0.1 (or several, or a "
        "network): from it alone X-Forwarded-For is believed, by which requests are limited",
    )
    status = command(study, "status", "show the progress of a study", _status)
    status.add_argument(
        "--items", action="store_true", help="print every pair and prompt with its votes"
    )
    status.add_argument("--json", action="store_true", help="print JSON, with all items")
    export = command(study, "export", "write all votes that count as CSV", _export)
    export.add_argument(
        "--to",
        type=file_to_write,
        default=Path("votes.csv"),
        help="file to write (default: %(default)s)",
    )
    report = command(
        study, "report", "analyse the votes on one page with tables and figures", _report
    )
    report.add_argument(
        "--to",
        type=folder_to_write,
        help="folder to write (default: report/ in the study's folder)",
    )
    backup = command(study, "backup", "copy the database, even while it is in use", _backup)
    backup.add_argument("--to", type=file_to_write, required=True, help="file to write")
    for parser in (serve, status, export, report, backup):
        parser.add_argument("folder", type=Path, metavar="STUDY", help="folder written by create")
        parser.add_argument(
            "--database",
            default="",
            help="address of its PostgreSQL database with the password (default: the address given "
            "to create, with the password in the environment variable PGPASSWORD)",
        )
    planned = command(
        study, "power", "simulate which win rates a study of a given size would detect", _power
    )
    for name, default, text in (
        ("participants", "20", "participants"),
        ("prompts", "40", "prompts"),
        ("votes", "20", "votes per participant"),
        ("rates", "0.55,0.6,0.65,0.7", "true win rates"),
    ):
        planned.add_argument(
            f"--{name}", default=default, help=f"{text}, comma-separated (default: %(default)s)"
        )
    planned.add_argument(
        "--repetitions",
        type=int,
        default=1000,
        help="number of simulated studies (default: %(default)s)",
    )


def _create(options: argparse.Namespace) -> None:
    from workbench.study.stimuli import create_study, samples_of_folders

    _check_options(options)
    pairs = tuple(
        tuple(part.strip().split(":")) for part in options.pairs.split(",") if part.strip()
    )
    settings = {name: getattr(options, name) for name, *_ in SETTINGS.values()}
    settings |= {"title": options.title, "pairs": pairs, "ties": not options.no_ties}
    settings |= {
        name: read_text(getattr(options, name))
        for name in ("consent", "instructions")
        if getattr(options, name)
    }
    if options.criteria:
        settings["criteria"] = read_criteria(options.criteria)
    samples = (
        samples_of_folders(_folders(options.images), options.limit)
        if options.images
        else _sampled(options)
    )
    items = len(samples.prompts) * (
        len(pairs) or len(samples.methods) * (len(samples.methods) - 1) // 2
    )
    settings["trials"] = options.trials or max(1, min(20, items))
    if "gold" not in options.given:
        settings["gold"] = min(settings["gold"], len(samples.methods) * len(samples.prompts))
    with create_study(options.out, samples, settings, options.database) as store:
        design = store.design
    print(
        f"{options.out}: study {design.digest}, {len(design.pairs)} pairs x {len(design.prompts)} "
        f"prompts, {design.length} questions per participant"
    )
    if (passing := chance_of_passing(design.gold, design.max_gold_failures)) > 0.05:
        print(
            f"{100 * passing:.0f} % of those who answer at random pass {design.gold} gold "
            f"questions of which {design.max_gold_failures} may be failed; of the default "
            f"{StudyDesign.gold} and {StudyDesign.max_gold_failures}, "
            f"{100 * chance_of_passing(StudyDesign.gold, StudyDesign.max_gold_failures):.1f} %."
        )
    print(f"serve it with: python -m workbench study serve {shlex.quote(str(options.out))}")


def _check_options(options: argparse.Namespace) -> None:
    """Raises ValueError for options that cannot apply: a study is frozen, so this would be found
    after the votes.
    """
    design = {*ANY_IMAGES, *(name for name, *_ in SETTINGS.values())}
    for source, (others, does) in OF_IMAGES.items():
        if getattr(options, source):
            check_applies(
                options, {source, *others, *design}, f"--{source} {does} as they are", f"--{source}"
            )
    if not options.gold:
        check_applies(
            options,
            options.given - {"max_gold_failures"},
            "without gold questions none can be failed",
            "--gold 0",
        )
    if options.min_seconds is None:
        check_applies(
            options,
            options.given - {"max_fast"},
            "without a time that is too fast no share of answers is",
            "--min-seconds none",
        )


def _folders(images: str) -> dict[str, Path]:
    """Parses NAME=FOLDER,NAME=FOLDER. Raises `StudyError` for any other form and for a repeated
    name.
    """
    parts = [part.strip().partition("=")[::2] for part in images.split(",") if part.strip()]
    if bad := [name or folder for name, folder in parts if not name.strip() or not folder.strip()]:
        raise StudyError(
            f"--images takes NAME=FOLDER,NAME=FOLDER, but {bad[0]!r} is not of the form NAME=FOLDER"
        )
    _check_once([name.strip() for name, _ in parts])
    return {name.strip(): Path(folder.strip()) for name, folder in parts}


def _check_once(names: list[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise StudyError(
                f"the method {name!r} is named {count} times; leave out all but one, or give each "
                "its own name"
            )


def _sampled(options: argparse.Namespace):
    """Samples of an existing evaluation, or of models, generated as an evaluation in the study's
    folder.
    """
    from workbench.study.stimuli import samples_of_evaluation

    names = [name.strip() for name in options.models.split(",") if name.strip()]
    _check_once(names)
    if options.evaluation:
        return samples_of_evaluation(options.evaluation, tuple(names), options.limit)
    options.models = options.models or MODELS
    names = names or MODELS.split(",")
    if len(names) < 2:
        raise StudyError(
            f"a study compares two or more methods, not {len(names)}: name them with --models"
        )  # before anything is sampled
    folder = options.out / "samples"
    evaluation = generated(options, folder)
    if evaluation.missing:
        raise StudyError("; ".join(f"{what}: {why}" for what, why in evaluation.missing.items()))
    return samples_of_evaluation(folder, tuple(names))


def _serve(options: argparse.Namespace) -> None:
    from workbench.study.folder import open_study
    from workbench.study.server.app import study_app
    from workbench.study.server.connections import proxies_of, public_address, server_of

    address, proxies = public_address(options.address), proxies_of(options.behind_proxy)
    with open_study(options.folder, options.database) as store:
        token = secrets.token_urlsafe(18)
        app = study_app(store, options.folder, token, address)
        print(
            f"Participants: {address or f'http://{options.host}:{options.port}/'}\nOwner's token, "
            f"for /api/owner/status: {token}\nPress Ctrl-C to stop; no vote is lost.",
            flush=True,
        )
        if address and not proxies:
            print(
                "All participants count as one address in the limits of requests, that of the "
                "proxy: name it with --behind-proxy ADDRESS.",
                flush=True,
            )
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn has already ended in order
            server_of(app, options.host, options.port, proxies).run()


def _status(options: argparse.Namespace) -> None:
    from workbench.study.folder import open_study

    if options.json:
        check_applies(
            options, options.given - {"items"}, "--json prints every item anyway", "--json"
        )
    with open_study(options.folder, options.database) as store:
        status, design = store.status(), store.design
        missed = sum(event.kind == "missing picture" for event in store.events())
    broken = _broken(options.folder, design)
    if options.json:
        print(
            to_json(
                dataclasses.asdict(status) | {"pictures": broken, "missing_pictures": missed},
                indent=1,
            )
        )
        return
    print(f"{design.title} ({design.digest}): {_progress(status, design.votes_per_item)}")
    for item in status.items if options.items else ():
        print(
            f"{item.counted} of {design.votes_per_item}, {item.votes - item.counted} excluded, "
            f"{item.reserved} being answered: {' and '.join(item.item.pair)}, “{item.item.prompt}”"
        )
    if missed:
        print(
            f"{missed} {'time' if missed == 1 else 'times'} a picture could not be shown, because "
            "its file was missing or changed"
        )
    if broken:
        print(f"the study cannot be served: {broken}")


def _progress(status: Status, aim: int) -> str:
    items, votes = len(status.items), sum(item.votes for item in status.items)
    counted, useful = (
        sum(item.counted for item in status.items),
        sum(min(item.counted, aim) for item in status.items),
    )
    lines = [
        f"{status.participants} participants, {status.finished} of them finished",
        f"{useful} of {aim * items} votes collected ({aim} for each of {items} pairs and prompts), "
        f"{status.reserved} being answered, {status.skipped} skipped"
        f"{'; full' if status.full else ''}",
    ]
    if status.excluded:
        lines.append(
            f"{status.excluded} participants are excluded by the design's rule so far, with "
            f"{votes - counted} of {votes} votes"
        )
    spread = sorted(Counter(item.counted for item in status.items).items())
    pairs = ", ".join(f"{votes} for {items}" for votes, items in spread)
    return "\n".join([*lines, f"votes that count: {pairs} of the pairs and prompts"])


def _broken(folder: Path, design: StudyDesign) -> str:
    """The problem with a study's pictures, "" if there is none."""
    from workbench.study.server.pictures import Pictures

    try:
        Pictures(folder).check(design.methods, design.prompts)
    except StudyError as error:
        return str(error)
    return ""


def _export(options: argparse.Namespace) -> None:
    from workbench.io.files import packages
    from workbench.io.provenance import write_files
    from workbench.study.folder import open_study
    from workbench.study.report import votes_csv

    with open_study(options.folder, options.database) as store:
        ballots = store.ballots()
        design = store.design
    made = {
        "kind": "study votes",
        "study": str(options.folder.resolve()),
        "digest": design.digest,
        "title": design.title,
        "packages": packages(),
    }
    write_files(options.to.parent, {options.to.name: votes_csv(ballots)}, made)
    print(f"{options.to}: {len(ballots)} votes")


def _report(options: argparse.Namespace) -> None:
    from workbench.study.folder import open_study
    from workbench.study.report import write_study_report

    with open_study(options.folder, options.database) as store:
        print(
            write_study_report(
                options.to or options.folder / "report",
                store.design,
                store.ballots(),
                store.status(),
            )
        )


def _backup(options: argparse.Namespace) -> None:
    from workbench.study.folder import open_study

    with open_study(options.folder, options.database) as store:
        print(f"backed up to {store.backup(options.to)}")


def _power(options: argparse.Namespace) -> None:
    from workbench.study.analysis.power import power_table

    participants, prompts, votes, rates = (
        _numbers(options, name, kind)
        for name, kind in (
            ("participants", int),
            ("prompts", int),
            ("votes", int),
            ("rates", float),
        )
    )
    if min(votes) > max(prompts):
        raise StudyError(
            f"a participant answers each prompt once, so {min(votes)} votes each need as many "
            f"prompts, and there are {max(prompts)}: lower --votes, or raise --prompts"
        )
    table = power_table(participants, prompts, votes, rates, repetitions=options.repetitions)
    print(
        "| participants | prompts | votes each | true win rate | power, 95 % interval |\n"
        "| --- | --- | --- | --- | --- |"
    )
    for found in table:
        print(
            f"| {found.participants} | {found.prompts} | {found.votes_per_participant} | "
            f"{found.rate:g} | {found.power:.3f} "
            f"[{found.low:.3f}, {found.high:.3f}] |"
        )
    if min(prompts) < max(votes):
        print("Left out: more votes each than prompts, since each is answered once.")


def _numbers(options: argparse.Namespace, name: str, kind: type) -> list:
    """The comma-separated numbers of an option. Raises `StudyError`, also for none."""
    text = getattr(options, name)
    try:
        numbers = [kind(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise StudyError(f"--{name} takes comma-separated numbers, not {text!r}") from error
    if not numbers:
        raise StudyError(f"--{name} names no number")
    return numbers


def _remake(path: Path, made: dict, device: str | None):
    from workbench.study.reproduce import remake_study_report

    return remake_study_report(path, made, device)


STUDY_REMAKERS = {"study report": _remake}
