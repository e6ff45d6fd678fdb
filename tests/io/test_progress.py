"""Progress bars."""

import pytest

from workbench.io.progress import Progress, watched

STEPS = [
    Progress(1, 3, "images"),
    Progress(3, 3, "images"),
    Progress(0, 1, "loading"),
    Progress(2, 2, "reading"),
]


def ends(text: str) -> list[str]:
    """What is left of each line of a terminal."""
    return [line.rsplit("\r", 1)[-1] for line in text.split("\n") if line]


def test_each_part_of_the_work_has_a_bar_of_its_own(capsys):
    watched(iter(STEPS), "image")
    told = ends(capsys.readouterr().err)
    assert [line.split(":")[0] for line in told] == ["images", "loading", "reading"]
    assert "100%" in told[0]
    assert "3/3" in told[0]
    assert "0/1" in told[1]
    assert "2/2" in told[2]


def test_a_part_of_nothing_ends_its_line_too(capsys):
    watched([Progress(0, 0, "nothing"), Progress(1, 1, "images")])
    assert [line.split(":")[0] for line in ends(capsys.readouterr().err)] == ["nothing", "images"]


def test_what_fails_ends_its_line_before_it_is_told(capsys):
    def failing():
        yield Progress(1, 4, "rounds")
        raise RuntimeError("it failed")

    with pytest.raises(RuntimeError, match="it failed"):
        watched(failing(), "round")
    told = capsys.readouterr().err
    assert told.endswith("\n")
    assert "1/4" in told
    watched(iter(()))
    assert capsys.readouterr().err == ""
