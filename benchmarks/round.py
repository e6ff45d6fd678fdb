"""Time and peak memory of a DMD and a DP-DMD round on scenes, against the floor of their own
network evaluations.

    python benchmarks/round.py [--rounds 12] [--threads 1]

The floor of an update is the sum of the costs of its evaluations alone, each measured as a median
in the same process: forwards without gradients, forwards with gradients, and the backward through
the roll-out's steps. Rounds and floor parts are interleaved, so that a change of the machine's
speed affects both. Overhead = round / floor - 1.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import torch

from workbench.core import seeds
from workbench.core.distiller import Distiller
from workbench.core.presets import PRESETS
from workbench.core.sampler import rollout
from workbench.training.build import new_distiller


def seconds(function) -> float:
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


class Floor:
    """The evaluations of an update, with nothing around them."""

    def __init__(self, distiller: Distiller):
        recipe, backend = distiller.recipe, distiller.backend
        self.distiller, size = distiller, recipe.batch
        self.x = seeds.grid_noise(backend.latent_shape, list(range(size)))
        self.t = torch.full((size,), 0.5)
        self.condition = backend.encode(distiller.prompts[:size])

    @torch.no_grad()
    def forward(self) -> None:
        self.distiller.student(self.x, self.t, self.condition)

    @torch.no_grad()
    def guided(self) -> None:
        self.distiller.teacher(self.x, self.t, self.condition)

    def forward_backward(self) -> None:
        self.distiller.fake(self.x, self.t, self.condition).raw.square().mean().backward()

    def path(self) -> None:
        d = self.distiller
        rollout(
            d.student,
            self.x,
            self.condition,
            d.student_times,
            detach_after=d.objective.detach_after,
        ).x.square().mean().backward()

    def first(self) -> None:
        self.distiller.student(
            self.x, torch.ones_like(self.t), self.condition
        ).raw.square().mean().backward()


def counts(distiller: Distiller) -> dict[str, int]:
    """The number of times that each part of the floor occurs in a round."""
    recipe = distiller.recipe
    diversity = recipe.method != "dmd"
    return {
        "forward": recipe.fake_updates_per_round * recipe.student_steps + 1,
        "guided": 1 + (recipe.k if diversity else 0),
        "forward_backward": recipe.fake_updates_per_round,
        "path": 1,
    }


def measure(recipe, rounds: int) -> dict[str, float]:
    distiller = new_distiller(recipe)
    floor, parts = Floor(distiller), counts(distiller)
    list(distiller.round())
    times = {name: [] for name in (*parts, "round")}
    for _ in range(rounds):
        times["round"].append(seconds(lambda: list(distiller.round())))
        for name in parts:
            times[name].append(seconds(getattr(floor, name)))
    middle = {name: statistics.median(values) for name, values in times.items()}
    ground = sum(parts[name] * middle[name] for name in parts)
    # the stop spares step 1 the roll-out's backward; the diversity loss adds its own
    if recipe.method != "dmd":
        first = statistics.median(seconds(floor.first) for _ in range(rounds))
        ground += first - middle["forward"]
    return {"round": middle["round"], "floor": ground, "overhead": middle["round"] / ground - 1}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("| preset | round s | floor s | overhead | peak memory GB |\n|---|---|---|---|---|")
    for preset in ("scenes-dmd", "scenes-dp-dmd", "scenes-dmd-5", "scenes-dp-dmd-5"):
        cost = measure(PRESETS[preset], options.rounds)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            f"| {preset} | {cost['round']:.3f} | {cost['floor']:.3f} | {cost['overhead']:+.1%} | "
            f"{peak:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
