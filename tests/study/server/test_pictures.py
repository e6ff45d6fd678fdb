"""The pictures as they are sent: no two responses share pixels, a chunk or a revealing length, and
only frozen pictures are shown.
"""

import hashlib
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workbench.study.analysis.guessing import LENGTH, PIXELS, accuracy, linked, statistics
from workbench.study.analysis.guessing import decoded as decode
from workbench.study.errors import StudyError
from workbench.study.server.pictures import (
    BLOCK,
    SHARE,
    Pictures,
    blocks,
    outgoing_length,
    perturbed,
    png,
)
from workbench.study.store.records import Stimulus

METHODS, PROMPTS = ("one", "two"), ("a red fox", "two stars")


@pytest.fixture
def folder(tmp_path):
    """Sheets of noise and, which packs to much less, of one colour; black, white and grey."""
    (tmp_path / "stimuli").mkdir()
    sheets, sha256, rng = {}, {}, np.random.default_rng(0)
    for n, prompt in enumerate(PROMPTS):
        for name in (*METHODS, *(f"spoiled {method}" for method in METHODS)):
            pixels = (
                rng.integers(256, size=(200, 200, 3), dtype=np.uint8)
                if name == "one"
                else np.full((200, 200, 3), 255 * n, np.uint8)
            )
            file = f"{len(sha256):024x}.png"
            Image.fromarray(pixels).save(tmp_path / "stimuli" / file)
            sheets.setdefault(prompt, {})[name] = file
            sha256[file] = hashlib.sha256((tmp_path / "stimuli" / file).read_bytes()).hexdigest()
    (tmp_path / "stimuli.json").write_text(
        json.dumps({"sheets": sheets, "sha256": sha256, "length": 118_000})
    )
    return tmp_path


def shown(method, prompt=PROMPTS[0], of=""):
    return Stimulus("trial", "person", prompt, method, of or method, "left", "real")


def decoded(content):
    with Image.open(io.BytesIO(content)) as image:
        assert image.mode == "RGB"
        assert not image.info
        return np.array(image).astype(int)


def chunks(content):
    found, place = {}, 8
    while place < len(content):
        (size,) = struct.unpack(">I", content[place : place + 4])
        found[content[place + 4 : place + 8]] = content[place + 8 : place + 8 + size]
        assert (
            zlib.crc32(content[place + 4 : place + 8 + size])
            == struct.unpack(">I", content[place + 8 + size : place + 12 + size])[0]
        )
        place += size + 12
    return found


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_two_answers_of_one_sheet_differ_in_bytes_and_in_pixels_by_at_most_one(
    folder, method, prompt
):
    pictures = Pictures(folder)
    sheet = np.array(Image.open(folder / "stimuli" / pictures.sheets[prompt][method])).astype(int)
    answers = [pictures.disguised(shown(method, prompt)) for _ in range(6)]
    assert len(set(answers)) == 6
    assert {len(answer) for answer in answers} == {pictures.length}
    pixels = [decoded(answer) for answer in answers]
    assert len({image.tobytes() for image in pixels}) == 6
    for image in pixels:
        assert np.abs(image - sheet).max() == 1
        assert 0.9 * SHARE < (image != sheet).mean() < 1.1 * SHARE
    parts = [chunks(answer) for answer in answers]
    assert all(list(part) == [b"IHDR", b"IDAT", b"paDd", b"IEND"] for part in parts)
    for name in (b"IDAT", b"paDd"):
        assert (
            len({part[name] for part in parts}) == len({part[name][:1000] for part in parts}) == 6
        )  # not even a beginning is stable


def test_methods_do_not_differ_in_length_or_header(folder):
    pictures = Pictures(folder)
    answers = [
        pictures.disguised(shown(method, prompt)) for method in METHODS for prompt in PROMPTS
    ]
    answers += [
        pictures.disguised(shown("spoiled", prompt, of)) for of in METHODS for prompt in PROMPTS
    ]
    assert {len(answer) for answer in answers} == {2 * BLOCK} == {pictures.length}
    assert len({answer[:33] for answer in answers}) == 1


def test_changed_values_stay_in_range_and_come_from_the_generator():
    for value, allowed in ((0, {0, 1}), (255, {254, 255}), (7, {6, 7, 8})):
        pixels = np.full((90, 90, 3), value, np.uint8)
        made = perturbed(pixels, np.random.default_rng(3))
        assert set(np.unique(made)) == allowed
        assert (pixels == value).all()
        assert np.array_equal(made, perturbed(pixels, np.random.default_rng(3)))


