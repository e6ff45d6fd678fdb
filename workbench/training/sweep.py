"""Many distillations side by side, scored alike: the ablations.

    recipes = {"K = 1": replace(SCENES, k=1), "K = 10": SCENES}
    sweep = Sweep(recipes, Path("runs/sweep"), seeds=(0, 1))
    for step in sweep.run():            # stop iterating to stop, call again to continue
        print(step)
    sweep.scored["K = 1"]               # a dict of numbers per training seed

Each recipe and seed is a run folder named after the recipe's digest, in which the teacher and the
prompts stand for what they hold: a run that two sweeps share is trained once, an interrupted sweep
continues from the last checkpoints, and an edited prompt file is another run. Numbers are kept with
what they were measured on, and measured again when that changed. A run is two commands of
the command line, `resume` and then `evaluate` into its own folder, each in its own process with its
share of the cores. A run that fails is listed in `failures`; the others still run.
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
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from workbench.core.methods import check_trains
from workbench.core.recipe import Recipe
from workbench.io.digests import file_digest
from workbench.io.files import write_atomically
from workbench.io.notation import TEACHER
from workbench.io.progress import Progress
from workbench.io.prompt_file import read_prompts
from workbench.io.strict_json import to_json
from workbench.models.loading import teacher_parts
from workbench.models.recipes import content_digest
from workbench.training.run import Run

POLL = 0.5  # seconds
INTERRUPTED = 130  # the command line's exit status after Ctrl-C


@dataclass(frozen=True)
class Scoring:
    """How all students of a sweep are scored: `workbench evaluate`'s settings of the same names."""

    prompts: str = "scenes"
    limit: int = 0
    seeds: int = 9
    metrics: tuple[str, ...] = ("diversity", "spread", "geneval")
    features: tuple[str, ...] = ("lite0",)


