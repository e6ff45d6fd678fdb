"""The tab "Stages" in a real browser."""

import json
import zipfile

import pytest
from playwright.sync_api import expect

from tests.support.app import watched
from tests.support.timing import milliseconds
from workbench.stages.trajectory import Trajectory


def opened(tab, **settings):
    """The tab, ready."""
    page = tab(**settings)
    page.get_by_role("tab", name="Stages").click()
    expect(page.locator("#analyse")).to_be_enabled(timeout=milliseconds(300))
    return page


def ask(
    page,
    prompt: str = "a red circle",
    seeds: str = "0-2",
    parts: tuple = ("Branching", "Swap test"),
    steps: int = 3,
) -> None:
    panel = page.locator("[role=tabpanel]:visible")
    panel.get_by_label("Prompt", exact=True).fill(prompt)
    panel.get_by_label("Seeds, such as").fill(seeds)
    panel.get_by_label("number input for Teacher steps").fill(str(steps))
    panel.get_by_label("number input for Branches").fill("2")
    panel.get_by_label("number input for Branches").press("Tab")
    for part in ("Branching", "Swap test"):
        panel.get_by_label(part, exact=True).set_checked(part in parts)
    page.locator("#analyse").click()


def expect_note(page, text: str) -> None:
    expect(page.locator("#stages-note")).to_contain_text(text, timeout=milliseconds(300))


def figure(page, name: str):
    return page.locator(f'[data-figure="{name}"][data-drawn]')


@pytest.fixture(scope="module")
def examined(app, browser):
    """A page with an analysis that is done; its tests leave the form and the size as they are."""
    with watched(app, browser) as open_page:
        page = opened(open_page)
        ask(page)
        expect_note(page, "Done in")
        yield page


def test_the_strip_the_curves_and_the_swap_test(examined):
    page = examined
    for name in (
        "strip",
        "commitment",
        "branching",
        "bands",
        "factors",
        "paths",
        "swap",
        "swap-curves",
    ):
        expect(figure(page, name)).to_be_visible()
    # six pairs: of two students at five levels, with the teacher at its four
    assert figure(page, "swap").locator(".imagelayer image").count() == 26
    assert "Not done" not in page.locator("#stages-note").inner_text()


def test_the_slider_and_play_move_the_pictures_and_hover_tells_the_levels(examined):
    page, strip = examined, figure(examined, "strip")
    strip.locator(".slider-rail-touch-rect").scroll_into_view_if_needed()
    large, told = (
        strip.locator(".subplot.xy .imagelayer image"),
        strip.get_by_text("shown above: t = "),
    )
    first = large.get_attribute("href")
    rail = strip.locator(".slider-rail-touch-rect").bounding_box()
    page.mouse.click(rail["x"] + rail["width"] - 2, rail["y"] + rail["height"] / 2)
    expect(told).to_have_text("shown above: t = 0.250")
    expect(large).not_to_have_attribute("href", first)
    seed = strip.get_by_text("seed 1", exact=True).bounding_box()
    page.mouse.move(seed["x"] + seed["width"] / 2, seed["y"] + seed["height"] + 40)
    for text in ("Teacher", "seed 1", "alpha", "sigma", "committed to its final image"):
        expect(strip.locator(".hoverlayer")).to_contain_text(text)
    page.mouse.click(rail["x"] + 2, rail["y"] + rail["height"] / 2)
    expect(large).to_have_attribute("href", first)
    strip.locator(".updatemenu-button").first.click()  # play, to the end
    expect(told).to_have_text("shown above: t = 0.250")


def test_an_examination_is_stopped_and_goes_on(tab):
    page = opened(tab)
    ask(page, seeds="0-8", steps=40)
    expect(page.locator("#stages-stop")).to_be_enabled()
    expect_note(page, "Working")
    page.locator("#stages-stop").click()
    expect_note(page, "Stopped in")
    expect_note(page, "Not done")
    page.locator("#stages-resume").click()
    expect_note(page, "Done in")
    expect(figure(page, "swap")).to_be_visible()


def test_one_that_waits_for_the_device_is_stopped_at_once(tab):
    first, second = opened(tab), opened(tab)
    ask(first, seeds="0-8", steps=60)
    expect_note(first, "Working")
    ask(second)
    expect_note(second, "Waiting for the device")
    second.locator("#stages-stop").click()
    expect_note(second, "Stopped in 0 s")
    expect(second.locator("#analyse")).to_be_enabled()
    first.locator("#stages-stop").click()
    expect_note(first, "Stopped in")
    second.locator("#stages-resume").click()
    expect_note(second, "Done in")


def test_an_export_holds_everything_and_is_opened_again(examined, tab, tmp_path):
    with examined.expect_download() as download:
        examined.locator("#stages-export").click()
    path = tmp_path / "stages.zip"
    download.value.save_as(path)
    with zipfile.ZipFile(path) as archive:
        assert {"report.html", "numbers.json"} <= set(archive.namelist())
        numbers = json.loads(archive.read("numbers.json"))
        kept = Trajectory.open(archive.extract("trajectories/teacher.safetensors", tmp_path))
    assert numbers["seeds"] == [0, 1, 2]
    assert not numbers["left"]
    assert kept.prompt == "a red circle"
    assert len(kept) == 3
    page = opened(tab)
    with page.expect_file_chooser() as chooser:
        page.locator("#stages-open").click()
    chooser.value.set_files(path)
    expect_note(page, "Done in")
    expect(figure(page, "strip")).to_be_visible()
    expect(
        page.locator("[role=tabpanel]:visible").get_by_label("Prompt", exact=True)
    ).to_have_value("a red circle")


def test_gradients_are_measured(tab):
    page = opened(tab)
    page.locator("#measure").click()
    expect(figure(page, "gradients")).to_be_visible(timeout=milliseconds(300))
    text = figure(page, "gradients").inner_text()
    assert "DP-DMD, no stop" in text
    assert "stop" in text
    assert "cosine of DMD and diversity" in text
    expect(page.locator("#measure")).to_be_enabled()


def test_measuring_is_stopped(tab):
    page = opened(tab)
    page.locator("#measure").click()
    expect_note(page, "Measuring gradients")
    page.locator("#stages-stop").click()
    expect_note(page, "of the gradients are measured")
    expect(page.locator("#measure")).to_be_enabled()


@pytest.mark.parametrize(
    ("prompt", "seeds", "told"),
    [
        ("a red hexagon", "0-2", "hexagon"),
        ("a red circle", "4", "two or more"),
        ("a red circle", "x", "Cannot read"),
    ],
)
def test_mistakes_are_answered_with_help(tab, prompt, seeds, told):
    page = opened(tab)
    ask(page, prompt, seeds)
    expect(page.locator("#stages-note")).to_contain_text(told)
    expect(page.locator("#analyse")).to_be_enabled()


def test_the_page_is_not_wider_than_a_phone(examined):
    size = examined.viewport_size
    examined.set_viewport_size({"width": 390, "height": 800})
    examined.wait_for_function("document.documentElement.scrollWidth <= 390")
    examined.set_viewport_size(size)
