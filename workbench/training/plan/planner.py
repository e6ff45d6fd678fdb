r"""The memory, operations and network evaluations that a recipe needs, by part and round; from the
network on the meta device.

One evaluation is metered, with its backward pass, as the trainer makes it (`trainable_copy` or an
adapter on a `SharedBase`, its denoiser, autocast). The phases follow by a formula, because a
roll-out is N evaluations of one kind:

    K   bytes a graph keeps between forward and backward pass (activations, bf16 copies of fp32
        weights)
    B   most bytes of one evaluation and its backward pass that makes the gradients
    B'  the same if the gradients exist before
    T   most bytes of the teacher's evaluation without gradients, both branches of its guidance

    student phase     max( (N-1) K + B,  (N-2) K + B',  N K + T )
                      N graphs: also step 1's lives, for the diversity loss
    fake phase        B
                      its roll-out keeps nothing and needs less
    reading           one image is decoded
    optimizer step    4 bytes per trained parameter, AdamW on a GPU 8
                      gradients, and a square root of all of v; no graph

With micro-batches the gradients exist before: B' replaces B, N stays. Weights and optimizer states
are added to each phase (with `offload` the states only to the optimizer step, and one network's at
a time). DMD-GAN adds one graph to the student's phase and two to the fake's. Not covered: the graph
of DMD-LPIPS' decoder and features, the exchange between processes, the allocator's fragmentation
(`HEADROOM` allows for it), text encoders offloaded from a crowded GPU, and gradients that a frozen
critic spares.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import nn

from workbench.core.denoiser import Denoiser
from workbench.core.methods import METHODS
from workbench.core.recipe import Recipe
from workbench.core.schedules import FlowSchedule, VPSchedule
from workbench.models.backends.lora import SharedBase
from workbench.models.backends.networks import bare, trainable_copy
from workbench.models.backends.sd3 import SD3Denoiser
from workbench.models.backends.sdxl import SDXLDenoiser
from workbench.training.plan.architectures import Architecture, architecture
from workbench.training.plan.gpus import HEADROOM, Gpu
from workbench.training.plan.meter import MemoryMeter, MeteredAutocast, checkpoint_blocks


@dataclass(frozen=True)
class Cost:
    """K, B, B' and T of the module's formula in bytes, and the operations of an evaluation of the
    trained network, of its backward pass (with checkpointing it evaluates the blocks again) and of
    an unguided evaluation of the teacher.
    """

    kept: int
    first: int
    later: int
    guided: int
    forward: int
    backward: int
    teacher: int


@dataclass(frozen=True)
class Plan:
    """`parts` and `phases` are bytes; a phase needs its bytes in addition to all parts, and the
    largest phase makes the peak.
    """

    recipe: Recipe
    resolution: int
    parameters: dict[str, int]
    parts: dict[str, int]
    phases: dict[str, int]
    evaluations: dict[str, dict[str, int]]
    flops: int  # per round, whole batch

    @property
    def peak(self) -> int:
        """The most bytes at any time."""
        return sum(self.parts.values()) + max(self.phases.values())

    def fits(self, memory: float) -> bool:
        """Whether the peak leaves a GPU of `memory` GiB its headroom."""
        return self.peak <= (1 - HEADROOM) * memory * 2**30

    def hours(self, gpu: Gpu, utilisation: float) -> float:
        """An estimate: the operations over the GPU's rate at `utilisation` of its peak."""
        return self.flops * self.recipe.rounds / (gpu.tflops * 1e12 * utilisation) / 3600


def plan(recipe: Recipe, device: str = "cuda") -> Plan:
    """The needs of `recipe` in one process on a `device`, cuda or cpu.

    A teacher that predicts eps is planned with the denoised anchor, the only one it takes. Raises
    ValueError for an unknown teacher or resolution.
    """
    built = architecture(recipe.teacher)
    recipe = recipe if built.flow else replace(recipe, anchor="denoised")
    shape = built.latent_shape(recipe.resolution or None)
    parameters, parts = _standing(recipe, device)
    setup = _Setup(
        recipe.teacher,
        recipe.lora,
        recipe.checkpointing,
        shape,
        recipe.batch // recipe.accumulate,
        recipe.guidance != 1,
        recipe.precision,
        device,
    )
    cost = _cost(setup)
    counted = evaluations(recipe)
    phases = _phases(recipe, cost, parameters["trained"], device)
    if recipe.sample_every:
        phases["reading"] = _decoding(recipe.teacher, shape, loaded_dtype(device, recipe.precision))
    return Plan(
        recipe,
        shape[-1] * built.vae_scale_factor,
        parameters,
        parts,
        phases,
        counted,
        _flops(recipe, cost, counted),
    )


