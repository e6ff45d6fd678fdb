"""Other people's images: what folders really hold, and every kind of picture."""

import unicodedata
import warnings

import numpy as np
import pytest
from PIL import Image

from workbench.study.errors import StudyError
from workbench.study.image_folders import opened
from workbench.study.stimuli import render_sheets, samples_of_folders

RAMP = np.linspace(0, 65535, 32 * 32).round().astype(np.uint16).reshape(32, 32)


def mean_of(image: Image.Image) -> float:
    assert image.mode == "RGB"
    return float(np.asarray(image).mean())


@pytest.fixture
def method(tmp_path):
    """A function that writes a method's folder: images 0 and 1 of each of the prompts."""

    def written(name, *prompts, pixels=None):
        for n, prompt in enumerate(prompts):
            place = tmp_path / name / f"prompt-{n}"
            place.mkdir(parents=True)
            (place / "prompt.txt").write_bytes(
                prompt if isinstance(prompt, bytes) else prompt.encode()
            )
            for k in range(2):
                Image.fromarray(
                    np.full((16, 16), 60 * k, np.uint8) if pixels is None else pixels
                ).save(place / f"{k}.png")
        return tmp_path / name

    return written


def test_sixteen_bit_grey_is_scaled(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "ramp.png")
    found = opened(tmp_path / "ramp.png")
    assert mean_of(found) == pytest.approx(127.0, abs=0.1)
    assert (np.asarray(found)[..., 0] == RAMP // 257).all()
    Image.fromarray(RAMP.astype(">u2")).save(tmp_path / "big.tif")
    (tmp_path / "big.tif").rename(tmp_path / "big.png")
    assert (np.asarray(opened(tmp_path / "big.png")) == np.asarray(found)).all()


def test_sixteen_bit_grey_keeps_its_transparent_value(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "ramp.png", transparency=int(RAMP[0, 0]))
    pixels = np.asarray(opened(tmp_path / "ramp.png"))
    assert tuple(pixels[0, 0]) == (255, 255, 255)
    assert tuple(pixels[0, 1]) == (RAMP[0, 1] // 257,) * 3


def test_a_study_of_sixteen_bit_pictures_is_not_white(method, tmp_path):
    folders = {name: method(name, "a ramp", pixels=RAMP) for name in ("A", "B")}
    render_sheets(samples_of_folders(folders), tmp_path / "study")
    for sheet in (tmp_path / "study" / "stimuli").iterdir():
        assert 110 < np.asarray(Image.open(sheet)).mean() < 145


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_without_a_range_are_refused(mode, tmp_path):
    Image.fromarray(RAMP.astype(np.float32)).convert(mode).save(tmp_path / "odd.tif")
    (tmp_path / "odd.tif").rename(tmp_path / "odd.png")
    with pytest.raises(StudyError, match=r"odd.png holds .* nothing says which is white"):
        opened(tmp_path / "odd.png")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_other_kind_of_picture_keeps_its_brightness(mode, tmp_path):
    ending = "jpg" if mode in ("CMYK", "YCbCr") else "png"
    Image.new("RGB", (16, 16), (200, 200, 200)).convert(mode, dither=Image.Dither.NONE).save(
        tmp_path / f"x.{ending}"
    )
    expected = 255 if mode == "1" else 200
    assert mean_of(opened(tmp_path / f"x.{ending}")) == pytest.approx(
        expected, abs=5
    )  # a palette has few greys


def test_a_huge_picture_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("L", (32, 32)).save(tmp_path / "huge.png")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(
            StudyError, match=r"huge.png is too large .*1024 pixels.*make it smaller"
        ):
            opened(tmp_path / "huge.png")


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        ".ipynb_checkpoints",
        "__MACOSX",
        ".hidden",
        "@eaDir",
        "$RECYCLE.BIN",
        "System Volume Information",
    ],
)
def test_folders_that_systems_leave_are_no_prompts(method, name, both):
    folders = {one: method(one, "a hill", "two stars") for one in ("A", "B")}
    for one in ("A", "B") if both else ("A",):
        (folders[one] / name).mkdir()
        Image.new("L", (8, 8)).save(folders[one] / name / "0-checkpoint.png")
    samples = samples_of_folders(folders)
    assert samples.prompts == ("a hill", "two stars")
    assert len(samples.images("B", "a hill")) == 2


@pytest.mark.parametrize(
    "name", [".DS_Store", "Thumbs.db", "desktop.ini", "._0.png", ".hidden.png"]
)
def test_files_that_systems_leave_are_no_images(method, name):
    folders = {one: method(one, "a hill") for one in ("A", "B")}
    (folders["A"] / "prompt-0" / name).write_bytes(b"\0\5\26\7")
    (folders["A"] / name).write_bytes(b"x")
    (folders["A"] / "prompt-0" / "folder.png").mkdir()
    assert len(samples_of_folders(folders).images("A", "a hill")) == 2


def test_a_byte_order_mark_is_no_part_of_a_prompt(method):
    for second in ("a red circle", b"\xef\xbb\xbfa red circle\r\n"):
        folders = {"A": method(f"A{len(second)}", b"\xef\xbb\xbfa red circle")}
        folders["B"] = method(f"B{len(second)}", second)
        assert samples_of_folders(folders).prompts == ("a red circle",)


@pytest.mark.parametrize(
    ("first", "second", "place", "of_first", "of_second"),
    [
        (
            "caf\u00e9",
            unicodedata.normalize("NFD", "caf\u00e9"),
            4,
            "U+00E9 LATIN SMALL LETTER E WITH ACUTE",
            "U+0065 LATIN SMALL LETTER E",
        ),
        ("a red circle", "a red\u00a0circle", 6, "U+0020 SPACE", "U+00A0 NO-BREAK SPACE"),
        ("a red circle", "a red\u200b circle", 6, "U+0020 SPACE", "U+200B ZERO WIDTH SPACE"),
        ("a red circle", "a red circle\u200f", 13, "its end", "U+200F RIGHT-TO-LEFT MARK"),
        ("\u2764", "\u2764\ufe0f", 2, "its end", "U+FE0F VARIATION SELECTOR-16"),
    ],
)
def test_prompts_that_only_look_equal_are_told_exactly(
    method, first, second, place, of_first, of_second
):
    told = f"(character {place} is {of_second} in the one, {of_first} in the other)"
    folders = {"A": method("A", first), "B": method("B", second)}
    with pytest.raises(StudyError) as caught:
        samples_of_folders(folders)
    assert f"B/prompt-0 only looks like another method's {told}: write both" in str(caught.value)
    told = f"(character {place} is {of_first} in the one, {of_second} in the other)"
    with pytest.raises(StudyError) as caught:
        samples_of_folders({"A": method("C", first, second)})
    assert f"both have the prompt “{second}” {told}" in str(caught.value)


def test_images_whose_names_only_look_equal_are_told_exactly(method):
    folders = {one: method(one, "a hill") for one in ("A", "B")}
    for one, name in (("A", "\u00e9"), ("B", "e\u0301")):
        (folders[one] / "prompt-0" / "1.png").rename(folders[one] / "prompt-0" / f"{name}.png")
    with pytest.raises(StudyError, match=r"in only one of them \(character 1 is U\+0065"):
        samples_of_folders(folders)
