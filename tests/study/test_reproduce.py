"""A study's report says what made it, and is made again from the votes beside it."""

import json
import shutil

import pytest

from tests.study.test_report import asked
from workbench.cli import main
from workbench.study.analysis.simulation import SimulatedStudy
from workbench.study.ballots import Ballot, Choice
from workbench.study.report import votes_csv, write_study_report
from workbench.study.reproduce import ballots_in

NAMES = ("report.html", "report.md", "report.tex", "results.csv", "votes.csv")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    ballots = SimulatedStudy(participants=6, trials=8, golds=2, repeats=1, seed=1).ballots()
    write_study_report(folder, asked(gold=2, max_gold_failures=1), ballots)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_every_file_says_what_made_it_and_is_made_again(name, folder, capsys):
    assert main(["show", str(folder / name)]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["design"]["methods"] == ["theirs", "ours"]
    assert main(["reproduce", str(folder / name)]) == 0
    assert "equal, letter for letter" in capsys.readouterr().out


def test_votes_that_are_not_beside_it_or_others_are_told(folder, tmp_path, capsys):
    shutil.copy(folder / "report.md", tmp_path)
    assert main(["reproduce", str(tmp_path / "report.md")]) == 1
    assert "votes.csv, which belongs to this report, is not beside it" in capsys.readouterr().err
    (tmp_path / "votes.csv").write_text("trial\n")
    assert main(["reproduce", str(tmp_path / "report.md")]) == 1
    assert "is not the file that this report was made from" in capsys.readouterr().err


def test_votes_come_back_from_their_table():
    odd = Ballot("t", "p", "=1+1\n“猫”, --", "=c", "-a", "'b", Choice.TIE, seconds=1.25, position=3)
    ballots = [*SimulatedStudy(participants=3, golds=1, repeats=1, seed=2).ballots(), odd]
    assert ballots_in(votes_csv(ballots)) == ballots
