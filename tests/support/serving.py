"""A server in a process of a test's own: a free port for it, and waiting until it answers."""

import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from tests.support.timing import seconds


def free_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(
    address: str, process: subprocess.Popen, log: Path | None = None, limit: float = 240
) -> None:
    """Returns once `address` answers; a RuntimeError with the log, where there is one, when the
    process ends first or the time is over.
    """
    end = time.monotonic() + seconds(limit)
    while process.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(address, timeout=seconds(10)).close()
            return
        except OSError:
            time.sleep(0.1)
    how = (
        f"did not answer at {address} for {seconds(limit):g} s"
        if process.returncode is None
        else f"ended with {process.returncode}"
    )
    raise RuntimeError(f"{' '.join(process.args)} {how}" + (f":\n{log.read_text()}" if log else ""))
