"""The dashboard in JupyterLab: buttons are clicked while cells run and while one waits, and the
figure and the samples fill.
"""

import os
import re
import subprocess
import sys

import nbformat
import pytest
from playwright.sync_api import expect

from tests.support.app import watched
from tests.support.scenes_world import write_world
from tests.support.serving import free_port, wait_for
from tests.support.timing import milliseconds, seconds

TOKEN = "secret"
TRAINING = """
from dataclasses import replace
from workbench.lab.dashboard import Dashboard
from workbench.core.presets import PRESETS
from workbench.training.run import Run
short = {"rounds": 30, "batch": 2, "teacher_steps": 4, "k": 2}
recipe = replace(PRESETS["scenes-dp-dmd"], **short, sample_every=5, checkpoint_every=5)
dmd = replace(recipe, method="dmd")
dashboard = Dashboard({
    "dmd": Run.at("runs/dmd", dmd, "cpu"), "dp-dmd": Run.at("runs/dp-dmd", recipe, "cpu")
})
dashboard.start()
dashboard
"""


@pytest.fixture
def lab(tmp_path, browser):
    """A function that opens an address of a JupyterLab whose one notebook trains two runs, and
    waits for them in its second cell.
    """
    write_world(tmp_path / "weights")
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(code) for code in (TRAINING, "await dashboard.finished()")]
    )
    notebook.metadata.kernelspec = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(notebook, tmp_path / "training.ipynb")
    port = free_port()
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "WORKBENCH_SCENES": str(tmp_path / "weights"),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
    }
    log = tmp_path / "lab.log"
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        f"--IdentityProvider.token={TOKEN}",
        f"--notebook-dir={tmp_path}",
    ]
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    address = f"http://127.0.0.1:{port}/"
    try:
        wait_for(f"{address}api?token={TOKEN}", process, log)
        with watched(address, browser) as open_page:
            yield open_page
    finally:
        process.terminate()
        process.wait(seconds(60))


def unchanged(page, words) -> str:
    """The text once it has stood still for two seconds: an update in progress ends first."""
    text = None
    while text != (text := words.text_content()):
        page.wait_for_timeout(2000)
    return text


def test_a_training_is_paused_resumed_stopped_and_started_by_clicks(lab):
    page = lab(f"lab/tree/training.ipynb?token={TOKEN}", 1400, 1300)
    page.set_default_timeout(milliseconds(300))
    page.locator(".jp-CodeCell .cm-content").first.click()
    expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")).to_be_visible(
        timeout=milliseconds(300)
    )
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Shift+Enter")  # the second cell waits, and clicks are taken all the same
    words = page.locator(".jp-OutputArea .widget-html-content").first
    expect(words).to_contain_text(
        re.compile(r"DMD: round ([6-9]|\d\d) of 30.*; training"), timeout=milliseconds(300)
    )  # after the first reading, round 5
    button = {
        name: page.get_by_role("button", name=name, exact=True)
        for name in ("Start", "Pause", "Resume", "Stop")
    }
    button["Pause"].click()
    expect(words).to_contain_text("; paused")
    expect(button["Pause"]).to_be_disabled()
    assert "; paused" in unchanged(page, words)
    button["Resume"].click()
    expect(words).to_contain_text("; training")
    button["Stop"].click()
    expect(words).to_contain_text("; stopped")
    button["Start"].click()
    expect(words).to_contain_text("; training")
    expect(words).to_contain_text("DP-DMD: round 30 of 30; done", timeout=milliseconds(300))
    assert page.locator(".js-plotly-plot").count() == 1
    assert page.locator(".js-plotly-plot .scatterlayer .trace").count() >= 8
    pictures = page.locator(".jp-OutputArea img.widget-image")
    assert pictures.count() == 2
    assert all(pictures.nth(n).evaluate("image => image.naturalWidth > 100") for n in (0, 1))
    expect(
        page.locator(".jp-OutputArea").filter(has_text="DMD, round 5 of 30").first
    ).to_be_visible()