def test_a_picture_longer_than_the_others_takes_the_next_length():
    pixels = np.random.default_rng(0).integers(256, size=(300, 300, 3), dtype=np.uint8)
    content = png(pixels, BLOCK)
    assert len(content) == blocks(270_000)
    assert np.array_equal(decoded(content), pixels)
    assert [blocks(n) for n in (1, BLOCK, BLOCK + 1)] == [BLOCK, BLOCK, 2 * BLOCK]


def test_a_study_of_an_earlier_version_is_measured(folder):
    saved = json.loads((folder / "stimuli.json").read_text())
    (folder / "stimuli.json").write_text(json.dumps({"sheets": saved["sheets"]}))
    pictures = Pictures(folder)
    pictures.check(METHODS, PROMPTS)
    assert pictures.length == Pictures(folder).length == 2 * BLOCK
    assert len(pictures.disguised(shown("one"))) == 2 * BLOCK


def test_a_sheet_that_was_changed_or_is_missing_is_told_before_and_while_it_is_shown(folder):
    pictures = Pictures(folder)
    pictures.check(METHODS, PROMPTS)
    pictures.disguised(shown("two"))
    changed = folder / "stimuli" / pictures.sheets[PROMPTS[0]]["one"]
    whole = changed.read_bytes()
    Image.new("RGB", (200, 200)).save(changed)
    with pytest.raises(
        StudyError,
        match=f"{changed.name} is not the picture that the study was created with; restore it",
    ):
        Pictures(folder).check(METHODS, PROMPTS)
    with pytest.raises(
        StudyError, match="missing or was changed; `study status` tells its owner which"
    ) as caught:
        pictures.disguised(shown("one"))
    assert changed.name not in str(caught.value)  # participants may read it
    changed.write_bytes(whole)
    pictures.disguised(shown("one"))  # mended
    changed.unlink()
    with pytest.raises(
        StudyError, match=r"has no pictures to show .* restore the folder from a copy"
    ):
        Pictures(folder)
    with pytest.raises(StudyError, match=f"{changed.name} cannot be read"):
        pictures.check(METHODS, PROMPTS)
    changed.write_bytes(b"no picture")
    (folder / "stimuli.json").write_text(json.dumps({"sheets": pictures.sheets, "length": 1}))
    with pytest.raises(StudyError, match="tells its owner which"):
        Pictures(folder).disguised(shown("one"))


def of_method(method, rng):
    """A picture of one of three methods that differ as real ones do: in contrast and smoothness."""
    noise = rng.normal(0, 1, (12, 12, 3))
    pixels = np.kron(noise, np.ones((8, 8, 1))) * (25, 35, 45)[method]
    pixels += rng.normal(0, (6, 4, 2)[method], pixels.shape) + 128
    return pixels.clip(0, 255).astype(np.uint8)


def test_what_a_program_can_learn_from_the_pictures_is_what_the_documentation_says(tmp_path):
    """300 pictures: nothing from the length of an answer; the method, if it was told others'
    methods, from the pixels; and which pictures are the same one.
    """
    rng = np.random.default_rng(0)
    methods, items = np.tile(np.arange(3), 100), np.repeat(np.arange(100), 3)
    originals = [of_method(method, rng) for method in methods]
    length = blocks(max(outgoing_length(pixels) for pixels in originals))
    answers, again = (
        [png(perturbed(pixels, np.random.default_rng()), length) for pixels in originals]
        for _ in range(2)
    )
    numbers = np.stack([statistics(answer) for answer in answers])
    assert len(set(numbers[:, LENGTH].ravel())) == 1
    assert accuracy(numbers[:, LENGTH], methods, items) == pytest.approx(1 / 3)
    assert accuracy(numbers[:, PIXELS], methods, items) > 0.6
    assert linked([decode(one) for one in answers], [decode(one) for one in again]) == 1.0
    # without methods to learn from there is nothing to call them by: told at random, it is chance
    told = rng.permutation(methods)
    assert accuracy(numbers, told, items) == pytest.approx(1 / 3, abs=4 * (2 / 9 / 300) ** 0.5)
    page = " ".join((Path(__file__).parents[3] / "docs" / "study.md").read_text().split())
    for claim in (
        "The length of an answer says nothing",
        "can link two pictures of the same sheet",
        "guess the method of a picture more often than by chance, if it is told the methods of "
        "others",
        "which side is which method, it cannot say",
    ):
        assert claim in page, claim
