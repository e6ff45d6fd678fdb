"""The real app in a process of its own, on untrained networks, and a real Chromium that may talk
to nobody else.
"""

import pytest
import torch
from playwright.sync_api import expect, sync_playwright

from tests.support.app import served, watched
from tests.support.hub import cached
from tests.support.pipelines import tiny_pipeline
from tests.support.scenes_world import write_student, write_world
from tests.support.served_study import (  # noqa: F401 - fixtures
    served_study,
    session_study,
    study_device,
    study_images,
    study_page,
)
from tests.support.setup import chromium
from tests.support.timing import milliseconds
from workbench.core.presets import SD35
from workbench.models.published import PUBLISHED

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


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
    expect.set_options(timeout=milliseconds(60))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
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
