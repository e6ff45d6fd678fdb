"""One text is one prompt: what people paste, as the one line that is encoded, drawn and compared.

White space of every kind becomes a space, and characters that nobody sees and no encoder needs are
left out (soft hyphens, zero-width spaces, byte-order marks, marks of the writing direction's
embeddings). Those that belong to a script or an emoji stay: U+200C and U+200D, the direction marks
U+200E, U+200F and U+061C, variation selectors, the tags of a flag. The text is in Unicode's normal
form C, since composed and decomposed letters look and mean the same.

A prompt names its noise, so a text that is clean already comes back as it is, byte for byte.
"""

from __future__ import annotations

import re
import unicodedata

# Unicode 5.8: what ends a line in some program; a CR and LF together end one
LINE_END = re.compile("\r\n|[\n\v\f\r\x85\u2028\u2029]")
_SPACE = re.compile(
    "\r\n|[\t\n\v\f\r\x85\u2028\u2029\xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
    "\u2800\u3164\uffa0]"  # empty Braille cell and Hangul fillers, which are pasted as spaces
)
_UNSEEN = re.compile(
    "[\xad\u034f\u200b\u2060-\u2064\ufeff"  # soft hyphen, joiners of no width, operators, BOM
    "\u202a-\u202e\u2066-\u206f"  # embeddings, overrides and isolates of a direction; obsolete ones
    "\ufff9-\ufffb\U000e0001]"  # annotations, the language tag
    "|(?<![\U0001f3f4\U000e0020-\U000e007e])[\U000e0020-\U000e007f]+"  # tags without their flag
)
_UNREADABLE = re.compile(
    "[\0-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]|[\ud800-\udfff]|[\ufdd0-\ufdef\ufffe\uffff]"
)


def clean_prompt(text: str) -> str:
    """`text` as a prompt: one line in normal form C without surrounding spaces; empty for a text of
    white space.

    Raises:
        ValueError: A control character, half a character (a lone surrogate) or no character at
            all; the message names it and its place, counted from 1.
    """
    found = _UNREADABLE.search(text)
    if found:
        raise ValueError(f"character {found.start() + 1} is {_named(found[0])}; remove it")
    return unicodedata.normalize("NFC", _UNSEEN.sub("", _SPACE.sub(" ", text))).strip(" ")


def prompt_lines(text: str) -> list[str]:
    """The prompts of a text with one per line; blank lines are skipped. Raises ValueError, with the
    number of the line.
    """
    prompts = []
    for number, line in enumerate(LINE_END.split(text), 1):
        try:
            prompts.append(clean_prompt(line))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
    return [prompt for prompt in prompts if prompt]


def _named(character: str) -> str:
    code = f"U+{ord(character):04X}"
    if "\ud800" <= character <= "\udfff":
        return f"{code}, half a character (the text was cut in its middle, or is not UTF-8)"
    if unicodedata.category(character) == "Cc":
        return f"{code}, a control character"
    return f"{code}, which is no character"
