"""The votes per second that a served study accepts, and the waiting time per vote, with real HTTP
and real commits.

    python benchmarks/study_load.py [--clients 50] [--trials 20] [--database postgresql://...]

Starts `study serve` on small pictures in another process, and CLIENTS parallel participants, who
join, load every trial with both pictures, and vote. Prints the votes per second and the median,
99th percentile and maximum time per vote.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path


def create(folder: Path, trials: int, database: str) -> None:
    import numpy as np
    from PIL import Image

    from workbench.study.stimuli import create_study, samples_of_folders

    rng = np.random.default_rng(0)
    for method in ("one", "two"):
        for prompt in range(max(trials, 20)):
            prompt_folder = folder / method / f"prompt {prompt}"
            prompt_folder.mkdir(parents=True)
            for n in range(4):
                Image.fromarray(rng.integers(256, size=(64, 64, 3), dtype=np.uint8)).save(
                    prompt_folder / f"{n}.png"
                )
    samples = samples_of_folders({name: folder / name for name in ("one", "two")})
    create_study(folder / "study", samples, {"title": "Load", "trials": trials}, database).close()


async def participate(address: str, taken: list[float]) -> None:
    import httpx

    async with httpx.AsyncClient(base_url=address, timeout=120) as client:
        token = (
            await client.post(
                "/api/join", json={"consent": True, "client_id": secrets.token_hex(32)}
            )
        ).json()["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        while trial := (await client.get("/api/trial")).json()["trial"]:
            for side in ("left", "right"):
                (await client.get(f"/api/picture/{trial[side]}")).raise_for_status()
            vote = {
                "trial": trial["id"],
                "client_id": str(uuid.uuid4()),
                "answers": {"diversity": "left", "quality": "tie"},
                "seconds": 1.0,
            }
            begun = time.perf_counter()
            (await client.post("/api/vote", json=vote)).raise_for_status()
            taken.append(time.perf_counter() - begun)


async def load(address: str, clients: int) -> tuple[list[float], float]:
    taken: list[float] = []
    begun = time.perf_counter()
    await asyncio.gather(*(participate(address, taken) for _ in range(clients)))
    return taken, time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--clients", type=int, default=25, help="at most 300 per address join within a minute"
    )
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--database", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        create(Path(folder), options.trials, options.database)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "workbench",
                "study",
                "serve",
                f"{folder}/study",
                "--port",
                str(port),
            ],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(300):
                try:
                    urllib.request.urlopen(address, timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.1)
            taken, seconds = asyncio.run(load(address, options.clients))
        finally:
            server.terminate()
            server.wait()
    print(
        f"{len(taken)} votes of {options.clients} participants in {seconds:.1f} s: "
        f"{len(taken) / seconds:.0f} per second, each after two pictures; "
        f"a vote takes {1e3 * statistics.median(taken):.0f} ms (median), "
        f"{1e3 * statistics.quantiles(taken, n=100)[98]:.0f} ms (99 %), "
        f"{1e3 * max(taken):.0f} ms (longest)"
    )


if __name__ == "__main__":
    main()
