"""A participant in a real browser: keyboard, lost network, two tabs, another device, a phone;
every byte is read.
"""

import json
import re
import urllib.request

from playwright.sync_api import expect

from tests.support.app import served as app_served
from tests.support.app import watched
from tests.support.scenes_world import write_world
from tests.support.served_study import (
    answer,
    answer_offline,
    ballots_of,
    begun,
    consented,
    expect_trial,
    new_study,
    reopened,
    secrets_of,
)
from tests.support.timing import milliseconds, seconds

COUNT_DECODED = """() => {
    const decode = Image.prototype.decode;
    const count = document.documentElement.dataset;
    count.decoded = 0;
    Image.prototype.decode = function () {
        return decode.call(this).finally(() => count.decoded++);
    };
}"""


def test_the_whole_study_by_keyboard_alone(device, served):
    page, texts = device(), []

    def read(route):
        answer = route.fetch()
        texts.append(answer.body().decode("latin-1"))
        route.fulfill(response=answer)

    page.route("**/*", read)  # every byte received
    expect(page.get_by_role("heading", name="Which pictures?")).to_be_visible()
    focused = "document.activeElement.id || document.activeElement.textContent"
    page.keyboard.press("Tab")  # the page has focused its main part
    assert page.evaluate(focused) == "agree"
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#start")).to_be_visible()
    while page.evaluate(focused) != "start":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect_trial(page)
    expect(page.locator("#legend")).to_contain_text("1 left, 2 right, 3 no difference")
    answer(page)  # practice
    for done in range(5):
        expect_trial(page, done)
        assert page.locator("#practice").is_hidden()
        answer(page, "13" if done % 2 else "21")
    expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
    choices = [str(ballot.choice.value) for ballot in served.ballots()]
    assert choices == [
        "right",
        "left",
        "left",
        "tie",
        "right",
        "left",
        "left",
        "tie",
        "right",
        "left",
    ]
    assert len(texts) > 20
    assert not any(
        secret in text for text in texts + [page.content()] for secret in secrets_of(served.folder)
    )
    page.get_by_role("button", name="Undo the last answer").click()
    expect_trial(page, 4)
    assert len(served.ballots()) == 8
    page.unroute_all(behavior="wait")  # pictures are still being prefetched


def test_both_sides_are_shown_together_and_only_then_answered(device):
    page, held = device(), []
    page.route(
        "**/api/picture/*", lambda route: held.append(route) if len(held) < 1 else route.continue_()
    )
    page.evaluate(COUNT_DECODED)
    consented(page)
    page.get_by_role("button", name="Start with a practice question").click()
    expect(page.locator("#status")).to_have_text("Loading the pictures …")
    expect(page.locator("html")).to_have_attribute("data-decoded", "1")
    assert len(held) == 1
    assert page.locator(".picture img").count() == 0
    assert page.locator("#criteria input").first.is_disabled()
    held[0].continue_()
    expect(page.locator(".picture img")).to_have_count(2)
    boxes = [page.locator(".picture").nth(n).bounding_box() for n in (0, 1)]
    assert boxes[0]["width"] == boxes[1]["width"]
    assert boxes[0]["y"] == boxes[1]["y"]


def test_a_lost_network_loses_no_answer_and_counts_none_twice(page, served):
    page.context.set_offline(True)
    answer(page, "11")
    expect(page.locator("#alert")).to_contain_text(
        "Your answer is saved in this browser; trying again"
    )
    assert not served.ballots()
    page.context.set_offline(False)
    expect_trial(page, 1)
    assert [ballot.choice for ballot in served.ballots()] == ["left", "left"]


def test_an_answer_that_was_taken_but_not_acknowledged_counts_once(page, served):
    lost = []

    def lose(route):
        if not lost:
            lost.append(route.fetch())  # the server has it, but the page gets no response
            route.abort()
        else:
            route.continue_()

    page.route("**/api/vote", lose)
    answer(page, "22")
    expect_trial(page, 1)
    assert lost
    assert [ballot.choice for ballot in served.ballots()] == ["right", "right"]


def test_an_answer_is_sent_after_the_page_was_closed(page, served):
    answer_offline(page)
    page = reopened(page, served.address)
    expect_trial(page, 1)
    assert [ballot.choice for ballot in served.ballots()] == ["tie", "tie"]


