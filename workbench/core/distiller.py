"""Algorithm 1: a teacher, a student and a fake network, trained in rounds and shown as a stream of
events.

One `round` is `fake_updates_per_round` fake updates, then one student update. Updates of the two
networks are counted apart, and every random draw is a function of (seed, stream, update, sample):
a resumed run goes on bit for bit, and a batch is the same for one process and for several.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from accelerate import Accelerator, DistributedType, PartialState
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from workbench.core import seeds
from workbench.core.deepspeed_learner import DeepSpeedLearner
from workbench.core.denoiser import Backend, Condition, Guided
from workbench.core.learner import Learner
from workbench.core.objectives import FakePass, Objective, StudentPass
from workbench.core.objectives.adversarial import Head
from workbench.core.objectives.score_matching import denoising_loss
from workbench.core.recipe import Recipe
from workbench.core.sampler import Renoise, Rollout, rollout, sampled
from workbench.core.seeds import draw_prompts

COUNTERS = ("rounds_done", "fake_updates", "student_updates")
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Step:
    """One update that happened: which network, its losses by term, its gradient norm before
    clipping, and its counters.
    """

    network: str  # "fake" or "student"
    round: int  # counts from 1
    update: int  # of this network, counts from 1
    losses: dict[str, float]
    grad_norm: float
    seconds: float


class DivergedError(RuntimeError):
    """A loss or gradient is NaN or infinite; the message names round, network and term."""


class Distiller:
    """Distils `backend`'s teacher by `objective`. `rounds()` yields a `Step` for each update; stop
    iterating to stop training.

    `rounds_done`, `fake_updates` and `student_updates` count what was done; `state_dict` holds all
    that a resume needs. A script of several processes ends with `accelerator.end_training()`.
    """

    def __init__(self, recipe: Recipe, backend: Backend, objective: Objective, prompts: list[str]):
        self.recipe, self.backend, self.objective, self.prompts = (
            recipe,
            backend,
            objective,
            prompts,
        )
        # precision is the recipe's, by an autocast around every evaluation of all three networks:
        # accelerate keeps one setting a process, and would leave the teacher out
        PartialState(
            cpu=backend.device.type == "cpu"
        )  # on a CPU, DeepSpeed needs to be told of the processes first
        self.accelerator = Accelerator(
            mixed_precision="no", device_placement=False
        )  # the networks are where the backend is
        self.autocast = functools.partial(_arithmetic, backend.device.type, recipe.precision)
        if recipe.batch % (recipe.accumulate * self.accelerator.num_processes):
            raise ValueError(
                f"batch = {recipe.batch} does not divide into accumulate = {recipe.accumulate} "
                "micro-batches on "
                f"{self.accelerator.num_processes} processes"
            )
        student, fake = (
            backend.new_network(recipe.lora, recipe.checkpointing == "on") for _ in range(2)
        )
        self.average = (
            backend.new_network(recipe.lora).requires_grad_(False) if recipe.ema else None
        )
        if recipe.compile == "on":
            for network in (student, fake, backend.network):
                backend.compile(network)
        kind = (
            DeepSpeedLearner
            if self.accelerator.distributed_type == DistributedType.DEEPSPEED
            else Learner
        )
        self.learners = {
            "student": kind(student, recipe.student_rate, recipe, self.accelerator),
            "fake": kind(fake, recipe.fake_rate, recipe, self.accelerator, self._new_head()),
        }
        self.student_network, self.fake_network = (
            learner.network for learner in self.learners.values()
        )
        self.student = backend.denoiser(self.student_network, self.autocast)
        self.fake = backend.denoiser(self.fake_network, self.autocast)
        self.teacher = Guided(
            backend.denoiser(backend.network, self.autocast), recipe.guidance, backend.encode([""])
        )
        self.student_times = backend.schedule.sampling_times(
            recipe.student_steps, recipe.student_grid
        )
        self.teacher_times = backend.schedule.sampling_times(recipe.teacher_steps, "diffusers")
        self.rounds_done = self.fake_updates = self.student_updates = 0

    def rounds(self, count: int | None = None) -> Iterator[Step]:
        """The updates of `count` more rounds (default: up to the recipe's)."""
        for _ in range(self.recipe.rounds - self.rounds_done if count is None else count):
            yield from self.round()

    def round(self) -> Iterator[Step]:
        """One round of Algorithm 1."""
        yield from self.fake_phase(self.recipe.fake_updates_per_round)
        yield self._update("student", self._student_loss)
        self.rounds_done += 1

    def fake_phase(self, updates: int) -> Iterator[Step]:
        """Updates of the fake network alone, on samples of the student as it is."""
        with self._teacher_away():
            for _ in range(updates):
                yield self._update("fake", self._fake_loss)

    @contextmanager
    def _teacher_away(self) -> Iterator[None]:
        """With `offload`, the teacher is in the computer's memory while nobody asks it (adapters
        are asked on top of it).
        """
        away = (
            self.recipe.offload == "on" and not self.recipe.lora and not self.objective.critic_terms
        )
        if away:
            self.backend.network.to("cpu")
        try:
            yield
        finally:
            if away:
                self.backend.network.to(self.backend.device)

    def _fake_loss(self, micro: MicroBatch) -> dict[str, tuple[float, Tensor]]:
        student = self.backend.denoiser(self.learners["student"].bare, self.autocast)
        x = sampled(student, micro.x1, micro.condition, self.student_times, renoise=micro.renoise)
        losses = {
            "denoising": (1.0, denoising_loss(self.fake, x, micro.noise, micro.t, micro.condition))
        }
        seen = FakePass(
            micro.x1,
            x,
            micro.condition,
            self.teacher,
            self.teacher_times,
            micro.t,
            micro.noise,
            self._logit,
        )
        return losses | {
            term.name: (term.weight, term.loss(seen)) for term in self.objective.critic_terms
        }

    def _student_loss(self, micro: MicroBatch) -> dict[str, tuple[float, Tensor]]:
        path = rollout(
            self.student,
            micro.x1,
            micro.condition,
            self.student_times,
            detach_after=self.objective.detach_after,
            renoise=micro.renoise,
        )
        seen = self.student_pass(micro, path)
        return {term.name: (term.weight, term.loss(seen)) for term in self.objective.terms}

    def student_pass(self, micro: MicroBatch, path: Rollout) -> StudentPass:
        """What the terms of a student update look at."""
        return StudentPass(
            micro.x1,
            micro.condition,
            path,
            self.teacher,
            self.fake,
            self.teacher_times,
            micro.t,
            micro.noise,
            self.backend.pixels,
            self._logit,
        )

    def _logit(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The head's logit [B]. The fake network is evaluated bare: only the denoising loss needs
        the outputs that its wrapper waits for.
        """
        fake = self.backend.denoiser(self.learners["fake"].bare, self.autocast)
        return self.learners["fake"].head(self.backend.features(fake, x_t, t, condition))

    def _new_head(self) -> nn.Module | None:
        """The adversarial head when the objective has one."""
        if not self.objective.critic_terms:
            return None
        with torch.random.fork_rng():
            torch.manual_seed(self.recipe.seed)
            return Head(self.backend.feature_width).to(self.backend.device)

    def _update(
        self, name: str, losses: Callable[[MicroBatch], dict[str, tuple[float, Tensor]]]
    ) -> Step:
        """One AdamW step of the network called `name`, over all micro-batches."""
        begun = time.perf_counter()
        learner, totals = self.learners[name], {}
        micros = self.draws(name, self.fake_updates if name == "fake" else self.student_updates)
        # the generator's loss passes through fake network and head; a student update leaves them no
        # gradients
        still = (
            self.learners["fake"].parameters
            if name == "student" and self.objective.critic_terms
            else []
        )
        for n, micro in enumerate(micros):
            arithmetic = attention(self.backend.device.type, self.recipe.precision)
            with learner.micro_batch(last=n == len(micros) - 1), _frozen(still), arithmetic:
                terms = losses(micro)
                learner.backward(
                    sum(weight * loss for weight, loss in terms.values()) / len(micros)
                )
            for term, (_, loss) in terms.items():
                totals[term] = totals.get(term, 0) + loss.detach() / len(micros)
        totals = {
            term: self.accelerator.reduce(loss, "mean").item() for term, loss in totals.items()
        }
        self._check(name, [term for term, loss in totals.items() if not math.isfinite(loss)])
        norm = learner.clipped()
        self._check(name, [] if math.isfinite(norm) or learner.skips(norm) else ["gradient norm"])
        learner.step()
        if name == "fake":
            self.fake_updates += 1
        else:
            self.student_updates += 1
            if self.average is not None:
                self._average_in()
        update = self.fake_updates if name == "fake" else self.student_updates
        return Step(name, self.rounds_done + 1, update, totals, norm, time.perf_counter() - begun)

    def draws(self, name: str, update: int) -> list[MicroBatch]:
        """This process's share of the batch of an update of `name`, counted from 0; one entry a
        micro-batch.
        """
        recipe, device = self.recipe, self.backend.device
        size = recipe.batch // (self.accelerator.num_processes * recipe.accumulate)
        start = self.accelerator.process_index * size * recipe.accumulate
        result = []
        for first in range(start, start + size * recipe.accumulate, size):
            samples = range(first, first + size)
            condition = self.backend.encode(
                draw_prompts(self.prompts, recipe.seed, name, update, samples)
            )
            x1, noise = (
                seeds.noise(
                    self.backend.latent_shape, recipe.seed, f"{name} {part}", update, samples
                ).to(device)
                for part in ("x1", "noise")
            )
            result.append(
                MicroBatch(
                    x1,
                    condition,
                    self._times(name, update, samples).to(device),
                    noise,
                    self._renoise(name, update, samples),
                )
            )
        return result

    def _renoise(self, name: str, update: int, samples: range) -> Renoise | None:
        if self.recipe.student_sampler == "ode":
            return None
        return lambda index: seeds.noise(
            self.backend.latent_shape, self.recipe.seed, f"{name} renoise {index}", update, samples
        )

    def _times(self, name: str, update: int, samples: range) -> Tensor:
        draw = self.backend.schedule.draw_times
        if self.recipe.times == "per_batch":
            return draw(1, seeds.stream(self.recipe.seed, f"{name} t", update)).expand(len(samples))
        return torch.cat(
            [draw(1, seeds.stream(self.recipe.seed, f"{name} t", update, i)) for i in samples]
        )

    def _check(self, name: str, wrong: list[str]) -> None:
        if wrong:
            self.learners[name].forget()
            raise DivergedError(
                f"round {self.rounds_done + 1}: the {name} network's {' and '.join(wrong)} is not "
                "finite. Lower its "
                "learning rate, or use precision fp32; go on from the last checkpoint."
            )

    @torch.no_grad()
    def _average_in(self) -> None:
        """The average, whole on every process, starts as the first update's student."""
        decay = self.recipe.ema if self.student_updates > 1 else 0.0
        for average, parameter in zip(
            self.average.parameters(), self.learners["student"].bare.parameters()
        ):
            average.lerp_(
                parameter.full_tensor() if isinstance(parameter, DTensor) else parameter, 1 - decay
            )

    def result(self) -> nn.Module:
        """The network to save as the student: its weight average when the recipe keeps one."""
        return self.average if self.average is not None else self.learners["student"].bare

    def state_dict(self) -> dict:
        """All that a resume needs; every process has to ask, and the first one's is whole."""
        return {name: learner.state() for name, learner in self.learners.items()} | {
            "average": self.average.state_dict() if self.average is not None else None,
            "counters": {name: getattr(self, name) for name in COUNTERS},
        }

    def load_state_dict(self, state: dict) -> None:
        for name, learner in self.learners.items():
            learner.load(state[name])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        for name in COUNTERS:
            setattr(self, name, state["counters"][name])


@dataclass(frozen=True)
class MicroBatch:
    """The draws of one micro-batch: initial noise, prompts' condition, training time, the noise
    put on the sample, and those between the student's steps.
    """

    x1: Tensor
    condition: Condition
    t: Tensor
    noise: Tensor
    renoise: Renoise | None


@contextmanager
def _arithmetic(device: str, precision: str) -> Iterator[None]:
    """The arithmetic of every network evaluation. On a CPU, bf16 goes with plain attention: the
    backward of its flash attention is seven times slower (measured with torch 2.13).
    """
    with (
        torch.autocast(device, HALF.get(precision), enabled=precision in HALF),
        attention(device, precision),
    ):
        yield


def attention(device: str, precision: str) -> AbstractContextManager:
    """Which attention: also around backward passes, in which checkpointing evaluates blocks again
    and looks for the same tensors.
    """
    return (
        sdpa_kernel(SDPBackend.MATH) if precision == "bf16" and device == "cpu" else nullcontext()
    )


@contextmanager
def _frozen(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Evaluations and backward passes inside leave the parameters no gradients."""
    learning = [p for p in parameters if p.requires_grad]
    for p in learning:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in learning:
            p.requires_grad_(True)
