"""The tab "Evaluate" in a real browser."""

import csv
import io
import zipfile

import pytest
from playwright.sync_api import expect

from tests.support.app import watched
from tests.support.timing import milliseconds


def opened(tab, **settings):
    page = tab(**settings)
    page.get_by_role("tab", name="Evaluate").click()
    expect(page.locator("#evaluate")).to_be_enabled(timeout=milliseconds(300))
    return page


def ask(
    page, prompts: str = "a red circle\ntwo stars", metrics: tuple = ("Diversity, Eq. (9)", "KID")
) -> None:
    panel = page.locator("[role=tabpanel]:visible")
    choose(page, "own prompts")
    panel.get_by_label("Own prompts, one per line").fill(prompts)
    panel.get_by_label("number input for Seeds per prompt").fill("3")
    panel.get_by_label("number input for Teacher steps").fill("2")
    panel.get_by_label("number input for Teacher steps").press("Tab")
    for box in panel.locator("#evaluate-metrics").get_by_role("checkbox").all():
        box.uncheck()
    for metric in metrics:
        panel.locator("#evaluate-metrics").get_by_label(metric, exact=True).check()
    page.locator("#evaluate").click()


def choose(page, name: str) -> None:
    page.locator("#evaluate-list input").click()
    page.get_by_role("option", name=name, exact=True).click()


def expect_note(page, text: str) -> None:
    expect(page.locator("#evaluate-note")).to_contain_text(text, timeout=milliseconds(300))


@pytest.fixture(scope="module")
def evaluated(app, browser):
    """A page with an evaluation that is done, to read only."""
    with watched(app, browser) as open_page:
        page = opened(open_page)
        ask(page)
        expect_note(page, "Done in")
        yield page


def test_tables_figures_and_the_protocol(evaluated):
    page = evaluated
    tables = page.locator("#evaluate-tables")
    expect(tables.get_by_text("2 prompts of own prompts, 3 seeds")).to_be_visible()
    rows = tables.locator("table").first.locator("tbody tr")
    assert [row.split("\t")[0] for row in rows.all_inner_texts()] == ["Teacher", "DMD", "DP-DMD"]
    heads = tables.locator("table").first.locator("thead th").all_inner_texts()
    assert heads == ["model", "NFE", "ms / image", "diversity lite0 ↑", "kid lite0 ↓"]
    expect(tables.get_by_text("Table 1: variants of DMD")).to_be_visible()
    expect(tables.get_by_text("Not comparable with the paper's numbers").first).to_be_visible()
    expect(tables.get_by_text("dropped: none")).to_be_visible()
    for name in ("numbers", "prompts"):
        expect(page.locator(f'[data-figure="{name}"][data-drawn]')).to_be_visible()


def test_the_report_is_a_zip_of_its_files(evaluated):
    with evaluated.expect_download() as download:
        evaluated.locator("#evaluate-export").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        tables = {"numbers.csv", "by_prompt.csv", "numbers-by-model.csv", "table-1.csv"}
        assert {"report.html", "report.md", "report.tex", *tables} <= set(archive.namelist())
        numbers = list(csv.DictReader(io.StringIO(archive.read("numbers.csv").decode())))
    assert {row["number"] for row in numbers} == {"diversity lite0", "kid lite0"}


def test_an_earlier_evaluation_is_opened_and_other_metrics_are_read_from_it(evaluated, tab):
    page = opened(tab)
    page.locator("#evaluate-earlier input").click()
    page.get_by_role("option", name="own-").first.click()
    expect_note(page, "Opened.")
    expect(page.locator("#evaluate-tables table").first).to_be_visible()
    ask(page, metrics=("Vendi score",))
    expect_note(page, "Done in")
    expect(page.locator("#evaluate-tables thead").first).to_contain_text("vendi lite0")
    expect(page.locator("#evaluate-tables thead").first).not_to_contain_text("kid lite0")


def test_what_cannot_be_had_is_told_and_the_rest_is_there(tab):
    page = opened(tab)
    ask(page, prompts="a star\na star\nnude", metrics=("Diversity, Eq. (9)", "PickScore (3.9 GB)"))
    expect_note(
        page, "Not done: pickscore: pickscore needs config.json of yuvalkirstain/PickScore_v1"
    )
    expect(page.locator("#evaluate-tables")).to_contain_text("dropped: 1 repeated, 1 sexual")


def test_mistakes_are_told_and_nothing_is_begun(tab):
    page = opened(tab)
    for prompts, told in (
        ("a red dog", 'does not know the word "dog"'),
        ("", "own prompts has no prompt left to draw"),
    ):
        ask(page, prompts=prompts)
        expect_note(page, told)
    ask(page, prompts="a star", metrics=())
    expect_note(page, "no metrics")
    choose(page, "pick-a-pic")
    page.locator("#evaluate-metrics").get_by_label("KID").check()
    page.locator("#evaluate").click()
    expect_note(page, "cannot download")


def test_stop_keeps_what_is_there_and_evaluate_goes_on(tab):
    page = opened(tab)
    prompts = "\n".join(
        f"a {colour} {shape}"
        for colour in ("red", "blue", "green", "cyan")
        for shape in ("circle", "square", "star", "triangle")
    )
    ask(page, prompts=prompts)
    expect_note(page, "Working: ")
    page.locator("#evaluate-stop").click()
    expect_note(page, "Stopped; “Evaluate” continues from here")
    page.locator("#evaluate").click()
    expect_note(page, "Done in")
    expect(page.locator("#evaluate-tables")).to_contain_text("16 prompts of own prompts")


def test_the_tab_fits_a_phone(tab):
    page = opened(tab, width=390, height=800)
    ask(page)
    expect_note(page, "Done in")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
