"""Progress bars."""

import pytest

from workbench.io.progress import Step
from workbench.io.progress import watched

STEPS = [Step("images", 1, 3), Step("images", 3, 3), Step("loading", 0, 1), Step("reading", 2, 2)]


def ends(text: str) -> list[str]:
    """What is left of each line of a terminal."""
    return [line.rsplit("\r", 1)[-1] for line in text.split("\n") if line]


def test_each_part_of_the_work_has_a_bar_of_its_own(capsys):
    watched(iter(STEPS), "image")
    told = ends(capsys.readouterr().err)
    assert [line.split(":")[0] for line in told] == ["images", "loading", "reading"]
    assert "100%" in told[0] and "3/3" in told[0] and "0/1" in told[1] and "2/2" in told[2]


def test_a_part_of_nothing_ends_its_line_too(capsys):
    watched([Step("nothing", 0, 0), Step("images", 1, 1)])
    assert [line.split(":")[0] for line in ends(capsys.readouterr().err)] == ["nothing", "images"]


def test_what_fails_ends_its_line_before_it_is_told(capsys):
    def failing():
        yield Step("rounds", 1, 4)
        raise RuntimeError("it failed")

    with pytest.raises(RuntimeError, match="it failed"):
        watched(failing(), "round")
    told = capsys.readouterr().err
    assert told.endswith("\n") and "1/4" in told
    watched(iter(()))
    assert capsys.readouterr().err == ""
