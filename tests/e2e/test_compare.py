"""The tab "Compare" in a real browser."""

import io
import json
import zipfile

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.support.app import expect_status, fill, press, ready
from tests.support.timing import milliseconds
from workbench.grid.request import GridRequest
from workbench.io.png import read_settings

QUICK = {"prompts": "a red circle", "seeds": "0-2", "steps": 2}
LINK = GridRequest(
    ("a blue star",), (4, 5), ("teacher", "dp-dmd"), teacher_steps=2, guidance=3.0
).query


def test_a_grid_of_the_chosen_prompts_seeds_and_models(tab):
    page = ready(tab())
    expect(page.get_by_text("Device:")).to_be_visible()
    assert all(
        page.get_by_label(name, exact=True).is_checked() for name in ("Teacher", "DMD", "DP-DMD")
    )
    page.get_by_role("button", name="two green stars").click()
    expect(page.get_by_label("Prompts, one per line")).to_have_value("two green stars")
    fill(page, "a red circle\na blue star", "0, 7", 2)
    page.get_by_label("DMD", exact=True).uncheck()
    page.get_by_label("run long").check()
    press(page, "Generate grid")
    expect_status(page, "done")
    assert page.locator(".wb-prompt").all_inner_texts() == ["a red circle", "a blue star"]
    assert page.locator(".wb-section").first.locator(".wb-seed").all_inner_texts() == [
        "seed 0",
        "seed 7",
    ]
    assert page.locator(".wb-section").first.locator(".wb-name").all_inner_texts() == [
        "Teacher",
        "DP-DMD",
        "run long",
    ]
    images = page.locator(".wb-cell img")
    assert images.count() == 12
    page.wait_for_function(
        "[...document.querySelectorAll('.wb-cell img')].every(i => i.complete && i.naturalWidth "
        "=== 64)"
    )
    teacher = page.locator(".wb-model").first.inner_text()
    assert "2 steps · CFG 2" in teacher
    assert "4 NFE" in teacher
    assert "Div 0." in teacher
    assert "Done: 12 of 12 cells" in page.locator(".wb-message").inner_text()


def test_a_prompt_outside_the_grammar_is_answered_with_help(tab):
    page = ready(tab())
    fill(page, "a red hexagon", "0-2", 2)
    press(page, "Generate grid")
    note = page.get_by_role("alert").filter(has_text="hexagon")
    expect(note).to_contain_text("for example")
    expect(page.locator("[data-root]")).to_have_attribute("data-status", "empty")
    fill(page, **QUICK)
    press(page, "Generate grid")
    expect_status(page, "done")
    expect(note).to_have_count(0)


def test_seeds_that_cannot_be_read_are_answered_with_help(tab):
    page = ready(tab())
    fill(page, "a circle", "0..8", 2)
    press(page, "Generate grid")
    expect(page.get_by_role("alert").filter(has_text="0..8")).to_contain_text(
        'Write for example "0-8"'
    )


def test_stop_ends_a_grid_which_can_be_exported_before_the_next_one(tab):
    page = ready(tab())
    fill(page, "a circle\na star\na shape\na square", "0-15", 100)
    page.get_by_label("DP-DMD", exact=True).uncheck()
    page.get_by_label("Teacher", exact=True).uncheck()
    page.get_by_label(
        "Teacher", exact=True
    ).check()  # ticked last: DMD comes first, the teacher is at work when we stop
    press(page, "Generate grid")
    expect(page.locator(".wb-cell img").first).to_be_visible(timeout=milliseconds(300))
    press(page, "Stop")
    expect_status(page, "stopped")
    message = page.locator(".wb-message").inner_text()
    assert message.startswith("Stopped: ")
    assert "of 128 cells" in message
    assert not message.startswith("Stopped: 128")
    with page.expect_download() as download:
        press(page, "Export ZIP")
    with zipfile.ZipFile(download.value.path()) as archive:
        assert len(archive.namelist()) == 1 + page.locator(".wb-cell img").count()
    expect_status(ready(tab(LINK)), "done")  # the device is free
    assert page.locator(".wb-message").inner_text() == message  # nothing continued
    fill(page, **QUICK)
    press(page, "Generate grid")
    expect_status(page, "done")


