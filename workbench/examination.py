"""Everything that the stages measure of some models on one prompt, task by task.

    examination = Examination(request, backend, opener(request, backend, students_of("scenes")))
    for event in examination.run():
        ...                              # a Task that is done, or Progress; stop iterating to stop
    examination.left                     # what is not done, and what could not be

What is done stays when the rest is stopped or fails, and a second `run` goes on with what is left. Trajectories that were recorded
before (`workbench.stages.trajectory`) are taken instead of sampling again, where prompt, seeds and model agree.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.denoiser import Backend
from workbench.grid import Opener, Progress, model_settings
from workbench.grid_request import GridRequest
from workbench.metrics.diversity import Interval, seed_interval
from workbench.metrics.lite0 import Lite0
from workbench.models import Model
from workbench.recording import branched, record, swapped, switch_times
from workbench.scenes.detector import detect, satisfies
from workbench.scenes.grammar import GrammarError, Request, parse
from workbench.scenes.renderer import SIDE as SCENES_SIDE
from workbench.stages.bands import relative_power
from workbench.stages.branching import Split, variance_split
from workbench.stages.commitment import Commitment, commitment, fixed_by, low_passed
from workbench.stages.factors import settled, settled_at
from workbench.stages.paths import displacement
from workbench.stages.trajectory import Pictures, Trajectory, reduced, trajectory_bytes
from workbench.stages.trajectory import SIDE as PICTURE_SIDE

MEMORY = 4 * 2**30  # bytes of all trajectories together
POINTS = 8  # steps behind which a long pass is branched
DECODING = 2.0  # network evaluations that decoding an image costs, for the progress only


@dataclass(frozen=True)
class Record:
    """Samples the model and keeps the trajectory, then reads it."""

    model: str

    def __str__(self) -> str:
        return f"the passes of {self.model}"


@dataclass(frozen=True)
class Branch:
    """Goes on from behind step `step` with fresh noise."""

    model: str
    step: int

    def __str__(self) -> str:
        return f"{self.model} branched behind step {self.step}"


@dataclass(frozen=True)
class Swap:
    """The first `step` of the common steps by one model, the rest by another."""

    first: str
    then: str
    step: int

    def __str__(self) -> str:
        return f"{self.first} for {self.step} steps, then {self.then}"


Task = Record | Branch | Swap


@dataclass(frozen=True)
class Reading:
    """What a recorded pass of N steps shows: commitment on the full and the low-passed pictures, band power [N, bands] over the final
    image's, the length [N, S] of each step in the latents and, on scenes, what is settled ([N, S] bool by factor)."""

    full: Commitment
    low: Commitment
    bands: Tensor
    moved: Tensor
    factors: dict


@dataclass(frozen=True)
class Mixed:
    """The result of a `Swap`: images [S, 3, H, W] in [0, 1], Eq. (9) over the seeds, and on scenes the share that is right."""

    images: Tensor
    diversity: Interval
    correct: float | None


