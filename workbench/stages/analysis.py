"""All stage measurements of some models on one prompt, task by task.

    open_model = model_loader(request, backend, students_of("scenes"))
    analysis = StageAnalysis(request, backend, open_model)
    for event in analysis.run():  # stop iterating to stop
        ...                       # a Task that is done or has failed, or Progress
    analysis.unfinished           # the tasks that are not done, and why

Results stay when the rest is stopped or fails, and a second `run` continues with the unfinished
tasks. `existing` trajectories (`workbench.stages.trajectory`) are used instead of sampling again if
prompt, seeds and model agree. No model is held longer than its task: `open_model` may keep what
fits.
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

from workbench.grid.generate import DECODING, ModelLoader
from workbench.grid.request import GridRequest
from workbench.io.digests import short_digest
from workbench.io.files import keep_earlier
from workbench.io.notation import reason_of
from workbench.io.progress import Progress
from workbench.metrics.diversity import seed_interval
from workbench.metrics.inputs import eight_bit
from workbench.metrics.lite0 import Lite0
from workbench.models.backends.pipeline import PipelineBackend
from workbench.models.identity import differences, model_settings
from workbench.models.model import Model
from workbench.models.provenance import how_opened, made_with
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
from workbench.stages.trajectory import (
    PICTURE_SIDE,
    Trajectory,
    TrajectoryImages,
    downsampled,
    trajectory_bytes,
)

MEMORY = 4 * 2**30  # bytes of all trajectories together
BRANCH_POINTS = 8  # steps after which a long pass is branched


def check_stages(request: GridRequest, branches: int, parents: int) -> None:
    """Raises ValueError for more than one prompt, and for too few seeds, branches or parents."""
    if len(request.prompts) != 1:
        raise ValueError("the stages look at one prompt at a time: write one")
    if len(request.seeds) < 2:
        raise ValueError("the stages compare seeds: take two or more")
    if branches and min(branches, parents) < 2:
        raise ValueError(
            "branching compares branches and their parents: take two or more of both, or no "
            "branches at all"
        )


@dataclass(frozen=True)
class Facts:
    """The facts of a model that are needed while it is not open."""

    times: Tensor
    evaluations: int
    settings: dict


@dataclass
class StageAnalysis:
    """The trajectories, pictures and results of `request` (one prompt) so far."""

    request: GridRequest
    backend: PipelineBackend
    open_model: ModelLoader
    branches: int = 4  # of each of `parents` seeds; 0 leaves branching out
    parents: int = 6
    swaps: bool = True
    feature: Callable[[], Lite0] = Lite0.load
    existing: list[Trajectory] = field(default_factory=list)
    memory: int = MEMORY
    # what `run` finds
    models: dict[str, Facts] = field(default_factory=dict, init=False)
    origin: dict = field(default_factory=dict, init=False)  # of `models.provenance`
    trajectories: dict[str, Trajectory] = field(default_factory=dict, init=False)
    pictures: dict[str, TrajectoryImages] = field(default_factory=dict, init=False)
    results: dict[Task, TaskResult] = field(default_factory=dict, init=False)
    # the reason, by model that does not open and by task
    unopened: dict[str, str] = field(default_factory=dict, init=False)
    failures: dict[Task, str] = field(default_factory=dict, init=False)

    def __post_init__(self):
        check_stages(self.request, self.branches, self.parents)

    @property
    def prompt(self) -> str:
        """The one prompt."""
        return self.request.prompts[0]

    @cached_property
    def scene(self) -> Request | None:
        """The prompt as a caption of scenes, if the pictures can be read exactly; else None."""
        if self.backend.latent_shape[-1] * self.backend.pipeline.vae_scale_factor != SCENES_SIDE:
            return None
        try:
            return parse(self.prompt)
        except GrammarError:
            return None

    @property
    def seeds(self) -> tuple[int, ...]:
        """The request's first seeds, as many as have trajectories that fit in `memory` together;
        at least two.
        """
        per_seed = sum(
            trajectory_bytes(self.backend.latent_shape, len(facts.times) - 1, 1)
            for facts in self.models.values()
        )
        return self.request.seeds[: max(self.memory // (per_seed or 1), 2)]

    @property
    def tasks(self) -> list[Task]:
        """All tasks, in order; only the recordings until the first `run` has opened the models."""
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
        """The noise levels at which two models can be swapped: the times of the one with fewer
        steps.
        """
        return min((self.models[name].times for name in (first, then)), key=len)

    @property
    def unfinished(self) -> list[str]:
        """A line per seed, model and task that is not done, with the reason of a failure."""
        dropped = self.request.seeds[len(self.seeds) :]
        limit = f"the trajectories would take more than {self.memory / 2**30:.1f} GiB"
        lines = [f"seeds {', '.join(map(str, dropped))}: {limit}"] if dropped else []
        lines += [f"{task}: {reason}" for task, reason in self.failures.items()]
        lines += [
            f"branching and swaps of {name}: {reason}"
            for name, reason in self.unopened.items()
            if name in self.trajectories
        ]
        open_tasks = [
            task for task in self.tasks if task not in self.results and task not in self.failures
        ]
        for kind in (Record, Branch, Swap):
            same = [str(task) for task in open_tasks if isinstance(task, kind)]
            if len(same) >= 4:
                same = [f"{', '.join(same[:2])} and {len(same) - 2} more like these"]
            lines += same
        return lines

    def run(self) -> Iterator[Progress | Task]:
        """Runs the unfinished tasks; yields each task when it is done or has failed, and the
        progress in between.
        """
        self._open_all()
        tasks, self.failures = self.tasks, {}
        costs = {task: self._cost(task) for task in tasks}
        total = sum(costs.values()) or 1.0
        done = sum(cost for task, cost in costs.items() if task in self.results)
        for task in tasks:
            if task in self.results:
                continue
            # without its recordings a task is skipped: the failed recording says why
            if all(Record(name) in self.results for name in task.needs):
                try:
                    for share in self._do(task):
                        yield Progress((done + costs[task] * share) / total)
                except Exception as error:  # any: the results stay, and the other tasks run
                    self.failures[task] = reason_of(error)
                yield task
            done += costs[task]
            yield Progress(min(done / total, 1.0))

    def _open_all(self) -> None:
        """Reads the facts of each model."""
        self.unopened = {}
        for name in self.request.models:
            try:
                model = self.open_model(name)
                facts = Facts(model.times, model.evaluations, model_settings(model, self.backend))
                known = self.origin.get("models", {})
                self.origin = made_with(self.backend, [])
                self.origin["models"] = known | {name: how_opened(model, self.backend)}
                self.models.setdefault(name, facts)
            except Exception as error:  # any: the other models are worth having
                self.unopened[name] = reason_of(error)
                self.models.pop(name, None)
        self.models = {
            name: self.models[name] for name in self.request.models if name in self.models
        }

    def _open(self, name: str) -> Model:
        """The model. Raises ValueError if it is not the same as at first: a run may have trained
        on.
        """
        if name in self.unopened:
            raise ValueError(self.unopened[name])
        model = self.open_model(name)
        if model_settings(model, self.backend) != self.models[name].settings:
            raise ValueError(f"{name} has changed since this began: start again")
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
        earlier = [*self.trajectories.values(), *self.existing]
        batches = [one for one in earlier if self._fits(one, name)][:1]
        missing = self.seeds[len(batches[0].seeds) if batches else 0 :]
        if missing:
            for event in record(self._open(name), self.backend, self.prompt, missing):
                if isinstance(event, Trajectory):
                    batches.append(event)
                    self.trajectories[name] = Trajectory.cat(batches)
                else:
                    yield event / 2
        self.trajectories[name] = trajectory = Trajectory.cat(batches)
        self.pictures[name] = pictures = TrajectoryImages(trajectory, self.backend.decode)
        for index in range(len(trajectory) + 1):
            pictures[index]
            yield 0.5 + index / len(trajectory) / 2
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
            displacement(trajectory.x_t),
            factors,
        )

    def _fits(self, one: Trajectory, name: str) -> bool:
        """Whether a trajectory starts with the requested seeds; one of a model that does not open
        may have any settings.
        """
        return (
            one.model == name
            and one.prompt == self.prompt
            and one.seeds == self.seeds[: len(one.seeds)]
            and tuple(one.x0.shape[2:]) == tuple(self.backend.latent_shape)
            and (name in self.unopened or one.settings == self.models[name].settings)
        )

    def _branch(self, task: Branch) -> Iterator[float]:
        parents = self.trajectories[task.model].first(self.parents)
        count, features, reader = len(parents.seeds) * self.branches, [], self.feature()
        for latents in branched(
            self._open(task.model), self.backend, parents, task.step, self.branches
        ):
            features.append(reader.features(self.backend.decode(latents)).cpu())
            yield sum(map(len, features)) / count
        self.results[task] = variance_split(
            F.normalize(torch.cat(features).double(), dim=-1).unflatten(0, (-1, self.branches))
        )

    def _swap(self, task: Swap) -> Iterator[float]:
        levels = self.levels(task.first, task.then)
        if alone := task.alone(len(levels)):
            latents = [self.trajectories[alone].x_t[-1].float()]  # recorded already
        else:
            latents = swapped(self._open, task, levels, self.backend, self.prompt, self.seeds)
        batches, features, reader = [], [], self.feature()
        for part in latents:
            whole = self.backend.decode(part)
            # read at full size, as everywhere: the pictures that are kept may be smaller
            features.append(reader.features(whole).cpu())
            batches.append(eight_bit(downsampled(whole, PICTURE_SIDE)).float() / 255)
            yield sum(map(len, batches)) / len(self.seeds)
        images = torch.cat(batches)
        correct = None
        if self.scene:
            correct = sum(satisfies(seen, self.scene) for seen in detect(images)) / len(images)
        self.results[task] = Mixed(images, seed_interval(torch.cat(features)), correct)

    def _cost(self, task: Task) -> float:
        """In network evaluations of one image."""
        if isinstance(task, Record):
            facts = self.models.get(task.model)
            if not facts:
                return DECODING
            return len(self.seeds) * (facts.evaluations + DECODING * len(facts.times))
        if isinstance(task, Branch):
            facts = self.models[task.model]
            share = 1 - task.step / (len(facts.times) - 1)
            images = min(self.parents, len(self.seeds)) * self.branches
            return images * (facts.evaluations * share + DECODING)
        share = task.step / (len(self.levels(task.first, task.then)) - 1)
        first, then = (self.models[name].evaluations for name in (task.first, task.then))
        return len(self.seeds) * (share * first + (1 - share) * then + DECODING) * (0 < share < 1)


def save_trajectories(trajectories: dict[str, Trajectory], folder: Path) -> None:
    """Writes trajectories/MODEL.safetensors for each. If the folder holds others, of a model in
    another state or of further models, these and their report are kept in earlier/DIGEST. Raises
    ValueError, and writes nothing, if it holds those of another prompt.
    """
    files = {}
    for name, trajectory in trajectories.items():
        plain = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)
        stem = plain = plain.strip("-")
        for n in itertools.count(2):
            if stem not in files:
                break
            stem = f"{plain}-{n}"
        files[stem] = trajectory
    check_folder(folder, {trajectory.prompt for trajectory in files.values()})
    _keep_others(trajectories, folder)
    (folder / "trajectories").mkdir(parents=True, exist_ok=True)
    for stem, trajectory in files.items():
        trajectory.save(folder / "trajectories" / f"{stem}.safetensors")


def _keep_others(trajectories: dict[str, Trajectory], folder: Path) -> None:
    saved = {one.model: one.settings for one in saved_trajectories(folder)}
    if all(name in trajectories and trajectories[name].settings == saved[name] for name in saved):
        return
    names = [path.name for path in folder.iterdir() if path.suffix in (".html", ".json")]
    keep_earlier(folder, short_digest(saved), [*names, "trajectories"])


def saved_trajectories(folder: Path) -> list[Trajectory]:
    """The trajectories that `save_trajectories` wrote to a folder; none if there are none. Raises
    ValueError for a file that is no trajectory.
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


def as_recorded(
    open_model: ModelLoader, existing: list[Trajectory], backend: PipelineBackend
) -> ModelLoader:
    """Opens models as `open_model` does. Raises ValueError for a model that differs from the one
    that a trajectory of its name was recorded with.
    """

    def opened(name: str) -> Model:
        model = open_model(name)
        now = model_settings(model, backend)
        for one in existing:
            if one.model == name and one.settings != now:
                raise ValueError(
                    f"{name} is another model, or sampled differently, than when this was recorded "
                    f"({', '.join(differences(one.settings, now))})"
                )
        return model

    return opened


def branch_steps(steps: int) -> list[int]:
    """The steps after which a pass is branched: all of a short one; some of a long one, closest at
    its beginning.
    """
    if steps <= BRANCH_POINTS:
        return list(range(steps))
    return sorted({round(steps * (n / BRANCH_POINTS) ** 2) for n in range(BRANCH_POINTS)} | {1})
