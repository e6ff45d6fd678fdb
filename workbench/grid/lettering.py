"""Text of any script on a picture: measured, wrapped, and each character in a font that has it.

    face = Face(22)
    for number, line in enumerate(face.wrapped("café λ, 一只猫, قطة", room=600)):
        face.draw(draw, (0, number * face.height), line, "black")

The fonts are those of the packages that this project depends on, then others of their kind that are
installed, then the system's (fontconfig). A character that no font has is written as its code
point, such as U+1F680; `advice` names a package that has it. Pillow's raqm shapes and orders the
letters of a run. Where a line with right-to-left letters needs several fonts, its runs are ordered
by the line's first letter, which is right unless such texts are nested.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import unicodedata
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from itertools import chain, groupby
from pathlib import Path
from typing import NamedTuple

from fontTools.ttLib import TTFont
from PIL import ImageDraw, ImageFont

LINE = 1.45  # line height in font sizes: Thai and Devanagari stack their marks
CJK = "noto_cjk_sans_jp_regular"
PACKAGES = (  # (first character, last, package) of what the dependencies lack
    (0x2E80, 0xD7FF, f"{CJK.replace('_', '-')} (PyPI)"),
    (0x2190, 0x2BFF, "fonts-symbola (Debian)"),
    (0x1F000, 0x1FAFF, "fonts-symbola (Debian)"),
    (0x20000, 0x3FFFF, "fonts-noto-cjk-extra (Debian)"),
)
OTHERS = "fonts-noto-core (Debian)"
# words with the spaces after them; Chinese, Japanese and Korean break between any two letters
_PIECES = re.compile(r"[\u2e80-\ud7ff\uff00-\uffef]\s*|[^\s\u2e80-\ud7ff\uff00-\uffef]*\s*")


class Font(NamedTuple):
    """A font's file; without one it is Pillow's own, which has the printable part of ASCII."""

    file: str = ""
    index: int = 0  # in a collection

    def has(self, letters: str) -> bool:
        """Whether it has every character that is drawn."""
        return all(ord(one) in _characters(self) for one in letters if not _formats(one))


class Face:
    """The fonts at one size in pixels."""

    def __init__(self, size: int):
        self.size, self.height = size, round(size * LINE)

    def width(self, text: str) -> float:
        """The width of a line in pixels."""
        return sum(_sized(font, self.size).getlength(run) for font, run in runs(text))

    def wrapped(self, text: str, room: float) -> list[str]:
        """The text as lines of at most `room` pixels, broken at spaces, and within a word that is
        too long for a line.
        """
        lines, line = [], ""
        for piece in _PIECES.findall(shown(text)):
            if line and self.width((line + piece).rstrip()) > room:
                lines.append(line.rstrip())
                line = ""
            while self.width(piece.rstrip()) > room and len(letters(piece)) > 1:
                head = self._head(piece, room)
                lines.append(head)
                piece = piece[len(head) :]
            line += piece
        return [*lines, line.rstrip()]

    def shortened(self, text: str, room: float) -> str:
        """The text, or as much of its beginning as fits before an ellipsis."""
        text, dots = shown(text), shown("…") if font_of("…") else "..."
        if self.width(text) <= room:
            return text
        return self._head(text, room - self.width(dots)).rstrip() + dots

    def draw(
        self,
        draw: ImageDraw.ImageDraw,
        place: tuple[float, float],
        text: str,
        colour: str,
        centred: bool = False,
    ) -> None:
        """Draws one line; `place` is its upper left corner, or with `centred` the middle of its
        upper edge.
        """
        x, y = place[0] - (self.width(text) / 2 if centred else 0), place[1] + self.size
        for font, run in runs(text):
            sized = _sized(font, self.size)
            draw.text((x, y), run, colour, sized, anchor="ls")
            x += sized.getlength(run)

    def _head(self, text: str, room: float) -> str:
        """The longest beginning that fits, at least one letter."""
        head, *rest = letters(text)
        for letter in rest:
            if self.width(head + letter) > room:
                break
            head += letter
        return head


def shown(text: str) -> str:
    """The text on one line, with the code points of characters that no font has."""
    parts: list[str] = []
    for letter in letters(" ".join(text.split())):
        if font_of(letter):
            parts.append(letter)
            continue
        for one in letter:  # a letter with a mark that its font lacks, or no font at all
            if _formats(one) or unicodedata.combining(one):
                continue
            if font_of(one):
                parts.append(one)
            else:
                gap = " " if parts and not parts[-1].isspace() else ""
                parts.append(f"{gap}U+{ord(one):04X}")
    return "".join(parts)


def advice(texts: list[str]) -> str:
    """A sentence on the characters of these texts that no font has; empty if there are none."""
    missing = sorted({one for text in texts for one in text if one.isprintable() or one > "\xff"})
    missing = [one for one in missing if not font_of(one) and not _formats(one)]
    if not missing:
        return ""
    by_package = {
        package: [f"U+{ord(one):04X}" for one in same]
        for package, same in groupby(sorted(missing, key=_package_of), _package_of)
    }
    return " ".join(
        f"{', '.join(points)}: no font here has {'it' if len(points) == 1 else 'them'}, install "
        f"{package}."
        for package, points in by_package.items()
    )


def letters(text: str) -> list[str]:
    """The text letter by letter, each with its marks and joiners."""
    found: list[str] = []
    for one in text:
        joined = unicodedata.category(one)[0] == "M" or one == "\u200d"
        if found and (joined or found[-1][-1] == "\u200d"):
            found[-1] += one
        else:
            found.append(one)
    return found


def runs(text: str) -> Iterator[tuple[Font, str]]:
    """The text as runs of one font each, from left to right."""
    right_to_left = [
        unicodedata.bidirectional(one) in ("R", "AL")
        for one in text
        if unicodedata.bidirectional(one) in ("L", "R", "AL")
    ]
    if any(right_to_left):  # in one font raqm orders all of it
        others = (font for one in text if not one.isspace() for font in _system_fonts(one)[:3])
        whole = next((font for font in chain(fonts(), others) if font.has(text)), None)
        if whole:
            yield whole, _drawn(whole, text)
            return
    chosen: list[tuple[Font, str]] = []
    for letter in letters(text):
        before = chosen[-1][0] if chosen else None
        # spaces, digits and signs stay with the letters before them
        same = before and not letter[0].isalpha() and before.has(letter)
        font = before if same else font_of(letter)
        chosen.append((font or Font(), letter))
    grouped = [
        (font, _drawn(font, "".join(letter for _, letter in same)))
        for font, same in groupby(chosen, lambda one: one[0])
    ]
    yield from reversed(grouped) if right_to_left[:1] == [True] else grouped


def font_of(letter: str) -> Font | None:
    """The first font that has a letter with all its marks."""
    known = next((font for font in fonts() if font.has(letter)), None)
    return known or next((font for font in _system_fonts(letter[0]) if font.has(letter)), None)


@cache
def fonts() -> tuple[Font, ...]:
    """The installed packages' fonts, Noto's first, and Pillow's own."""
    families = sorted(
        entry_points(group="fontpkg.family"),
        key=lambda family: (not family.name.startswith("noto_sans"), family.name),
    )
    found = []
    for family in families:
        files = sorted((Path(family.load().ROOT) / "files").glob("*.ttf"))
        found += [Font(str(file)) for file in files if "Italic" not in file.name][:1]
    try:
        found.append(Font(str(importlib.import_module(CJK).FONT_PATH)))
    except ModuleNotFoundError:  # `advice` says so where it is missed
        pass
    return (*found, Font())


