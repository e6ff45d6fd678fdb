"""What a program can learn from a study's pictures: results/picture-leaks.json.

    python benchmarks/picture_leaks.py [--prompts 100] [--out results]

Creates a study of the embedded teacher and two students (PROMPTS captions x 3 methods, four seeds a
sheet), takes each sheet as a participant's browser gets it, and lets a linear classifier guess the
method from lengths and simple pixel statistics, once told the methods of four fifths of the
captions.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from record import as_markdown, write_record

from workbench.cli import main as workbench
from workbench.scenes.grammar import TASKS, requests
from workbench.study.analysis.guessing import (
    LENGTH,
    PACKED,
    PIXELS,
    accuracy,
    decoded,
    linked,
    statistics,
)
from workbench.study.server.pictures import Pictures
from workbench.study.store.records import Stimulus

METHODS = ("teacher", "dmd", "dp-dmd")


def created(folder: Path, prompts: int) -> tuple[Pictures, list[str]]:
    """A study's pictures and its captions."""
    captions = [request.text for task in TASKS for request in requests(task)]
    some = [captions[n * len(captions) // prompts] for n in range(prompts)]
    (folder / "captions.txt").write_text("\n".join(some))
    words = ["--models", ",".join(METHODS), "--seeds", "4", "--out", str(folder / "study")]
    if workbench(["study", "create", "--prompts", str(folder / "captions.txt"), *words]):
        raise SystemExit("no study was created")
    pictures = Pictures(folder / "study")
    return pictures, list(pictures.sheets)


def measured(pictures: Pictures, captions: list[str]) -> list[dict]:
    """A row per kind of number that a program can look at."""

    def sent(caption: str, method: str) -> bytes:
        return pictures.disguised(Stimulus("", "", caption, method, method, "left", "real"))

    answers = [sent(caption, method) for caption in captions for method in METHODS]
    methods = list(range(len(METHODS))) * len(captions)
    items = np.repeat(np.arange(len(captions)), len(METHODS))
    numbers = np.stack([statistics(answer) for answer in answers])
    rows = [
        {"what a program looks at": what, "right, %": round(100 * share, 1), "by chance, %": 33.3}
        for what, share in (
            ("the length of the answer", accuracy(numbers[:, LENGTH], methods, items)),
            ("the length of its packed pixels", accuracy(numbers[:, PACKED], methods, items)),
            ("simple statistics of its pixels", accuracy(numbers[:, PIXELS], methods, items)),
            ("all of these", accuracy(numbers, methods, items)),
        )
    ]
    shown = [decoded(answer) for answer in answers[:: max(1, len(answers) // 60)]]
    again = [
        decoded(sent(captions[n // 3], METHODS[n % 3]))
        for n in range(0, len(answers), max(1, len(answers) // 60))
    ]
    rows.append(
        {
            "what a program looks at": "the pixels of one sheet in two trials, to link them",
            "right, %": round(100 * linked(shown, again), 1),
            "by chance, %": round(100 / len(shown), 1),
        }
    )
    return rows


def main() -> None:
    """Measures, writes and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(*created(Path(folder), options.prompts))
    write_record(
        options.out,
        "picture-leaks",
        f"{len(METHODS) * options.prompts} sheets ({options.prompts} captions of scenes, the "
        "teacher and the shipped students DMD and DP-DMD, four seeds a sheet), as a participant's "
        "browser gets them. A linear classifier is told the methods of four fifths of the "
        "captions, which the page tells nobody, and guesses those of the rest.",
        {},
        rows,
        [],
        title="What can a program learn from a study's pictures?",
        order=212,
        decimals={"right, %": 1, "by chance, %": 1},
    )
    print(as_markdown([{name: str(cell) for name, cell in row.items()} for row in rows]))


if __name__ == "__main__":
    main()
