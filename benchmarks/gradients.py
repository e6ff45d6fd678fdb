r"""Which gradient reaches which step while a student is trained, and whether the terms agree:
Figure 5's conflict on scenes.

    python benchmarks/gradients.py --preset scenes-dp-dmd --method dp_dmd_no_stop --seeds 3 \
        --at 0,5,20,50,100,200

Trains the preset's recipe by `--method` and, at some rounds, measures the gradient of DP-DMD
without the stop for the student of that round, on batches of the training captions. Prints the mean
and deviation over training seeds per round.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys


def measured(
    preset: str, method: str, seed: int, rounds: list[int], batches: int
) -> dict[int, dict[str, float]]:
    from workbench.core.presets import PRESETS
    from workbench.stages.gradients import gradient_reach
    from workbench.training.build import new_distiller, new_objective

    recipe = dataclasses.replace(PRESETS[preset], method=method, seed=seed)
    distiller, by_round = new_distiller(recipe), {}
    probe = new_objective(dataclasses.replace(recipe, method="dp_dmd_no_stop"))
    for at in rounds:
        for _ in distiller.rounds(at - distiller.rounds_done):
            pass
        *_, reach = gradient_reach(distiller, probe, batches)
        dmd, diversity = (reach.norms[name].mean(0).tolist() for name in ("dmd", "diversity"))
        by_round[at] = {f"DMD step {step}": norm for step, norm in enumerate(dmd, 1)} | {
            "diversity step 1": diversity[0],
            "cosine step 1": float(reach.cosines["dmd", "diversity"][:, 0].mean()),
        }
        print(f"seed {seed}, round {at}: {by_round[at]}", file=sys.stderr, flush=True)
    return by_round


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="scenes-dp-dmd")
    parser.add_argument(
        "--method",
        default="dp_dmd_no_stop",
        help="the method that trains the student (default: %(default)s)",
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--at", default="0,5,20,50,100,200", help="rounds (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=4)
    options = parser.parse_args()
    rounds = [int(at) for at in options.at.split(",")]
    runs = [
        measured(options.preset, options.method, seed, rounds, options.batches)
        for seed in range(options.seeds)
    ]
    names = list(runs[0][rounds[0]])
    print("| round | " + " | ".join(names) + " |\n" + "|---" * (1 + len(names)) + "|")
    for at in rounds:
        values = [[run[at][name] for run in runs] for name in names]
        cells = (
            f"{statistics.mean(v):.3f}" + (f" ± {statistics.stdev(v):.3f}" if len(v) > 1 else "")
            for v in values
        )
        print(f"| {at} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
