"""DMD against DP-DMD on scenes over several training seeds: the README's table.

    python benchmarks/phenomenon.py --presets scenes-dmd,scenes-dp-dmd --seeds 3 --processes 2 --out FOLDER [--on reported]

Trains each (preset, seed) into FOLDER/PRESET-SEED by the command line (one thread each,
`--processes` side by side; an interrupted run is resumed), then scores teacher and students on
captions of `prompt_sets` and 9 seeds. All presets have one teacher. Writes scores-reported.json
and prints, for each preset, mean and standard deviation over training seeds.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path


def train(folder: Path, preset: str, seed: int, extra: list[str]) -> Path:
    run = folder / f"{preset}-{seed}"
    command = (
        ["resume", str(run)]
        if (run / "manifest.json").exists()
        else ["train", "--preset", preset, "--seed", str(seed), "--out", str(run), *extra]
    )
    with (folder / f"{run.name}.log").open("a") as log:
        subprocess.run(
            [sys.executable, "-m", "workbench", *command],
            check=True,
            stdout=log,
            stderr=log,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    return run


def score(
    folder: Path, names: list[str], teacher: str, on: str, steps: int, guidance: float, seeds: int
) -> list[dict]:
    """Scores of the teacher and of each run; their images stay in FOLDER/evaluation-ON."""
    from workbench.evaluation.evaluation import Evaluation
    from workbench.evaluation.prompt_lists import Prompt, PromptList
    from workbench.evaluation.request import EvaluationRequest
    from workbench.models.loading import load_backend
    from workbench.models.model import teacher_model
    from workbench.models.students import load_student
    from workbench.scenes.prompt_sets import chosen_on, reported_on

    captions = tuple(
        Prompt(request.text) for request in (reported_on() if on == "reported" else chosen_on())
    )
    backend = load_backend(teacher)
    asked = EvaluationRequest(
        ("teacher", *names),
        PromptList(on, captions, {}),
        tuple(range(seeds)),
        ("diversity", "spread", "geneval"),
        teacher=teacher,
    )
    evaluation = Evaluation(folder / f"evaluation-{on}", asked)

    def opened(name: str):
        return (
            teacher_model(backend, steps, guidance)
            if name == "teacher"
            else load_student(folder / name / "student", backend, name)
        )

    for step in (*evaluation.generate(backend, opened), *evaluation.read()):
        print(f"{step.what}: {step.done} of {step.total}", file=sys.stderr, flush=True)
    if evaluation.failures:
        raise RuntimeError(f"not done: {evaluation.failures}")
    return [
        {
            "model": result.model,
            "evaluations": result.images.evaluations,
            "milliseconds": result.images.milliseconds,
            **{column.name: number.interval.mean for column, number in result.numbers.items()},
        }
        for result in evaluation.results()
    ]


def training_seconds(run: Path) -> float:
    return sum(
        json.loads(line).get("seconds", 0)
        for line in (run / "metrics.jsonl").read_text().splitlines()
    )


def summary(scores: list[dict], presets: list[str], folder: Path) -> str:
    def row(name: str, found: list[dict], minutes: float | None) -> str:
        cells = []
        for read in ("diversity lite0", "factor spread", "correct"):
            values = [s[read] for s in found]
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.3f}{spread}")
        took = f"{minutes:.1f}" if minutes is not None else ""
        speed = statistics.mean(s["milliseconds"] for s in found)
        return (
            f"| {name} | {found[0]['evaluations']} | {speed:.1f} | {' | '.join(cells)} | {took} |"
        )

    lines = [
        "| model | NFE | ms / image | diversity (9), lite0 | factor spread | correct | training "
        "min |",
        "|---|---|---|---|---|---|---|",
        row("teacher", scores[:1], None),
    ]
    for preset in presets:
        found = [s for s in scores if s["model"].rsplit("-", 1)[0] == preset]
        minutes = statistics.mean(training_seconds(folder / s["model"]) for s in found) / 60
        lines.append(row(preset, found, minutes))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", default="scenes-dmd,scenes-dp-dmd")
    parser.add_argument("--seeds", type=int, default=3, help="training seeds 0 to SEEDS - 1")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--eval-seeds", type=int, default=9)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--teacher-steps", type=int, default=30, help="of the teacher that is scored"
    )
    parser.add_argument("--guidance", type=float, default=2.0, help="of the teacher that is scored")
    parser.add_argument("--on", choices=("chosen", "reported"), default="reported")
    parser.add_argument("--out", type=Path, required=True)
    options, extra = parser.parse_known_args()
    options.out.mkdir(parents=True, exist_ok=True)
    presets = options.presets.split(",")
    jobs = [
        (preset, seed)
        for seed in range(options.first_seed, options.first_seed + options.seeds)
        for preset in presets
    ]
    with concurrent.futures.ThreadPoolExecutor(options.processes) as pool:
        runs = list(pool.map(lambda job: train(options.out, *job, extra), jobs))
    from workbench.core.presets import PRESETS

    scores = score(
        options.out,
        [run.name for run in runs],
        PRESETS[presets[0]].teacher,
        options.on,
        options.teacher_steps,
        options.guidance,
        options.eval_seeds,
    )
    (options.out / f"scores-{options.on}.json").write_text(json.dumps(scores, indent=1))
    print(summary(scores, presets, options.out))


if __name__ == "__main__":
    main()
