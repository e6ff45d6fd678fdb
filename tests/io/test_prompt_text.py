"""One text is one prompt: what is taken, what is left out, and what is named."""

import unicodedata

import pytest

from workbench.evaluation.prompt_lists import NEUTRAL
from workbench.io.prompt_text import clean_prompt, prompt_lines


@pytest.mark.parametrize(
    ("pasted", "prompt"),
    [
        ("a red\u00a0circle", "a red circle"),  # no-break space
        ("a\u202fred\u3000circle", "a red circle"),
        ("a\tred\ncircle", "a red circle"),
        ("a red\r\ncircle", "a red circle"),
        ("a red\u2028circle", "a red circle"),
        ("a red\u00adish circle", "a redish circle"),  # soft hyphen
        ("\ufeffa red circle\u200b", "a red circle"),
        ("a r\u2060ed\u200b circle", "a red circle"),
        ("\u202aa red circle\u202c", "a red circle"),
        ("\u2067a red circle\u2069", "a red circle"),
        ("a cat\U000e0061\U000e0062", "a cat"),  # letters that nobody sees
        ("  \u00a0 ", ""),
        ("\u200b\ufeff", ""),
    ],
)
def test_white_space_is_a_space_and_what_nobody_sees_is_left_out(pasted, prompt):
    assert clean_prompt(pasted) == prompt
    assert clean_prompt(clean_prompt(pasted)) == prompt


@pytest.mark.parametrize(
    "prompt",
    [
        "a red circle",
        "two  spaces, and a comma ,",
        "\U0001f469\u200d\U0001f680 on the moon",  # woman, joiner, rocket
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian with its non-joiner
        "\u200fa red circle",  # right-to-left mark
        "\u0642\u0637\u0629 \u062d\u0645\u0631\u0627\u0621\u060c 4k!",
        "\u0915\u094d\u200d\u0937",  # Devanagari with a joiner
        "\u2764\ufe0f",  # variation selector
        "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",  # Scotland
        "Sch\u00f6nes M\u00e4dchen \u2013 \u00e9t\u00e9",
        "\u4e00\u53ea\u732b\uff0c\u7d05\u8272",
    ],
)
def test_a_clean_prompt_of_any_script_stays_byte_for_byte(prompt):
    assert clean_prompt(prompt).encode() == prompt.encode()


def test_every_prompt_of_our_own_list_stays_byte_for_byte():
    lines = NEUTRAL.read_text(encoding="utf-8").splitlines()
    assert [clean_prompt(line) for line in lines] == lines


@pytest.mark.parametrize("text", ["\u00e9t\u00e9", "\u1ec7", "\uac01", "\u212b", "\u0958"])
def test_a_prompt_in_any_normal_form_is_one_prompt(text):
    forms = {unicodedata.normalize(form, text) for form in ("NFC", "NFD")}
    assert len({clean_prompt(form) for form in forms | {text}}) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a cat \ud83d", r"character 7 is U\+D83D, half a character"),
        ("\udcff", r"character 1 is U\+DCFF, half a character"),  # a wrong byte of a terminal
        ("a\x07b", r"character 2 is U\+0007, a control character; remove it"),
        ("a\x00", r"U\+0000, a control"),
        ("ab\x1c", r"character 3 is U\+001C"),
        ("a\x9b", r"U\+009B"),
        ("a\ufffe", r"U\+FFFE, which is no character"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(text, told):
    with pytest.raises(ValueError, match=told):
        clean_prompt(text)


def test_a_line_ends_as_any_system_ends_it():
    text = "a\r\nb\rc\nd\u2028e\u2029f\x85g\x0ch\x0bi\n\n \u00a0\n"
    assert prompt_lines(text) == list("abcdefghi")
    with pytest.raises(ValueError, match=r"line 3: character 1 is U\+0007"):
        prompt_lines("a\r\rb\x07".replace("b", ""))
