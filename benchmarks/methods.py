"""The cost of a round of each method of Table 1 on scenes, against DMD's: seconds and peak memory,
each in its own process.

    python benchmarks/methods.py [--rounds 8] [--repeats 2] [--threads 1]

Processes of the methods take turns, so that a change of the machine's speed affects all; seconds
are the median over all rounds, memory is the largest resident size.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

PRESETS = ("scenes-dmd", "scenes-dp-dmd", "scenes-dmd-lpips", "scenes-dmd-gan")


def one(preset: str, rounds: int, threads: int) -> None:
    """Prints the seconds of each round, and the peak memory in GB, of this process."""
    import torch

    from workbench.core.presets import PRESETS as RECIPES
    from workbench.training.build import new_distiller

    torch.set_num_threads(threads)
    distiller, seconds = new_distiller(RECIPES[preset]), []
    list(distiller.round())  # the first one allocates
    for _ in range(rounds):
        begun = time.perf_counter()
        list(distiller.round())
        seconds.append(time.perf_counter() - begun)
    print(
        json.dumps(
            {"seconds": seconds, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", choices=PRESETS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return one(options.one, options.rounds, options.threads)
    costs = {preset: {"seconds": [], "memory": 0.0} for preset in PRESETS}
    for _ in range(options.repeats):
        for preset, row in costs.items():
            command = [
                sys.executable,
                __file__,
                "--one",
                preset,
                "--rounds",
                str(options.rounds),
                "--threads",
                str(options.threads),
            ]
            measured = json.loads(
                subprocess.run(command, check=True, capture_output=True, text=True).stdout
            )
            row["seconds"] += measured["seconds"]
            row["memory"] = max(row["memory"], measured["memory"])
    print("| preset | round s | times DMD | peak memory GB | over DMD |\n|---|---|---|---|---|")
    base = statistics.median(costs["scenes-dmd"]["seconds"])
    for preset, row in costs.items():
        middle = statistics.median(row["seconds"])
        extra = row["memory"] - costs["scenes-dmd"]["memory"]
        print(
            f"| {preset} | {middle:.2f} | {middle / base:.2f} | {row['memory']:.2f} | "
            f"{extra:+.2f} |"
        )


if __name__ == "__main__":
    main()
