"""The pictures of a study, a study's folder, and its commands."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.test_evaluation import asked, done
from workbench.cli import main
from workbench.evaluation import Evaluation
from workbench.study.errors import StudyError
from workbench.study_stimuli import create_study, open_study, render, samples_of_evaluation, samples_of_folders, sheet, spoiled

PROMPTS = ("a red fox", "two stars", "a hill")


@pytest.fixture
def folders(tmp_path):
    """Two methods' images: of method n, image k of prompt p is filled with (n, p, k)."""
    for n, method in enumerate(("one", "two")):
        for p, prompt in enumerate(PROMPTS):
            place = tmp_path / method / f"prompt-{p}"
            place.mkdir(parents=True)
            (place / "prompt.txt").write_text(prompt)
            for k in range(5):
                Image.fromarray(np.full((32, 32, 3), (n * 90, p * 60, k * 40), np.uint8)).save(place / f"{k}.png")
    return {method: tmp_path / method for method in ("one", "two")}


def test_a_sheet_holds_the_images_row_by_row_in_one_size(folders):
    samples = samples_of_folders(folders)
    made = np.array(sheet(samples.images("two", "two stars"), 64))
    assert made.shape == (2 * 68 - 4, 3 * 68 - 4, 3)
    for k in range(5):
        row, column = divmod(k, 3)
        assert tuple(made[row * 68 + 32, column * 68 + 32]) == (90, 60, k * 40)
    assert tuple(made[100, 180]) == (255, 255, 255)  # the sixth place is empty
    assert sheet([Image.new("RGB", (1024, 1024))] * 9, 300).size == (908, 908)


def test_a_spoiled_image_has_no_edges():
    image = Image.fromarray(np.kron(np.indices((8, 8)).sum(0) % 2 * 255, np.ones((8, 8))).astype(np.uint8)).convert("RGB")
    assert np.array(image).std() > 120 and np.array(spoiled(image)).std() < 25


def test_all_sheets_have_one_size_and_names_that_say_nothing(folders, tmp_path):
    render(samples_of_folders(folders), tmp_path / "study")
    sheets = json.loads((tmp_path / "study" / "stimuli.json").read_text())["sheets"]
    assert set(sheets) == set(PROMPTS) and all(set(names) == {"one", "two", "spoiled one", "spoiled two"} for names in sheets.values())
    files = [file for names in sheets.values() for file in names.values()]
    assert len(set(files)) == 12 and all(re.fullmatch(r"[0-9a-f]{24}\.png", file) for file in files)
    images = [Image.open(tmp_path / "study" / "stimuli" / file) for file in files]
    assert {image.size for image in images} == {(3 * 292 - 4, 2 * 292 - 4)} and not any(image.info for image in images)


def test_an_evaluations_images_become_samples(backend, tmp_path):
    done(Evaluation(tmp_path / "evaluation", asked("teacher", "student")), backend)
    samples = samples_of_evaluation(tmp_path / "evaluation", ("student",), limit=2)
    assert samples.methods == ("student",) and samples.prompts == ("a red circle", "two stars") and samples.seeds == (0, 1, 2)
    assert [image.size for image in samples.images("student", "two stars")] == [(16, 16)] * 3
    with pytest.raises(StudyError, match="has no images of gone; it has those of teacher, student"):
        samples_of_evaluation(tmp_path / "evaluation", ("gone",))
    next((tmp_path / "evaluation" / "images").glob("student-*/two-stars-*/seed-0001.png")).write_bytes(b"broken")
    with pytest.raises(StudyError, match="of student for “two stars” is missing or broken .* evaluate again"):
        samples.images("student", "two stars")


def test_folders_that_do_not_fit_together_are_told(folders, tmp_path):
    with pytest.raises(StudyError, match="there is no folder .*gone of three's images"):
        samples_of_folders(folders | {"three": tmp_path / "gone"})
    (folders["two"] / "prompt-1" / "0.png").unlink()
    with pytest.raises(StudyError, match="equally many images, and there are 4 and 5"):
        samples_of_folders(folders)
    Image.new("RGB", (48, 32)).save(folders["one"] / "prompt-2" / "3.png")
    with pytest.raises(StudyError, match="must all be squares of one size"):
        render(samples_of_folders({"one": folders["one"]}), tmp_path / "study")
    (folders["one"] / "prompt-0" / "0.png").write_bytes(b"no image")
    with pytest.raises(StudyError, match="0.png cannot be read as an image"):
        samples_of_folders({"one": folders["one"]}).images("one", "a red fox")
    (folders["two"] / "prompt-1" / "prompt.txt").write_text("another")
    with pytest.raises(StudyError, match="has no images for “two stars”, which another method has"):
        samples_of_folders(folders)


