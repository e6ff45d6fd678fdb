"""The pictures of a study, a study's folder, and its commands."""

import dataclasses
import hashlib
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.support.evaluations import asked, done
from workbench.cli import main
from workbench.evaluation.evaluation import Evaluation
from workbench.study.errors import StudyError
from workbench.study.server.app import study_app
from workbench.study.server.pictures import Pictures
from workbench.study.stimuli import (
    contact_sheet,
    create_study,
    open_study,
    render_sheets,
    samples_of_evaluation,
    samples_of_folders,
    spoiled,
)
from workbench.study.store.store import Store

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
                Image.fromarray(np.full((32, 32, 3), (n * 90, p * 60, k * 40), np.uint8)).save(
                    place / f"{k}.png"
                )
    return {method: tmp_path / method for method in ("one", "two")}


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
        StudyError, match="of student for “two stars” is missing or broken .* evaluate again"
    ):
        samples.images("student", "two stars")


def test_folders_that_do_not_fit_together_are_told(folders, tmp_path):
    with pytest.raises(StudyError, match="there is no folder .*gone of three's images"):
        samples_of_folders(folders | {"three": tmp_path / "gone"})
    (folders["two"] / "prompt-1" / "0.png").unlink()
    with pytest.raises(
        StudyError,
        match="of “two stars” .*one/prompt-1 and .*two/prompt-1 hold images of different names, "
        "and '0' is in one",
    ):
        samples_of_folders(folders)
    (folders["one"] / "prompt-1" / "0.png").unlink()
    with pytest.raises(
        StudyError,
        match="equally many images, at least one, and there are 4 of “two stars” and 5 of “a hill”",
    ):
        samples_of_folders(folders)
    Image.new("RGB", (48, 32)).save(folders["one"] / "prompt-2" / "3.png")
    (folders["one"] / "prompt-1" / "0.png").write_bytes(
        (folders["one"] / "prompt-1" / "1.png").read_bytes()
    )
    with pytest.raises(StudyError, match="must all be squares of one size"):
        render_sheets(samples_of_folders({"one": folders["one"]}), tmp_path / "study")
    (folders["one"] / "prompt-0" / "0.png").write_bytes(b"no image")
    with pytest.raises(StudyError, match="0.png cannot be read as an image"):
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
        match="prompt-1 and .*prompt-3 are both of the prompt “two stars”: put their images into "
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
    with pytest.raises(StudyError, match="prompt.txt is empty: write the prompt into it"):
        samples_of_folders(folders)


