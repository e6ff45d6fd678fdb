"""A server that is killed or has lost its pictures: each test has its own."""

from collections import Counter

import pytest
from playwright.sync_api import expect

from tests.support.served_study import answer, expect_failed, expect_trial, own_study
from workbench.study.folder import open_study


@pytest.fixture
def served(images, tmp_path):
    with own_study(images, tmp_path / "study") as found:
        yield found


def test_a_server_that_is_killed_has_every_acknowledged_vote(page, served):
    answer(page, "11")
    expect_trial(page, 1)
    served.kill()
    answer(page, "22")
    expect(page.locator("#alert")).to_contain_text("trying again")
    served.start()
    expect_trial(page, 2)
    assert [ballot.choice for ballot in served.ballots()] == ["left", "left", "right", "right"]


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
        "A picture is missing; the study's organiser has been notified."
    )
    assert max(asked.values()) == 1  # the server said that asking again is no use
    for file, content in kept.items():
        file.write_bytes(content)
    page.get_by_role("button", name="Skip this question").click()
    expect_trial(page, 2)
    assert [ballot.choice for ballot in served.ballots()] == ["left", "left", "skip", "skip"]
    with open_study(served.folder) as store:
        assert {event.kind for event in store.events()} == {"missing picture"}
