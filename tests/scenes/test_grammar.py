"""Every request survives text and back, tasks are GenEval's, and errors say how to write it."""

import random

import pytest

from workbench.scenes.grammar import (
    COLOURS,
    EXAMPLES,
    MAX_OBJECTS,
    SHAPES,
    TASKS,
    GrammarError,
    Request,
    Thing,
    draw_request,
    parse,
    requests,
)

COUNTS = {
    "single_object": 5,
    "two_object": 320,
    "counting": 105,
    "colors": 30,
    "position": 4760,
    "color_attr": 870,
}


@pytest.mark.parametrize("task", TASKS)
def test_every_request_survives_text_and_back_and_keeps_its_task(task):
    everything = requests(task)
    assert len(everything) == len({request.text for request in everything}) == COUNTS[task]
    for request in everything:
        assert parse(request.text) == request
        assert request.task == task
        assert 1 <= len(request.objects) <= MAX_OBJECTS


def test_no_request_belongs_to_two_tasks():
    texts = [request.text for task in TASKS for request in requests(task)]
    assert len(texts) == len(set(texts))


@pytest.mark.parametrize(
    ("text", "request_", "task"),
    [
        ("a circle", Request((Thing(None, "circle"),)), "single_object"),
        ("a red shape", Request((Thing("red"),)), "colors"),
        ("four blue shapes", Request((Thing("blue"),), count=4), "counting"),
        (
            "a star and a red circle",
            Request((Thing(None, "star"), Thing("red", "circle"))),
            "two_object",
        ),
        (
            "a red star and a cyan circle",
            Request((Thing("red", "star"), Thing("cyan", "circle"))),
            "color_attr",
        ),
        (
            "a star left of a square",
            Request((Thing(None, "star"), Thing(None, "square")), relation="left of"),
            "position",
        ),
    ],
)
def test_captions_mean_what_they_say(text, request_, task):
    assert parse(text) == request_
    assert request_.task == task
    assert request_.text == text


def test_objects_has_one_entry_for_each_object():
    assert parse("three red stars").objects == (Thing("red", "star"),) * 3
    assert parse("a circle above a star").objects == (Thing(None, "circle"), Thing(None, "star"))


def test_spelling_is_forgiving_where_the_meaning_is_clear():
    assert (
        parse(" A Red  CIRCLE. ")
        == parse("red circle")
        == parse("an red circle")
        == parse("a red circle")
    )
    assert {parse(text).task for text in EXAMPLES} == set(TASKS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        (" . ", "empty"),
        ("a red circel", 'know the word "circel". Did you mean "circle"?'),
        ("a purpel star", 'Did you mean "purple"?'),
        ("tow stars", 'Did you mean "two"?'),
        ("a red dog", 'know the word "dog"'),
        ("a red", "is not a caption"),
        ("two circle", "is not a caption"),
        ("a circles", "is not a caption"),
        ("a red blue circle", "is not a caption"),
        ("a circle and", "is not a caption"),
        ("two", "is not a caption"),
        ("a circle left a star", "is not a caption"),
        ("a star and a circle and a square", "is not a caption"),
        ("two stars and a circle", "is not a caption"),
        ("a red star and a red star", 'Write "two red stars"'),
        ("a star above a star", 'Write "two stars"'),
    ],
)
def test_errors_name_the_cause_and_the_way_out(text, words):
    with pytest.raises(GrammarError) as error:
        parse(text)
    assert words in str(error.value)
    assert "for example" in str(error.value) or "Write" in str(error.value)


def test_the_word_an_error_suggests_is_understood():
    with pytest.raises(GrammarError) as error:
        parse("three red sters")
    suggestion = str(error.value).split('Did you mean "')[1].split('"')[0]
    assert parse(f"three red {suggestion}").count == 3


@pytest.mark.parametrize("task", [*TASKS, None])
def test_draws_are_valid_and_repeat(task):
    drawn = [draw_request(random.Random(seed), task) for seed in range(200)]
    assert drawn == [draw_request(random.Random(seed), task) for seed in range(200)]
    assert all(
        request.task == (task or request.task) and parse(request.text) == request
        for request in drawn
    )
    assert len(set(drawn)) >= (4 if task == "single_object" else 20)
    if task is None:
        assert {request.task for request in drawn} == set(TASKS)
        named = [thing for request in drawn for thing in request.things]
        assert {thing.colour for thing in named} == {*COLOURS, None}
        assert {thing.shape for thing in named} == {*SHAPES, None}


def test_an_unknown_task_is_an_error():
    with pytest.raises(ValueError, match="unknown task 'colours'"):
        requests("colours")
