"""Pictures that do not load and answers that are refused: the participant's page continues,
explains the problem, and loses nothing.
"""

import time
from collections import Counter
from contextlib import suppress

import pytest
from playwright.sync_api import Error, expect

from tests.support.served_study import answer, answer_offline, expect_failed, expect_trial
from tests.support.timing import seconds

PICTURES = "**/api/picture/*"


def failing(page, asked: Counter, **how) -> None:
    def answered(route):
        asked[route.request.url] += 1
        route.fulfill(**how) if how else route.abort()

    page.route(PICTURES, answered)


def give_up(page) -> None:
    """Advances the page's clock through its pauses until it has stopped trying."""
    end = time.monotonic() + seconds(30)
    while page.locator("#failed").is_hidden() and time.monotonic() < end:
        page.clock.fast_forward(5000)
    expect_failed(page)


def after_all_requests(page) -> None:
    """Returns after every request that the page has begun so far was handled."""
    page.evaluate("fetch('api/study').then(() => null)")


@pytest.fixture(autouse=True)
def clock(page):
    """Takes over the page's clock, from a new load so that no time was measured before."""
    page.clock.install()
    page.reload()
    expect_trial(page)


def test_a_picture_is_tried_five_times_and_then_again_when_asked(page, served):
    asked = Counter()
    failing(page, asked, status=503, json={"detail": "busy"})
    answer(page, "11")
    expect(page.locator("#status")).to_have_text("The pictures have not loaded yet; trying again …")
    give_up(page)
    assert max(asked.values()) == 5
    assert len(asked) == 2
    page.clock.fast_forward(60_000)
    after_all_requests(page)
    assert max(asked.values()) == 5  # it has stopped
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#failed")).to_be_hidden()
    give_up(page)
    assert max(asked.values()) == 10
    page.unroute(PICTURES)
    page.get_by_role("button", name="Try again").click()
    expect_trial(page, 1)
    assert page.locator("#failed").is_hidden()
    assert page.locator("#failed-told").inner_text() == ""


def test_a_question_is_skipped_by_keyboard_while_its_pictures_load(page, served):
    held = []
    page.route(PICTURES, lambda route: held.append(route) if len(held) < 2 else route.continue_())
    answer(page, "11")
    expect(page.locator("#status")).to_have_text("Loading the pictures …")
    expect(page.locator("#sides")).to_have_attribute("aria-busy", "true")
    expect(page.locator("#skip")).to_be_enabled()
    skipped = page.locator("#prompt").inner_text()
    page.keyboard.press("s")
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert page.get_by_label("The pictures did not load").is_checked()
    page.keyboard.press("Enter")
    expect_trial(page, 2)
    for route in held:  # too late: they are not shown
        with suppress(Error):  # the page has cancelled this request
            route.continue_()
    after_all_requests(page)
    assert [ballot.choice for ballot in served.ballots()] == ["left", "left", "skip", "skip"]
    assert {ballot.seconds for ballot in served.ballots() if ballot.choice == "skip"} == {0}
    assert page.locator(".picture img").count() == 2
    page.keyboard.press("u")
    expect_trial(page, 1)
    assert page.locator("#prompt").inner_text() == skipped


def test_pictures_that_the_network_lost_load_when_it_is_back(page):
    failing(page, Counter())
    answer(page, "11")
    give_up(page)
    page.unroute(PICTURES)
    page.evaluate("dispatchEvent(new Event('online'))")
    expect_trial(page, 1)


def test_the_answer_before_is_undone_where_pictures_did_not_load(page, served):
    first = page.locator("#trial").get_attribute("data-shown")
    failing(page, Counter(), status=500, json={"detail": "no"})
    answer(page, "11")
    give_up(page)
    page.unroute(PICTURES)
    page.keyboard.press("u")
    expect_trial(page, 0)
    assert page.locator("#trial").get_attribute("data-shown") == first
    assert not served.ballots()
    expect(page.locator("#status")).to_have_text(
        "Your last answer was undone; please answer again."
    )


def kept_answers(page) -> int:
    return page.evaluate(
        "Object.keys(localStorage).filter((name) => name.startsWith('study-pending')).length"
    )


def test_a_trial_that_the_server_does_not_know_is_left_for_the_next(page, served):
    refused = []

    def refuse(route):
        refused.append(
            route.fulfill(
                status=404, json={"detail": "this participant has no such trial; load the next one"}
            )
        )

    page.route("**/api/vote", refuse, times=1)
    answer(page, "11")
    expect(page.locator("#alert")).to_contain_text("has no such trial")
    expect_trial(page)
    assert len(refused) == 1
    assert kept_answers(page) == 0
    answer(page, "22")
    expect_trial(page, 1)
    assert [ballot.choice for ballot in served.ballots()] == ["right", "right"]
    assert page.locator("#alert").inner_text() == ""


def test_a_proxys_own_404_loses_no_answer(page, served):
    page.route(
        "**/api/vote",
        lambda route: route.fulfill(status=404, body="<h1>nothing here</h1>"),
        times=1,
    )
    answer(page, "11")
    expect(page.locator("#alert")).to_contain_text("Your answer is saved in this browser")
    expect_trial(page, 1)
    assert [ballot.choice for ballot in served.ballots()] == ["left", "left"]


def test_an_answer_that_was_kept_and_is_refused_at_the_next_start_is_told(page, device, served):
    link = page.locator("#mine-link").input_value()
    answer_offline(page)
    context = page.context
    page.close()
    elsewhere = device(link)
    expect_trial(elsewhere)
    answer(elsewhere, "11")
    expect_trial(elsewhere, 1)
    context.set_offline(False)
    page = context.new_page()
    page.goto(served.address)
    expect(page.locator("#alert")).to_contain_text("answered already")
    expect_trial(page, 1)
    assert kept_answers(page) == 0
    assert [ballot.choice for ballot in served.ballots()] == [
        "left",
        "left",
    ]
