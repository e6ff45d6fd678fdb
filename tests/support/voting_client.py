"""A process of voting participants, for the tests: `python -m tests.support.voting_client WHERE
CLIENTS PEOPLE`.

Each of CLIENTS threads lets PEOPLE participants (0: without end) answer everything, one after
another, and sends each vote one to four times, some in parallel. Writes every acknowledged vote,
and no other, as a line of JSON: [trial, answers].
"""

import json
import os
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from tests.support.small_study import answers_of, new_id
from workbench.study.store.store import Store


def vote_insistently(
    store: Store, participant: str, trial: str, answers: dict, chance: random.Random
) -> None:
    client_id = new_id()

    def send(_):
        return store.vote(participant, trial, answers, client_id, chance.random())

    with ThreadPoolExecutor(3) as senders:
        receipts = list(senders.map(send, range(chance.choice([1, 1, 2, 3]))))
    if chance.random() < 0.3:  # a retry after the answer was lost
        receipts.append(send(0))
    assert receipts == receipts[:1] * len(receipts), receipts


def client(store: Store, people: int, chance: random.Random) -> None:
    finished = 0
    while people == 0 or finished < people:
        participant = store.join(True).participant
        while trial := store.next_trial(participant):
            answers = answers_of(chance.randrange(9))
            vote_insistently(store, participant, trial.id, answers, chance)
            if not trial.practice:
                os.write(
                    1, (json.dumps([trial.id, answers]) + "\n").encode()
                )  # one write: lines of threads do not mix, nothing is buffered
        finished += 1


def main(where: str, clients: int, people: int) -> None:
    with Store.open(where) as store:
        failures = []

        def run(number: int) -> None:
            try:
                client(store, people, random.Random(number))
            except BaseException as error:
                failures.append(repr(error))

        threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failures:
        raise SystemExit("\n".join(failures))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
