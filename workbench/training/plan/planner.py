r"""What a recipe will need: memory by part, operations and network evaluations of a round; from
the network on the meta device.

One evaluation is metered, with its backward pass, as the trainer makes it (`trainable_copy` or an
adapter on a `SharedBase`, its denoiser, autocast). The phases follow by a formula, because a
roll-out is N evaluations of one kind:

    K   bytes a graph keeps between forward and backward pass (activations, bf16 copies of fp32 weights)
    B   most bytes of one evaluation and its backward pass, gradients made on the way;  B'  the same, gradients there before
    T   most bytes of the teacher's evaluation without gradients, both branches of its guidance

    student phase     max( (N-1) K + B,  (N-2) K + B',  N K + T )         N graphs: also step 1's lives, for the diversity loss
    fake phase        B                                                    its roll-out keeps nothing and needs less
    reading           one image is decoded
    optimizer step    4 bytes a trained parameter, AdamW on a GPU 8        gradients, and a square root of all of v; no graph

With micro-batches gradients are there before: B' replaces B, N stays. To each come weights and
optimizer states (with `offload` these only to the optimizer step, and one network's at a time).
DMD-GAN adds one graph to the student's phase and two to the fake's. Not covered: the graph of
DMD-LPIPS' decoder and features, what several processes exchange, the allocator's fragmentation
(`HEADROOM` allows for it), text encoders that rest on a crowded card, and gradients that a frozen
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
    trained network, of its backward pass (with checkpointing the blocks are evaluated again there)
    and of an unguided one of the teacher.
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
    """`parts` and `phases` are bytes; `phases` holds what each moment needs beside the parts, and
    the largest makes the peak.
    """

    recipe: Recipe
    resolution: int
    parameters: dict[str, int]
    parts: dict[str, int]
    phases: dict[str, int]
    evaluations: dict[str, dict[str, int]]
    flops: int  # of a round, whole batch

    @property
    def peak(self) -> int:
        return sum(self.parts.values()) + max(self.phases.values())

    def fits(self, memory: float) -> bool:
        """Whether the peak leaves a card of `memory` GiB its headroom."""
        return self.peak <= (1 - HEADROOM) * memory * 2**30

    def hours(self, card: Gpu, utilisation: float) -> float:
        """An estimate: operations over what the card does at `utilisation` of its peak."""
        return self.flops * self.recipe.rounds / (card.tflops * 1e12 * utilisation) / 3600


def plan(recipe: Recipe, device: str = "cuda") -> Plan:
    """What `recipe` needs in one process on a `device`, cuda or cpu.

    A teacher that predicts eps is planned with the denoised anchor, the only one it takes. Raises
    ValueError.
    """
    built = architecture(recipe.teacher)
    recipe = recipe if built.flow else replace(recipe, anchor="denoised")
    shape = built.latent_shape(recipe.resolution or None)
    parameters, parts = _standing(recipe, device)
    cost = _cost(
        recipe.teacher,
        recipe.lora,
        recipe.checkpointing,
        shape,
        recipe.batch // recipe.accumulate,
        recipe.guidance != 1,
        recipe.precision,
        device,
    )
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
    of them are gone back through.

    A guided evaluation of the teacher is two.
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
    """The smallest set of settings that makes `recipe` fit a card of `memory` GiB: {} as it is,
    None when no set does.

    Of equal size, the first by this order: text encoders freed, checkpointing, 8-bit states,
    states offloaded, single samples. Adapters change what is trained, so they are offered only
    when nothing else does.
    """
    offered = {
        "embeddings": recipe.embeddings or "embeddings",
        "checkpointing": True,
        "optimizer": "adamw8bit",
        "offload": True,
        "accumulate": recipe.batch,
    }
    changes = {name: value for name, value in offered.items() if getattr(recipe, name) != value}
    for adapters in ({}, {"lora": 64}) if not recipe.lora else ({},):
        for count in range(len(changes) + 1):
            for names in combinations(changes, count):
                chosen = {name: changes[name] for name in names} | adapters
                tried = replace(recipe, **chosen)
                standing = sum(
                    _standing(tried, "cuda")[1].values()
                )  # at once; the rest takes seconds
                if standing < memory * 2**30 and plan(tried).fits(memory):
                    return chosen
    return None


def _standing(recipe: Recipe, device: str) -> tuple[dict[str, int], dict[str, int]]:
    """Parameters by network, and the bytes that live through all phases. Adapters are fp32 on a
    base that is the teacher's.
    """
    dtype = loaded_dtype(device, recipe.precision)
    (teacher, trained), other = (
        _networks(recipe.teacher, recipe.lora, dtype),
        _other_parts(recipe.teacher, dtype),
    )
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
    """Bytes of what is loaded with the network, in its precision."""
    built = architecture(teacher)
    share = dtype.itemsize / 4
    return {
        "text encoders": int(sum(map(size, built.text_encoders())) * share),
        "autoencoder": int(size(built.part("vae")) * share),
    }


def loaded_dtype(device: str, precision: str) -> torch.dtype:
    """The precision of what is loaded, as `workbench.models.loading.load_backend` chooses it; a
    byte is a byte, so fp16 is counted as bf16.
    """
    return torch.bfloat16 if device == "cuda" and precision != "fp32" else torch.float32


@functools.cache
def _decoding(teacher: str, shape: tuple[int, int, int], dtype: torch.dtype) -> int:
    """Most bytes of decoding one image."""
    vae = architecture(teacher).part("vae").type(dtype).requires_grad_(False)
    with torch.no_grad(), MemoryMeter(vae) as meter:
        vae.decode(torch.empty(1, *shape, dtype=dtype, device="meta"), return_dict=False)
    return meter.peak


def _phases(recipe: Recipe, cost: Cost, trained: int, device: str) -> dict[str, int]:
    method, gradients = METHODS[recipe.method], 4 * trained
    before = cost.later if recipe.accumulate > 1 else cost.first
    graphs = recipe.student_steps + method.student_extra(recipe).fake
    student = max(
        (graphs - 1) * cost.kept + before,
        (graphs - 2) * cost.kept + cost.later if graphs > 1 else 0,
        graphs * cost.kept + cost.guided + (gradients if recipe.accumulate > 1 else 0),
    )
    step = gradients + (
        gradients if recipe.optimizer == "adamw" and device == "cuda" else 0
    )  # foreach takes all roots at once
    step += _states(recipe, trained) * recipe.offload
    phases = {"student phase": student, "optimizer step": step}
    return phases | (
        {"fake phase": before + method.fake_extra(recipe).fake * cost.kept}
        if recipe.fake_updates_per_round
        else {}
    )


def _flops(recipe: Recipe, cost: Cost, counted: dict[str, dict[str, int]]) -> int:
    """Operations of a round."""
    fake, student = (
        part["teacher"] * cost.teacher
        + (part["student"] + part["fake"]) * cost.forward
        + part["backward"] * cost.backward
        for part in (counted["fake"], counted["student"])
    )
    return recipe.accumulate * (recipe.fake_updates_per_round * fake + student)


@functools.cache
def _networks(teacher: str, lora: int, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    """The teacher's network and one that is trained from it, as `load_backend` and `new_network`
    make them, on the meta device.
    """
    network = architecture(teacher).network().eval().requires_grad_(False).type(dtype)
    with torch.device("meta"):
        return network, SharedBase(network).new(lora) if lora else trainable_copy(network)


@functools.cache
def _cost(
    teacher: str,
    lora: int,
    checkpointing: bool,
    shape: tuple[int, int, int],
    batch: int,
    guided: bool,
    precision: str,
    device: str,
) -> Cost:
    built, (network, trained), half = (
        architecture(teacher),
        _networks(teacher, lora, loaded_dtype(device, precision)),
        precision != "fp32",
    )
    bare(trained).disable_gradient_checkpointing()
    if checkpointing:
        checkpoint_blocks(bare(trained), device, half)
    arithmetic = functools.partial(MeteredAutocast, device, half)
    run = functools.partial(_evaluate, built, _denoiser(built, trained, arithmetic), shape, batch)
    kept, first, forward, backward = evaluated(run, trained)
    later = evaluated(run, trained)[1]
    trained.zero_grad(set_to_none=True)
    with torch.no_grad(), MemoryMeter(network) as meter:
        _evaluate(built, _denoiser(built, network, arithmetic), shape, batch * (1 + guided))
    return Cost(kept, first, later, meter.peak, forward, backward, meter.flops // (1 + guided))


def evaluated(run: Callable[[], torch.Tensor], trained: nn.Module) -> tuple[int, int, int, int]:
    """K, B, and the operations forward and backward, of `run()` and its backward pass. Gradients
    that `trained` has count in B.
    """
    there = sum(p.grad.nbytes for p in trained.parameters() if p.grad is not None)
    with MemoryMeter(trained, bare(trained)) as meter:
        loss = run().square().mean()
        kept, forward = meter.alive, meter.flops
        loss.backward()
    return kept, there + meter.peak, forward, meter.flops - forward


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