def evaluations(recipe: Recipe) -> dict[str, dict[str, int]]:
    """Network evaluations for one sample of a fake and of a student update, by network; `backward`
    counts the backward passes. A guided evaluation of the teacher is two.
    """
    guided, method = 1 if recipe.guidance == 1 else 2, METHODS[recipe.method]
    of_fake, of_student = method.fake_extra(recipe), method.student_extra(recipe)
    fake = {
        "teacher": guided * of_fake.teacher,
        "student": recipe.student_steps,
        "fake": 1 + of_fake.fake,
        "backward": 1 + of_fake.fake,
    }
    student = {
        "teacher": guided * (1 + of_student.teacher),
        "student": recipe.student_steps,
        "fake": 1 + of_student.fake,
        "backward": recipe.student_steps + of_student.fake,
    }
    return {"fake": fake, "student": student}


def settings_to_fit(recipe: Recipe, memory: float) -> dict | None:
    """The smallest set of settings that makes `recipe` fit a GPU of `memory` GiB: {} if it fits
    already, None if no set helps.

    Among sets of equal size the first in this order: text encoders freed, checkpointing, 8-bit
    states, states offloaded, single samples. Adapters change the training itself, so they are
    offered only if nothing else helps.
    """
    candidates = {
        "embeddings": recipe.embeddings or "embeddings",
        "checkpointing": True,
        "optimizer": "adamw8bit",
        "offload": True,
        "accumulate": recipe.batch,
    }
    changes = {name: value for name, value in candidates.items() if getattr(recipe, name) != value}
    for adapters in ({}, {"lora": 64}) if not recipe.lora else ({},):
        for count in range(len(changes) + 1):
            for names in combinations(changes, count):
                chosen = {name: changes[name] for name in names} | adapters
                tried = replace(recipe, **chosen)
                # quick to know; the whole plan takes seconds
                standing = sum(_standing(tried, "cuda")[1].values())
                if standing < memory * 2**30 and plan(tried).fits(memory):
                    return chosen
    return None


def _standing(recipe: Recipe, device: str) -> tuple[dict[str, int], dict[str, int]]:
    """Parameters by network, and the bytes that live through all phases. Adapters are fp32 on the
    teacher's network.
    """
    dtype = loaded_dtype(device, recipe.precision)
    teacher, trained = _networks(recipe.teacher, recipe.lora, dtype)
    other = _other_parts(recipe.teacher, dtype)
    count, weights = sum(p.numel() for p in trained.parameters()), size(trained)
    base = size(teacher) - (weights if recipe.lora else 0)  # which carries the adapter
    parts = {
        "teacher": base,
        "student": weights,
        "fake": weights,
        "weight average": weights if recipe.ema else 0,
        "optimizer states": 2 * _states(recipe, count) * (not recipe.offload),
        "text encoders": 0 if recipe.embeddings else other["text encoders"],
        "autoencoder": other["autoencoder"],
    }
    whole = sum(p.numel() for p in teacher.parameters()) - (count if recipe.lora else 0)
    return {"teacher": whole, "trained": count}, {
        name: value for name, value in parts.items() if value
    }


def _states(recipe: Recipe, count: int) -> int:
    """Bytes of one network's moments m and v; 8-bit ones share two fp32 scales among 256."""
    return int(count * {"adamw": 8, "adamw8bit": 2 + 8 / 256}[recipe.optimizer])


@functools.cache
def _other_parts(teacher: str, dtype: torch.dtype) -> dict[str, int]:
    """Bytes of the parts that are loaded with the network, in its precision."""
    built = architecture(teacher)
    share = dtype.itemsize / 4
    return {
        "text encoders": int(sum(map(size, built.text_encoders())) * share),
        "autoencoder": int(size(built.part("vae")) * share),
    }


def loaded_dtype(device: str, precision: str) -> torch.dtype:
    """The precision of loaded parts, as `workbench.models.loading.load_backend` chooses it; fp16
    has the size of bf16 and is counted as such.
    """
    return torch.bfloat16 if device == "cuda" and precision != "fp32" else torch.float32


@functools.cache
def _decoding(teacher: str, shape: tuple[int, int, int], dtype: torch.dtype) -> int:
    """The most bytes of decoding one image."""
    vae = architecture(teacher).part("vae").type(dtype).requires_grad_(False)
    with torch.no_grad(), MemoryMeter(vae) as meter:
        vae.decode(torch.empty(1, *shape, dtype=dtype, device="meta"), return_dict=False)
    return meter.peak


