"""A study on a real server, and devices that open it, for the browser tests of the participant's
page. conftest imports the fixtures.

One server serves the tests of a session. Participants do not see each other, so `served` is that
server with the votes and participants of one test; a test that kills or damages its server
overrides `served` with `own_study`.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.support.serving import free_port, wait_for
from tests.support.timing import milliseconds
from workbench.study.ballots import Ballot
from workbench.study.folder import open_study
from workbench.study.stimuli import create_study, samples_of_folders

ROOT = Path(__file__).parents[2]
METHODS = ("secretone", "secrettwo")
expect.set_options(timeout=milliseconds(5))


class Served:
    """A study served by `study serve`, which can be killed and started again."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}/"
        self.start()
        self.begin()

    def start(self) -> None:
        command = ["study", "serve", str(self.folder), "--port", str(self.port)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workbench", *command],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
        )
        wait_for(self.address, self.process)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def begin(self) -> None:
        """Counts votes and participants from now on."""
        self.earlier = {ballot.trial for ballot in ballots_of(self.folder)}
        self.earlier_participants = self._participants()

    def ballots(self) -> list[Ballot]:
        return [ballot for ballot in ballots_of(self.folder) if ballot.trial not in self.earlier]

    def participants(self) -> int:
        return self._participants() - self.earlier_participants

    def _participants(self) -> int:
        with open_study(self.folder) as store:
            return store.status().participants


def ballots_of(folder: Path) -> list[Ballot]:
    with open_study(folder) as store:
        return store.ballots()


@pytest.fixture(name="images", scope="session")
def study_images(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for method in METHODS:
        for prompt in ("a red fox", "two stars", "a hill"):
            place = folder / method / prompt
            place.mkdir(parents=True)
            for n in range(4):
                Image.fromarray(rng.integers(256, size=(24, 24, 3), dtype=np.uint8)).save(
                    place / f"{n}.png"
                )
    return {method: folder / method for method in METHODS}


@contextmanager
def own_study(images, folder: Path):
    """A new study in `folder`, served until the end."""
    served = Served(new_study(images, folder))
    yield served
    served.kill()


def new_study(images, folder: Path) -> Path:
    settings = {"title": "Which pictures?", "trials": 3, "gold": 1, "repeats": 1}
    create_study(folder, samples_of_folders(images), settings).close()
    return folder


@pytest.fixture(name="study_server", scope="session")
def session_study(images, tmp_path_factory):
    with own_study(images, tmp_path_factory.mktemp("served") / "study") as served:
        yield served


@pytest.fixture(name="served")
def served_study(study_server):
    study_server.begin()
    return study_server


@pytest.fixture(name="device")
def study_device(served, browser):
    """A function that opens the study on a new device; no address or header may reveal a method."""
    contexts, heard, errors = [], [], []

    def opened(address: str = "", width: int = 1100, height: int = 1000):
        context = browser.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(milliseconds(30))
        contexts.append(context)
        context.on("response", lambda answer: heard.append((answer.url, str(answer.headers))))
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address or served.address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert heard
    assert all(url.startswith((served.address, "blob:", "about:")) for url, _ in heard)
    assert not any(
        secret in url + headers for url, headers in heard for secret in secrets_of(served.folder)
    )
    assert not errors


@pytest.fixture(name="page")
def study_page(device):
    """A participant's page at the first question after practice."""
    page = device()
    begun(page)
    answer(page)
    expect_trial(page)
    return page


def secrets_of(folder: Path) -> list[str]:
    """Texts that no participant may ever see."""
    sheets = json.loads((folder / "stimuli.json").read_text())["sheets"]
    return [
        "secretone",
        "secrettwo",
        "spoiled",
        *(file[:-4] for names in sheets.values() for file in names.values()),
    ]


def consented(page) -> None:
    """Goes to the instructions; `page` may be a frame."""
    page.get_by_label("I have read").check()
    page.get_by_role("button", name="Begin").click()


def begun(page) -> None:
    """Goes to the practice question."""
    consented(page)
    page.get_by_role("button", name="Start with a practice question").click()
    expect_trial(page)


def expect_trial(page, done: int = 0) -> None:
    expect(page.locator("#trial[data-shown]")).to_be_visible(timeout=milliseconds(30))
    expect(page.locator("#count")).to_have_text(f"{done} of 5 answered")
    expect(page.locator(".picture img")).to_have_count(2)


def expect_failed(page) -> None:
    """The page has given up loading pictures, and says so."""
    expect(page.get_by_role("alert").filter(has_text="The pictures did not load.")).to_be_visible(
        timeout=milliseconds(30)
    )
    expect(page.get_by_role("button", name="Try again")).to_be_enabled()
    assert page.locator(".picture img").count() == 0
    assert page.locator("#next").is_disabled()
    assert page.locator("#status").inner_text() == ""


def answer(page, keys: str = "12") -> None:
    page.keyboard.press(keys[0])
    page.keyboard.press(keys[1])
    expect(page.locator("#next")).to_be_enabled()
    page.keyboard.press("Enter")


def answer_offline(page) -> None:
    """Goes offline and answers with ties, which the page keeps."""
    page.context.set_offline(True)
    answer(page, "33")
    expect(page.locator("#alert")).to_contain_text("Your answer is saved in this browser")


def reopened(page, address: str):
    """A new page at `address` in the browser of `page`, which closes before the network is back."""
    context = page.context
    page.close()
    context.set_offline(False)
    page = context.new_page()
    page.goto(address)
    return page
