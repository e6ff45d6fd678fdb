"""The real app in its own process, its pages in a browser that may talk to nobody else, and what
tests do in the tab "Compare".
"""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import expect

from tests.support.serving import free_port, wait_for
from tests.support.timing import milliseconds, seconds

ROOT = Path(__file__).parents[2]


@contextmanager
def served(folder: Path, *arguments: str, **settings: str):
    """The address of `python app.py` with its runs in `folder`, offline."""
    port = free_port()
    # one thread: on a busy machine two would wait for each other at every layer, ten times longer
    environment = (
        os.environ
        | {
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "TMPDIR": str(folder),
            "GRADIO_TEMP_DIR": str(folder / "gradio"),
        }
        | settings
    )
    environment.pop("GRADIO_ANALYTICS_ENABLED", None)  # app.py has to see to that
    log = folder / "app.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "app.py",
                "--port",
                str(port),
                "--runs",
                str(folder / "runs"),
                *arguments,
            ],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}/"
    try:
        wait_for(address, process, log)
        yield address
    finally:
        process.terminate()
        process.wait(seconds(60))


@contextmanager
def watched(app: str, browser):
    contexts, outside, errors = [], [], []

    def open_page(query: str = "", width: int = 1280, height: int = 900):
        context = browser.new_context(
            viewport={"width": width, "height": height}, accept_downloads=True
        )
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(milliseconds(120))
        page.on(
            "request",
            lambda sent: (
                outside.append(sent.url)
                if not sent.url.startswith((app, "data:", "blob:"))
                else None
            ),
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(app + query)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not outside
    assert not errors


def fill(page, prompts: str, seeds: str, steps: int) -> None:
    page.get_by_label("Prompts, one per line").fill(prompts)
    page.get_by_label("Seeds, such as").fill(seeds)
    page.get_by_label("number input for Teacher steps").fill(str(steps))
    page.get_by_label("number input for Teacher steps").press("Tab")


def press(page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def expect_status(page, status: str) -> None:
    expect(page.locator("[data-root]")).to_have_attribute("data-status", status)


def ready(page):
    """Waits until the page has got its models and, for a link, its grid."""
    expect(page.get_by_role("button", name="Generate grid")).to_be_enabled()
    return page