@dataclass
class Sweep:
    """Recipes by label, trained with each of `seeds` below `folder`. `processes` 0: one per core on
    a CPU, else one.

    With `main` (`workbench.cli.main`) no process is started: the commands run in this process, one
    after another, to the same results. That pays for the imports once, so short runs take seconds.
    """

    recipes: dict[str, Recipe]
    folder: Path
    seeds: tuple[int, ...] = (0,)
    scoring: Scoring = field(default_factory=Scoring)
    device: str = "cpu"
    processes: int = 0
    main: Callable[[list[str]], int] | None = None
    failures: dict[str, str] = field(default_factory=dict)  # the reason, by run folder

    def __post_init__(self):
        if not self.recipes or not self.seeds:
            raise ValueError(
                "a sweep needs a recipe and a training seed: give at least one of each"
            )
        for label, recipe in self.recipes.items():
            try:
                check_trains(recipe)
            except ValueError as error:
                raise ValueError(f"{label}: {error}") from error

    def runs(self, label: str) -> list[Path]:
        """The run folder of each training seed. Raises ValueError for a prompt file or a teacher
        that cannot be read.
        """
        digests = [_digest(replace(self.recipes[label], seed=seed)) for seed in self.seeds]
        return [self.folder / digest for digest in digests]

    @property
    def scored(self) -> dict[str, list[dict[str, float]]]:
        """The numbers of each label's finished training seeds."""
        return {
            label: [
                numbers
                for run in self.runs(label)
                if (numbers := _scores_of(run, self.scoring, self.recipes[label].teacher))
            ]
            for label in self.recipes
        }

    @property
    def teacher(self) -> dict[str, float]:
        """The numbers of the first recipe's teacher; empty before it is scored."""
        return _scores_of(self._teacher_folder, self.scoring, self._first.teacher) or {}

    def run(self) -> Iterator[Progress]:
        """Runs the jobs that are not finished; yields the rounds done of all runs."""
        self.failures = {}
        jobs = self._jobs()
        total = sum(job.rounds for job in jobs)
        waiting, active = deque(job for job in jobs if not job.finished), []
        finished = total - sum(job.rounds for job in waiting)
        try:
            while waiting or active:
                while waiting and len(active) < self._side_by_side:
                    active.append(waiting.popleft())
                for job in active:
                    job.advance()
                for job in [job for job in active if job.over]:
                    active.remove(job)
                    finished += job.rounds
                    if job.failure:
                        self.failures[str(job.folder)] = job.failure
                yield Progress(finished + sum(job.done for job in active), total, "rounds")
                if active and not self.main:
                    time.sleep(POLL)
        finally:  # also when it is stopped: no process outlives the sweep
            running = [job.process for job in active if job.process]
            for process in running:
                process.terminate()
            for process in running:
                process.wait()
        yield Progress(total, total, "rounds")

    @property
    def _side_by_side(self) -> int:
        if self.main:
            return 1
        return self.processes or ((os.cpu_count() or 1) if self.device == "cpu" else 1)

    def _jobs(self) -> list[_Job]:
        """The teacher's evaluation, then one job per run; equal recipes are one run."""
        recipes = {
            run: replace(recipe, seed=seed)
            for label, recipe in self.recipes.items()
            for seed, run in zip(self.seeds, self.runs(label))
        }
        return [
            self._job(self._teacher_folder, None),
            *(self._job(run, recipe) for run, recipe in recipes.items()),
        ]

    def _job(self, folder: Path, recipe: Recipe | None) -> _Job:
        evaluation = self._evaluation(folder, recipe)
        teacher = (recipe or self._first).teacher
        return _Job(folder, recipe, teacher, self.device, evaluation, self.scoring, self._launch)

    def _evaluation(self, folder: Path, recipe: Recipe | None) -> list[str]:
        """The command that scores a run, or the teacher."""
        scoring, settings = self.scoring, recipe or self._first
        options = {
            "--models": str(folder) if recipe else TEACHER,
            "--teacher": settings.teacher,
            "--out": str(folder / "evaluation"),
            "--prompts": scoring.prompts,
            "--seeds": str(scoring.seeds),
            "--metrics": ",".join(scoring.metrics),
            "--resolution": str(settings.resolution),
        }
        if not recipe:
            options["--guidance"] = str(settings.guidance)
            options["--teacher-steps"] = str(settings.teacher_steps)
        if scoring.features != Scoring.features:
            options["--features"] = ",".join(scoring.features)
        if scoring.limit:
            options["--limit"] = str(scoring.limit)
        return ["evaluate", *(word for option in options.items() for word in option)]

    def _launch(self, command: list[str], log: Path) -> subprocess.Popen | _Ended:
        """Starts a command whose output is appended to `log`."""
        command = [*command, "--device", self.device]
        with log.open("a") as output:
            if self.main:
                with redirect_stdout(output), redirect_stderr(output):
                    return _Ended(self.main(command))
            threads = max((os.cpu_count() or 1) // self._side_by_side, 1)
            return subprocess.Popen(
                [sys.executable, "-m", "workbench", *command],
                stdout=output,
                stderr=output,
                env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            )

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


@dataclass
class _Ended:
    """A command that ran in this process, with the part of Popen's interface that a job uses.
    Raises KeyboardInterrupt for one that Ctrl-C ended.
    """

    returncode: int

    def __post_init__(self):
        if self.returncode == INTERRUPTED:
            raise KeyboardInterrupt

    def poll(self) -> int:
        return self.returncode

    wait = poll

    def terminate(self) -> None:
        pass


@dataclass
class _Job:
    """One run (or, without a recipe, the teacher): a command that trains, then the `evaluation`."""

    folder: Path
    recipe: Recipe | None
    teacher: str
    device: str
    evaluation: list[str]
    scoring: Scoring
    launch: Callable[[list[str], Path], subprocess.Popen | _Ended]
    process: subprocess.Popen | _Ended | None = None
    evaluating: bool = False
    over: bool = False
    failure: str = ""

    @property
    def rounds(self) -> int:
        return self.recipe.rounds if self.recipe else 0

    @property
    def finished(self) -> bool:
        return _scores_of(self.folder, self.scoring, self.teacher) is not None

    @property
    def done(self) -> int:
        if self.evaluating or not self.recipe:
            return self.rounds
        return _last_round(self.folder / "metrics.jsonl")

    def advance(self) -> None:
        """Starts the next command if none is running. An error ends the job, and is its
        `failure`.
        """
        try:
            if self.process is None:
                self._start()
            elif self.process.poll() is not None:
                self._follow_up(self.process.returncode)
        except (OSError, RuntimeError, ValueError) as error:
            self.failure, self.over = str(error), True

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.recipe is None:
            self._evaluate()
        else:
            Run.at(self.folder, self.recipe, self.device)
            self._run(["resume", str(self.folder)])

    def _follow_up(self, code: int) -> None:
        """Evaluates after training; saves the numbers after evaluating."""
        if code:
            raise RuntimeError(_reason(self.folder / "log.txt", code))
        if self.evaluating:
            self._save_scores()
            self.over = True
        else:
            self._evaluate()

    def _evaluate(self) -> None:
        self.evaluating = True
        self._run(self.evaluation)

    def _run(self, command: list[str]) -> None:
        self.process = self.launch(command, self.folder / "log.txt")

    def _save_scores(self) -> None:
        # of one model, as `evaluate` wrote it
        (result,) = json.loads((self.folder / "evaluation" / "numbers.json").read_text())
        numbers = {
            name: math.nan if number["mean"] is None else number["mean"]
            for name, number in result["numbers"].items()
        }
        numbers |= {
            "evaluations": result["evaluations"],
            "milliseconds": result["milliseconds"],
            "seconds": _training_seconds(self.folder) if self.recipe else 0.0,
        }
        saved = {"scoring": measured_on(self.scoring, self.teacher), "numbers": numbers}
        write_atomically(
            self.folder / "scores.json", lambda part: part.write_text(to_json(saved, indent=1))
        )


def _digest(recipe: Recipe) -> str:
    """The recipe's digest by the contents of its files."""
    prompts = read_prompts(recipe.prompts) if recipe.prompts else []
    return content_digest(recipe, teacher_parts(recipe.teacher), prompts)


def measured_on(scoring: Scoring, teacher: str) -> dict:
    """What numbers are of, besides the run: how they were measured, on which prompts, and with
    which teacher.
    """
    prompts = Path(scoring.prompts)
    return json.loads(to_json(asdict(scoring))) | {
        "prompt_file": file_digest(prompts) if prompts.is_file() else "",
        "teacher": teacher_parts(teacher),
    }


def _scores_of(folder: Path, scoring: Scoring, teacher: str) -> dict[str, float] | None:
    """A run's saved numbers; None unless they were measured by `scoring`, on the same prompts and
    with the same teacher.
    """
    try:
        saved = json.loads((folder / "scores.json").read_text())
    except (OSError, ValueError):
        return None
    if saved["scoring"] != measured_on(scoring, teacher):
        return None
    return {name: math.nan if value is None else value for name, value in saved["numbers"].items()}


def _last_round(file: Path) -> int:
    """Rounds before that of the last whole line; 0 if there is none."""
    try:
        with file.open("rb") as lines:
            lines.seek(max(file.stat().st_size - 4096, 0))
            whole = [line for line in lines.read().splitlines() if line.endswith(b"}")]
            return json.loads(whole[-1])["round"] - 1
    except (OSError, ValueError, IndexError):
        return 0


def _training_seconds(folder: Path) -> float:
    """Seconds that the updates took."""
    return sum(row.get("seconds", 0.0) for row in Run.open(folder).metrics())


def _reason(log: Path, code: int) -> str:
    """The last line that a failed process wrote, or the signal that killed it."""
    if code < 0:
        return (
            f"its process was killed by {signal.Signals(-code).name}: is there enough memory? "
            "Lower processes, and run again"
        )
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "the process ended without a message"
