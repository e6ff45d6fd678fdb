"""A plan as text, as JSON and as a Markdown table. Memory in GiB; operations per round in TFLOP;
hours are an estimate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace

from workbench.core.recipe import Recipe
from workbench.training.plan.gpus import GPUS, HEADROOM
from workbench.training.plan.planner import Plan, plan, settings_to_fit

MEMORIES = (24, 48, 80)  # GB, as GPUs are sold


def as_text(planned: Plan, gpu: str, utilisation: float) -> str:
    """The whole plan, for a terminal."""
    recipe, counted = planned.recipe, planned.evaluations
    moment = max(planned.phases, key=planned.phases.get)
    memory = {
        **planned.parts,
        f"{moment}: activations and gradients": planned.phases[moment],
        "peak": planned.peak,
    }
    mode = f"adapters of rank {recipe.lora}" if recipe.lora else "whole networks"
    blocks = [
        f"{recipe.teacher}, {recipe.method}, {mode}, {planned.resolution} px, batch "
        f"{recipe.batch} (accumulate {recipe.accumulate})",
        _aligned(
            "parameters, millions",
            ((name, f"{value / 1e6:.1f}") for name, value in planned.parameters.items()),
        ),
        _aligned("memory, GiB", ((name, f"{_gib(value):.2f}") for name, value in memory.items())),
        _aligned(
            "evaluations of networks for one sample",
            (
                (f"{phase} update, {network}", str(count))
                for phase, part in counted.items()
                for network, count in part.items()
            ),
        ),
        _aligned(
            f"per round: {recipe.fake_updates_per_round} fake updates and a student update",
            (
                ("TFLOP", f"{planned.flops / 1e12:.4g}"),
                (
                    f"hours for {recipe.rounds} rounds on one {gpu} (estimate at "
                    f"{utilisation:.0%} of its peak)",
                    f"{planned.hours(GPUS[gpu], utilisation):.3g}",
                ),
            ),
        ),
        "\n".join(f"{memory} GB: {_verdict(recipe, memory)}" for memory in MEMORIES),
        f"A GPU keeps {HEADROOM:.0%} of its memory free for unseen costs (assumed).",
    ]
    if recipe.method == "dmd_lpips":
        blocks.append(
            "Not covered: the decoder and the network of the perceptual distance, in memory and "
            "operations."
        )
    return "\n\n".join(blocks)


def as_dict(planned: Plan, gpu: str, utilisation: float) -> dict:
    """The same for JSON: bytes, operations and hours."""
    fits = {memory: settings_to_fit(planned.recipe, memory) for memory in MEMORIES}
    return {
        **asdict(planned),
        "recipe": planned.recipe.to_dict(),
        "peak": planned.peak,
        "gpu": gpu,
        "utilisation": utilisation,
        "hours": planned.hours(GPUS[gpu], utilisation),
        "settings_to_fit": fits,
    }


def as_markdown(
    recipe: Recipe, teachers: Iterable[str], resolutions: Iterable[int]
) -> Iterator[str]:
    """The lines of a table: `recipe` for each teacher, mode and size."""
    yield (
        "| teacher | trained | px | peak, GiB | TFLOP per round | "
        + " | ".join(f"{memory} GB" for memory in MEMORIES)
        + " |"
    )
    yield "| --- " * (5 + len(MEMORIES)) + "|"
    resolutions = list(resolutions)
    for teacher in teachers:
        for lora in (0, recipe.lora or 64):
            for resolution in resolutions:
                planned = plan(replace(recipe, teacher=teacher, lora=lora, resolution=resolution))
                verdicts = [_verdict(planned.recipe, memory) for memory in MEMORIES]
                yield (
                    "| "
                    + " | ".join(
                        [
                            teacher,
                            f"adapters, rank {lora}" if lora else "whole network",
                            str(resolution),
                            f"{_gib(planned.peak):.1f}",
                            f"{planned.flops / 1e12:.0f}",
                            *verdicts,
                        ]
                    )
                    + " |"
                )


def _verdict(recipe: Recipe, memory: int) -> str:
    changes = settings_to_fit(recipe, memory)
    if changes is None:
        return "does not fit"
    if not changes:
        return "fits"
    flags = (
        f"--{name}" if value is True else f"--{name} {value}" for name, value in changes.items()
    )
    return "with " + " ".join(flags)


def _aligned(title: str, rows: Iterable[tuple[str, str]]) -> str:
    rows = list(rows)
    left, right = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join([title, *(f"  {name:<{left}}  {value:>{right}}" for name, value in rows)])


def _gib(size: int) -> float:
    return size / 2**30
