"""What was asked: one frozen dataclass, the only place of defaults. The command line is generated
from it.

No torch here: a recipe is text. It goes to JSON and back unchanged, and its digest names what it
asks for.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import typing
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import PurePath

from workbench.core.methods import METHODS


def setting(
    default,
    help: str,
    choices: Collection[str] | None = None,
    low: float | None = None,
    high: float | None = None,
):
    """A dataclass field with its help text and its allowed values (`choices`, or `low` to `high`
    inclusive).
    """
    return field(
        default=default, metadata={"help": help, "choices": choices, "low": low, "high": high}
    )


def same_teacher(one: str, other: str) -> bool:
    """Hub ids and folders of the same last name are taken for the same teacher."""
    return PurePath(one).name == PurePath(other).name


@dataclass(frozen=True)
class Recipe:
    """One distillation. Paper defaults where the paper has them; `workbench.core.presets` lists
    named variations.
    """

    teacher: str = setting(
        "scenes",
        "teacher: 'scenes' (embedded), or the folder or hub id of a diffusers pipeline of SD3 or "
        "SDXL",
    )
    method: str = setting("dp_dmd", "the training objective", METHODS)
    prompts: str = setting(
        "", "prompt file, one prompt a line; empty: the embedded world's own captions"
    )
    embeddings: str = setting(
        "",
        "folder of prompt embeddings: computed once, then the encoders are freed; empty: encode "
        "as needed",
    )
    seed: int = setting(0, "names every random stream of the run", low=0)

    resolution: int = setting(
        0, "side of the images in pixels; 0: what the teacher was made for", low=0
    )
    tiling: str = setting(
        "off", "decode images in overlapping tiles, in far less memory", ("off", "on")
    )

    rounds: int = setting(
        240, "rounds of Algorithm 1: fake updates, then one student update", low=0
    )
    fake_updates_per_round: int = setting(5, "fake updates before each student update", low=0)
    batch: int = setting(32, "samples an update, over all processes and micro-batches", low=1)
    accumulate: int = setting(1, "micro-batches an update", low=1)

    lam: float = setting(0.05, "weight lambda of the diversity term (8)", low=0)
    k: int = setting(5, "anchor step K: teacher steps before the anchor (6)", low=1)
    anchor: str = setting(
        "secant",
        "the anchor's target: the chord (6), or the teacher's x0 there (39)",
        ("secant", "denoised"),
    )
    lpips: float = setting(0.25, "weight of DMD-LPIPS' perceptual term", low=0)
    distance: str = setting(
        "lite0",
        "the perceptual distance: the lite0 pyramid, or LPIPS (the package lpips)",
        ("lite0", "lpips"),
    )
    gan: float = setting(5e-3, "weight of DMD-GAN's adversarial term", low=0)
    critic: float = setting(1e-2, "weight of DMD-GAN's head in the fake network's loss", low=0)
    normaliser: str = setting(
        "released",
        "divides the DMD gradient: nothing, |x_t - x0_real|, or |x - x0_real|",
        ("none", "released", "dmd2"),
    )
    times: str = setting(
        "per_sample",
        "training times drawn per sample, or one per batch (the released script)",
        ("per_sample", "per_batch"),
    )

    teacher_steps: int = setting(30, "steps T of the teacher's sampler", low=1)
    guidance: float = setting(3.5, "classifier-free guidance of the teacher; 1 is off", low=0)
    student_steps: int = setting(4, "steps N of the student", low=1)
    student_grid: str = setting(
        "even",
        "how the student's steps are placed (see workbench.core.schedules)",
        ("even", "diffusers"),
    )

    student_sampler: str = setting(
        "ode",
        "how the student steps: along its own path, or re-noised each time (DMD2, LCM)",
        ("ode", "renoise"),
    )

    student_rate: float = setting(1e-5, "AdamW learning rate of the student", low=0)
    fake_rate: float = setting(1e-5, "AdamW learning rate of the fake network", low=0)
    weight_decay: float = setting(0.0, "AdamW weight decay of both", low=0)
    clip: float = setting(1.0, "gradient norm limit of both; 0 is off", low=0)
    lora: int = setting(
        0,
        "rank of the adapters that student and fake network are on one shared base; 0 trains "
        "whole copies",
        low=0,
    )
    checkpointing: str = setting(
        "off",
        "evaluate blocks again in the backward pass: far less memory, a third slower",
        ("off", "on"),
    )
    optimizer: str = setting(
        "adamw",
        "AdamW, or with 8-bit states (CUDA; the package bitsandbytes)",
        ("adamw", "adamw8bit"),
    )
    ema: float = setting(
        0.0,
        "decay of the student's weight average, which is then what is saved; 0 is off",
        low=0,
        high=0.999999,
    )
    precision: str = setting(
        "bf16",
        "of the networks' arithmetic; losses and trained weights stay fp32",
        ("bf16", "fp16", "fp32"),
    )
    offload: str = setting(
        "off",
        "keep optimiser states, and the teacher in fake updates, in the computer's memory",
        ("off", "on"),
    )
    compile: str = setting(
        "off",
        "torch.compile the networks' repeated blocks: minutes at the start, then faster",
        ("off", "on"),
    )

    checkpoint_every: int = setting(50, "rounds between checkpoints", low=1)
    keep: int = setting(2, "checkpoints kept", low=1)
    sample_every: int = setting(
        40, "rounds between sample grids and diversity readings; 0 is never", low=0
    )

    def __post_init__(self):
        if isinstance(self.method, str):
            object.__setattr__(self, "method", METHODS.spelling(self.method))
        for item in dataclasses.fields(self):
            self._check(item, getattr(self, item.name))
        if self.k > self.teacher_steps:
            raise ValueError(
                f"k = {self.k} is more than the teacher's teacher_steps = {self.teacher_steps}; "
                "lower k"
            )
        if self.batch % self.accumulate:
            raise ValueError(
                f"batch = {self.batch} does not divide into accumulate = {self.accumulate} "
                "micro-batches"
            )

    def _check(self, item: dataclasses.Field, value) -> None:
        kind, rules = typing.get_type_hints(Recipe)[item.name], item.metadata
        if kind is float and type(value) is int:
            object.__setattr__(self, item.name, float(value))
        elif type(value) is not kind:
            raise ValueError(f"{item.name} must be {kind.__name__}, not {value!r}")
        choices = rules["choices"]
        if choices is not None and value not in choices:
            near = difflib.get_close_matches(str(value), choices, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            failed = "".join(f"; {failure}" for failure in getattr(choices, "failures", ()))
            raise ValueError(
                f"{item.name} = {value!r} is not one of {', '.join(choices)}{hint}{failed}"
            )
        for bound, wrong in (
            (rules["low"], lambda b: value < b),
            (rules["high"], lambda b: value > b),
        ):
            if bound is not None and (wrong(bound) or value != value):
                raise ValueError(
                    f"{item.name} = {value!r} is outside its range (from {rules['low']} to "
                    f"{rules['high'] or 'any'})"
                )

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """The recipe of a JSON object. Raises ValueError for an unknown key, naming the nearest
        known one.
        """
        values = json.loads(text)
        known = [item.name for item in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                raise ValueError(
                    f"unknown setting {key!r}" + (f"; did you mean {near[0]!r}?" if near else "")
                )
        return cls(**values)

    @property
    def digest(self) -> str:
        """12 hexadecimal digits that name this recipe."""
        return hashlib.sha256(
            json.dumps(dataclasses.asdict(self), sort_keys=True).encode()
        ).hexdigest()[:12]
