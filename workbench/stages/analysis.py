"""Everything that the stages measure of some models on one prompt, task by task.

    seen = Examination(request, backend, opener(request, backend, students_of("scenes")))
    for event in seen.run():
        ...                       # a Task that is done or has failed, or Progress; stop iterating to stop
    seen.left                     # what is not done, and why

What is done stays when the rest is stopped or fails, and a second `run` goes on with what is left.
Trajectories that were recorded before (`workbench.stages.trajectory`) are taken instead of
sampling again, where prompt, seeds and model agree. No model is held longer than its task:
`open_model` may keep what fits.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.core.denoiser import Backend
from workbench.grid.generate import DECODING, ModelLoader
from workbench.grid.request import GridRequest
from workbench.io.notation import reason_of
from workbench.io.progress import Progress
from workbench.metrics.diversity import seed_interval
from workbench.metrics.lite0 import Lite0
from workbench.models.identity import model_settings
from workbench.models.model import Model
from workbench.scenes.detector import detect, satisfies
from workbench.scenes.grammar import GrammarError, Request, parse
from workbench.scenes.renderer import SIDE as SCENES_SIDE
from workbench.stages.bands import relative_power
from workbench.stages.branching import variance_split
from workbench.stages.commitment import commitment, low_passed
from workbench.stages.factors import settled
from workbench.stages.paths import displacement
from workbench.stages.recording import branched, record, swapped
from workbench.stages.tasks import Branch, Mixed, Record, StageMeasurement, Swap, Task, TaskResult
from workbench.stages.trajectory import SIDE as PICTURE_SIDE
from workbench.stages.trajectory import Trajectory, TrajectoryImages, downsampled, trajectory_bytes

MEMORY = 4 * 2**30  # bytes of all trajectories together
POINTS = 8  # steps behind which a long pass is branched


@dataclass(frozen=True)
class Facts:
    """What is remembered of a model that need not be open."""

    times: Tensor
    evaluations: int
    settings: dict


@dataclass
class StageAnalysis:
    """The trajectories, pictures and results of `request` (one prompt), as far as they are there."""

    request: GridRequest
    backend: Backend
    open_model: ModelLoader
    branches: int = 4  # of each of `parents` seeds; 0 leaves branching out
    parents: int = 6
    swaps: bool = True
    feature: Callable[[], Lite0] = Lite0.load
    known: list[Trajectory] = field(default_factory=list)
    memory: int = MEMORY
    models: dict[str, Facts] = field(default_factory=dict)
    closed: dict[str, str] = field(default_factory=dict)  # models that do not open, and why
    trajectories: dict[str, Trajectory] = field(default_factory=dict)
    pictures: dict[str, TrajectoryImages] = field(default_factory=dict)
    results: dict[Task, TaskResult] = field(default_factory=dict)
    failed: dict[Task, str] = field(default_factory=dict)

    def __post_init__(self):
        if len(self.request.prompts) != 1:
            raise ValueError("the stages look at one prompt at a time: write one")
        if len(self.request.seeds) < 2:
            raise ValueError("the stages compare seeds: take two or more")
        if self.branches and min(self.branches, self.parents) < 2:
            raise ValueError(
                "branching compares branches and their parents: take two or more of both, or no "
                "branches at all"
            )

    @property
    def prompt(self) -> str:
        return self.request.prompts[0]

    @cached_property
    def scene(self) -> Request | None:
        """The prompt as a caption of scenes, where the pictures can be read exactly; None
        elsewhere.
        """
        if self.backend.latent_shape[-1] * self.backend.pipeline.vae_scale_factor != SCENES_SIDE:
            return None
        try:
            return parse(self.prompt)
        except GrammarError:
            return None

    @property
    def seeds(self) -> tuple[int, ...]:
        """Those whose trajectories fit in `memory` together, at least two; the request's first
        ones.
        """
        one = (
            sum(
                trajectory_bytes(self.backend.latent_shape, len(facts.times) - 1, 1)
                for facts in self.models.values()
            )
            or 1
        )
        return self.request.seeds[: max(self.memory // one, 2)]

    @property
    def tasks(self) -> list[Task]:
        """What there is to do, in order; the recordings alone before the first `run` has opened
        the models.
        """
        branches = [
            Branch(name, step)
            for name, facts in self.models.items()
            for step in branch_steps(len(facts.times) - 1)
        ]
        swaps = [
            Swap(a, b, step)
            for a, b in itertools.permutations(self.models, 2)
            for step in range(len(self.levels(a, b)))
        ]
        return (
            [Record(name) for name in self.request.models]
            + (branches if self.branches else [])
            + (swaps if self.swaps else [])
        )

    def levels(self, first: str, then: str) -> Tensor:
        """The noise levels at which two models take over from each other: the times of the one
        with fewer steps.
        """
        return min((self.models[name].times for name in (first, then)), key=len)

    @property
    def left(self) -> list[str]:
        """What of the request is not there, in words; what failed with its reason."""
        dropped = self.request.seeds[len(self.seeds) :]
        limit = f"the trajectories would take more than {self.memory / 2**30:.1f} GiB"
        said = [f"seeds {', '.join(map(str, dropped))}: {limit}"] if dropped else []
        said += [f"{task}: {reason}" for task, reason in self.failed.items()]
        said += [
            f"branching and swaps of {name}: {reason}"
            for name, reason in self.closed.items()
            if name in self.trajectories
        ]
        open_tasks = [
            task for task in self.tasks if task not in self.results and task not in self.failed
        ]
        for kind in (Record, Branch, Swap):
            same = [str(task) for task in open_tasks if isinstance(task, kind)]
            said += (
                same
                if len(same) < 4
                else [f"{', '.join(same[:2])} and {len(same) - 2} more like these"]
            )
        return said

    def run(self) -> Iterator[Progress | Task]:
        """Does what is left; yields each task when it is done or has failed, and the progress in
        between.
        """
        self._open_all()
        tasks, self.failed = self.tasks, {}
        costs = {task: self._cost(task) for task in tasks}
        total, done = (
            sum(costs.values()) or 1.0,
            sum(cost for task, cost in costs.items() if task in self.results),
        )
        for task in tasks:
            if task in self.results:
                continue
            if all(
                Record(name) in self.results for name in task.needs
            ):  # without, the failed recording says it all
                try:
                    for part in self._do(task):
                        yield Progress((done + costs[task] * part) / total)
                except Exception as error:  # any: what is done stays, and the rest goes on
                    self.failed[task] = reason_of(error)
                yield task
            done += costs[task]
            yield Progress(min(done / total, 1.0))

    def _open_all(self) -> None:
        """Learns what there is to know of each model."""
        self.closed = {}
        for name in self.request.models:
            try:
                model = self.open_model(name)
                facts = Facts(model.times, model.evaluations, model_settings(model))
                self.models.setdefault(name, facts)
            except Exception as error:  # any: the other models are worth seeing
                self.closed[name] = reason_of(error)
                self.models.pop(name, None)
        self.models = {
            name: self.models[name] for name in self.request.models if name in self.models
        }

    def _open(self, name: str) -> Model:
        """The model, which has to be what it was at first: a run may have gone on meanwhile."""
        if name in self.closed:
            raise ValueError(self.closed[name])
        model = self.open_model(name)
        if model_settings(model) != self.models[name].settings:
            raise ValueError(f"{name} has changed since this was begun: begin anew")
        return model

    def _do(self, task: Task) -> Iterator[float]:
        if isinstance(task, Record):
            yield from self._record(task)
        elif isinstance(task, Branch):
            yield from self._branch(task)
        else:
            yield from self._swap(task)

    def _record(self, task: Record) -> Iterator[float]:
        name = task.model
        parts = [
            one for one in [*self.trajectories.values(), *self.known] if self._fits(one, name)
        ][:1]
        there = len(parts[0].seeds) if parts else 0
        for made in (
            record(self._open(name), self.backend, self.prompt, self.seeds[there:])
            if there < len(self.seeds)
            else []
        ):
            if isinstance(made, Trajectory):
                parts.append(made)
                self.trajectories[name] = Trajectory.cat(parts)
            else:
                yield made / 2
        self.trajectories[name] = kept = Trajectory.cat(parts)
        self.pictures[name] = pictures = TrajectoryImages(kept, self.backend.decode)
        for index in range(len(kept) + 1):
            pictures[index]
            yield 0.5 + index / len(kept) / 2
        factors = (
            settled([detect(step) for step in pictures.beliefs], detect(pictures.final), self.scene)
            if self.scene
            else {}
        )
        low = commitment(map(low_passed, pictures.beliefs), low_passed(pictures.final))
        self.results[task] = StageMeasurement(
            commitment(pictures.beliefs, pictures.final),
            low,
            relative_power(pictures.beliefs, pictures.final),
            displacement(kept.x_t),
            factors,
        )

    def _fits(self, one: Trajectory, name: str) -> bool:
        """Whether a trajectory holds the first seeds of what is asked for; of a model that does
        not open, whatever it was recorded with.
        """
        asked = (
            one.model == name
            and one.prompt == self.prompt
            and one.seeds == self.seeds[: len(one.seeds)]
        )
        return (
            asked
            and tuple(one.x0.shape[2:]) == tuple(self.backend.latent_shape)
            and (name in self.closed or one.settings == self.models[name].settings)
        )

    def _branch(self, task: Branch) -> Iterator[float]:
        parents = self.trajectories[task.model].first(self.parents)
        count, features, reader = len(parents.seeds) * self.branches, [], self.feature()
        for latents in branched(
            self._open(task.model), self.backend, parents, task.step, self.branches
        ):
            features.append(
                reader.features(downsampled(self.backend.decode(latents), PICTURE_SIDE)).cpu()
            )
            yield sum(map(len, features)) / count
        self.results[task] = variance_split(
            F.normalize(torch.cat(features).double(), dim=-1).unflatten(0, (-1, self.branches))
        )

    def _swap(self, task: Swap) -> Iterator[float]:
        levels = self.levels(task.first, task.then)
        alone = {0: task.then, len(levels) - 1: task.first}.get(task.step)
        parts = [self.pictures[alone].final] if alone else []  # which is recorded
        for latents in (
            ()
            if alone
            else swapped(
                self._open,
                task.first,
                task.then,
                levels,
                task.step,
                self.backend,
                self.prompt,
                self.seeds,
            )
        ):
            parts.append(downsampled(self.backend.decode(latents), PICTURE_SIDE))
            yield sum(map(len, parts)) / len(self.seeds)
        images = torch.cat(parts)
        correct = (
            sum(satisfies(seen, self.scene) for seen in detect(images)) / len(images)
            if self.scene
            else None
        )
        self.results[task] = Mixed(
            images, seed_interval(self.feature().features(images).cpu()), correct
        )

    def _cost(self, task: Task) -> float:
        """In network evaluations of one image."""
        if isinstance(task, Record):
            facts = self.models.get(task.model)
            return (
                len(self.seeds) * (facts.evaluations + DECODING * len(facts.times))
                if facts
                else DECODING
            )
        if isinstance(task, Branch):
            facts = self.models[task.model]
            share = 1 - task.step / (len(facts.times) - 1)
            return (
                min(self.parents, len(self.seeds))
                * self.branches
                * (facts.evaluations * share + DECODING)
            )
        share = task.step / (len(self.levels(task.first, task.then)) - 1)
        first, then = (self.models[name].evaluations for name in (task.first, task.then))
        return len(self.seeds) * (share * first + (1 - share) * then + DECODING) * (0 < share < 1)


def save_trajectories(trajectories: dict[str, Trajectory], folder: Path) -> None:
    """Writes trajectories/MODEL.safetensors for each. Raises ValueError, and writes nothing, in a
    folder with those of another prompt.
    """
    files = {}
    for name, kept in trajectories.items():
        plain = "".join(
            letter if letter.isalnum() or letter in "-_" else "-" for letter in name
        ).strip("-")
        files[
            next(
                file for n in itertools.count(1) if (file := plain + f"-{n}" * (n > 1)) not in files
            )
        ] = kept
    check_folder(folder, {kept.prompt for kept in files.values()})
    (folder / "trajectories").mkdir(parents=True, exist_ok=True)
    for file, kept in files.items():
        kept.save(folder / "trajectories" / f"{file}.safetensors")


def saved_trajectories(folder: Path) -> list[Trajectory]:
    """What `save_trajectories` wrote there; none in a folder without. Raises ValueError for a file
    that is no trajectory.
    """
    return [
        Trajectory.open(path) for path in sorted((folder / "trajectories").glob("*.safetensors"))
    ]


def check_folder(folder: Path, prompts: set[str]) -> None:
    """Raises ValueError for a folder with trajectories of other prompts than these."""
    for one in saved_trajectories(folder):
        if one.prompt not in prompts:
            raise ValueError(
                f"{folder} holds the stages of another prompt, “{one.prompt}”: choose another "
                "folder"
            )


def as_recorded(open_model: ModelLoader, known: list[Trajectory]) -> ModelLoader:
    """Opens models as `open_model` does, but refuses one that is not what a trajectory of its name
    was recorded with.
    """

    def opened(name: str) -> Model:
        model = open_model(name)
        if any(one.model == name and one.settings != model_settings(model) for one in known):
            raise ValueError(
                f"{name} is now another model, or sampled otherwise, than when this was recorded"
            )
        return model

    return opened


def branch_steps(steps: int) -> list[int]:
    """The steps of a pass behind which it is branched: all of a short one; of a long one some,
    closest where it begins.
    """
    if steps <= POINTS:
        return list(range(steps))
    return sorted({round(steps * (n / POINTS) ** 2) for n in range(POINTS)} | {1})
