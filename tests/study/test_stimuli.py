"""The pictures of a study: samples, sheets, and studies created from them."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.support.evaluations import asked, done
from tests.support.small_study import PROMPTS
from workbench.cli import main
from workbench.evaluation.evaluation import Evaluation
from workbench.study.errors import StudyError
from workbench.study.folder import open_study
from workbench.study.stimuli import (
    contact_sheet,
    render_sheets,
    samples_of_evaluation,
    samples_of_folders,
    spoiled,
)


def test_a_sheet_holds_the_images_row_by_row_in_one_size(folders):
    samples = samples_of_folders(folders)
    made = np.array(contact_sheet(samples.images("two", "two stars"), 64))
    assert made.shape == (2 * 68 - 4, 3 * 68 - 4, 3)
    for k in range(5):
        row, column = divmod(k, 3)
        assert tuple(made[row * 68 + 32, column * 68 + 32]) == (90, 60, k * 40)
    assert tuple(made[100, 180]) == (255, 255, 255)  # the sixth place is empty
    assert contact_sheet([Image.new("RGB", (1024, 1024))] * 9, 300).size == (908, 908)


def test_a_spoiled_image_has_no_edges():
    image = Image.fromarray(
        np.kron(np.indices((8, 8)).sum(0) % 2 * 255, np.ones((8, 8))).astype(np.uint8)
    ).convert("RGB")
    assert np.array(image).std() > 120
    assert np.array(spoiled(image)).std() < 25


def test_all_sheets_have_one_size_and_names_that_say_nothing(folders, tmp_path):
    render_sheets(samples_of_folders(folders), tmp_path / "study")
    sheets = json.loads((tmp_path / "study" / "stimuli.json").read_text())["sheets"]
    assert set(sheets) == set(PROMPTS)
    assert all(
        set(names) == {"one", "two", "spoiled one", "spoiled two"} for names in sheets.values()
    )
    files = [file for names in sheets.values() for file in names.values()]
    assert len(set(files)) == 12
    assert all(re.fullmatch(r"[0-9a-f]{24}\.png", file) for file in files)
    images = [Image.open(tmp_path / "study" / "stimuli" / file) for file in files]
    assert {image.size for image in images} == {(3 * 292 - 4, 2 * 292 - 4)}
    assert not any(image.info for image in images)


def test_an_evaluations_images_become_samples(backend, tmp_path):
    done(Evaluation(tmp_path / "evaluation", asked("teacher", "student")), backend)
    samples = samples_of_evaluation(tmp_path / "evaluation", ("student",), limit=2)
    assert samples.methods == ("student",)
    assert samples.prompts == ("a red circle", "two stars")
    assert samples.seeds == (0, 1, 2)
    assert [image.size for image in samples.images("student", "two stars")] == [(16, 16)] * 3
    assert samples_of_evaluation(tmp_path / "evaluation").methods == ("teacher", "student")
    with pytest.raises(StudyError, match="has no images of gone; it has those of teacher, student"):
        samples_of_evaluation(tmp_path / "evaluation", ("gone",))
    next(
        (tmp_path / "evaluation" / "images").glob("student-*/two-stars-*/seed-0001.png")
    ).write_bytes(b"broken")
    with pytest.raises(
        StudyError, match=r"of student for “two stars” is missing or broken .* evaluate again"
    ):
        samples.images("student", "two stars")


def test_folders_that_do_not_fit_together_are_told(folders, tmp_path):
    with pytest.raises(StudyError, match=r"there is no folder .*gone with the images of three"):
        samples_of_folders(folders | {"three": tmp_path / "gone"})
    (folders["two"] / "prompt-1" / "0.png").unlink()
    with pytest.raises(
        StudyError,
        match=r"for “two stars”, .*one/prompt-1 and .*two/prompt-1 hold images with different "
        "names, and '0' is in only one of them",
    ):
        samples_of_folders(folders)
    (folders["one"] / "prompt-1" / "0.png").unlink()
    with pytest.raises(
        StudyError,
        match="the same number of images, at least one, but there are 4 of “two stars” and 5 of "
        "“a hill”",
    ):
        samples_of_folders(folders)
    Image.new("RGB", (48, 32)).save(folders["one"] / "prompt-2" / "3.png")
    (folders["one"] / "prompt-1" / "0.png").write_bytes(
        (folders["one"] / "prompt-1" / "1.png").read_bytes()
    )
    with pytest.raises(StudyError, match="must be squares of one size"):
        render_sheets(samples_of_folders({"one": folders["one"]}), tmp_path / "study")
    (folders["one"] / "prompt-0" / "0.png").write_bytes(b"no image")
    with pytest.raises(StudyError, match=r"0.png cannot be read as an image"):
        samples_of_folders({"one": folders["one"]}).images("one", "a red fox")
    (folders["two"] / "prompt-1" / "prompt.txt").write_text("another")
    with pytest.raises(
        StudyError, match="two has no images for “two stars”, which another method has"
    ):
        samples_of_folders(folders)
    (folders["two"] / "prompt-1" / "prompt.txt").write_text("two stars")
    shutil.copytree(folders["two"] / "prompt-1", folders["two"] / "more" / "prompt-3")
    (folders["two"] / "more" / "prompt-3").rename(folders["two"] / "prompt-3")
    with pytest.raises(
        StudyError,
        match=r"prompt-1 and .*prompt-3 both have the prompt “two stars”: put their images into "
        "one folder",
    ):
        samples_of_folders({"two": folders["two"]})
    (folders["two"] / "prompt-3" / "prompt.txt").write_text("a new one")
    shutil.rmtree(folders["two"] / "more")
    (folders["two"] / "prompt-1" / "0.png").write_bytes(
        (folders["two"] / "prompt-1" / "1.png").read_bytes()
    )
    with pytest.raises(
        StudyError, match="one has no images for “a new one”, which another method has"
    ):
        samples_of_folders(folders)
    assert samples_of_folders(folders, limit=3).prompts == PROMPTS  # which are there
    (folders["two"] / "prompt-3" / "prompt.txt").write_text(" ")
    with pytest.raises(StudyError, match=r"prompt.txt is empty: write the prompt into it"):
        samples_of_folders(folders)


def test_images_belong_together_by_their_names_and_not_by_their_places(folders):
    (folders["two"] / "prompt-0" / "4.png").rename(folders["two"] / "prompt-0" / "5.png")
    with pytest.raises(
        StudyError,
        match="hold images with different names, and '4' is in only one of them: give every method "
        "an image of each",
    ):
        samples_of_folders(folders)
    for method in folders:
        for place in folders[method].iterdir():
            for old in sorted(place.glob("*.png"), key=lambda path: path.stem, reverse=True):
                old.rename(
                    place
                    / f"{9 - int(old.stem) if method == 'one' else 9 - min(int(old.stem), 4)}.webp"
                )
    samples = samples_of_folders(folders)
    assert samples.seeds == (0, 1, 2, 3, 4)
    assert samples.images("one", "a hill")[0].getpixel((0, 0)) == (0, 120, 160)
    Image.new("RGB", (32, 32)).save(folders["one"] / "prompt-0" / "7.jpg")
    with pytest.raises(StudyError, match=r"7.jpg and 7.webp in .*prompt-0 have the same name"):
        samples_of_folders(folders)


def test_images_are_shown_upright_and_what_is_transparent_is_white(tmp_path):
    place = tmp_path / "one" / "a fox"
    place.mkdir(parents=True)
    image = Image.fromarray(np.full((32, 32, 4), (200, 0, 0, 0), np.uint8))
    image.paste((0, 0, 200, 255), (0, 0, 16, 32))
    image.save(place / "0.png")
    turned = Image.new("RGB", (32, 32))
    turned.paste(
        (250, 250, 250), (0, 0, 32, 16)
    )  # light above; "turn it by 180 degrees" says the setting
    exif = Image.Exif()
    exif[0x0112] = 3
    turned.save(place / "1.png", exif=exif)
    image.quantize(4).save(place / "2.png")
    clear, upright, palette = samples_of_folders({"one": tmp_path / "one"}).images("one", "a fox")
    for shown in (clear, palette):
        assert shown.mode == "RGB"
        assert shown.getpixel((24, 8)) == (255, 255, 255)
        assert shown.getpixel((8, 8)) == (0, 0, 200)
    assert upright.getpixel((8, 24)) == (250, 250, 250)
    assert upright.getpixel((8, 8)) == (0, 0, 0)


def test_an_evaluation_gives_all_its_models_unless_some_are_named(backend, tmp_path, monkeypatch):
    done(Evaluation(tmp_path / "evaluation", asked("teacher", "student", "other")), backend)
    command = [
        "study",
        "create",
        "--evaluation",
        str(tmp_path / "evaluation"),
        "--gold",
        "0",
        "--repeats",
        "0",
        "--out",
    ]
    assert main([*command, str(tmp_path / "all")]) == 0
    assert main([*command, str(tmp_path / "some"), "--models", "other,teacher"]) == 0
    with open_study(tmp_path / "all") as every, open_study(tmp_path / "some") as some:
        assert every.design.methods == ("teacher", "student", "other")
        assert some.design.methods == (
            "other",
            "teacher",
        )


def test_a_study_of_models_samples_them_and_keeps_the_images(tmp_path, capsys):
    command = [
        "study",
        "create",
        "--out",
        str(tmp_path / "study"),
        "--seeds",
        "2",
        "--limit",
        "3",
        "--device",
        "cpu",
        "--models",
    ]
    assert main([*command, "dmd"]) == 1
    assert not (tmp_path / "study").exists()
    assert "compares two or more methods, not 1" in capsys.readouterr().err
    assert main([*command, "dmd,dp-dmd"]) == 0
    assert len(list((tmp_path / "study" / "samples" / "images").glob("d*/*/*.png"))) == 12
    with open_study(tmp_path / "study") as store:
        assert store.design.methods == ("dmd", "dp-dmd")
        assert store.design.seeds == (0, 1)
