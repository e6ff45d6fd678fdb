"""The store under processes that vote in parallel and are killed, on both databases: it ends with
exactly the acknowledged votes.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.small_study import DESIGN, answer_all, kept
from workbench.study.store.store import Store

ROOT = Path(__file__).parents[3]


def voting_clients(where: str, clients: int, people: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.voting_client", where, str(clients), str(people)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_process_loses_no_acknowledged_vote(where):
    with Store.create(where, DESIGN):
        pass
    clients = voting_clients(where, 3, 0)
    lines = [clients.stdout.readline() for _ in range(60)]
    os.kill(clients.pid, signal.SIGKILL)
    lines += clients.stdout.readlines()
    clients.wait()
    assert clients.returncode == -signal.SIGKILL, clients.stderr.read()
    told = dict(map(json.loads, lines))
    assert len(told) == len(lines) >= 60
    with Store.open(where) as store:
        found = kept(store)
        assert {trial: found.get(trial) for trial in told} == told
        assert (
            len(found) - len(told) <= 3
        )  # committed, but not yet acknowledged: one of each thread
        assert all(
            set(answers) == {"diversity", "quality"} for answers in found.values()
        )  # no half submission
        participant = store.join(True).participant
        assert len(answer_all(store, participant)) == 9


def test_fifty_parallel_clients_end_with_exactly_the_acknowledged_votes(where):
    with Store.create(where, DESIGN):
        pass
    processes = [voting_clients(where, 10, 1) for _ in range(5)]
    ended = [process.communicate(timeout=120) for process in processes]
    assert [error for _, error in ended] == [""] * 5
    told = [json.loads(line) for out, _ in ended for line in out.splitlines()]
    assert len(told) == 50 * 8
    with Store.open(where) as store:
        assert kept(store) == dict(map(tuple, told))
        assert len(store.ballots()) == 800
        status = store.status()
        assert (status.participants, status.finished, status.reserved) == (50, 50, 0)
        votes = [entry.votes for entry in status.items]
        assert sum(votes) == 300
        assert max(votes) - min(votes) <= 2
        assert store.events() == []