def test_images_belong_together_by_their_names_and_not_by_their_places(folders):
    (folders["two"] / "prompt-0" / "4.png").rename(folders["two"] / "prompt-0" / "5.png")
    with pytest.raises(
        StudyError,
        match="hold images of different names, and '4' is in one of them only: give every method "
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
    with pytest.raises(StudyError, match="7.jpg and 7.webp in .*prompt-0 have one name"):
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


def test_what_is_shown_is_frozen_with_the_design(folders, tmp_path):
    place, settings = tmp_path / "study", {"title": "A study", "trials": 3, "gold": 1, "repeats": 0}
    with create_study(place, samples_of_folders(folders), settings) as store:
        digest = store.design.digest
    stimuli = json.loads((place / "stimuli.json").read_text())
    for file, sha256 in stimuli["sha256"].items():
        assert hashlib.sha256((place / "stimuli" / file).read_bytes()).hexdigest() == sha256
    Pictures(place).check(("one", "two"), PROMPTS)
    again = render_sheets(samples_of_folders(folders), tmp_path / "again")  # under other names
    with open_study(place) as store:
        assert store.design.pictures == again != ""
        assert store.design.digest == digest
    Image.new("RGB", (32, 32), (1, 2, 3)).save(folders["one"] / "prompt-0" / "0.png")
    assert render_sheets(samples_of_folders(folders), tmp_path / "other") != again
    shutil.copy(tmp_path / "other" / "stimuli.json", place / "stimuli.json")
    with pytest.raises(
        StudyError,
        match=f"stimuli.json is not that of the study {digest}: its pictures were changed after "
        "it was made",
    ):
        open_study(place)
    (place / "stimuli.json").write_text("{}")
    with pytest.raises(StudyError, match="stimuli.json cannot be read"):
        open_study(place)
    (place / "stimuli.json").unlink()
    open_study(place).close()  # its votes can be had without the pictures
    (place / "study.json").write_text(
        json.dumps(json.loads((place / "study.json").read_text()) | {"digest": "0123456789ab"})
    )
    with pytest.raises(
        StudyError,
        match=f"is of the study 0123456789ab, and its database holds the study {digest}: give the "
        "database of this",
    ):
        open_study(place)


def test_a_study_that_was_made_before_pictures_were_frozen_opens(folders, tmp_path):
    place = tmp_path / "study"
    with create_study(
        place,
        samples_of_folders(folders),
        {"title": "A study", "trials": 3, "gold": 1, "repeats": 0},
    ) as store:
        design = dataclasses.replace(store.design, pictures="")
    (place / "study.db").unlink()
    Store.create(place / "study.db", design).close()
    (place / "study.json").write_text(
        json.dumps({"title": "A study", "digest": design.digest, "database": ""})
    )
    (place / "stimuli.json").write_text(
        json.dumps({"sheets": json.loads((place / "stimuli.json").read_text())["sheets"]})
    )
    with open_study(place) as store:
        assert store.design.min_seconds is None
        assert not store.design.pictures
        study_app(store, place)


def test_a_password_is_kept_nowhere(folders, tmp_path, monkeypatch):
    """Without a server: what stands for a database is a file, whatever its address."""
    address, place = "postgresql://me:secret-word@127.0.0.1/study", tmp_path / "study"
    create, opened = Store.create, []

    def made(where, design):
        opened.append(where)
        return create(tmp_path / "db", design)

    monkeypatch.setattr(Store, "create", made)
    monkeypatch.setattr(
        Store, "open", lambda where, to=Store.open: opened.append(where) or to(tmp_path / "db")
    )
    create_study(
        place,
        samples_of_folders(folders),
        {"title": "A study", "trials": 3, "gold": 1, "repeats": 0},
        address,
    ).close()
    open_study(place).close()
    open_study(place, address).close()
    assert opened == [address, "postgresql://me@127.0.0.1/study", address]
    assert not any(
        b"secret-word" in path.read_bytes() for path in place.rglob("*") if path.is_file()
    )


def test_a_study_is_made_once_and_opened_again(folders, tmp_path):
    place, settings = tmp_path / "study", {"title": "A study", "trials": 3, "gold": 1, "repeats": 0}
    with create_study(place, samples_of_folders(folders), settings) as store:
        digest = store.design.digest
    with open_study(place) as store:
        assert store.design.digest == digest
        assert store.design.prompts == PROMPTS
        assert store.design.seeds == (0, 1, 2, 3, 4)
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
    assert "1 pairs x 3 prompts, 5 questions a participant" in capsys.readouterr().out
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
    assert "1 participants, 1 of them finished\n3 of 9 votes wanted" in told
    assert "votes that count: 1 on 3 of the pairs" in told
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
    assert "holds a study already" in capsys.readouterr().err
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
        (["--images", f"{images},three"], "'three' is no NAME=FOLDER"),
        (["--min-seconds", "0"], "min_seconds must be a number above 0"),
        (["--pairs", "one:two,two:one"], "the pair two and one is there twice"),
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
        {"title": "A study", "trials": 3, "gold": 1, "repeats": 0, "min_seconds": 2},
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
    assert "0 of 9 votes wanted" in told
    assert (
        "1 participants are excluded by the design's rule so far, and 3 of 3 votes with them"
        in told
    )
    assert "votes that count: 0 on 3 of" in told
    assert (
        f"it cannot be served: {sheet_file} is not the picture that the study was made with" in told
    )
    assert main(["study", "status", str(place), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["excluded"] == 1
    assert "is not the picture" in told["pictures"]
    assert [entry[1:] for entry in told["items"]] == [[1, 0, 0]] * 3
    assert main(["study", "serve", str(place)]) == 1
    assert "is not the picture that the study was made with" in capsys.readouterr().err
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
                {"title": "A study", "trials": 3, "gold": 1, "repeats": 0},
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
