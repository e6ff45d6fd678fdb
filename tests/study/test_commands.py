"""python -m workbench study ..."""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.cli import _parser, main
from workbench.study.commands import ANY_IMAGES, OF_IMAGES
from workbench.study.commands import SETTINGS as OPTIONS
from workbench.study.folder import open_study
from workbench.study.stimuli import create_study, samples_of_folders

ROOT = Path(__file__).parents[2]
SETTINGS = {"title": "A study", "trials": 3, "gold": 1, "repeats": 0}
HEAVY = """
import sys
import uvicorn
from workbench.cli import _parser, main
from workbench.study.commands import ANY_IMAGES, OF_IMAGES
from workbench.study.commands import SETTINGS as OPTIONS
uvicorn.Server.run = lambda *_, **__: None
assert main(sys.argv[1:]) == 0
loaded = {"torch", "diffusers", "transformers"} & sys.modules.keys()
assert not loaded, loaded
"""


def test_the_commands_of_a_study(folders, tmp_path, capsys):
    place = tmp_path / "study"
    images = ",".join(f"{name}={folder}" for name, folder in folders.items())
    assert (
        main(
            [
                "study",
                "create",
                "--out",
                str(place),
                "--images",
                images,
                "--gold",
                "1",
                "--repeats",
                "1",
                "--title",
                "Which?",
            ]
        )
        == 0
    )
    assert "1 pairs x 3 prompts, 5 questions per participant" in capsys.readouterr().out
    with open_study(place) as store:
        person, _ = store.join(True)
        while trial := store.next_trial(person):
            store.vote(
                person,
                trial.id,
                {"diversity": "left", "quality": "tie"},
                f"{trial.position:08d}-0000-4000-8000-000000000000",
                2.0,
            )
    assert main(["study", "status", str(place)]) == 0
    told = capsys.readouterr().out
    assert "1 participants, 1 of them finished\n3 of 9 votes collected" in told
    assert "votes that count: 1 for 3 of the pairs" in told
    assert "cannot be served" not in told
    assert "excluded" not in told
    assert main(["study", "status", str(place), "--items"]) == 0
    assert (
        "1 of 3, 0 excluded, 0 being answered: one and two, “two stars”\n"
        in capsys.readouterr().out
    )
    assert main(["study", "export", str(place), "--to", str(tmp_path / "votes.csv")]) == 0
    assert "votes.csv: 10 votes" in capsys.readouterr().out
    assert len((tmp_path / "votes.csv").read_text().splitlines()) == 11
    assert main(["study", "report", str(place)]) == 0
    assert (place / "report" / "report.html").stat().st_size > 1e6
    assert main(["study", "backup", str(place), "--to", str(tmp_path / "copy.db")]) == 0
    assert main(["study", "backup", str(place), "--to", str(tmp_path / "copy.db")]) == 1
    (tmp_path / "criteria.json").write_text(
        '[{"name": "variety", "question": "Which side has more variety?", "gold": true}]'
    )
    other = [
        "study",
        "create",
        "--out",
        str(tmp_path / "other"),
        "--images",
        images,
        "--criteria",
        str(tmp_path / "criteria.json"),
    ]
    assert main(other) == 0
    with open_study(tmp_path / "other") as store:
        assert [criterion.question for criterion in store.design.criteria] == [
            "Which side has more variety?"
        ]
    (tmp_path / "criteria.json").write_text('[{"nam": "variety"}]')
    assert main([*other[:3], str(tmp_path / "third"), *other[4:]]) == 1
    assert "did you mean 'name'" in capsys.readouterr().err
    assert main(["study", "create", "--out", str(place), "--images", images]) == 1
    assert "already holds a study" in capsys.readouterr().err
    assert (
        main(
            [
                "study",
                "power",
                "--participants",
                "8",
                "--prompts",
                "10",
                "--votes",
                "8",
                "--rates",
                "0.8",
                "--repetitions",
                "200",
            ]
        )
        == 0
    )
    assert "| 8 | 10 | 8 | 0.8 | " in capsys.readouterr().out


