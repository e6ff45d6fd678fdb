"""The real app in a process of its own, on untrained networks, and a real Chromium that may talk to nobody else."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.scenes_world import write_student, write_world

ROOT = Path(__file__).parents[2]
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="session")
def app(tmp_path_factory):
    """The address of `python app.py`, started once: an untrained teacher, two embedded students and one in the runs folder."""
    folder = tmp_path_factory.mktemp("app")
    write_world(folder / "weights")
    write_student(folder / "runs" / "long" / "student", "dp_dmd")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # one thread: on a busy machine two would wait for each other at every layer, ten times longer
    environment = os.environ | {"OMP_NUM_THREADS": "1", "WORKBENCH_SCENES": str(folder / "weights"),
                                "HF_HUB_OFFLINE": "1", "TMPDIR": str(folder), "GRADIO_TEMP_DIR": str(folder / "gradio")}
    environment.pop("GRADIO_ANALYTICS_ENABLED", None)  # app.py has to see to that
    log = folder / "app.log"
    with log.open("w") as output:
        process = subprocess.Popen([sys.executable, "app.py", "--port", str(port), "--runs", str(folder / "runs")], cwd=ROOT,
                                   env=environment, stdout=output, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}/"
    try:
        _wait(address, process, log)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def _wait(address: str, process: subprocess.Popen, log: Path, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the app did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def tab(app, browser, request):
    """A function that opens an address of the app in a fresh page `width` wide. At the end of the test: no request left this
    machine, and the page had no script error."""
    contexts, outside, errors = [], [], []

    def open_page(query: str = "", width: int = 1280, height: int = 900):
        context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("request", lambda sent: outside.append(sent.url) if not sent.url.startswith((app, "data:", "blob:")) else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(app + query)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not outside and not errors
