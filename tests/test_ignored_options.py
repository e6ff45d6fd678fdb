"""Every option of every command is read, or refused where it would do nothing.

A new option fails here until it is classified: it is always read, or it has a command line in
which it would do nothing.
"""

import argparse
import dataclasses

import pytest

from workbench.cli import _parser, main
from workbench.core.recipe import Recipe
from workbench.io.settings import Parser, refuse_ignored
from workbench.scenes.teacher_recipe import TeacherRecipe

RECIPE = {item.name for item in dataclasses.fields(Recipe)}
OF_A_METHOD = {"lam", "k", "anchor", "lpips", "distance", "gan", "critic"}
MODELS = {"models", "teacher", "resolution", "seeds", "device", "verify"}
NO_STUDENT = "there is no student among --models"
# command: options that are read in every command line that is not refused as wrong
ALWAYS = {
    "app": {"host", "port", "runs", "teacher", "student", "resolution", "device", "study"},
    "train": {"preset", "out", "dry_run", "device"} | RECIPE - OF_A_METHOD - {"fake_rate"},
    "plan": {"preset", "table"}
    | RECIPE - OF_A_METHOD - {"fake_rate", "lora", "teacher", "resolution"},
    "resume": {"set", "from_checkpoint", "device", "verify"}
    | {"accept_changed_prompts", "accept_changed_teacher"},
    "export": {"to"},
    "models": set(),
    "scenes make-teacher": {"out", "compile", "dry_run"}
    | {item.name for item in dataclasses.fields(TeacherRecipe)},
    "sample": {"out"} | MODELS,
    "reproduce": {"at", "device"},
    "show": set(),
    "stages": {"out", "branches", "no_swap", "no_gradients"} | MODELS,
    "evaluate": {"metrics", "out", "rescore", "device", "verify"},
    "report": {"to"},
}
OF_IMAGES = "prompts=neutral limit=1 noise=official models=dmd teacher=scenes resolution=0 seeds=9"
# command: command lines in which an option would do nothing, and why
NOTHING = {
    "train": {
        **{
            name: (f"--preset scenes-dmd --{name} {value}", "the method dmd does not read it")
            for name, value in {
                "lam": 0.1,
                "k": 5,
                "anchor": "secant",
                "lpips": 0.25,
                "distance": "lite0",
                "gan": 0.1,
                "critic": 0.1,
            }.items()
        },
        "fake_rate": ("--fake-updates-per-round 0 --fake-rate 1e-5", "fake_updates_per_round is 0"),
    },
    "export": {"lora": ("", "an adapter of rank")},  # in tests/training/test_export.py
    "sample": {
        "guidance": ("star --models dmd --guidance 2", "the teacher is not among --models"),
        "teacher_steps": ("star --models dp-dmd --teacher-steps 30", "the teacher is not among"),
        "accept_other_teacher": ("star --models teacher --accept-other-teacher", NO_STUDENT),
    },
    "stages": {
        "guidance": ("star --models dmd --guidance 2", "the teacher is not among --models"),
        "teacher_steps": ("star --models dmd --teacher-steps 30", "the teacher is not among"),
        "accept_other_teacher": ("star --models teacher --accept-other-teacher", NO_STUDENT),
        "parents": ("star --branches 0 --parents 6", "--branches is 0"),
    },
    "evaluate": {
        **{
            pair.partition("=")[0]: (
                f"--rescore --out x --{pair.replace('_', '-').replace('=', ' ')}",
                f"leave out --{pair.partition('=')[0]}, or --rescore",
            )
            for pair in OF_IMAGES.split()
        },
        "guidance": ("--models dmd --guidance 2", "the teacher is not among --models"),
        "teacher_steps": ("--models dmd --teacher-steps 30", "the teacher is not among --models"),
        "accept_other_teacher": ("--models teacher --accept-other-teacher", NO_STUDENT),
        "features": ("--metrics geneval,spread --features lite0", "geneval, spread reads no feat"),
        "image_seeds": ("--metrics diversity --image-seeds 1", "diversity reads all seeds"),
    },
}
NOTHING["plan"] = NOTHING["train"] | {
    "lora": ("--mode full --lora 8", "--mode full trains whole networks"),
    "teacher": ("--table --teacher sdxl", "--table has its own rows"),
    "resolution": ("--table --resolution 512", "--table has its own rows"),
    "mode": ("--table --mode lora", "--table has its own rows"),
    "json": ("--table --json", "--table has memory only"),
    "gpu": ("--table --gpu a100", "--table has memory only"),
    "utilisation": ("--table --utilisation 0.4", "--table has memory only"),
}
MORE = [  # the same options in other ways
    ("train", "--method dmd-gan --lam 0.1", "--lam would do nothing: the method dmd_gan does not"),
    ("train", "--method dmd --lam 0.1 --dry-run", "--lam would do nothing"),
    ("train", "--method dp-dmd --gan 0.005", "--gan would do nothing"),
    ("train", "--student-steps 1 --dry-run", "Eq. (8)"),
    ("plan", "--student-steps 1", "Eq. (8)"),
    ("plan", "--mode lora --lora 0", "--lora would do nothing: --mode lora trains adapters"),
    (
        "evaluate",
        "--rescore --out x --guidance 2 --teacher-steps 30",
        "--guidance, --teacher-steps",
    ),
    ("evaluate", "--rescore --out x --image-seeds 1", "leave out --image-seeds"),
    ("evaluate", "--rescore --out x --accept-other-teacher", "leave out --accept-other-teacher"),
]


