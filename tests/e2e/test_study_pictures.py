"""Pictures that do not come, and answers that are refused: the participant's page goes on, says
what is the matter, and nothing is lost.
"""

from collections import Counter
from contextlib import suppress

from playwright.sync_api import Error, expect

from tests.support.served_study import answer, answer_offline, expect_trial
from workbench.study.folder import open_study

PICTURES = "**/api/picture/*"


def failing(page, asked: Counter, **how) -> None:
    def answered(route):
        asked[route.request.url] += 1
        route.fulfill(**how) if how else route.abort()

    page.route(PICTURES, answered)


def expect_failed(page) -> None:
    expect(page.get_by_role("alert").filter(has_text="The pictures did not load.")).to_be_visible(
        timeout=30_000
    )
    expect(page.get_by_role("button", name="Try again")).to_be_enabled()
    assert page.locator(".picture img").count() == 0
    assert page.locator("#next").is_disabled()
    assert page.locator("#status").inner_text() == ""


def test_a_picture_is_tried_five_times_and_then_again_when_asked(page, served):
    asked = Counter()
    failing(page, asked, status=503, json={"detail": "busy"})
    answer(page, "11")
    expect(page.locator("#status")).to_have_text("The pictures do not load yet; trying again …")
    expect_failed(page)
    assert max(asked.values()) == 5
    assert len(asked) == 2
    page.wait_for_timeout(6000)
    assert max(asked.values()) == 5  # it has stopped
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#failed")).to_be_hidden()
    expect_failed(page)
    assert max(asked.values()) == 10
    page.unroute(PICTURES)
    page.get_by_role("button", name="Try again").click()
    expect_trial(page, 1)
    assert page.locator("#failed").is_hidden()
    assert page.locator("#failed-told").inner_text() == ""


def test_a_question_whose_pictures_are_gone_is_skipped_with_one_button(page, served):
    asked = Counter()
    page.on("request", lambda sent: asked.update([sent.url] if "/api/picture/" in sent.url else []))
    kept = {file: file.read_bytes() for file in (served.folder / "stimuli").iterdir()}
    for file in kept:
        file.unlink()
    served.kill()  # what it had read before is in its memory
    for file, content in kept.items():
        file.write_bytes(content)
    served.start()
    for file in kept:
        file.unlink()
    answer(page, "11")
    expect_failed(page)
    expect(page.locator("#failed-told")).to_contain_text(
        "A picture is missing here; the study's organiser is told."
    )
    assert max(asked.values()) == 1  # the server said that asking again is no use
    for file, content in kept.items():
        file.write_bytes(content)
    page.get_by_role("button", name="Skip this question").click()
    expect_trial(page, 2)
    assert [ballot.choice for ballot in served.ballots()] == ["left", "left", "skip", "skip"]
    with open_study(served.folder) as store:
        assert {event.kind for event in store.events()} == {"missing picture"}


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
    for route in held:  # too late: nothing of them is shown
        with suppress(Error):  # the page gave up this request
            route.continue_()
    page.wait_for_timeout(500)
    assert [ballot.choice for ballot in served.ballots()] == ["left", "left", "skip", "skip"]
    assert {ballot.seconds for ballot in served.ballots() if ballot.choice == "skip"} == {0}
    assert page.locator(".picture img").count() == 2
    page.keyboard.press("u")
    expect_trial(page, 1)
    assert page.locator("#prompt").inner_text() == skipped


def test_pictures_that_the_network_lost_load_when_it_is_back(page):
    failing(page, Counter())
    answer(page, "11")
    expect_failed(page)
    page.unroute(PICTURES)
    page.evaluate("dispatchEvent(new Event('online'))")
    expect_trial(page, 1)


def test_the_answer_before_is_undone_where_pictures_did_not_load(page, served):
    first = page.locator("#trial").get_attribute("data-shown")
    failing(page, Counter(), status=500, json={"detail": "no"})
    answer(page, "11")
    expect_failed(page)
    page.unroute(PICTURES)
    page.keyboard.press("u")
    expect_trial(page, 0)
    assert page.locator("#trial").get_attribute("data-shown") == first
    assert not served.ballots()
    expect(page.locator("#status")).to_have_text("The last answer is taken back; answer it again.")


# ---- answers that are refused


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
    expect(page.locator("#alert")).to_contain_text("Your answer is kept here")
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
