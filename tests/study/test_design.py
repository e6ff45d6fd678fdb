"""A study's design: refused settings and their messages, its items, its digest, and its round trip
through JSON.
"""

import dataclasses
import json

import pytest

from tests.support.small_study import DESIGN, small_design
from workbench.study.design import CRITERIA, LATER, Criterion, Item, StudyDesign, read_text
from workbench.study.errors import StudyError


def test_the_default_criteria_have_the_words_of_appendix_d():
    diversity, quality = CRITERIA
    for words in (
        "variation in overall composition",
        "global and local structure",
        "semantic attributes across",
        "from the same prompt",
    ):
        assert words in diversity.explanation
    assert "semantic and statistical fidelity" in quality.explanation
    assert "naturalness" in quality.explanation
    assert (diversity.name, quality.name) == ("diversity", "quality")


def test_items_are_pair_by_pair_in_the_order_of_the_design():
    assert DESIGN.pairs == (("dmd", "dp_dmd"), ("dmd", "teacher"), ("dp_dmd", "teacher"))
    assert len(DESIGN.items) == 24
    assert DESIGN.items[8 + 3] == Item(("dmd", "teacher"), "prompt 3")
    chosen = small_design(pairs=[["teacher", "dmd"]])
    assert [item.pair for item in chosen.items] == [("teacher", "dmd")] * 8
    assert chosen.length == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("dmd",), "pairs": ()}, "two or more methods, not 1"),
        ({"methods": ("dmd", "dmd"), "pairs": ()}, "method 'dmd' is given twice"),
        ({"methods": ("dmd", "spoiled"), "pairs": ()}, "'spoiled' begins the reserved names"),
        ({"methods": ("dmd", "spoiled dmd"), "pairs": ()}, "'spoiled' begins the reserved names"),
        ({"methods": "dmd"}, "methods must be a list, not 'dmd'"),
        ({"methods": ("dmd", " "), "pairs": ()}, "each of methods must be a text"),
        ({"prompts": ("a", "b", "a"), "trials": 3}, "prompt 'a' is given twice"),
        ({"prompts": ()}, "at least one prompt"),
        ({"prompts": ("a\0b",)}, "a character that is not text"),
        ({"prompts": ("a\ud800",)}, "a character that is not text"),
        ({"seeds": (1, 1)}, "seed 1 is given twice"),
        ({"seeds": (1, -1)}, "seeds must be whole numbers"),
        ({"seeds": ([1],)}, "seeds must be whole numbers"),
        ({"pairs": (("dmd", "dmd"),)}, "'dmd' is paired with itself"),
        ({"pairs": (("dmd", "techer"),)}, "not one of the methods; did you mean 'teacher'"),
        ({"pairs": (("dmd", "dp_dmd"), ("dp_dmd", "dmd"))}, "pair dp_dmd and dmd is given twice"),
        ({"pairs": (("dmd",),)}, "a pair must be two methods"),
        ({"pairs": ("dmd",)}, "a pair must be two methods"),
        ({"criteria": ()}, "at least one criterion"),
        ({"criteria": (CRITERIA[0], CRITERIA[0])}, "criterion 'diversity' is given twice"),
        ({"criteria": (Criterion("", "?"),)}, "a criterion's name must be a text"),
        ({"criteria": ("diversity",)}, "Criterion values"),
        (
            {"trials": 25},
            r"trials = 25 is more than the 24 items .* \(3 pairs of methods x 8 prompts\)",
        ),
        ({"trials": 0}, "trials must be a whole number of 1 or more"),
        ({"trials": 2.0}, "trials must be a whole number"),
        ({"votes_per_item": True}, "votes_per_item must be a whole number"),
        ({"gold": 25}, "gold = 25 is more than the 24 sheets of the study"),
        ({"repeats": 7}, "repeats = 7 is more than trials = 6"),
        (
            {"trials": 1, "gold": 1, "repeats": 1},
            r"a repeat comes 3 trials after the original, but trials \+ gold = 2",
        ),
        ({"ties": 1}, "ties must be true or false"),
        ({"expires_minutes": 0}, "expires_minutes must be a number above 0"),
        ({"expires_minutes": float("nan")}, "expires_minutes must be a number above 0"),
        ({"min_seconds": 0}, "min_seconds must be a number above 0, not 0"),
        ({"min_seconds": "3"}, "min_seconds must be a number above 0"),
        ({"pictures": None}, "pictures must be the digest"),
        ({"title": " "}, "title must be a text that is not empty"),
        ({"consent": None}, "consent must be a text"),
        ({"seed": -1}, "seed must be a whole number of 0 or more"),
    ],
)
def test_a_design_that_cannot_be_carried_out_is_refused(changes, message):
    with pytest.raises(StudyError, match=message):
        small_design(**changes)


