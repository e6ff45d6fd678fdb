"""Whether a refactor changed anything: losses, images, numbers and exports, as bytes.

    python benchmarks/same_bytes.py BEFORE                    # at the commit before
    python benchmarks/same_bytes.py AFTER --against BEFORE    # after it, on the same machine

Writes small runs of every method, a grid, an evaluation, a prompt's stages and a study with votes
into the folder, through the command line alone, and their digests into digests.json. With
--against it also reads the folders of BEFORE with today's code: an evaluation is measured again, a
study exported, a run opened. Every line that differs is printed and the exit status is 1. Floating
point is that of one machine: digests of two machines are not comparable.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNS = {
    "dp_dmd": 20,
    "dmd": 20,
    "dmd_gan": 4,
    "dmd_lpips": 4,
    "dp_dmd_no_stop": 4,
}  # method: rounds
STAGES = (
    "stages",
    "a circle",
    "--models",
    "teacher,dp-dmd",
    "--seeds",
    "3",
    "--teacher-steps",
    "4",
    "--no-gradients",
    "--branches",
    "2",
    "--parents",
    "2",
)


def workbench(*words: str) -> None:
    python("workbench", *words)


def python(module: str, *words: str) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    result = subprocess.run(
        [sys.executable, "-m", module, *words],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if result.returncode:
        raise SystemExit(f"{module} {' '.join(words)}: {result.stderr}")


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def losses(run: Path) -> bytes:
    """Every number of every update but its time."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return json.dumps(
        [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
    ).encode()


def images(folder: Path) -> bytes:
    """The pixels of each PNG, whatever its name and settings."""
    from PIL import Image

    return b"".join(
        sorted(
            hashlib.sha256(Image.open(path).tobytes()).digest() for path in folder.rglob("*.png")
        )
    )


def make(out: Path) -> dict[str, str]:
    found = {}
    for method, rounds in RUNS.items():
        run = out / f"run-{method}"
        workbench(
            "train",
            "--preset",
            "scenes-dp-dmd",
            "--method",
            method,
            "--rounds",
            str(rounds),
            "--batch",
            "2",
            "--precision",
            "fp32",
            "--checkpoint-every",
            str(rounds),
            "--out",
            str(run),
        )
        found[f"losses of {method}"] = digest(losses(run))
    workbench(
        "sample",
        "a circle",
        "two stars",
        "--models",
        "teacher,dp-dmd",
        "--seeds",
        "3",
        "--teacher-steps",
        "4",
        "--out",
        str(out / "grid.png"),
    )
    found["grid"] = digest((out / "grid.png").read_bytes())
    workbench(
        "evaluate",
        "--models",
        "teacher,dmd,dp-dmd",
        "--limit",
        "3",
        "--seeds",
        "3",
        "--teacher-steps",
        "4",
        "--metrics",
        "diversity,spread,vendi,coverage,kid",
        "--out",
        str(out / "evaluation"),
    )
    found["evaluation's images"] = digest(images(out / "evaluation" / "images"))
    found["evaluation's numbers"] = digest(numbers(out / "evaluation"))
    workbench(*STAGES, "--out", str(out / "stages"))
    found["stages' numbers"] = digest((out / "stages" / "numbers.json").read_bytes())
    workbench(
        "study",
        "create",
        "--out",
        str(out / "study"),
        "--evaluation",
        str(out / "evaluation"),
        "--models",
        "dmd,dp-dmd",
    )
    found["study's pictures"] = digest(images(out / "study"))
    python(VOTING_CLIENT, str(out / "study" / "study.db"), "1", "4")
    found["study's export"] = export(out / "study", out / "votes.csv")
    return found


def numbers(evaluation: Path) -> bytes:
    """numbers.csv without the column that is a time."""
    lines = [line.split(",") for line in (evaluation / "numbers.csv").read_text().splitlines()]
    return "\n".join(",".join(line) for line in lines if "ms / image" not in line[1:3]).encode()


def export(study: Path, to: Path) -> str:
    workbench("study", "export", str(study), "--to", str(to))
    return digest(to.read_bytes())


def reopened(before: Path, out: Path) -> dict[str, str]:
    """The numbers of folders that BEFORE's code wrote, as today's code reads them."""
    import shutil

    for name in ("evaluation", "stages"):
        shutil.copytree(before / name, out / f"old-{name}", dirs_exist_ok=True)
    workbench(
        "evaluate",
        "--rescore",
        "--metrics",
        "diversity,spread,vendi,coverage,kid",
        "--out",
        str(out / "old-evaluation"),
    )
    workbench(*STAGES, "--out", str(out / "old-stages"))
    workbench("resume", str(before / "run-dp_dmd"))
    return {
        "evaluation's numbers": digest(numbers(out / "old-evaluation")),
        "stages' numbers": digest((out / "old-stages" / "numbers.json").read_bytes()),
        "study's export": export(before / "study", out / "old-votes.csv"),
        "losses of dp_dmd": digest(losses(before / "run-dp_dmd")),
    }


VOTING_CLIENT = "tests.support.voting_client"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="empty folder to write")
    parser.add_argument(
        "--against", type=Path, metavar="BEFORE", help="folder that the commit before wrote"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    out = options.out.resolve()
    found = make(out)
    (out / "digests.json").write_text(json.dumps(found, indent=1))
    if not options.against:
        return 0
    before = json.loads((options.against / "digests.json").read_text())
    again = reopened(options.against.resolve(), out)
    wrong = [
        f"{what}: {now}, was {before[what]}"
        for what, now in found.items()
        if now != before[what] and what != "study's export"
    ]
    wrong += [
        f"{what} of the old folder: {now}, was {before[what]}"
        for what, now in again.items()
        if now != before[what]
    ]
    print(
        "\n".join(wrong) or f"the same bytes: {', '.join(found)}; old folders: {', '.join(again)}"
    )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
