"""Algorithm 1: a teacher, a student and a fake network, trained in rounds and shown as a stream of
events.

One `round` is `fake_updates_per_round` fake updates, then one student update. Updates of the two
networks are counted apart, and every random draw is a function of (seed, stream, update, sample):
a resumed run continues bit for bit, and a batch is the same for one process and for several.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator, DistributedType, PartialState
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from workbench.core.denoiser import Backend, Condition, Guided
from workbench.core.draws import MicroBatch, draw_batch
from workbench.core.learner import Learner, largest
from workbench.core.learners.deepspeed_learner import DeepSpeedLearner
from workbench.core.learners.torch_learner import TorchLearner
from workbench.core.methods import no_step_left
from workbench.core.objectives import FakePass, Objective, StudentPass
from workbench.core.objectives.adversarial import Head
from workbench.core.objectives.score_matching import denoising_loss
from workbench.core.recipe import Recipe
from workbench.core.sampler import Rollout, rollout, sampled

COUNTERS = ("rounds_done", "fake_updates", "student_updates")
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}

Losses = dict[str, tuple[float, Tensor]]  # by term: its weight and its unweighted loss []


@dataclass(frozen=True)
class Step:
    """One update: its network, its losses by term, its gradient norm before clipping, and its
    counters.
    """

    network: str  # "fake" or "student"
    round: int  # counts from 1
    update: int  # of this network, counts from 1
    losses: dict[str, float]
    grad_norm: float
    seconds: float


class DivergedError(RuntimeError):
    """A loss, gradient or weight is NaN or infinite; the message names round, network, term, and
    the learning rate that is probably too high. `remedy` is a lower one, as SETTING=VALUE.
    """

    def __init__(self, message: str, remedy: str = ""):
        super().__init__(message)
        self.remedy = remedy


def lower_rate(recipe: Recipe, name: str) -> str:
    """A learning rate of the network called `name` below the recipe's, as SETTING=VALUE."""
    rate = getattr(recipe, f"{name}_rate")
    return f"{name}_rate={rate / 10 if rate < 1e-2 else 1e-5:g}"