@cache
def _system_fonts(character: str) -> tuple[Font, ...]:
    """The system's fonts with a character, upright and regular ones first."""
    pattern = f":charset={ord(character):x}:scalable=true:color=false"
    command = ["fc-list", "-f", r"%{style}\t%{file}\t%{index}\n", pattern]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):  # no fontconfig
        return ()
    rows = [line.split("\t") for line in lines.splitlines()]
    rows.sort(key=lambda row: (not re.search("Regular|Book", row[0]), len(row[1]), row[1]))
    return tuple(Font(file, int(index) & 0xFFFF) for _, file, index in rows)


@cache
def _characters(font: Font) -> frozenset[int]:
    if not font.file:
        return frozenset(range(32, 127))
    with TTFont(font.file, lazy=True, fontNumber=font.index) as file:
        return frozenset(file.getBestCmap() or ())


@cache
def _sized(font: Font, size: int) -> ImageFont.FreeTypeFont:
    if not font.file:
        return ImageFont.load_default(size)
    return ImageFont.truetype(font.file, size, font.index)


def _drawn(font: Font, text: str) -> str:
    """The text without the invisible characters that the font lacks."""
    return "".join(one for one in text if ord(one) in _characters(font))


def _formats(one: str) -> bool:
    """Whether a character only says how others are drawn: joiners, directions, variants."""
    return unicodedata.category(one) in ("Cf", "Cc") or "\ufe00" <= one <= "\ufe0f"


def _package_of(one: str) -> str:
    return next((name for low, high, name in PACKAGES if low <= ord(one) <= high), OTHERS)