def test_a_study_is_made_once_and_opened_again(folders, tmp_path):
    place, settings = tmp_path / "study", {"title": "A study", "trials": 3, "gold": 1, "repeats": 0}
    with create_study(place, samples_of_folders(folders), settings) as store:
        digest = store.design.digest
    with open_study(place) as store:
        assert store.design.digest == digest and store.design.prompts == PROMPTS and store.design.seeds == (0, 1, 2, 3, 4)
    with pytest.raises(StudyError, match="holds a study already, and it stays as it is"):
        create_study(place, samples_of_folders(folders), settings)
    with pytest.raises(StudyError, match="trials = 9 is more than the 3 items"):
        create_study(tmp_path / "other", samples_of_folders(folders), settings | {"trials": 9})
    assert not (tmp_path / "other").exists()  # nothing was rendered for nothing
    with pytest.raises(StudyError, match="holds no study .* study create"):
        open_study(tmp_path)


def test_the_commands_of_a_study(folders, tmp_path, capsys):
    place = tmp_path / "study"
    images = ",".join(f"{name}={folder}" for name, folder in folders.items())
    assert main(["study", "create", "--out", str(place), "--images", images, "--gold", "1", "--repeats", "1", "--title", "Which?"]) == 0
    assert "1 pairs x 3 prompts, 5 questions a participant" in capsys.readouterr().out
    with open_study(place) as store:
        person, _ = store.join(True)
        while trial := store.next_trial(person):
            store.vote(person, trial.id, {"diversity": "left", "quality": "tie"}, f"{trial.position:08d}-0000-4000-8000-000000000000", 2.0)
    assert main(["study", "status", str(place)]) == 0
    assert "1 participants, 1 of them finished\n3 of 9 votes wanted" in capsys.readouterr().out
    assert main(["study", "export", str(place), "--to", str(tmp_path / "votes.csv")]) == 0
    assert "votes.csv: 10 votes" in capsys.readouterr().out and len((tmp_path / "votes.csv").read_text().splitlines()) == 11
    assert main(["study", "report", str(place)]) == 0 and (place / "report" / "report.html").stat().st_size > 1e6
    assert main(["study", "backup", str(place), "--to", str(tmp_path / "copy.db")]) == 0
    assert main(["study", "backup", str(place), "--to", str(tmp_path / "copy.db")]) == 1
    (tmp_path / "criteria.json").write_text('[{"name": "variety", "question": "Which side has more variety?", "gold": true}]')
    other = ["study", "create", "--out", str(tmp_path / "other"), "--images", images, "--criteria", str(tmp_path / "criteria.json")]
    assert main(other) == 0
    with open_study(tmp_path / "other") as store:
        assert [criterion.question for criterion in store.design.criteria] == ["Which side has more variety?"]
    (tmp_path / "criteria.json").write_text('[{"nam": "variety"}]')
    assert main([*other[:3], str(tmp_path / "third"), *other[4:]]) == 1 and "did you mean 'name'" in capsys.readouterr().err
    assert main(["study", "create", "--out", str(place), "--images", images]) == 1
    assert "holds a study already" in capsys.readouterr().err
    assert main(["study", "power", "--participants", "8", "--prompts", "10", "--votes", "8", "--rates", "0.8", "--repetitions", "200"]) == 0
    assert "| 8 | 10 | 8 | 0.8 | " in capsys.readouterr().out


def test_a_study_of_models_samples_them_and_keeps_the_images(tmp_path, capsys):
    command = ["study", "create", "--out", str(tmp_path / "study"), "--seeds", "2", "--limit", "3", "--device", "cpu", "--models"]
    assert main([*command, "dmd"]) == 1 and not (tmp_path / "study").exists()
    assert "compares two or more methods, not 1" in capsys.readouterr().err
    assert main([*command, "dmd,dp-dmd"]) == 0
    assert len(list((tmp_path / "study" / "samples" / "images").glob("d*/*/*.png"))) == 12
    with open_study(tmp_path / "study") as store:
        assert store.design.methods == ("dmd", "dp-dmd") and store.design.seeds == (0, 1)