def test_a_cell_is_enlarged_by_mouse_and_by_keyboard(tab):
    page = ready(tab(LINK))
    page.get_by_role("button", name='Teacher, seed 5, "a blue star"').click()
    box = page.get_by_role("dialog")
    expect(box.locator("strong")).to_have_text("Teacher · seed 5")
    page.keyboard.press("ArrowDown")
    expect(box.locator("strong")).to_have_text("DP-DMD · seed 5")
    page.keyboard.press("ArrowLeft")
    expect(box.locator("strong")).to_have_text("DP-DMD · seed 4")
    page.keyboard.press("ArrowLeft")  # there is none further left
    with page.expect_download() as download:
        box.get_by_role("link", name="Save PNG").click()
    assert read_settings(download.value.path())["seed"] == 4
    page.keyboard.press("Escape")
    expect(box).to_be_hidden()
    expect(page.get_by_role("button", name='DP-DMD, seed 4, "a blue star"')).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(box.locator("strong")).to_have_text("Teacher · seed 4")


def test_exports_hold_the_grid_and_its_settings(tab):
    page = ready(tab(LINK))
    with page.expect_download() as download:
        press(page, "Export PNG")
    assert download.value.suggested_filename == "seed-grid.png"
    settings = read_settings(download.value.path())
    assert settings["link"] == LINK
    assert len(settings["rows"]) == 2
    with page.expect_download() as download:
        press(page, "Export ZIP")
    with zipfile.ZipFile(download.value.path()) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        cells = [cell["file"] for cell in manifest["cells"]]
        assert len(cells) == 4
        assert set(cells) | {"manifest.json"} == set(archive.namelist())
        assert all(Image.open(io.BytesIO(archive.read(name))).size == (64, 64) for name in cells)
    press(page, "Copy link")
    expect(page.get_by_text("The link is copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").endswith(LINK)


def test_a_link_fills_the_form_and_makes_the_grid_again(tab):
    page = ready(tab(LINK))
    expect(page.get_by_label("Prompts, one per line")).to_have_value("a blue star")
    expect(page.get_by_label("Seeds, such as")).to_have_value("4-5")
    assert not page.get_by_label("DMD", exact=True).is_checked()
    assert page.get_by_label("DP-DMD", exact=True).is_checked()
    first = [
        page.request.get(page.locator(".wb-cell img").nth(n).evaluate("i => i.src")).body()
        for n in range(4)
    ]
    page.reload()  # the address is the link of what is shown
    expect_status(page, "done")
    again = [
        page.request.get(page.locator(".wb-cell img").nth(n).evaluate("i => i.src")).body()
        for n in range(4)
    ]
    assert [read_settings(io.BytesIO(a)) for a in first] == [
        read_settings(io.BytesIO(b)) for b in again
    ]
    assert first == again


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("?seeds=x", "'seeds'"),
        ("?prompt=a+hexagon", "hexagon"),
        ("?promt=x", "did you mean"),
        ("?model=nobody", "nobody"),
        ("?prompt=<img src=x onerror=alert(1)>", "<img"),
    ],
)
def test_a_bad_link_is_answered_and_the_page_works(tab, query, told):
    page = ready(tab(query))
    expect(page.get_by_role("alert").filter(has_text=told)).to_be_visible()
    expect(page.get_by_role("button", name="Generate grid")).to_be_enabled()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_never_scrolls_sideways(tab, width):
    page = ready(tab(LINK.replace("seeds=4-5", "seeds=0-11"), width=width))
    expect_status(page, "done")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    if width == 390:  # the grid scrolls in its own box, and its row labels stay
        page.locator(".wb-scroll").evaluate("box => box.scrollLeft = 400")
        label, scroll = (
            page.locator(".wb-name").first.bounding_box(),
            page.locator(".wb-scroll").bounding_box(),
        )
        assert page.locator(".wb-scroll").evaluate("box => box.scrollLeft") == 400
        assert label["x"] - scroll["x"] < 5