def test_two_tabs_answer_a_trial_once(page, served):
    other = page.context.new_page()
    other.goto(served.address)
    expect_trial(other)
    assert other.locator("#prompt").inner_text() == page.locator("#prompt").inner_text()
    answer(page, "11")
    expect_trial(page, 1)
    answer(other, "22")
    expect(other.locator("#alert")).to_contain_text("answered already")
    expect_trial(other, 1)
    assert [ballot.choice for ballot in served.ballots()] == ["left", "left"]


def test_the_personal_link_goes_on_elsewhere_and_going_back_changes_nothing(device, served):
    page = device()
    consented(page)
    expect(page.locator("#link")).to_be_visible()
    link = page.locator("#link").input_value()
    page.locator("#start").click()
    expect_trial(page)
    answer(page)
    expect_trial(page)
    answer(page)
    expect_trial(page, 1)
    elsewhere = device(link)
    expect_trial(elsewhere, 1)
    assert "#" not in elsewhere.url
    assert elsewhere.locator("#prompt").inner_text() == page.locator("#prompt").inner_text()
    elsewhere.reload()
    expect_trial(elsewhere, 1)
    elsewhere.goto("about:blank")
    elsewhere.go_back()
    expect_trial(elsewhere, 1)
    assert len(served.ballots()) == 2


def test_skipping_wants_a_reason_and_typing_is_no_answer(page, served):
    page.keyboard.press("s")
    expect(page.locator("#skip-form")).to_be_visible()
    page.keyboard.press("1")  # while giving a reason this is not an answer
    assert page.locator("#criteria input:checked").count() == 0
    expect(page.locator("#skip-now")).to_be_disabled()
    page.get_by_label("I cannot decide").check()
    page.locator("#skip-now").click()
    expect_trial(page, 1)
    assert [ballot.choice for ballot in served.ballots()] == ["skip", "skip"]


def test_undo_while_pictures_load_shows_and_asks_one_trial(page):
    held = []
    first = page.locator("#trial").get_attribute("data-shown")
    page.route(
        "**/api/picture/*", lambda route: held.append(route) if len(held) < 2 else route.continue_()
    )
    answer(page, "11")
    expect(page.locator("#status")).to_have_text("Loading the pictures …")
    expect(page.locator("#undo")).to_be_disabled()
    page.keyboard.press("u")  # nothing happens until the trial is shown
    for route in held:
        route.continue_()
    expect_trial(page, 1)
    page.keyboard.press("u")
    expect_trial(page, 0)
    assert page.locator("#trial").get_attribute("data-shown") == first
    assert page.locator(".picture img").count() == 2


def test_enter_on_a_reason_skips_and_is_no_answer(page, served):
    page.keyboard.press("1")
    page.keyboard.press("2")
    page.keyboard.press("s")
    page.get_by_label("The pictures did not load").check()
    page.keyboard.press("Enter")
    expect_trial(page, 1)
    assert [ballot.choice for ballot in served.ballots()] == ["skip", "skip"]


def test_an_answer_that_is_kept_is_sent_as_whom_it_was_given_by(page, device, served):
    other = device()
    consented(other)
    expect(other.locator("#link")).to_be_visible()
    link = other.locator("#link").input_value()
    answer_offline(page)
    page = reopened(page, link)  # someone else, in the same browser
    expect(page.locator("#instructions")).to_be_visible()
    assert [ballot.choice for ballot in served.ballots()] == ["tie", "tie"]


