"""Many distillations side by side, scored alike: the ablations.

    sweep = Sweep({"K = 1": replace(SCENES, k=1), "K = 10": SCENES}, Path("runs/sweep"), seeds=(0, 1))
    for step in sweep.run():            # stop iterating to stop, call again to go on
        print(step)
    sweep.scored["K = 1"]               # a dict of numbers for each training seed

Each recipe and seed is a run folder called after its digest, so what two sweeps have in common is
trained once, and a sweep that was interrupted goes on from the last checkpoints. A run trains in a
process of its own, with its share of the cores, and is then evaluated into its own folder. One
that fails is told in `left` and keeps none of the others from being done.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from workbench.core.recipe import Recipe
from workbench.io.files import write_atomically
from workbench.io.notation import TEACHER
from workbench.io.progress import Progress
from workbench.training.run import Run

METRICS = ("diversity", "spread", "geneval")
POLL = 0.5  # seconds


@dataclass(frozen=True)
class Scoring:
    """How all students of a sweep are scored: `workbench evaluate`'s settings of the same names."""

    prompts: str = "scenes"
    limit: int = 0
    seeds: int = 9
    metrics: tuple[str, ...] = METRICS
    features: tuple[str, ...] = ("lite0",)


@dataclass
class Sweep:
    """Recipes by label, trained with each of `seeds` below `folder`. `processes` 0: one a core on
    a CPU, else one.
    """

    recipes: dict[str, Recipe]
    folder: Path
    seeds: tuple[int, ...] = (0,)
    scoring: Scoring = field(default_factory=Scoring)
    device: str = "cpu"
    processes: int = 0
    left: dict[str, str] = field(default_factory=dict)  # runs that failed, and why

    def __post_init__(self):
        if not self.recipes or not self.seeds:
            raise ValueError(
                "a sweep needs a recipe and a training seed: give at least one of each"
            )

    def runs(self, label: str) -> list[Path]:
        """The run folder of each training seed."""
        return [self.folder / replace(self.recipes[label], seed=seed).digest for seed in self.seeds]

    @property
    def scored(self) -> dict[str, list[dict[str, float]]]:
        """For each label the numbers of those training seeds that are done."""
        return {
            label: [
                numbers
                for run in self.runs(label)
                if (numbers := self._numbers(run / "scores.json"))
            ]
            for label in self.recipes
        }

    @property
    def teacher(self) -> dict[str, float]:
        """The numbers of the first recipe's teacher; empty before they are there."""
        return self._numbers(self._teacher_folder / "scores.json") or {}

    def run(self) -> Iterator[Progress]:
        """Does what is not done yet; yields how many rounds of all runs are."""
        self.left = {}
        jobs = self._jobs()
        total = sum(job.rounds for job in jobs)
        waiting, going = deque(job for job in jobs if not job.finished), []
        finished = sum(job.rounds for job in jobs) - sum(job.rounds for job in waiting)
        try:
            while waiting or going:
                while waiting and len(going) < self._side_by_side:
                    going.append(waiting.popleft())
                    going[-1].advance(_Job.start)
                time.sleep(POLL)
                for job in list(going):
                    if not job.over:
                        job.advance(_Job.follow)
                    if job.over:
                        going.remove(job)
                        finished += job.rounds
                yield Progress(finished + sum(job.done for job in going), total, "rounds")
        finally:  # also when it is stopped: no process stays behind
            running = [job.process for job in going if job.process]
            for process in running:
                process.terminate()
            for process in running:
                process.wait()
        yield Progress(total, total, "rounds")

    @property
    def _side_by_side(self) -> int:
        return self.processes or ((os.cpu_count() or 1) if self.device == "cpu" else 1)

    def _jobs(self) -> list[_Job]:
        """The teacher's evaluation, then one job for each run; equal recipes are one run."""
        wanted = {
            run: replace(recipe, seed=seed)
            for label, recipe in self.recipes.items()
            for seed, run in zip(self.seeds, self.runs(label))
        }
        teacher = _Job(self, self._teacher_folder, None)
        return [teacher, *(_Job(self, run, recipe) for run, recipe in wanted.items())]

    @property
    def _first(self) -> Recipe:
        return next(iter(self.recipes.values()))

    @property
    def _teacher_folder(self) -> Path:
        first = self._first
        size = f"-{first.resolution}px" if first.resolution else ""
        return (
            self.folder
            / f"teacher-{Path(first.teacher).name}-{first.teacher_steps}-{first.guidance:g}{size}"
        )

    def _numbers(self, file: Path) -> dict[str, float] | None:
        """What was scored, when it was scored as this sweep asks."""
        try:
            saved = json.loads(file.read_text())
        except (OSError, ValueError):
            return None
        return (
            saved["numbers"]
            if saved["scoring"] == json.loads(json.dumps(asdict(self.scoring)))
            else None
        )


