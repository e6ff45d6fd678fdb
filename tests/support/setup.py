"""The programs that the suite uses beside Python: Chromium and PostgreSQL.

    python -m tests.support.setup    # installs those that are missing, if it can

Without one of them its tests are skipped, and the suite says so at its end.
"""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@functools.cache
def chromium() -> str | None:
    """The path of a Chromium or Chrome: $CHROME, one on PATH, or Playwright's own."""
    found = next(filter(None, map(shutil.which, (os.environ.get("CHROME", ""), *BROWSERS))), None)
    if found:
        return found
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).is_file() else None


@functools.cache
def postgresql_programs() -> Path | None:
    """The folder of the newest initdb and pg_ctl: Debian's, or the one on PATH."""
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(versions, key=lambda path: float(path.parts[-3]), default=None)
    found = newest or shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def install() -> None:
    """Debian's packages if this is root with apt-get; else Playwright's own Chromium."""
    missing = [
        name
        for name, find in (("chromium", chromium), ("postgresql", postgresql_programs))
        if not find()
    ]
    if missing and shutil.which("apt-get") and os.geteuid() == 0:
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
        for arguments in (["apt-get", "update", "-qq"], command):
            subprocess.run(arguments, env=environment, stdout=subprocess.DEVNULL, check=False)
    chromium.cache_clear()
    if not chromium():
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)


if __name__ == "__main__":
    install()
