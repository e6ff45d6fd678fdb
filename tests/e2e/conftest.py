"""The real app in a process of its own, on untrained networks, and a real Chromium that may talk
to nobody else.
"""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from playwright.sync_api import sync_playwright

from tests.conftest import cached, tiny_pipeline
from tests.support.scenes_world import write_student, write_world
from tests.support.served_study import (  # noqa: F401 - fixtures
    served_study,
    session_study,
    study_device,
    study_images,
    study_page,
)
from tests.support.serving import free_port, wait_for
from workbench.core.presets import SD35
from workbench.models.published import PUBLISHED

ROOT = Path(__file__).parents[2]
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def served(folder: Path, *arguments: str, **settings: str):
    """The address of `python app.py` with its runs in `folder`, in an environment that is offline."""
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
        process.wait(30)


@pytest.fixture(scope="session")
def app(tmp_path_factory):
    """The address of the app, started once: an untrained embedded teacher, two embedded students
    and one in the runs folder.
    """
    folder = tmp_path_factory.mktemp("app")
    write_world(folder / "weights")
    write_student(folder / "runs" / "long" / "student", "dp_dmd")
    with served(folder, WORKBENCH_SCENES=str(folder / "weights")) as address:
        yield address


@pytest.fixture(scope="session")
def full_app(tmp_path_factory):
    """The app on SD3.5-M and its published student: tiny look-alikes under their names in the
    hub's cache.
    """
    folder = tmp_path_factory.mktemp("full")
    pipeline = tiny_pipeline(dual_attention_layers=(0,))
    pipeline.save_pretrained(cached(folder, SD35))
    torch.save(
        pipeline.transformer.state_dict(),
        cached(folder, PUBLISHED["dp-dmd-official"].repo) / "DPDMD-SD35M-4NFE-natural.pt",
    )
    with served(
        folder, "--teacher", SD35, "--student", "dp-dmd", HF_HUB_CACHE=str(folder)
    ) as address:
        yield address


@pytest.fixture
def lost_tab(tmp_path, browser):
    """The app on a full model that is nowhere here, without a network."""
    write_world(tmp_path / "weights")
    with served(
        tmp_path,
        "--teacher",
        SD35,
        "--student",
        "dp-dmd",
        WORKBENCH_SCENES=str(tmp_path / "weights"),
    ) as address:
        with watched(address, browser) as open_page:
            yield open_page


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def tab(app, browser):
    """A function that opens an address of the app in a fresh page `width` wide. At the end of the
    test: no request left this machine, and the page had no script error.
    """
    with watched(app, browser) as open_page:
        yield open_page


@pytest.fixture
def full_tab(full_app, browser):
    """The same, of `full_app`."""
    with watched(full_app, browser) as open_page:
        yield open_page


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
        page.set_default_timeout(60_000)
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