def test_json_gives_the_design_back_and_the_digest_names_it():
    design = small_design(
        pairs=(("teacher", "dmd"),),
        criteria=(Criterion("odd", "Which is odder?", "Ü", gold=True),),
        ties=False,
        expires_minutes=5,
    )
    again = StudyDesign.from_json(design.to_json())
    assert again == design
    assert again.digest == design.digest
    assert len(design.digest) == 12
    assert (
        StudyDesign.from_json(
            json.dumps(
                {
                    "title": "t",
                    "methods": ["a", "b"],
                    "prompts": ["p"],
                    "seeds": [0],
                    "trials": 1,
                    "gold": 1,
                    "repeats": 0,
                }
            )
        ).criteria
        == CRITERIA
    )
    digests = {design.digest} | {
        dataclasses.replace(design, **change).digest
        for change in (
            {"seed": 1},
            {"prompts": design.prompts[::-1]},
            {"consent": "Yes?"},
            {"pairs": (("dmd", "teacher"),)},
            {"expires_minutes": 6},
            {"min_seconds": 2},
            {"max_fast": 0.2},
            {"min_side_p": 0.01},
            {"late_gold": True},
            {"pictures": "0123456789ab"},
        )
    }
    assert len(digests) == 11
    frozen = dataclasses.replace(design, min_seconds=2, pictures="0123456789ab")
    assert StudyDesign.from_json(frozen.to_json()) == frozen
    assert frozen.min_seconds == 2.0


def test_the_design_of_an_earlier_version_keeps_its_digest():
    """Those of `DESIGN` before there were the fields of `LATER`: studies that were made then must
    open, with the rule that they were made with.
    """
    assert DESIGN.digest == "73e8475a26dc"
    saved = json.loads(DESIGN.to_json())
    assert not LATER.keys() & saved.keys()
    again = StudyDesign.from_json(json.dumps(saved))
    assert again == DESIGN
    assert again.rule == (1, None, None, None)
    assert not again.late_gold
    of_today = dataclasses.replace(DESIGN, **{name: getattr(StudyDesign, name) for name in LATER})
    assert (
        of_today.rule
        == StudyDesign("t", ("a", "b"), tuple("pqrs"), (0,), trials=4, repeats=0).rule
        == (1, 1.5, 0.15, 0.001)
    )
    assert StudyDesign.from_json(of_today.to_json()) == of_today
    with_a_limit = StudyDesign.from_json(json.dumps(saved | {"min_seconds": 3.0}))
    assert with_a_limit.rule == (1, 3.0, None, None)  # by the median, as it was


def test_a_text_for_participants_is_read_or_refused(tmp_path):
    (tmp_path / "text").write_text("  Yes?\n\nÜ \n", encoding="utf-8")
    assert read_text(tmp_path / "text") == "Yes?\n\nÜ"
    (tmp_path / "text").write_bytes(b"\xff")
    with pytest.raises(StudyError, match="text cannot be read as a text in UTF-8"):
        read_text(tmp_path / "text")
    (tmp_path / "text").write_text(" ")
    with pytest.raises(StudyError, match="text is empty; write the text"):
        read_text(tmp_path / "text")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metods": ["a"]}, "unknown key 'metods' in a study's design; did you mean 'methods'?"),
        (
            {"criteria": [{"name": "a", "qestion": "?"}]},
            "unknown key 'qestion' in a criterion; did you mean 'question'?",
        ),
        ({"criteria": [{"name": "a"}]}, "a criterion needs question"),
        ({"criteria": ["diversity"]}, "a criterion must be a JSON object"),
        ({"title": None}, "title must be a text"),
    ],
)
def test_json_that_is_no_design_is_refused(changes, message):
    with pytest.raises(StudyError, match=message.replace("?", r"\?")):
        StudyDesign.from_json(json.dumps(json.loads(DESIGN.to_json()) | changes))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be a JSON object: Expecting"),
        ("[1]", "must be a JSON object, not"),
        ("{}", "needs title and methods and prompts and seeds"),
    ],
)
def test_text_that_is_no_object_is_refused(text, message):
    with pytest.raises(StudyError, match=message):
        StudyDesign.from_json(text)