def test_everything_has_a_name_and_fits_a_phone(device):
    page = device(width=390, height=800)
    begun(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    unnamed = """[...document.querySelectorAll('input, button')].filter((one) =>
        !one.textContent.trim() && !one.getAttribute('aria-label') &&
        !(one.labels && one.labels.length && one.labels[0].textContent.trim())).length"""
    assert page.evaluate(unnamed) == 0
    assert page.evaluate(
        "[...document.querySelectorAll('fieldset')].every((one) => one.querySelector('legend'))"
    )
    small = (
        "[...document.querySelectorAll('button:not([hidden])')].filter((b) => b.offsetHeight "
        "&& b.offsetHeight < 44).length"
    )
    assert page.evaluate(small) == 0
    page.locator("#zoom-left").click()
    expect(page.locator("#large-image")).to_be_visible()
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#large-image")).to_be_hidden()


def test_the_app_votes_and_shows_results_of_a_local_study(images, browser, tmp_path):
    study = new_study(images, tmp_path / "study")
    write_world(tmp_path / "weights")
    app = app_served(tmp_path, "--study", str(study), WORKBENCH_SCENES=str(tmp_path / "weights"))
    with app as address, watched(address, browser) as open_page:
        page = open_page()
        page.get_by_role("tab", name="Vote").click()
        frame = page.frame_locator("iframe.wb-study")
        consented(frame)
        frame.get_by_role("button", name="Start with a practice question").click()
        for done in ("0", "0", "1"):
            expect(frame.locator("#trial[data-shown]")).to_be_visible(timeout=milliseconds(30))
            expect(frame.locator("#count")).to_have_text(f"{done} of 5 answered")
            for name in ("diversity", "quality"):
                frame.locator(f'input[name="{name}"][value="left"]').check()
            shown = frame.locator("#trial").get_attribute("data-shown")
            frame.locator("#next").click()
            expect(frame.locator(f'#trial[data-shown="{shown}"]')).to_have_count(
                0, timeout=milliseconds(30)
            )
        page.get_by_role("tab", name="Results").click()
        assert page.locator("#study-token").count() == 0  # only this machine can open the app
        page.locator("#study-refresh").click()
        expect(page.locator("#study-note")).to_contain_text(
            "1 participants, 0 of them finished", timeout=milliseconds(60)
        )
        expect(page.locator("#study-tables")).to_contain_text("Results by pair and criterion")
        expect(page.locator("#study-figures [data-drawn]").first).to_be_visible(
            timeout=milliseconds(30)
        )
    assert [ballot.choice for ballot in ballots_of(study)] == ["left"] * 4


def test_an_app_that_others_can_open_wants_the_owners_token_for_results(images, browser, tmp_path):
    study = new_study(images, tmp_path / "study")
    write_world(tmp_path / "weights")
    app = app_served(
        tmp_path,
        "--host",
        "0.0.0.0",
        "--study",
        str(study),
        WORKBENCH_SCENES=str(tmp_path / "weights"),
    )
    with app as address, watched(address, browser) as open_page:
        page = open_page()
        page.get_by_role("tab", name="Results").click()
        for wrong in ("", "guess"):
            page.get_by_label("The study owner's token").fill(wrong)
            page.locator("#study-refresh").click()
            expect(page.locator("#study-note")).to_contain_text("Results are for the study's owner")
            expect(page.locator("#study-tables .wb-tables")).to_have_count(0)
        told = bare_results(address, "guess")
        assert "Results are for the study" in told
        assert not any(word in told for word in ("participants", "Results by pair", "secretone"))
        (token,) = re.findall(r"for the tab Results: (\S+)", (tmp_path / "app.log").read_text())
        page.get_by_label("The study owner's token").fill(token)
        page.locator("#study-refresh").click()
        expect(page.locator("#study-note")).to_contain_text(
            "0 participants", timeout=milliseconds(60)
        )
        config = urllib.request.urlopen(f"{address}config").read().decode()
        assert token not in config
        assert not any(secret in config for secret in secrets_of(study))


def bare_results(address: str, token: str) -> str:
    """What the listener of the Results tab answers to someone who asks without the page."""
    config = json.load(urllib.request.urlopen(f"{address}config"))
    (button,) = [
        one["id"] for one in config["components"] if one["props"].get("elem_id") == "study-refresh"
    ]
    (listener,) = [
        one["id"]
        for one in config["dependencies"]
        if [button, "click"] in [list(target) for target in one["targets"]]
    ]
    body = json.dumps({"data": [token], "fn_index": listener, "session_hash": "bare"}).encode()
    asked = urllib.request.Request(
        f"{address}gradio_api/queue/join", body, {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(asked).close()
    with urllib.request.urlopen(
        f"{address}gradio_api/queue/data?session_hash=bare", timeout=seconds(60)
    ) as stream:
        return stream.read().decode()


def test_without_a_study_the_tabs_say_how_to_make_one(tab):
    page = tab()
    for name in ("Vote", "Results"):
        page.get_by_role("tab", name=name).click()
        expect(page.locator("[role=tabpanel]:visible")).to_contain_text(
            "python app.py --study study"
        )
