"""Processes that are forked from one which has imported the workbench: seconds sooner than a new
Python.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

_warm = multiprocessing.get_context("forkserver")
_warm.set_forkserver_preload(["workbench.cli", "workbench.models.backends.source"])


def forked(log: Path, call: Callable, *arguments) -> BaseProcess:
    """A started process that calls `call(*arguments)`; its output goes to the file `log`."""
    process = _warm.Process(target=_run, args=(log, dict(os.environ), call, arguments))
    process.start()
    return process


def command(*arguments: str) -> None:
    """`python -m workbench ARGUMENTS`, for `forked`."""
    from workbench.cli import main

    sys.exit(main(list(arguments)))


def _run(log: Path, environment: dict, call: Callable, arguments: tuple) -> None:
    os.environ.clear()
    os.environ.update(environment)
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    call(*arguments)