class Distiller:
    """Distils `backend`'s teacher by `objective`. `rounds()` yields a `Step` for each update; stop
    iterating to stop training.

    `rounds_done`, `fake_updates` and `student_updates` are the counters; `state_dict` holds all
    that a resume needs. A script of several processes ends with `accelerator.end_training()`.
    """

    def __init__(self, recipe: Recipe, backend: Backend, objective: Objective, prompts: list[str]):
        self.recipe, self.backend = recipe, backend
        self.objective, self.prompts = objective, prompts
        # on a CPU, DeepSpeed needs to know the processes first
        PartialState(cpu=backend.device.type == "cpu")
        # Precision is the recipe's, by an autocast around every evaluation of all three networks:
        # accelerate keeps one setting per process, and would leave the teacher out. The networks
        # are on the backend's device already.
        self.accelerator = Accelerator(mixed_precision="no", device_placement=False)
        self.autocast = functools.partial(_arithmetic, backend.device.type, recipe.precision)
        processes = self.accelerator.num_processes
        if recipe.batch % (recipe.accumulate * processes):
            raise ValueError(
                f"batch = {recipe.batch} does not divide into accumulate = {recipe.accumulate} "
                f"micro-batches on {processes} processes"
            )
        student, fake, self.average = self._networks()
        self.learners = self._learners(student, fake)
        self.student = backend.denoiser(self.learners["student"].network, self.autocast)
        self.fake = backend.denoiser(self.learners["fake"].network, self.autocast)
        self.teacher = Guided(
            backend.denoiser(backend.network, self.autocast), recipe.guidance, backend.encode([""])
        )
        self.student_times = backend.schedule.sampling_times(
            recipe.student_steps, recipe.student_grid
        )
        self.teacher_times = backend.schedule.sampling_times(recipe.teacher_steps, "diffusers")
        self.rounds_done = self.fake_updates = self.student_updates = 0

    def _networks(self) -> tuple[nn.Module, nn.Module, nn.Module | None]:
        """Student, fake network and, when the recipe keeps one, the student's weight average."""
        recipe, backend = self.recipe, self.backend
        student, fake = (backend.new_network(recipe.lora, recipe.checkpointing) for _ in range(2))
        average = backend.new_network(recipe.lora).requires_grad_(False) if recipe.ema else None
        if recipe.compile:
            for network in (student, fake, backend.network):
                backend.compile(network)
        return student, fake, average

    def _learners(self, student: nn.Module, fake: nn.Module) -> dict[str, Learner]:
        recipe, accelerator = self.recipe, self.accelerator
        deepspeed = accelerator.distributed_type == DistributedType.DEEPSPEED
        learner = DeepSpeedLearner if deepspeed else TorchLearner
        return {
            "student": learner(student, recipe.student_rate, recipe, accelerator),
            "fake": learner(fake, recipe.fake_rate, recipe, accelerator, self._new_head()),
        }

    def rounds(self, count: int | None = None) -> Iterator[Step]:
        """The updates of `count` more rounds (default: up to the recipe's)."""
        for _ in range(self.recipe.rounds - self.rounds_done if count is None else count):
            yield from self.round()

    def round(self) -> Iterator[Step]:
        """One round of Algorithm 1. Raises ValueError for an objective that stops the gradient
        behind the student's last step.
        """
        if self.objective.detach_after >= self.recipe.student_steps:
            raise ValueError(no_step_left(self.objective.detach_after))
        yield from self.fake_phase(self.recipe.fake_updates_per_round)
        yield self._update("student", self._student_loss)
        self.rounds_done += 1

    def fake_phase(self, updates: int) -> Iterator[Step]:
        """Updates of the fake network only, on samples of the present student."""
        with self._teacher_away():
            for _ in range(updates):
                yield self._update("fake", self._fake_loss)

    @contextmanager
    def _teacher_away(self) -> Iterator[None]:
        """With `offload`, the teacher is in the computer's memory while it is not evaluated; one
        that carries adapters always is.
        """
        away = self.recipe.offload and not self.recipe.lora and not self.objective.critic_terms
        if away:
            self.backend.network.to("cpu")
        try:
            yield
        finally:
            if away:
                self.backend.network.to(self.backend.device)

    def _fake_loss(self, micro: MicroBatch) -> Losses:
        student = self.backend.denoiser(self.learners["student"].bare, self.autocast)
        x = sampled(student, micro.x1, micro.condition, self.student_times, renoise=micro.renoise)
        losses = {
            "denoising": (
                1.0,
                denoising_loss(self.fake, x, micro.noise, t=micro.t, condition=micro.condition),
            )
        }
        batch = FakePass(
            micro.x1,
            x,
            micro.condition,
            teacher=self.teacher,
            teacher_times=self.teacher_times,
            t=micro.t,
            noise=micro.noise,
            logit=self._logit,
        )
        return losses | {
            term.name: (term.weight, term.loss(batch)) for term in self.objective.critic_terms
        }

    def _student_loss(self, micro: MicroBatch) -> Losses:
        path = rollout(
            self.student,
            micro.x1,
            micro.condition,
            self.student_times,
            detach_after=self.objective.detach_after,
            renoise=micro.renoise,
        )
        batch = self.student_pass(micro, path)
        return {term.name: (term.weight, term.loss(batch)) for term in self.objective.terms}

    def student_pass(self, micro: MicroBatch, path: Rollout) -> StudentPass:
        """The input of a student update's terms: a micro-batch and the student's pass from it."""
        return StudentPass(
            micro.x1,
            micro.condition,
            path,
            teacher=self.teacher,
            fake=self.fake,
            teacher_times=self.teacher_times,
            t=micro.t,
            noise=micro.noise,
            pixels=self.backend.pixels,
            logit=self._logit,
        )

    def _logit(self, x_t: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        """The head's logit [B] at x_t [B, ...], t [B]. The fake network is evaluated bare: only the
        denoising loss needs the outputs that its wrapper waits for.
        """
        learner = self.learners["fake"]
        if learner.head is None:
            raise ValueError("an objective without critic_terms has no head: give it some")
        fake = self.backend.denoiser(learner.bare, self.autocast)
        return learner.head(self.backend.features(fake, x_t, t, condition))

    def _new_head(self) -> nn.Module | None:
        """The adversarial head when the objective has one."""
        if not self.objective.critic_terms:
            return None
        with torch.random.fork_rng():
            torch.manual_seed(self.recipe.seed)
            return Head(self.backend.feature_width).to(self.backend.device)

    def _update(self, name: str, losses: Callable[[MicroBatch], Losses]) -> Step:
        """One step of the network called `name`, over all micro-batches."""
        begun = time.perf_counter()
        learner = self.learners[name]
        update = self.fake_updates if name == "fake" else self.student_updates
        totals = self._gradients(name, losses, self.draws(name, update))
        self._check(name, [term for term, loss in totals.items() if not math.isfinite(loss)])
        try:
            norm = learner.update()
        except FloatingPointError as error:
            raise self.diverged(name, str(error)) from None
        if name == "fake":
            self.fake_updates += 1
        else:
            self.student_updates += 1
            self._average_in()
        seconds = time.perf_counter() - begun
        return Step(name, self.rounds_done + 1, update + 1, totals, norm, seconds)

    def _gradients(
        self, name: str, losses: Callable[[MicroBatch], Losses], micros: list[MicroBatch]
    ) -> dict[str, float]:
        """Adds the gradients of all micro-batches; the mean of each term's unweighted loss."""
        learner, sums = self.learners[name], {}
        # the generator's loss passes through fake network and head; a student update leaves them no
        # gradients
        critic = name == "student" and self.objective.critic_terms
        frozen = self.learners["fake"].parameters if critic else []
        for n, micro in enumerate(micros):
            arithmetic = attention(self.backend.device.type, self.recipe.precision)
            with learner.micro_batch(last=n == len(micros) - 1), _frozen(frozen), arithmetic:
                terms = losses(micro)
                total: Any = sum(weight * loss for weight, loss in terms.values())
                learner.backward(total / len(micros))
            for term, (_, loss) in terms.items():
                sums[term] = sums.get(term, 0) + loss.detach() / len(micros)
        means: dict[str, Any] = {
            term: self.accelerator.reduce(loss, "mean") for term, loss in sums.items()
        }
        return {term: mean.item() for term, mean in means.items()}

    def draws(self, name: str, update: int) -> list[MicroBatch]:
        """This process's share of the batch of an update of `name`, counted from 0; one entry per
        micro-batch.
        """
        return draw_batch(
            self.recipe,
            self.backend,
            self.prompts,
            name,
            update=update,
            process=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )

    @torch.no_grad()
    def check(self) -> None:
        """Evaluates student, fake network and teacher as the next updates will, on their first
        micro-batches; nothing changes. Must be called on every process.

        Raises:
            DivergedError: A term is not finite.
        """
        for name, losses in (("fake", self._fake_loss), ("student", self._student_loss)):
            update = self.fake_updates if name == "fake" else self.student_updates
            terms = losses(self.draws(name, update)[0])
            means: dict[str, Any] = {
                term: self.accelerator.reduce(loss, "mean") for term, (_, loss) in terms.items()
            }
            wrong = [term for term, mean in means.items() if not mean.isfinite()]
            self._check(name, wrong, f"after round {self.rounds_done}")

    def _check(self, name: str, wrong: list[str], when: str = "") -> None:
        if wrong:
            raise self.diverged(name, " and ".join(wrong), when)

    def diverged(self, name: str, what: str, when: str = "") -> DivergedError:
        """The error that `what` of the network called `name` is not finite, in this round or `when`
        else. It blames the network whose weights have grown most; of two that grew alike, `name`.
        Must be called on every process.
        """
        reach = {}
        for other, learner in self.learners.items():
            learner.forget()
            reach[other] = largest([parameter.detach() for parameter in learner.parameters])
        grown = {other: math.inf if math.isnan(value) else value for other, value in reach.items()}
        guilty = max(grown, key=lambda other: (grown[other], other == name))
        if grown[guilty] < 2 * min(grown.values()):
            guilty = name
        rate = getattr(self.recipe, f"{guilty}_rate")
        return DivergedError(
            f"{when or f'round {self.rounds_done + 1}'}: the {name} network's {what} is not "
            f"finite; the largest weight is {reach['student']:.3g} in the student and "
            f"{reach['fake']:.3g} in the fake network. {guilty}_rate = {rate:g} is probably too "
            f"high (or precision {self.recipe.precision} too coarse).",
            lower_rate(self.recipe, guilty),
        )

    @torch.no_grad()
    def _average_in(self) -> None:
        """Updates the student's weight average, which is whole on every process and starts as the
        first update's student.
        """
        if self.average is None:
            return
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
        """All that a resume needs, complete on the first process; call it on every process."""
        return {name: learner.state() for name, learner in self.learners.items()} | {
            "average": self.average.state_dict() if self.average is not None else None,
            "counters": {name: getattr(self, name) for name in COUNTERS},
        }

    def load_state_dict(self, state: dict) -> None:
        """Continues from a `state_dict`."""
        for name, learner in self.learners.items():
            learner.load(state[name])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        for name in COUNTERS:
            setattr(self, name, state["counters"][name])


@contextmanager
def _arithmetic(device: str, precision: str) -> Iterator[None]:
    """The arithmetic of every network evaluation. On a CPU, bf16 uses plain attention: the
    backward pass of its flash attention is seven times slower (measured with torch 2.13).
    """
    with (
        torch.autocast(device, HALF.get(precision), enabled=precision in HALF),
        attention(device, precision),
    ):
        yield


def attention(device: str, precision: str) -> AbstractContextManager:
    """The attention to use, also around backward passes, in which checkpointing evaluates blocks
    again and looks for the same tensors.
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