@dataclass
class _Job:
    """One run (or, without a recipe, the teacher): its process that trains, then the one that
    evaluates.
    """

    sweep: Sweep
    folder: Path
    recipe: Recipe | None
    process: subprocess.Popen | None = None
    evaluating: bool = False
    over: bool = False  # nothing is left to do

    @property
    def rounds(self) -> int:
        return self.recipe.rounds if self.recipe else 0

    @property
    def finished(self) -> bool:
        return self.sweep._numbers(self.folder / "scores.json") is not None

    @property
    def done(self) -> int:
        return (
            self.rounds
            if self.evaluating or not self.recipe
            else _last_round(self.folder / "metrics.jsonl")
        )

    def advance(self, how: Callable[[_Job], None]) -> None:
        """`start` or `follow`; when that fails the job is over, with its reason in `left`, and the
        others go on.
        """
        try:
            how(self)
        except (OSError, RuntimeError, ValueError) as error:
            self.sweep.left[str(self.folder)], self.over = str(error), True

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.recipe is None:
            self._evaluate()
        else:
            Run.at(self.folder, self.recipe, self.sweep.device)
            self._spawn("resume", str(self.folder))

    def follow(self) -> None:
        """Goes on with the evaluation when the training is over, and keeps its numbers when that
        is.
        """
        if self.process.poll() is None:
            return
        if self.process.returncode:
            raise RuntimeError(_reason(self.folder / "log.txt", self.process.returncode))
        if self.evaluating:
            self._keep()
            self.over = True
        else:
            self._evaluate()

    def _evaluate(self) -> None:
        asked, self.evaluating = self.sweep.scoring, True
        recipe = self.recipe or self.sweep._first
        limit = ["--limit", str(asked.limit)] if asked.limit else []
        self._spawn(
            "evaluate",
            "--models",
            str(self.folder) if self.recipe else TEACHER,
            "--teacher",
            recipe.teacher,
            "--out",
            str(self.folder / "evaluation"),
            "--prompts",
            asked.prompts,
            "--seeds",
            str(asked.seeds),
            "--metrics",
            ",".join(asked.metrics),
            "--features",
            ",".join(asked.features),
            "--guidance",
            str(recipe.guidance),
            "--teacher-steps",
            str(recipe.teacher_steps),
            "--resolution",
            str(recipe.resolution),
            *limit,
        )

    def _spawn(self, *arguments: str) -> None:
        threads = max((os.cpu_count() or 1) // self.sweep._side_by_side, 1)
        with (self.folder / "log.txt").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "workbench", *arguments, "--device", self.sweep.device],
                stdout=log,
                stderr=log,
                env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            )

    def _keep(self) -> None:
        (result,) = json.loads(
            (self.folder / "evaluation" / "numbers.json").read_text()
        )  # of one model, as `evaluate` wrote it
        numbers = {
            name: math.nan if number["mean"] is None else number["mean"]
            for name, number in result["numbers"].items()
        }
        numbers |= {
            "evaluations": result["evaluations"],
            "seconds": _seconds(self.folder) if self.recipe else 0.0,
        }
        saved = {"scoring": asdict(self.sweep.scoring), "numbers": numbers}
        write_atomically(
            self.folder / "scores.json", lambda part: part.write_text(json.dumps(saved, indent=1))
        )


def _last_round(file: Path) -> int:
    """Rounds before that of the last whole line; 0 before there is one."""
    try:
        with file.open("rb") as lines:
            lines.seek(max(file.stat().st_size - 4096, 0))
            whole = [line for line in lines.read().splitlines() if line.endswith(b"}")]
            return json.loads(whole[-1])["round"] - 1
    except (OSError, ValueError, IndexError):
        return 0


def _seconds(folder: Path) -> float:
    """What the updates took."""
    return sum(row.get("seconds", 0.0) for row in Run.open(folder).metrics())


def _reason(log: Path, code: int) -> str:
    """The last line that a failed process wrote; of one that was killed, by what."""
    if code < 0:
        return (
            f"its process was killed by {signal.Signals(-code).name}: is there enough memory? "
            "Lower processes, and run again"
        )
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "the process ended without a word"
