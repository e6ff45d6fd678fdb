r"""DMD against DP-DMD on scenes over several training seeds.

    python benchmarks/phenomenon.py --presets scenes-dmd,scenes-dp-dmd --seeds 3 --processes 2 \
        --out FOLDER [--on reported] [--results results] [--rounds 200 ...]

A `Sweep` of the presets below FOLDER: each run has its share of the cores, an interrupted one
continues. Teacher and students are scored on the captions of `prompt_sets`, with the teacher of the
first preset; further options are those of `train`. Prints the mean and standard deviation over
training seeds per preset, and writes FOLDER/scores-ON.json, one entry per model, and
RESULTS/phenomenon.json: the table with the recipes, the protocol and the commit that produced it.
"""

from __future__ import annotations

import argparse
import io
import statistics
from contextlib import redirect_stdout
from pathlib import Path

from record import as_markdown, write_record

from workbench.cli import main as workbench
from workbench.core.recipe import Recipe
from workbench.io.progress import watched
from workbench.io.strict_json import to_json
from workbench.scenes.prompt_sets import chosen_on, reported_on
from workbench.training.sweep import Scoring, Sweep

NUMBERS = {"diversity (9), lite0": "diversity lite0", "factor spread": "factor spread"}
NUMBERS |= {"correct": "correct"}  # by column


def recipe_of_preset(preset: str, options: list[str]) -> Recipe:
    """The recipe that `train --preset PRESET OPTIONS` would train."""
    with redirect_stdout(io.StringIO()) as printed:
        if workbench(["train", "--preset", preset, "--dry-run", *options]):
            raise SystemExit(f"{preset}: not a recipe: {' '.join(options)}")
    return Recipe.from_json(printed.getvalue())


def prompt_file(folder: Path, on: str) -> str:
    """A file of the captions that settings were chosen on, or that numbers are reported on."""
    captions = reported_on() if on == "reported" else chosen_on()
    file = folder / f"{on}.txt"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{caption.text}\n" for caption in captions))
    return str(file)


def scores_of(sweep: Sweep) -> list[dict]:
    """The teacher's numbers, then those of each preset and training seed."""
    scores = [{"model": "teacher", **sweep.teacher}]
    for preset, found in sweep.scored.items():
        scores += [
            {"model": f"{preset}-{seed}", "preset": preset, "seed": seed, **numbers}
            for seed, numbers in zip(sweep.seeds, found)
        ]
    return scores


def row_of(label: str, scores: list[dict]) -> dict[str, str]:
    """A row of the table: means over the training seeds, ± their standard deviation."""

    def mean(name: str) -> float:
        return statistics.mean(score[name] for score in scores)

    row = {"model": label, "NFE": str(scores[0]["evaluations"])}
    row["ms / image"] = f"{mean('milliseconds'):.1f}"
    for column, name in NUMBERS.items():
        values = [score[name] for score in scores]
        spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
        row[column] = f"{mean(name):.3f}{spread}"
    return row | {"training min": f"{mean('seconds') / 60:.1f}" if mean("seconds") else ""}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", default="scenes-dmd,scenes-dp-dmd")
    parser.add_argument("--seeds", type=int, default=3, help="training seeds 0 to SEEDS - 1")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--eval-seeds", type=int, default=9)
    parser.add_argument("--limit", type=int, default=0, help="captions to score on (default: all)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--on", choices=("chosen", "reported"), default="reported")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--results", type=Path, help="folder of phenomenon.json (default: --out)")
    options, training = parser.parse_known_args()
    sweep = Sweep(
        {preset: recipe_of_preset(preset, training) for preset in options.presets.split(",")},
        options.out,
        tuple(range(options.first_seed, options.first_seed + options.seeds)),
        Scoring(prompt_file(options.out, options.on), options.limit, options.eval_seeds),
        processes=options.processes,
    )
    watched(sweep.run(), "round")
    if sweep.failures:
        raise SystemExit("\n".join(f"{run}: {why}" for run, why in sweep.failures.items()))
    scores = scores_of(sweep)
    (options.out / f"scores-{options.on}.json").write_text(to_json(scores, indent=1))
    rows = [row_of("teacher", scores[:1])]
    rows += [
        row_of(preset, [score for score in scores if score.get("preset") == preset])
        for preset in sweep.recipes
    ]
    captions = len(Path(sweep.scoring.prompts).read_text().splitlines())
    protocol = {
        "prompts": f"{options.limit or captions} captions of scenes, {options.on}_on",
        "evaluation seeds": options.eval_seeds,
        "training seeds": list(sweep.seeds),
        "metrics": sweep.scoring.metrics,
        "features": sweep.scoring.features,
        "processes": options.processes,
    }
    folder = options.results or options.out
    path = write_record(folder, "phenomenon", protocol, sweep.recipes, rows, scores)
    print(f"{as_markdown(rows)}\n\n{path}")


if __name__ == "__main__":
    main()
