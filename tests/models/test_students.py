"""A student's origin in its student.json: of today, of an earlier version, and unreadable."""

import json

import pytest

from workbench.core.recipe import Recipe
from workbench.io.files import FolderError
from workbench.models.model import StudentInfo
from workbench.models.students import (
    _read,
    common_recipe,
    load_student,
    recipe_of_student,
    shipped_students,
    students_of,
)

SAVED = {
    "method": "dmd",
    "rounds": 7,
    "times": [1.0, 0.5, 0.0],
    "digest": "0123456789ab",
    "recipe": {"method": "dmd", "teacher": "scenes-eps", "lam": 1.0},
}


@pytest.fixture
def run(tmp_path):
    """A function that writes a run folder whose student.json has this text."""

    def write(text):
        (tmp_path / "run" / "student").mkdir(parents=True)
        (tmp_path / "run" / "student" / "student.json").write_text(text)
        return tmp_path / "run"

    return write


def test_a_student_of_an_earlier_version_has_todays_defaults(run):
    folder = run(json.dumps(SAVED))
    recipe = Recipe(method="dmd", teacher="scenes-eps", lam=1.0)
    assert recipe_of_student(folder) == recipe
    assert recipe_of_student(folder / "student") == recipe
    info, times = _read(folder / "student")
    assert info == StudentInfo("dmd", recipe, "0123456789ab", 7)
    assert times.tolist() == [1.0, 0.5, 0.0]


def test_a_setting_of_another_version_is_ignored(run):
    recipe = SAVED["recipe"] | {"setting_of_tomorrow": 3}
    assert recipe_of_student(run(json.dumps(SAVED | {"recipe": recipe}))).lam == 1.0


def test_a_folder_without_a_student_has_no_recipe(tmp_path):
    assert recipe_of_student(tmp_path) is None
    assert recipe_of_student(tmp_path / "nowhere") is None
    assert common_recipe([str(tmp_path), "dmd"]) == (None, "scenes")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting"),
        ("[]", "unreadable"),
        (json.dumps({"method": "dmd"}), "has no 'recipe'"),
        (json.dumps(SAVED | {"recipe": {"lam": -1.0}}), "lam = -1.0 is outside"),
    ],
)
def test_an_unreadable_student_is_an_error_and_never_another_teacher(run, text, reason, backend):
    folder = run(text)
    with pytest.raises(FolderError, match=reason):
        recipe_of_student(folder)
    with pytest.raises(FolderError, match=reason):
        common_recipe([str(folder)])
    with pytest.raises(FolderError, match=reason):
        load_student(folder / "student", backend)
    assert "run run" not in students_of("scenes", folder.parent)  # listing the others still works


def test_the_shipped_students_have_readable_recipes():
    for teacher in ("scenes", "scenes-eps"):
        for folder in shipped_students(teacher).values():
            assert recipe_of_student(folder).teacher == teacher
