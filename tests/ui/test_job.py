"""The states of the work that a tab's button starts."""

import pytest

from workbench.ui.job import Job, State, time_left


class Walk(Job):
    progress, summary = "3 of 9 steps", "over"


def test_a_queued_job_stops_immediately():
    job = Walk()
    assert job.active
    assert job.message == "Waiting for the device …"
    job.stop()
    assert job.state is State.STOPPED
    assert not job.active
    assert job.message == "over"


def test_a_running_job_stops_after_its_step_and_can_be_resumed():
    job = Walk()
    job.start()
    assert job.message == "Working: 3 of 9 steps"
    job.stop()
    assert job.state is State.STOPPING
    assert job.active
    assert not job.wanted
    assert job.message == "Stopping: 3 of 9 steps"
    job.finish()
    assert job.state is State.STOPPED
    job.seconds = 60.0
    job.resume()
    assert job.state is State.WAITING
    job.start()
    job.tick()
    assert 60 <= job.seconds < 61
    job.finish()
    assert job.state is State.DONE


@pytest.mark.parametrize("state", [State.DONE, State.FAILED, State.STOPPED, State.OPENED])
def test_stopping_what_has_ended_changes_nothing(state):
    job = Walk(state)
    job.stop()
    assert job.state is state


def test_the_time_left_is_in_whole_seconds_or_minutes():
    assert [time_left(seconds) for seconds in (0.2, 30.4, 100)] == ["1 s", "30 s", "2 min"]