def _phases(recipe: Recipe, cost: Cost, trained: int, device: str) -> dict[str, int]:
    """The module's formula: bytes of each phase."""
    method = METHODS[recipe.method]
    graphs = recipe.student_steps + method.student_extra(recipe).fake
    gradients, accumulates = 4 * trained, recipe.accumulate > 1
    evaluation = cost.later if accumulates else cost.first
    student = max(
        (graphs - 1) * cost.kept + evaluation,
        (graphs - 2) * cost.kept + cost.later if graphs > 1 else 0,
        graphs * cost.kept + cost.guided + (gradients if accumulates else 0),
    )
    step = gradients
    if recipe.optimizer == "adamw" and device == "cuda":
        step += gradients  # foreach takes all square roots together
    if recipe.offload:
        step += _states(recipe, trained)
    phases = {"student phase": student, "optimizer step": step}
    if recipe.fake_updates_per_round:
        phases["fake phase"] = evaluation + method.fake_extra(recipe).fake * cost.kept
    return phases


def _flops(recipe: Recipe, cost: Cost, counted: dict[str, dict[str, int]]) -> int:
    """Operations per round."""
    fake, student = (
        part["teacher"] * cost.teacher
        + (part["student"] + part["fake"]) * cost.forward
        + part["backward"] * cost.backward
        for part in (counted["fake"], counted["student"])
    )
    return recipe.accumulate * (recipe.fake_updates_per_round * fake + student)


@functools.cache
def _networks(teacher: str, lora: int, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    """The teacher's network and a trained one, as `load_backend` and `new_network` make them, on
    the meta device.
    """
    network = architecture(teacher).network().eval().requires_grad_(False).type(dtype)
    with torch.device("meta"):
        return network, SharedBase(network).new(lora) if lora else trainable_copy(network)


@dataclass(frozen=True)
class _Setup:
    """The settings that the cost of an evaluation depends on."""

    teacher: str
    lora: int
    checkpointing: bool
    shape: tuple[int, int, int]
    batch: int
    guided: bool
    precision: str
    device: str


@functools.cache
def _cost(setup: _Setup) -> Cost:
    built, shape, batch, guided = (
        architecture(setup.teacher),
        setup.shape,
        setup.batch,
        setup.guided,
    )
    dtype, half = loaded_dtype(setup.device, setup.precision), setup.precision != "fp32"
    network, trained = _networks(setup.teacher, setup.lora, dtype)
    bare(trained).disable_gradient_checkpointing()
    if setup.checkpointing:
        checkpoint_blocks(bare(trained), setup.device, half)
    arithmetic = functools.partial(MeteredAutocast, setup.device, half)
    run = functools.partial(_evaluate, built, _denoiser(built, trained, arithmetic), shape, batch)
    kept, first, forward, backward = evaluated(run, trained)
    later = evaluated(run, trained)[1]
    trained.zero_grad(set_to_none=True)
    with torch.no_grad(), MemoryMeter(network) as meter:
        _evaluate(built, _denoiser(built, network, arithmetic), shape, batch * (1 + guided))
    return Cost(kept, first, later, meter.peak, forward, backward, meter.flops // (1 + guided))


def evaluated(run: Callable[[], torch.Tensor], trained: nn.Module) -> tuple[int, int, int, int]:
    """K, B, and the operations forward and backward, of `run()` and its backward pass. Existing
    gradients of `trained` count in B.
    """
    existing = sum(p.grad.nbytes for p in trained.parameters() if p.grad is not None)
    with MemoryMeter(trained, bare(trained)) as meter:
        loss = run().square().mean()
        kept, forward = meter.live_bytes, meter.flops
        loss.backward()
    return kept, existing + meter.peak, forward, meter.flops - forward


def _evaluate(
    built: Architecture, denoiser: Denoiser, shape: tuple[int, int, int], batch: int
) -> torch.Tensor:
    x_t, t = torch.empty(batch, *shape, device="meta"), torch.empty(batch, device="meta")
    return denoiser(x_t, t, built.condition(batch)).raw


def _denoiser(
    built: Architecture, network: nn.Module, arithmetic: Callable[[], MeteredAutocast]
) -> Denoiser:
    if built.flow:
        return SD3Denoiser(network, FlowSchedule(1.0), arithmetic)
    return SDXLDenoiser(network, VPSchedule.scaled_linear(), arithmetic)


def size(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers."""
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