def commands(parser: argparse.ArgumentParser, name: str = "") -> dict[str, argparse.ArgumentParser]:
    """Every command without commands of its own; a study's are tested with it."""
    (nested,) = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)] or [None]
    if nested is None:
        return {name: parser}
    found = {}
    for word, below in nested.choices.items():
        if word != "study":
            found |= commands(below, f"{name} {word}".strip())
    return found


PARSERS = commands(_parser())


@pytest.mark.parametrize("command", PARSERS)
def test_every_option_is_classified(command):
    options = {
        action.dest
        for action in PARSERS[command]._actions
        if action.option_strings and action.dest != "help"
    }
    always, nothing = ALWAYS[command], set(NOTHING.get(command, {}))
    assert always | nothing == options
    assert always & nothing == set()


@pytest.mark.parametrize(
    ("command", "words", "told"),
    [
        (command, *case)
        for command, cases in NOTHING.items()
        for option, case in cases.items()
        if case[0]
    ]
    + MORE,
)
def test_an_option_that_would_do_nothing_is_refused_in_one_line(
    command, words, told, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main([command, *words.split()]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("workbench: ")
    assert told in line
    assert list(tmp_path.iterdir()) == []  # before anything is made


def test_what_was_given_is_known_also_as_its_default():
    parser = Parser()
    parser.add_argument("--a", type=int, default=3)
    parser.add_argument("--b", default=argparse.SUPPRESS)
    parser.add_argument("--c", action="append", default=[])
    parser.add_argument("--d", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--e", "--other-e", dest="e", default="x")
    assert vars(parser.parse_args([])) == {
        "a": 3,
        "c": [],
        "d": True,
        "e": "x",
        "given": frozenset(),
    }
    options = parser.parse_args("--a 3 --b 1 --c 1 --c 2 --no-d --other-e y".split())
    assert options.given == set("abcde")
    assert (options.a, options.b, options.c, options.d, options.e) == (
        3,
        "1",
        ["1", "2"],
        False,
        "y",
    )
    assert parser.parse_args(["--c", "3"]).c == ["3"]  # and not the earlier ones
    refuse_ignored(options, {"a": "", "z": "not given"})
    with pytest.raises(ValueError, match=r"--a would do nothing: no\. Leave --a out"):
        refuse_ignored(options, {"a": "no"})
