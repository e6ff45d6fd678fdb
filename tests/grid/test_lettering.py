"""Text on an exported sheet: in every script a font that has it, measured and never cut off."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from workbench.grid import lettering
from workbench.grid.export import LEAST, grid_sheet
from workbench.grid.generate import Cell, Grid, Row
from workbench.grid.lettering import Face, Font, advice, font_of, fonts, letters, runs, shown
from workbench.grid.request import GridRequest
from workbench.metrics.diversity import Interval

TEXTS = (
    "schönes Mädchen – café × λ → €",
    "一只戴红帽子的猫；日本語のテキスト, 한국어",
    "एक लाल वृत्त, क्षत्रिय",
    "قطة حمراء, 4k!",
    "חתול אדום",
    "แมวสีแดงที่นั่ง",
    "Красный круг, κόκκινος κύκλος",
    "a 🚀 and 👩‍🚀",
    "x" * 300,
    "many words " * 36,
)


def has_all(text: str) -> bool:
    return all(font.has(run) for font, run in runs(text))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("room", [120, 876])
def test_every_line_fits_and_every_character_is_in_its_font(text, room):
    face = Face(22)
    lines = face.wrapped(text, room)
    assert all(has_all(line) for line in lines)
    for line in lines:
        paper = Image.new("L", (room + 400, face.height), 255)
        face.draw(ImageDraw.Draw(paper), (0, 0), line, "black")
        inked = np.nonzero((np.asarray(paper) < 200).any(0))[0]
        assert inked.max() <= room + 2  # a slanted edge may lean over its advance
        assert face.width(line) <= room
    kept = "".join("".join(lines).split())
    assert kept == "".join(shown(text).split())  # nothing is lost


def test_scripts_are_written_as_themselves():
    for text in TEXTS[:7]:
        assert shown(text) == text
        assert advice([text]) == ""


def test_a_character_in_no_font_is_its_code_point_and_a_package_is_named(monkeypatch):
    monkeypatch.setattr(lettering, "_system_fonts", lambda character: ())
    assert shown("a 🚀🚀, b") == "a U+1F680 U+1F680, b"
    assert shown("👩\u200d🚀") == "U+1F469 U+1F680"
    assert shown("a\u00adb\u200bc") in ("abc", "a\u00adb\u200bc")
    assert "U+1F680: no font here has it, install fonts-symbola" in advice(["a 🚀", "🚀"])
    assert advice(["a 🚀", "🚀"]).count("U+1F680") == 1
    assert "U+12A0" in advice(["አ"])
    assert "fonts-noto-core" in advice(["አ"])


def test_without_any_font_package_everything_is_ascii(monkeypatch):
    monkeypatch.setattr(lettering, "fonts", lambda: (Font(),))
    monkeypatch.setattr(lettering, "_system_fonts", lambda character: ())
    assert shown("a é – 猫") == "a U+00E9 U+2013 U+732B"
    assert Face(14).shortened("a long name of a model", 60).endswith("...")
    assert "noto-cjk-sans-jp-regular" in advice(["猫"])


def test_a_system_font_is_used_where_the_packages_have_none(monkeypatch):
    monkeypatch.setattr(lettering, "fonts", lambda: (Font(),))
    if not lettering._system_fonts("λ"):
        pytest.skip("no font of this system has a λ")
    assert font_of("λ").file
    assert shown("λ") == "λ"


def test_letters_keep_their_marks_and_joiners():
    assert letters("cafe\u0301") == ["c", "a", "f", "e\u0301"]
    assert letters("👩\u200d🚀!") == ["👩\u200d🚀", "!"]
    assert letters("क्ष")[0] == "क्"


def test_right_to_left_text_is_one_run_that_is_shaped():
    ((font, run),) = runs("قطة حمراء, 4k!")
    assert run == "قطة حمراء, 4k!"
    assert font.has(run)
    face = Face(40)
    apart = sum(face.width(letter) for letter in "قطة")
    assert face.width("قطة") < 0.95 * apart  # joined letters are narrower than single ones


def test_a_shortened_text_says_so():
    face = Face(18)
    assert face.shortened("dp-dmd", 200) == "dp-dmd"
    short = face.shortened("run a-very-long-name-of-a-run-folder", 150)
    assert short.endswith("…")
    assert face.width(short) <= 150


def test_fonts_of_noto_come_first():
    assert "NotoSans[" in fonts()[0].file


def test_a_sheet_holds_all_of_its_text(monkeypatch):
    """Everything that is drawn lies on the picture, and is the whole prompt, label and legend."""
    drawn, inside = [], []
    draw = Face.draw

    def noted(self, canvas, place, text, colour, centred=False):
        left = place[0] - (self.width(text) / 2 if centred else 0)
        drawn.append(text)
        inside.append((left, place[1], left + self.width(text), place[1] + self.height))
        draw(self, canvas, place, text, colour, centred)

    monkeypatch.setattr(Face, "draw", noted)
    prompts = (*(text[:300] for text in TEXTS[:7]), "many words " * 36)
    request = GridRequest(
        tuple(prompt.strip() for prompt in prompts), (0, 2**32 - 1), ("teacher", "run " + "n" * 60)
    )
    grid = Grid(request, "an accelerator with a very long name " * 6)
    for index in range(len(prompts)):
        grid.add(Cell(index, "teacher", 0, np.zeros((64, 64, 3), np.uint8)))
        grid.add(Row(index, "teacher", 58, 1.23, Interval(0.2, 0.1, 0.3), "lite0@224"))
    sheet = grid_sheet(grid)
    assert sheet.width == LEAST
    for left, top, right, bottom in inside:
        assert 0 <= left < right <= sheet.width
        assert 0 <= top < bottom <= sheet.height
    together = "".join("".join(drawn).split())
    for prompt in request.prompts:
        assert "".join(prompt.split()) in together
    assert together.count("averylongname") == 6
    assert "".join("Times are of one image on an accelerator".split()) in together
    assert "Div 0.200 [0.100, 0.300]" in drawn
    assert any(text.startswith("run nnn") and text.endswith("…") for text in drawn)
