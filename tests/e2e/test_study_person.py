"""The participant at a device: the personal link, a shared computer, an unknown link, and joining
over a bad network.
"""

import json

from playwright.sync_api import expect

from tests.support.served_study import answer, answer_offline, begun, consented, expect_trial
from tests.support.timing import milliseconds

TOKEN, ASIDE, JOINING = "study-participant /", "study-aside /", "study-joining /"
UNKNOWN = {
    "status": 401,
    "json": {"detail": "this link belongs to no participant of this study; join again"},
}


def stored(page, key: str):
    return page.evaluate("(key) => localStorage.getItem(key)", key)


def test_the_personal_link_is_at_hand_in_every_trial_and_at_the_end(device, served):
    page = device()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    begun(page)
    assert page.locator(
        "#mine-link"
    ).is_hidden()  # over somebody's shoulder it is read only when it is asked for
    page.locator("#mine summary").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#mine-link")).to_be_visible()
    link = page.locator("#mine-link").input_value()
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#status")).to_have_text("Link copied.")
    assert (
        page.evaluate("navigator.clipboard.readText()")
        == link
        == f"{served.address}#me={stored(page, TOKEN)}"
    )
    page.locator("#main").focus()  # Enter on a button would press it
    answer(page)
    for done in range(5):
        expect_trial(page, done)
        answer(page)
    expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
    expect(page.locator("#mine-link")).to_be_visible()
    expect(page.locator("#mine-link")).to_have_value(link)
    elsewhere = device(link)
    expect(elsewhere.get_by_role("heading", name="Thank you")).to_be_visible()


def test_enter_on_the_link_is_no_answer(device, served):
    page = device()
    begun(page)
    page.keyboard.press("1")
    page.keyboard.press("2")
    expect(page.locator("#next")).to_be_enabled()
    page.locator("#mine summary").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#mine-link")).to_be_visible()
    assert page.locator("#practice").is_visible()
    assert page.locator("#criteria input:checked").count() == 2


def test_somebody_else_begins_anew_by_keyboard_and_nothing_is_lost(page, device, served):
    answer(page, "11")
    expect_trial(page, 1)
    page.get_by_role("button", name="Not you? Start over").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Start over as someone else?")
    expect(dialog).to_be_visible()
    assert page.evaluate("document.activeElement.id") == "anew-no"
    page.keyboard.press("1")  # not an answer to the question below
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "not-me"
    assert page.locator("#criteria input:checked").count() == 0
    page.keyboard.press("Enter")
    link = page.get_by_label("The current personal link").input_value()
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.id") == "anew-yes"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Before you begin")).to_be_visible()
    expect(page.locator("#status")).to_contain_text("has forgotten the previous participant")
    expect(page.get_by_label("The earlier personal link")).to_have_value(link)
    assert stored(page, TOKEN) is None
    assert not page.locator("#agree").is_checked()
    assert page.locator("#progress").is_hidden()
    assert page.evaluate("document.activeElement.id") == "main"
    assert page.locator("#person").is_hidden()
    begun(page)  # consent, instructions, practice
    assert page.locator("#practice").is_visible()
    assert link not in page.content()
    assert served.participants() == 2
    assert stored(page, TOKEN) not in (None, link.partition("me=")[2])
    expect_trial(device(link), 1)


def test_beginning_anew_waits_for_an_answer_that_is_not_sent_yet(page, served):
    answer_offline(page)
    page.get_by_role("button", name="Not you? Start over").click()
    page.get_by_role("button", name="Start over", exact=True).click()
    expect(page.locator("#anew-status")).to_have_text(
        "An answer is still being saved. Please wait."
    )
    assert stored(page, TOKEN)
    assert page.locator("#welcome").is_hidden()
    page.context.set_offline(False)
    expect(page.get_by_role("heading", name="Before you begin")).to_be_visible(
        timeout=milliseconds(30)
    )
    assert [ballot.choice for ballot in served.ballots()] == ["tie", "tie"]
    assert stored(page, TOKEN) is None


def test_thinking_better_of_it_while_it_waits_changes_nothing(page):
    page.context.set_offline(True)
    answer(page, "33")
    page.get_by_role("button", name="Not you? Start over").click()
    page.get_by_role("button", name="Start over", exact=True).click()
    page.get_by_role("button", name="Cancel").click()
    page.context.set_offline(False)
    expect_trial(page, 1)
    assert stored(page, TOKEN)