@dataclass
class Examination:
    """The trajectories, pictures and measurements of `request` (one prompt), as far as they are done."""

    request: GridRequest
    backend: Backend
    open_model: Opener
    branches: int = 4  # of each of `parents` seeds; 0 leaves branching out
    parents: int = 6
    swaps: bool = True
    feature: Callable[[], Lite0] = Lite0.load
    known: list[Trajectory] = field(default_factory=list)
    memory: int = MEMORY
    models: dict[str, Model] = field(default_factory=dict)
    trajectories: dict[str, Trajectory] = field(default_factory=dict)
    pictures: dict[str, Pictures] = field(default_factory=dict)
    results: dict[Task, Reading | Split | Mixed] = field(default_factory=dict)
    failed: dict[Task, str] = field(default_factory=dict)

    def __post_init__(self):
        if len(self.request.prompts) != 1:
            raise ValueError("the stages look at one prompt at a time: write one")
        if len(self.request.seeds) < 2:
            raise ValueError("the stages compare seeds: take two or more")
        if self.branches == 1:
            raise ValueError("branching compares branches: take two or more, or 0 for none")

    @property
    def prompt(self) -> str:
        return self.request.prompts[0]

    @cached_property
    def scene(self) -> Request | None:
        """The prompt as a caption of scenes, where the pictures can be read exactly; None elsewhere."""
        if self.backend.latent_shape[-1] * self.backend.pipeline.vae_scale_factor != SCENES_SIDE:
            return None
        try:
            return parse(self.prompt)
        except GrammarError:
            return None

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Those whose trajectories fit in `memory` together, at least two; the request's first ones."""
        steps = [len(self._model(name).times) - 1 for name in self.request.models if name not in self.closed]
        one = sum(trajectory_bytes(self.backend.latent_shape, count, 1) for count in steps) or 1
        return self.request.seeds[: max(self.memory // one, 2)]

    @cached_property
    def tasks(self) -> list[Task]:
        """What there is to do, in order."""
        names = self.request.models
        usable = [name for name in names if name not in self.closed]
        branches = [Branch(name, step) for name in usable for step in branch_steps(len(self._model(name).times) - 1)]
        pairs = [Swap(a, b, step) for a, b in itertools.permutations(usable, 2)
                 for step in range(len(switch_times(self._model(a), self._model(b))))]
        return [Record(name) for name in names] + (branches if self.branches else []) + (pairs if self.swaps else [])

    @property
    def left(self) -> list[str]:
        """What of the request is not there, in words; what failed with its reason."""
        dropped = self.request.seeds[len(self.seeds):]
        said = [f"seeds {', '.join(map(str, dropped))}: the trajectories would take more than {self.memory / 2**30:.1f} GiB"] if dropped else []
        said += [f"{task}: {reason}" for task, reason in self.failed.items()]
        said += [f"branching and swaps of {name}: {reason}" for name, reason in self.closed.items() if name in self.trajectories]
        open_tasks = [task for task in self.tasks if task not in self.results and task not in self.failed]
        for kind in (Record, Branch, Swap):
            same = [str(task) for task in open_tasks if isinstance(task, kind)]
            said += same if len(same) < 4 else [f"{', '.join(same[:2])} and {len(same) - 2} more like these"] if same else []
        return said

    def run(self) -> Iterator[Progress | Task]:
        """Does what is left; yields each task when it is done or has failed, and the progress in between."""
        costs = {task: self._cost(task) for task in self.tasks}
        total, done = sum(costs.values()) or 1.0, sum(costs[task] for task in self.results)
        self.failed = {}
        for task in self.tasks:
            if task in self.results:
                continue
            try:
                for part in self._do(task):
                    yield Progress((done + costs[task] * part) / total)
            except Exception as error:  # any: what is done stays, and the rest goes on
                self.failed[task] = str(error) or type(error).__name__
            done += costs[task]
            yield task
            yield Progress(min(done / total, 1.0))

    def _do(self, task: Task) -> Iterator[float]:
        if isinstance(task, Record):
            yield from self._record(task)
        elif isinstance(task, Branch):
            yield from self._branch(task)
        else:
            self._swap(task)

    def _record(self, task: Record) -> Iterator[float]:
        name = task.model
        parts = [one for one in [*self.trajectories.values(), *self.known] if self._fits(one, name)][:1]
        there = len(parts[0].seeds) if parts else 0
        for made in record(self._model(name), self.backend, self.prompt, self.seeds[there:]) if there < len(self.seeds) else []:
            if isinstance(made, Trajectory):
                parts.append(made)
                self.trajectories[name] = Trajectory.cat(parts)
            else:
                yield made / 2
        self.trajectories[name] = Trajectory.cat(parts)
        self.pictures[name] = Pictures(self.trajectories[name], self.backend.decode)
        for index in range(len(self.trajectories[name]) + 1):
            self.pictures[name][index]
            yield 0.5 + index / len(self.trajectories[name]) / 2
        self.results[task] = self._read(name)

    def _fits(self, one: Trajectory, name: str) -> bool:
        """Whether a trajectory holds the first seeds of what is asked for; of a model that does not open, whatever it was recorded with."""
        asked = one.model == name and one.prompt == self.prompt and one.seeds == self.seeds[: len(one.seeds)]
        return asked and (name in self.closed or one.settings == model_settings(self._model(name)))

    def _read(self, name: str) -> Reading:
        beliefs, final = self.pictures[name].beliefs(), self.pictures[name].final
        factors = settled([detect(step) for step in beliefs], detect(final), self.scene) if self.scene else {}
        return Reading(commitment(beliefs, final), commitment(low_passed(beliefs), low_passed(final)), relative_power(beliefs, final),
                       displacement(self.trajectories[name].x_t), factors)

    def _branch(self, task: Branch) -> Iterator[float]:
        parents = self.trajectories[task.model].first(self.parents)
        count, features = len(parents.seeds) * self.branches, []
        reader = self.feature()
        for latents in branched(self._model(task.model), self.backend, parents, task.step, self.branches):
            features.append(reader.features(reduced(self.backend.decode(latents), PICTURE_SIDE)).cpu())
            yield sum(map(len, features)) / count
        units = F.normalize(torch.cat(features).double(), dim=-1).unflatten(0, (-1, self.branches))
        self.results[task] = variance_split(units)

    def _swap(self, task: Swap) -> None:
        first, then = self._model(task.first), self._model(task.then)
        whole = {0: task.then, len(switch_times(first, then)) - 1: task.first}.get(task.step)
        if whole is not None:  # one model alone, which is recorded
            images = self.pictures[whole].final
        else:
            images = reduced(self.backend.decode(swapped(first, then, self.backend, self.prompt, self.seeds, task.step)), PICTURE_SIDE)
        correct = sum(satisfies(seen, self.scene) for seen in detect(images)) / len(images) if self.scene else None
        self.results[task] = Mixed(images, seed_interval(self.feature().features(images).cpu()), correct)

    def _model(self, name: str) -> Model:
        if name not in self.models:
            self.models[name] = self.open_model(name)
        return self.models[name]

    @cached_property
    def closed(self) -> dict[str, str]:
        """The models that do not open, and why."""
        found = {}
        for name in self.request.models:
            try:
                self._model(name)
            except Exception as error:  # any: the other models are worth seeing
                found[name] = str(error) or type(error).__name__
        return found

    def _cost(self, task: Task) -> float:
        """In network evaluations of one image."""
        if isinstance(task, Record):
            if task.model in self.closed:
                return DECODING
            model = self._model(task.model)
            return len(self.seeds) * (model.evaluations + DECODING * len(model.times))
        if isinstance(task, Branch):
            model = self._model(task.model)
            a_step = model.evaluations / (len(model.times) - 1)
            return min(self.parents, len(self.seeds)) * self.branches * (a_step * (len(model.times) - 1 - task.step) + DECODING)
        first, then = self._model(task.first), self._model(task.then)
        share = task.step / (len(switch_times(first, then)) - 1)
        return len(self.seeds) * (share * first.evaluations + (1 - share) * then.evaluations + DECODING) * (0 < share < 1)

    def numbers(self) -> dict:
        """All measurements as JSON."""
        return {"prompt": self.prompt, "seeds": list(self.seeds), "feature": self.feature().protocol, "left": self.left,
                "models": {task.model: self._reading_numbers(task.model, found) for task, found in self.results.items()
                           if isinstance(task, Record)},
                "branching": [{"model": task.model, "step": task.step, "time": float(self._model(task.model).times[task.step]),
                               "within": _plain(found.within), "cross": _plain(found.cross), "icc": _plain(found.icc)}
                              for task, found in self.results.items() if isinstance(task, Branch)],
                "swaps": [{"first": task.first, "then": task.then, "step": task.step, "diversity": _plain(found.diversity),
                           "correct": found.correct} for task, found in self.results.items() if isinstance(task, Swap)]}

    def _reading_numbers(self, name: str, found: Reading) -> dict:
        kept = self.trajectories[name]
        return {"settings": kept.settings, "times": kept.times.tolist(), "alpha_sigma": kept.alpha_sigma.tolist(),
                "fixed": found.full.fixed.tolist(), "fixed_low_passed": found.low.fixed.tolist(),
                "fixed_by": {f"{share:.0%}": _plain(fixed_by(found.low, share)) for share in (0.5, 0.9)},
                "bands": found.bands.tolist(), "moved": found.moved.mean(1).tolist(),
                "settled_at": {factor: settled_at(one).tolist() for factor, one in found.factors.items()}}

    def save(self, folder: Path) -> None:
        """Writes trajectories/MODEL.safetensors for each recorded model."""
        (folder / "trajectories").mkdir(parents=True, exist_ok=True)
        for number, trajectory in enumerate(self.trajectories.values()):
            trajectory.save(folder / "trajectories" / f"{number:02d}-{_file_name(trajectory.model)}.safetensors")


def saved_trajectories(folder: Path) -> list[Trajectory]:
    """What `Examination.save` wrote there; none in a folder without. Raises ValueError for a file that is no trajectory."""
    return [Trajectory.open(path) for path in sorted((folder / "trajectories").glob("*.safetensors"))]


def as_recorded(open_model: Opener, known: list[Trajectory]) -> Opener:
    """Opens models as `open_model` does, but refuses one that is not what a trajectory of its name was recorded with."""

    def opened(name: str) -> Model:
        model = open_model(name)
        if any(one.model == name and one.settings != model_settings(model) for one in known):
            raise ValueError(f"{name} is now another model, or sampled otherwise, than when this was recorded")
        return model

    return opened


def branch_steps(steps: int) -> list[int]:
    """The steps of a pass behind which it is branched: all of a short one; of a long one some, closest where it begins."""
    if steps <= POINTS:
        return list(range(steps))
    return sorted({round(steps * (n / POINTS) ** 2) for n in range(POINTS)} | {1})


def _plain(interval: Interval) -> list:
    return [None if math.isnan(value) else value for value in interval]


def _file_name(model: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in model)
