"""The app on a full model's names: tiny pipelines of the same classes lie where a download would
have put the real ones.
"""

from playwright.sync_api import expect

from tests.support.app import expect_status, fill, press, ready


def test_a_full_teacher_is_compared_with_its_published_student(full_tab):
    page = ready(full_tab())
    expect(page.get_by_text("Models of stabilityai/stable-diffusion-3.5-medium")).to_be_visible()
    expect(page.get_by_label("dp-dmd-official", exact=True)).to_be_checked()  # --student dp-dmd
    assert not page.get_by_label("rtdmd-sd35", exact=True).is_checked()
    assert page.get_by_label("number input for Teacher CFG").input_value() == "3.5"
    fill(page, "a red fox", "0-1", 2)
    page.get_by_label(
        "rtdmd-sd35", exact=True
    ).check()  # which is not in the cache, and there is no network
    press(page, "Generate grid")
    expect_status(page, "done")
    assert page.locator(".wb-cell img").count() == 4
    rows = page.locator(".wb-model").all_inner_texts()
    assert "4 NFE" in rows[0]
    assert "4 steps" in rows[1]
    assert "4 NFE" in rows[1]
    assert "the hub cannot be reached" in page.locator("[data-root]").inner_text() + str(
        page.locator("[title]").evaluate_all("all => all.map(one => one.title)")
    )


def test_without_the_model_and_a_network_the_page_says_so_and_works_on_scenes(lost_tab):
    page = ready(lost_tab())
    expect(page.get_by_role("alert")).to_contain_text("the hub cannot be reached")
    expect(page.get_by_text("Models of scenes")).to_be_visible()
    expect(page.get_by_label("Prompts, one per line")).to_have_value("a circle")
    page.get_by_role("button", name="two green stars").click()
    expect(page.get_by_label("Prompts, one per line")).to_have_value("two green stars")
    fill(page, "a circle", "0", 2)
    press(page, "Generate grid")
    expect_status(page, "done")
    assert page.locator(".wb-cell img").count() == 3