def test_a_link_that_is_not_known_is_told_and_kept(device, served):
    page = device(f"{served.address}#me=nobody-has-this")
    expect(
        page.get_by_role("alert").filter(
            has_text="This study does not recognise your link. It is kept below"
        )
    ).to_be_visible()
    for _ in range(2):
        expect(page.get_by_label("The earlier personal link")).to_have_value(
            f"{served.address}#me=nobody-has-this"
        )
        assert stored(page, ASIDE) == '["nobody-has-this"]'
        assert stored(page, TOKEN) is None
        assert "#" not in page.url
        page.reload()
    page.get_by_role("button", name="Continue with it").click()
    expect(
        page.get_by_role("alert").filter(has_text="This study does not recognise your link")
    ).to_be_visible()
    begun(page)
    assert page.locator("#former").is_hidden()
    assert stored(page, ASIDE) == '["nobody-has-this"]'


def test_a_wrong_link_does_not_take_the_place_of_a_known_one(page, served):
    token = stored(page, TOKEN)
    page.goto("about:blank")
    page.goto(f"{served.address}#me=nobody-has-this")
    expect_trial(page)
    expect(page.locator("#alert")).to_contain_text("You continue as the previous participant")
    assert stored(page, TOKEN) == token
    assert stored(page, ASIDE) == '["nobody-has-this"]'
    assert "#" not in page.url


def test_an_answer_under_a_link_that_is_not_known_for_a_while_is_sent_when_it_is_again(
    page, served
):
    token = stored(page, TOKEN)
    page.route("**/api/vote", lambda route: route.fulfill(**UNKNOWN))
    answer(page, "11")
    expect(
        page.get_by_role("alert").filter(has_text="This study does not recognise your link")
    ).to_be_visible()
    assert stored(page, ASIDE) == f'["{token}"]'
    assert stored(page, TOKEN) is None
    assert not served.ballots()
    page.unroute("**/api/vote")
    page.get_by_role("button", name="Continue with it").click()
    expect_trial(page, 1)
    assert [ballot.choice for ballot in served.ballots()] == ["left", "left"]
    assert stored(page, TOKEN) == token
    assert stored(page, ASIDE) is None


def test_a_link_that_is_not_known_any_more_when_pictures_load_is_put_aside(device):
    page = device()
    begun(page)
    page.route("**/api/picture/*", lambda route: route.fulfill(**UNKNOWN))
    answer(page)
    expect(
        page.get_by_role("alert").filter(has_text="This study does not recognise your link")
    ).to_be_visible()
    assert stored(page, ASIDE)
    assert page.locator("#trial").is_hidden()


def test_joining_whose_answer_is_lost_makes_one_participant(device, served):
    page, lost = device(), []

    def lose(route):
        if len(lost) < 2:
            lost.append(
                route.fetch()
            )  # the server has a participant, but the page gets no response
            route.abort()
        else:
            route.continue_()

    page.route("**/api/join", lose)
    page.get_by_label("I have read").check()
    page.get_by_role("button", name="Begin").dblclick()
    expect(page.locator("#alert")).to_contain_text("No connection. Trying again")
    assert len(stored(page, JOINING)) == 64
    page.reload()
    begun(page)
    assert len(lost) == 2
    assert served.participants() == 1
    assert stored(page, JOINING) is None


def test_two_tabs_that_begin_are_one_participant(device, served):
    one = device()
    other = one.context.new_page()
    other.goto(served.address)
    expect(other.get_by_label("I have read")).to_be_visible()
    begun(one)
    consented(other)
    expect(other.locator("#link")).to_have_value(f"{served.address}#me={stored(one, TOKEN)}")
    assert served.participants() == 1


def test_who_answers_very_fast_is_told_kindly_until_the_next_answer(device):
    page = device()
    begun(page)

    def hurried(route):
        route.continue_(post_data=json.dumps(route.request.post_data_json | {"seconds": 0.3}))

    page.route("**/api/vote", hurried)
    answer(page)
    for done in range(3):
        expect_trial(page, done)
        expect(page.locator("#notice")).to_be_empty()
        answer(page)
    expect_trial(page, 3)
    expect(page.locator("#notice")).to_contain_text("There is no hurry")
    page.reload()
    expect_trial(page, 3)
    expect(page.locator("#notice")).to_contain_text("There is no hurry")
    answer(page)
    expect_trial(page, 4)
    expect(page.locator("#notice")).to_be_empty()


def test_a_prompt_is_laid_out_in_the_direction_of_its_script(device):
    page, shown = device(), {"prompt": "قطة حمراء, 4k!"}

    def named(route):
        found = route.fetch().json()
        found["trial"] |= shown
        route.fulfill(json=found)

    consented(page)
    page.route("**/api/trial", named)
    page.get_by_role("button", name="Start with a practice question").click()
    expect_trial(page)
    expect(page.locator("#prompt")).to_have_css("direction", "rtl")
    shown["prompt"] = "a red cat, 4k!"
    answer(page)
    expect(page.locator("#prompt")).to_have_text("a red cat, 4k!")
    expect(page.locator("#prompt")).to_have_css("direction", "ltr")
