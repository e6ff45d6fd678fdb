"""The documentation's pictures of the app, retaken from the real app on the embedded models.

    python docs/shots.py [compare stages evaluate]     # needs Chromium; minutes on two cores

Writes docs/compare.png, stages.jpg and evaluate.jpg. Elements are named by their ids, so that a
changed label changes no line here; tabs by their names.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).parent
MINUTES = 60_000
SIZE = {"width": 1400, "height": 1140}


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of the app on the embedded models, its files in `folder`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "app.py", "--port", str(port), "--runs", str(folder / "runs")]
    environment = os.environ | {"TMPDIR": str(folder), "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, cwd=DOCS.parent, env=environment)
    address = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(address)
                break
            except OSError:
                time.sleep(1)
        yield address
    finally:
        process.terminate()
        process.wait(60)


def enabled(page, selector: str):
    """The element, when it takes a click."""
    page.wait_for_selector(f"{selector}:not([disabled])", timeout=10 * MINUTES)
    return page.locator(selector)


def tab(page, name: str) -> None:
    """Opens a tab of the app."""
    page.get_by_role("tab", name=name).click()


def compare(page) -> None:
    """All shipped students, one prompt, nine seeds."""
    enabled(page, "#generate")
    for box in page.locator("#models").get_by_role("checkbox").all():
        box.check()
    page.locator("#prompts textarea").fill("a circle")
    page.locator("#prompts textarea").press("Tab")
    enabled(page, "#generate").click()
    page.wait_for_selector('[data-root][data-status="done"]', timeout=20 * MINUTES)
    save(page, "compare.png")


def stages(page) -> None:
    """The strip of teacher, DMD and DP-DMD."""
    tab(page, "Stages")
    for box in page.locator("#stages-parts").get_by_role("checkbox").all():
        box.uncheck()
    page.locator("#stages-seeds input, #stages-seeds textarea").first.fill("0-4")
    enabled(page, "#analyse").click()
    page.wait_for_selector('[data-figure="strip"][data-drawn]', timeout=20 * MINUTES)
    enabled(page, "#analyse")
    page.locator('[data-figure="strip"]').scroll_into_view_if_needed()
    save(page, "stages.jpg")


def evaluate(page) -> None:
    """Numbers with intervals, the paper's layout."""
    tab(page, "Evaluate")
    enabled(page, "#evaluate").click()
    page.wait_for_selector('[data-figure="numbers"][data-drawn]', timeout=60 * MINUTES)
    enabled(page, "#evaluate")
    note = page.locator("#evaluate-note")  # names a temporary folder
    note.evaluate("e => e.innerHTML = e.innerHTML.replace(/\\/\\S+\\/evaluations/, 'evaluations')")
    save(page, "evaluate.jpg")


def save(page, name: str) -> None:
    """The visible page as a PNG or JPEG of less than 400 kB."""
    time.sleep(2)  # figures settle
    shot = Path(tempfile.mkdtemp()) / "shot.png"
    page.screenshot(path=shot)
    image = Image.open(shot).convert("RGB")
    if name.endswith(".png"):  # smaller, with all its colours: few would change the pictures
        image = image.resize((1200, image.height * 1200 // image.width), Image.Resampling.LANCZOS)
    image.save(DOCS / name, quality=85, optimize=True)
    print(f"{name}: {(DOCS / name).stat().st_size / 1e3:.0f} kB", flush=True)


PICTURES = {"compare": compare, "stages": stages, "evaluate": evaluate}


def main() -> None:
    """Takes the pictures that are named, or all."""
    parser = argparse.ArgumentParser(description="Take the documentation's pictures of the app.")
    parser.add_argument("picture", nargs="*", help="default: all")
    names = parser.parse_args().picture or list(PICTURES)
    from playwright.sync_api import sync_playwright

    folder = Path(tempfile.mkdtemp())
    with served(folder) as address, sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name in names:
            page = browser.new_page(viewport=SIZE)
            page.goto(address)
            PICTURES[name](page)
            page.close()
        browser.close()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
