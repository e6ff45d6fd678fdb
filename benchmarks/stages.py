"""What each step decides, over many captions of scenes: the README's stage tables.

    python benchmarks/stages.py --models teacher,dmd,dp-dmd --out FOLDER            # the shipped students; resumable
    python benchmarks/stages.py --models teacher,dmd=RUN,dp-dmd=RUN --out FOLDER    # runs of another training seed
    python benchmarks/stages.py --summary FOLDER [FOLDER ...]                       # mean, and deviation over training seeds
    python benchmarks/stages.py --strip                                             # what the strip of a teacher costs, by part

One `StageAnalysis` a caption of `prompt_sets`, 9 seeds, lite0 at 224 px; FOLDER/CAPTION.json is
written when it is done.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np


def examine(options: argparse.Namespace) -> None:
    from workbench.core.presets import recipe_of
    from workbench.grid.generate import model_loader
    from workbench.grid.request import GridRequest
    from workbench.io.files import write_atomically
    from workbench.models.loading import load_backend
    from workbench.models.model_cache import ModelCache
    from workbench.models.students import students_of
    from workbench.scenes.prompt_sets import chosen_on, reported_on
    from workbench.stages.analysis import StageAnalysis
    from workbench.stages.report import numbers_of
    from workbench.stages.tasks import Record, Swap

    backend, recipe = load_backend(options.teacher), recipe_of(options.teacher)
    named = [name.partition("=") for name in options.models.split(",")]
    students = students_of(options.teacher) | {name: path for name, _, path in named if path}
    residents, captions = (
        ModelCache(backend),
        reported_on() if options.on == "reported" else chosen_on(),
    )
    options.out.mkdir(parents=True, exist_ok=True)
    for number, caption in enumerate(captions):
        file = options.out / f"{number:02d}.json"
        if file.exists():
            continue
        request = GridRequest(
            (caption.text,),
            tuple(range(options.seeds)),
            tuple(name for name, *_ in named),
            teacher_steps=options.teacher_steps or recipe.teacher_steps,
            guidance=recipe.guidance,
        )
        found = StageAnalysis(
            request,
            backend,
            model_loader(request, backend, students, residents),
            options.branches,
            options.parents,
        )
        begun, seconds = time.perf_counter(), {}
        for event in found.run():
            if isinstance(event, Record):
                seconds[event.model], begun = time.perf_counter() - begun, time.perf_counter()
        if found.unfinished:
            raise RuntimeError(f"{caption.text}: {'; '.join(found.unfinished)}")
        numbers = numbers_of(found) | {"task": caption.task, "seconds": seconds}
        for task, result in found.results.items():
            if isinstance(task, Record):
                numbers["models"][task.model] |= {
                    kind: {
                        part: getattr(getattr(result, kind), part).mean(1).tolist()
                        for part in ("own", "others")
                    }
                    for kind in ("full", "low")
                }
        swaps = [(task, result) for task, result in found.results.items() if isinstance(task, Swap)]
        for row, (_, result) in zip(numbers["swaps"], swaps):
            row["spread"] = spread_of(result.images, caption)
        write_atomically(file, lambda part: part.write_text(json.dumps(numbers)))
        print(
            f"{number + 1} of {len(captions)}: {caption.text}, {sum(seconds.values()):.1f} s to "
            "record",
            file=sys.stderr,
            flush=True,
        )


def spread_of(images, caption) -> float:
    from workbench.metrics.factors import relative_spread
    from workbench.scenes.detector import detect

    return relative_spread([detect(images)], [caption]).mean


def strip_costs(options: argparse.Namespace) -> None:
    """Seconds of the teacher's passes alone, of recording them, of decoding, reading and drawing
    the strip: medians of 5.
    """
    from workbench.core.presets import recipe_of
    from workbench.core.seeds import grid_noise
    from workbench.models.loading import load_backend
    from workbench.models.model import teacher_model
    from workbench.stages.commitment import commitment, low_passed
    from workbench.stages.figures.strip import strip
    from workbench.stages.recording import record
    from workbench.stages.trajectory import Trajectory, TrajectoryImages

    backend, recipe, seeds = (
        load_backend(options.teacher),
        recipe_of(options.teacher),
        tuple(range(options.seeds)),
    )
    model = teacher_model(backend, options.teacher_steps or recipe.teacher_steps, recipe.guidance)
    seconds: dict[str, list[float]] = {}

    def timed(name: str, work):
        begun = time.perf_counter()
        result = work()
        seconds.setdefault(name, []).append(time.perf_counter() - begun)
        return result

    for _ in range(6):
        timed(
            "sampling",
            lambda: model.sampled(
                grid_noise(backend.latent_shape, list(seeds)),
                backend.encode(["a circle"]).expand(len(seeds)),
                list(seeds),
            ),
        )
        events = timed("recording", lambda: list(record(model, backend, "a circle", seeds)))
        kept = Trajectory.cat([event for event in events if isinstance(event, Trajectory)])
        pictures = TrajectoryImages(kept, backend.decode)
        timed("decoding", lambda: list(pictures.beliefs))
        seen = timed(
            "commitment",
            lambda: commitment(map(low_passed, pictures.beliefs), low_passed(pictures.final)),
        )
        timed(
            "drawing",
            lambda: strip(
                {"teacher": kept}, {"teacher": pictures}, {"teacher": seen.by_seed}
            ).to_json(),
        )
    for name, values in seconds.items():
        print(f"{name}: {statistics.median(values[1:]):.3f} s")


def summarised(folder: Path) -> dict[str, float]:
    """The numbers of one folder, by name. Prompts are the units: they are drawn again for
    intervals.
    """
    import torch

    from workbench.stages.commitment import first_step

    captions = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    result: dict[str, float] = {"captions": len(captions)}
    for name, first in captions[0]["models"].items():
        times = first["times"]
        for kind in ("low", "full"):
            own, others = (
                np.array([c["models"][name][kind][part] for c in captions])
                for part in ("own", "others")
            )  # [captions, N]
            drawn = np.random.default_rng(0).integers(len(captions), size=(2000, len(captions)))
            for share in (0.5, 0.9):
                steps = [
                    first_step(torch.from_numpy(1 - own[rows].sum(0) / others[rows].sum(0)), share)
                    for rows in drawn
                ]
                step = first_step(torch.from_numpy(1 - own.sum(0) / others.sum(0)), share)
                low, high = np.quantile(steps, [0.025, 0.975], method="inverted_cdf")
                result |= {
                    f"{name} {kind} {share:.0%} fixed by step": step,
                    f"{name} {kind} {share:.0%} low": int(low),
                    f"{name} {kind} {share:.0%} high": int(high),
                    f"{name} {kind} {share:.0%} fixed at t": times[step - 1],
                }
            for step, share in enumerate(1 - own.sum(0) / others.sum(0), 1):
                result[f"{name} {kind} fixed after step {step:02d} (t {times[step - 1]:.2f})"] = (
                    float(share)
                )
        for factor in first["settled_at"]:
            steps = [step for c in captions for step in c["models"][name]["settled_at"][factor]]
            result[f"{name} {factor} settled at, median step"] = statistics.median(steps)
            result[f"{name} {factor} settled after step 1"] = float(
                np.mean([step <= 1 for step in steps])
            )
        bands = np.array([c["models"][name]["bands"] for c in captions]).mean(0)
        for step in range(len(bands)) if len(bands) <= 8 else range(0, len(bands), 3):
            for band, value in enumerate(bands[step]):
                result[f"{name} band {band} step {step + 1:02d} (t {times[step]:.2f})"] = value
    for key in captions[0]["branching"]:
        rows = [
            row
            for c in captions
            for row in c["branching"]
            if (row["model"], row["step"]) == (key["model"], key["step"])
        ]
        within, cross = (np.array([row[part][0] for row in rows]) for part in ("within", "cross"))
        label = f"{key['model']} branched behind step {key['step']:02d} (t {key['time']:.2f})"
        result |= {
            f"{label} diversity left": within.mean(),
            f"{label} ICC": 1 - within.mean() / cross.mean(),
        }
    for key in captions[0]["swaps"]:
        rows = [
            (c["task"], row)
            for c in captions
            for row in c["swaps"]
            if (row["first"], row["then"], row["step"]) == (key["first"], key["then"], key["step"])
        ]
        label, by_task = f"{key['first']} {key['step']} then {key['then']}", {}
        for task, row in rows:
            by_task.setdefault(task, []).append(row["correct"])
        result |= {
            f"{label} diversity": float(np.mean([row["diversity"][0] for _, row in rows])),
            f"{label} spread": float(np.nanmean([row["spread"] for _, row in rows])),
            f"{label} correct": float(np.mean([np.mean(values) for values in by_task.values()])),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--models",
        default="teacher,dmd,dp-dmd",
        help="comma-separated names, or NAME=RUN (default: %(default)s)",
    )
    parser.add_argument("--teacher", default="scenes")
    parser.add_argument("--teacher-steps", type=int, default=0, help="0: as its preset says")
    parser.add_argument("--on", choices=("reported", "chosen"), default="reported")
    parser.add_argument("--seeds", type=int, default=9)
    parser.add_argument("--branches", type=int, default=4)
    parser.add_argument("--parents", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("stages-benchmark"))
    parser.add_argument(
        "--summary",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="print the numbers of these folders instead",
    )
    parser.add_argument("--strip", action="store_true")
    options = parser.parse_args()
    if options.strip:
        return strip_costs(options)
    if not options.summary:
        examine(options)
    found = [summarised(folder) for folder in options.summary or [options.out]]
    for name in found[0]:
        values = [one[name] for one in found if name in one]
        print(
            f"{name}: {statistics.mean(values):.3f}"
            + (f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else "")
        )


if __name__ == "__main__":
    main()