def test_the_settings_of_a_study_are_options(folders, tmp_path, capsys):
    images = ",".join(f"{name}={folder}" for name, folder in folders.items())
    (tmp_path / "consent.txt").write_text("We ask you.\n")
    (tmp_path / "task.txt").write_text("Look well.\n")
    command = ["study", "create", "--images", images, "--gold", "1", "--repeats", "0"]
    more = [
        "--consent",
        str(tmp_path / "consent.txt"),
        "--instructions",
        str(tmp_path / "task.txt"),
        "--expires",
        "12.5",
        "--seed",
        "7",
        "--min-seconds",
        "1.5",
        "--votes",
        "4",
        "--max-gold-failures",
        "0",
    ]
    assert main([*command, "--out", str(tmp_path / "study"), *more]) == 0
    assert main([*command, "--out", str(tmp_path / "usual")]) == 0
    with open_study(tmp_path / "study") as store, open_study(tmp_path / "usual") as usual:
        design, plain = store.design, usual.design
    assert (design.consent, design.instructions, design.expires_minutes, design.seed) == (
        "We ask you.",
        "Look well.",
        12.5,
        7,
    )
    assert (design.min_seconds, design.votes_per_item, design.max_gold_failures) == (1.5, 4, 0)
    for field in dataclasses.fields(plain):
        if field.name not in (
            "title",
            "methods",
            "prompts",
            "seeds",
            "pairs",
            "trials",
            "gold",
            "repeats",
            "pictures",
        ):
            assert getattr(plain, field.name) == field.default, field.name
    capsys.readouterr()
    for options, message in (
        (["--consent", str(tmp_path / "gone.txt")], "gone.txt cannot be read as a text"),
        (["--images", f"{images},one={tmp_path}"], "the method 'one' is named 2 times"),
        (["--images", f"{images},three"], "'three' is not of the form NAME=FOLDER"),
        (["--min-seconds", "0"], "min_seconds must be a number above 0"),
        (["--pairs", "one:two,two:one"], "the pair two and one is given twice"),
    ):
        assert main([*command, "--out", str(tmp_path / "new"), *options]) == 1
        assert message in capsys.readouterr().err
        assert not (tmp_path / "new").exists()
    assert main(["study", "create", "--out", str(tmp_path / "new"), "--models", "dmd,dmd"]) == 1
    assert "the method 'dmd' is named 2 times" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_the_status_tells_the_excluded_and_pictures_that_are_no_more_the_same(
    folders, tmp_path, capsys
):
    place, settings = (
        tmp_path / "study",
        SETTINGS | {"min_seconds": 2},
    )
    with create_study(place, samples_of_folders(folders), settings) as store:
        person, _ = store.join(True)
        while trial := store.next_trial(person):
            store.vote(
                person,
                trial.id,
                {"diversity": "left", "quality": "tie"},
                f"{trial.position:08d}-0000-4000-8000-000000000000",
                1.0,
            )
    sheet_file = (
        place
        / "stimuli"
        / json.loads((place / "stimuli.json").read_text())["sheets"]["a hill"]["spoiled two"]
    )
    sheet_file.write_bytes(sheet_file.read_bytes() + b" ")
    assert main(["study", "status", str(place)]) == 0
    told = capsys.readouterr().out
    assert "0 of 9 votes collected" in told
    assert "1 participants are excluded by the design's rule so far, with 3 of 3 votes" in told
    assert "votes that count: 0 for 3 of" in told
    assert (
        f"the study cannot be served: {sheet_file} is not the picture that the study was created "
        "with" in told
    )
    assert main(["study", "status", str(place), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["excluded"] == 1
    assert "is not the picture" in told["pictures"]
    assert [entry[1:] for entry in told["items"]] == [[1, 0, 0]] * 3
    assert main(["study", "serve", str(place)]) == 1
    assert "is not the picture that the study was created with" in capsys.readouterr().err
    assert main(["study", "report", str(place)]) == 0
    assert "It excludes 1 of 1 participants" in (place / "report" / "report.md").read_text()


def test_the_status_counts_the_pictures_that_could_not_be_shown(folders, tmp_path, capsys):
    place = tmp_path / "study"
    for missed, told in (
        (0, None),
        (1, "1 time a picture could not be shown"),
        (2, "2 times a picture could not be shown"),
    ):
        if missed == 0:
            create_study(
                place,
                samples_of_folders(folders),
                SETTINGS,
            ).close()
        else:
            with open_study(place) as store:
                store.log(None, "missing picture", {"of": "one"})
                store.log(None, "another event", {})
        assert main(["study", "status", str(place)]) == 0
        out = capsys.readouterr().out
        assert told in out if told else "could not be shown" not in out
        assert main(["study", "status", str(place), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["missing_pictures"] == missed


@pytest.mark.parametrize(
    "command",
    [["serve"], ["status"], ["export", "--to", "votes.csv"], ["report"], ["backup", "--to", "db"]],
    ids=lambda command: command[0],
)
def test_commands_on_a_study_load_no_model_library(command, folders, tmp_path):
    create_study(tmp_path / "study", samples_of_folders(folders), SETTINGS).close()
    subprocess.run(
        [sys.executable, "-c", HEAVY, "study", command[0], str(tmp_path / "study"), *command[1:]],
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def options_of(command: str) -> list[argparse.Action]:
    """The options of a study's command, from its parser."""
    parsers = [_parser()]
    for name in ("study", command):
        (sub,) = (a for a in parsers[-1]._actions if isinstance(a, argparse._SubParsersAction))
        parsers.append(sub.choices[name])
    return [action for action in parsers[-1]._actions if action.option_strings]


def words_of(action: argparse.Action) -> list[str]:
    """An option as it is given, with its default where it has one."""
    value = action.default if action.default not in (None, "") else "3"
    return [action.option_strings[-1], *([] if action.nargs == 0 else [str(value)])]


def idle_options():
    """Each source of images with each option of `create` that does not apply to it: a new option
    is among them until `ANY_IMAGES` or `OF_IMAGES` names it.
    """
    for source, (others, _) in OF_IMAGES.items():
        applies = {
            "help",
            *OF_IMAGES,
            *others,
            *ANY_IMAGES,
            *(name for name, *_ in OPTIONS.values()),
        }
        for action in options_of("create"):
            if action.dest not in applies:
                yield pytest.param(source, action, id=f"{source}-{action.dest}")


@pytest.mark.parametrize(("source", "action"), idle_options())
def test_create_refuses_each_option_that_cannot_apply(source, action, tmp_path, capsys):
    command = ["study", "create", "--out", str(tmp_path / "study"), f"--{source}", "A=a,B=b"]
    assert main([*command, *words_of(action)]) == 1
    told = capsys.readouterr().err
    assert f"as they are: leave out {action.option_strings[-1]}, or --{source}" in told
    assert not (tmp_path / "study").exists()


def test_create_names_all_options_that_cannot_apply_also_given_with_their_defaults(
    tmp_path, capsys
):
    given = "--seeds 9 --prompts neutral --guidance 7.5 --teacher-steps 50 --resolution 512"
    command = ["study", "create", "--out", str(tmp_path / "study"), "--evaluation", "e"]
    assert main([*command, *given.split(), "--teacher", "scenes-eps", "--models", "a,b"]) == 1
    told = capsys.readouterr().err
    for option in [*given.split()[::2], "--teacher"]:
        assert f"{option}, " in told, option
    assert "--models" not in told
    assert main([*command[:4], "--images", "A=a,B=b", "--evaluation", "e", "--models", "a,b"]) == 1
    assert "leave out --evaluation, --models, or --images" in capsys.readouterr().err
    assert main([*command[:4], "--images", "A=a,B=b", "--resol", "9"]) == 1  # shortened
    assert "leave out --resolution, or --images" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["create", "--out", "s", "--gold", "0", "--max-gold-failures", "1"], "or --gold 0"),
        (["status", "s", "--json", "--items"], "leave out --items, or --json"),
    ],
)
def test_options_that_another_makes_idle_are_refused(words, told, capsys):
    assert main(["study", *words]) == 1
    assert told in capsys.readouterr().err


def test_a_table_of_power_without_rows_says_why(capsys):
    assert main(["study", "power", "--votes", "50"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "50 votes each need as many prompts, and there are 40: lower --votes" in err
    assert main("study power --votes 5,50 --rates 0.7 --repetitions 20".split()) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 4
    assert out.endswith("Left out: more votes each than prompts, since each is answered once.\n")
    for words, told in (("--rates ,", "--rates names no number"), ("--votes x", "not 'x'")):
        assert main(["study", "power", *words.split()]) == 1
        assert told in capsys.readouterr().err
