"""What each step decides, over many captions of scenes.

    # the shipped students; resumable
    python benchmarks/stages.py --models teacher,dmd,dp-dmd --out FOLDER
    # runs of another training seed
    python benchmarks/stages.py --models teacher,dmd=RUN,dp-dmd=RUN --out FOLDER
    # mean, and deviation over training seeds
    python benchmarks/stages.py --summary FOLDER [FOLDER ...]
    # the cost of the strip of a teacher, by part
    python benchmarks/stages.py --strip

One `StageAnalysis` per caption of `prompt_sets`, 9 seeds, lite0 at 224 px; FOLDER/CAPTION.json is
written when it is done.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np


def analyse(options: argparse.Namespace) -> None:
    from workbench.core.presets import recipe_of
    from workbench.grid.generate import model_loader
    from workbench.grid.request import GridRequest
    from workbench.io.files import write_atomically
    from workbench.io.strict_json import to_json
    from workbench.models.loading import load_backend
    from workbench.models.model_cache import ModelCache
    from workbench.models.students import students_of
    from workbench.scenes.prompt_sets import chosen_on, reported_on
    from workbench.stages.analysis import StageAnalysis
    from workbench.stages.tasks import Record

    backend, recipe = load_backend(options.teacher), recipe_of(options.teacher)
    named = [name.partition("=") for name in options.models.split(",")]
    students = students_of(options.teacher) | {name: path for name, _, path in named if path}
    cache = ModelCache(backend)
    captions = reported_on() if options.on == "reported" else chosen_on()
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
        analysis = StageAnalysis(
            request,
            backend,
            model_loader(request, backend, students, cache),
            options.branches,
            options.parents,
        )
        begun, seconds = time.perf_counter(), {}
        for event in analysis.run():
            if isinstance(event, Record):
                seconds[event.model], begun = time.perf_counter() - begun, time.perf_counter()
        if analysis.unfinished:
            raise RuntimeError(f"{caption.text}: {'; '.join(analysis.unfinished)}")
        text = to_json(numbers_with_distances(analysis, caption) | {"seconds": seconds})
        write_atomically(file, partial(Path.write_text, data=text))
        print(
            f"{number + 1} of {len(captions)}: {caption.text}, {sum(seconds.values()):.1f} s to "
            "record",
            file=sys.stderr,
            flush=True,
        )


def numbers_with_distances(analysis, caption) -> dict:
    """The analysis in numbers, with the distances that commitment is made of, and the factor spread
    of each swap.
    """
    from workbench.stages.report import numbers_of
    from workbench.stages.tasks import Record, Swap

    numbers = numbers_of(analysis) | {"task": caption.task}
    for task, result in analysis.results.items():
        if isinstance(task, Record):
            numbers["models"][task.model] |= {
                kind: {
                    part: getattr(getattr(result, kind), part).mean(1).tolist()
                    for part in ("own", "others")
                }
                for kind in ("full", "low")
            }
    swaps = [result for task, result in analysis.results.items() if isinstance(task, Swap)]
    for row, result in zip(numbers["swaps"], swaps):
        row["spread"] = spread_of(result.images, caption)
    return numbers


def spread_of(images, caption) -> float:
    from workbench.metrics.factors import relative_spread
    from workbench.scenes.detector import detect

    return relative_spread([detect(images)], [caption]).mean


def strip_costs(options: argparse.Namespace) -> None:
    """Seconds of the teacher's passes alone, of recording them, of decoding, measuring and drawing
    the strip: medians of 5.
    """
    from workbench.core.presets import recipe_of
    from workbench.models.loading import load_backend
    from workbench.models.model import teacher_model

    backend, recipe = load_backend(options.teacher), recipe_of(options.teacher)
    model = teacher_model(backend, options.teacher_steps or recipe.teacher_steps, recipe.guidance)
    repeats = [strip_seconds(model, backend, tuple(range(options.seeds))) for _ in range(6)]
    for name in repeats[0]:
        print(f"{name}: {statistics.median(seconds[name] for seconds in repeats[1:]):.3f} s")


def strip_seconds(model, backend, seeds: tuple[int, ...]) -> dict[str, float]:
    """Seconds of each part of one strip."""
    from workbench.core.seeds import grid_noise
    from workbench.stages.commitment import commitment, low_passed
    from workbench.stages.figures.strip import strip
    from workbench.stages.recording import record
    from workbench.stages.trajectory import Trajectory, TrajectoryImages

    seconds = {}

    def timed(name: str, work):
        begun = time.perf_counter()
        result = work()
        seconds[name] = time.perf_counter() - begun
        return result

    def sample():
        noise = grid_noise(backend.latent_shape, list(seeds))
        return model.sampled(noise, backend.encode(["a circle"]).expand(len(seeds)), list(seeds))

    timed("sampling", sample)
    events = timed("recording", lambda: list(record(model, backend, "a circle", seeds)))
    trajectory = Trajectory.cat([event for event in events if isinstance(event, Trajectory)])
    pictures = TrajectoryImages(trajectory, backend.decode)
    timed("decoding", lambda: list(pictures.beliefs))
    measured = timed(
        "commitment",
        lambda: commitment(map(low_passed, pictures.beliefs), low_passed(pictures.final)),
    )
    figure = {"teacher": trajectory}, {"teacher": pictures}, {"teacher": measured.by_seed}
    timed("drawing", lambda: strip(*figure).to_json())
    return seconds


def summarised(folder: Path) -> dict[str, float]:
    """The numbers of one folder, by name. Prompts are the units: they are resampled for
    intervals.
    """
    captions = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    result: dict[str, float] = {"captions": len(captions)}
    for name in captions[0]["models"]:
        runs = [caption["models"][name] for caption in captions]
        for kind in ("low", "full"):
            result |= commitment_numbers(f"{name} {kind}", [run[kind] for run in runs], runs[0])
        result |= factor_numbers(name, runs) | band_numbers(name, runs)
    return result | branching_numbers(captions) | swap_numbers(captions)


def commitment_numbers(name: str, kinds: list[dict], run: dict) -> dict[str, float]:
    """The steps by which half and nine tenths are fixed, with intervals, and the share by step."""
    import torch

    from workbench.stages.commitment import first_step

    times, result = run["times"], {}
    own, others = (np.array([kind[part] for kind in kinds]) for part in ("own", "others"))
    fixed = 1 - own.sum(0) / others.sum(0)  # [N], of own and others [captions, N]
    drawn = np.random.default_rng(0).integers(len(kinds), size=(2000, len(kinds)))
    for share in (0.5, 0.9):
        steps = [
            first_step(torch.from_numpy(1 - own[rows].sum(0) / others[rows].sum(0)), share)
            for rows in drawn
        ]
        step = first_step(torch.from_numpy(fixed), share)
        low, high = np.quantile(steps, [0.025, 0.975], method="inverted_cdf")
        result |= {
            f"{name} {share:.0%} fixed by step": step,
            f"{name} {share:.0%} low": int(low),
            f"{name} {share:.0%} high": int(high),
            f"{name} {share:.0%} fixed at t": times[step - 1],
        }
    for step, share in enumerate(fixed, 1):
        result[f"{name} fixed after step {step:02d} (t {times[step - 1]:.2f})"] = float(share)
    return result


def factor_numbers(name: str, runs: list[dict]) -> dict[str, float]:
    result = {}
    for factor in runs[0]["settled_at"]:
        steps = [step for run in runs for step in run["settled_at"][factor]]
        early = float(np.mean([step <= 1 for step in steps]))
        result[f"{name} {factor} settled at, median step"] = statistics.median(steps)
        result[f"{name} {factor} settled after step 1"] = early
    return result


def band_numbers(name: str, runs: list[dict]) -> dict[str, float]:
    times, bands = runs[0]["times"], np.array([run["bands"] for run in runs]).mean(0)
    every = 1 if len(bands) <= 8 else 3
    return {
        f"{name} band {band} step {step + 1:02d} (t {times[step]:.2f})": value
        for step in range(0, len(bands), every)
        for band, value in enumerate(bands[step])
    }


def branching_numbers(captions: list[dict]) -> dict[str, float]:
    result = {}
    for key in captions[0]["branching"]:
        rows = [
            row
            for caption in captions
            for row in caption["branching"]
            if (row["model"], row["step"]) == (key["model"], key["step"])
        ]
        within, cross = (np.array([row[part][0] for row in rows]) for part in ("within", "cross"))
        label = f"{key['model']} branched after step {key['step']:02d} (t {key['time']:.2f})"
        result |= {
            f"{label} diversity left": within.mean(),
            f"{label} ICC": 1 - within.mean() / cross.mean(),
        }
    return result


def swap_numbers(captions: list[dict]) -> dict[str, float]:
    result = {}
    for key in captions[0]["swaps"]:
        rows = [
            (caption["task"], row)
            for caption in captions
            for row in caption["swaps"]
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
        analyse(options)
    summaries = [summarised(folder) for folder in options.summary or [options.out]]
    for name in summaries[0]:
        values = [summary[name] for summary in summaries if name in summary]
        print(
            f"{name}: {statistics.mean(values):.3f}"
            + (f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else "")
        )


if __name__ == "__main__":
    main()
