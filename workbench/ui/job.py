"""The work that a tab's button starts: one state machine for grids, analyses and evaluations."""

from __future__ import annotations

import time
from enum import Enum


class State(str, Enum):
    """Where a job is; its value is also the page's `data-status`."""

    WAITING = "waiting"  # for the device
    RUNNING = "running"
    STOPPING = "stopping"  # after the current step
    STOPPED = "stopped"
    DONE = "done"
    FAILED = "failed"
    OPENED = "opened"  # read from files; there is nothing to run


class Job:
    """A job's state and the seconds it has run; subclasses say how far it is.

    A tab's `stop` and the loop that works may run in different threads: the loop ends when
    `wanted` is no longer true.
    """

    def __init__(self, state: State = State.WAITING):
        self.state, self.seconds, self._started = state, 0.0, 0.0

    def start(self) -> None:
        """Begins to run, or resumes; the time of earlier runs counts."""
        self.state, self._started = State.RUNNING, time.monotonic() - self.seconds

    def resume(self) -> None:
        """Queues it again."""
        self.state = State.WAITING

    def tick(self) -> None:
        """Updates `seconds`."""
        self.seconds = time.monotonic() - self._started

    def stop(self) -> None:
        """A queued job stops immediately, a running one after the current step."""
        if self.state is State.WAITING:
            self.state = State.STOPPED
        elif self.state is State.RUNNING:
            self.state = State.STOPPING

    def finish(self) -> None:
        """Ends a run: done, or stopped if that was requested."""
        self.state = State.DONE if self.wanted else State.STOPPED

    @property
    def wanted(self) -> bool:
        """Whether to continue."""
        return self.state in (State.WAITING, State.RUNNING)

    @property
    def active(self) -> bool:
        """Whether it is queued or running, so that the page must wait."""
        return self.wanted or self.state is State.STOPPING

    @property
    def message(self) -> str:
        """How far it is, or how it ended."""
        if self.state is State.WAITING:
            return "Waiting for the device …"
        if self.active:
            return f"{'Stopping' if self.state is State.STOPPING else 'Working'}: {self.progress}"
        return self.summary

    @property
    def progress(self) -> str:
        """How far a running job is."""
        raise NotImplementedError

    @property
    def summary(self) -> str:
        """How a job ended."""
        raise NotImplementedError


def time_left(seconds: float) -> str:
    """A duration for people, in whole seconds or minutes."""
    whole = round(seconds)
    return f"{max(whole, 1)} s" if whole < 90 else f"{round(whole / 60)} min"
