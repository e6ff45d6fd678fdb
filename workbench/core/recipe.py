"""All settings of a distillation: one frozen dataclass, the only place of defaults. The command
line is generated from it.

No torch here: a recipe is text. It goes to JSON and back unchanged, and its digest names it.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import typing
import warnings
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from workbench.core.methods import METHODS


def setting(
    default: Any,
    help: str,
    *,
    choices: Collection[str] | None = None,
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """A dataclass field with its help text and its allowed values (`choices`, or `low` to `high`
    inclusive).
    """
    return field(
        default=default, metadata={"help": help, "choices": choices, "low": low, "high": high}
    )


def same_teacher(one: str, other: str) -> bool:
    """Whether two hub ids or folders name the same teacher: their last parts are equal."""
    return PurePath(one).name == PurePath(other).name


@dataclass(frozen=True)
class Recipe:
    """One distillation. Paper defaults where the paper has them; `workbench.core.presets` lists
    named variations.
    """

    teacher: str = setting(
        "scenes",
        "teacher: 'scenes' or 'scenes-eps' (embedded), or the folder or hub id of a diffusers "
        "pipeline of SD3 or SDXL",
    )
    method: str = setting("dp_dmd", "the training objective", choices=METHODS)
    prompts: str = setting(
        "",
        "prompt file (text, JSON, JSONL, CSV or TSV); empty: the embedded world's own captions",
    )
    embeddings: str = setting(
        "",
        "folder of prompt embeddings: computed once, then the encoders are freed; empty: encode "
        "as needed",
    )
    seed: int = setting(0, "names every random stream of the run", low=0)

    resolution: int = setting(
        0, "side of the images in pixels; 0: the size that the teacher was trained at", low=0
    )
    tiling: bool = setting(False, "decode images in overlapping tiles, in far less memory")

    rounds: int = setting(
        240, "rounds of Algorithm 1: fake updates, then one student update", low=0
    )
    fake_updates_per_round: int = setting(5, "fake updates before each student update", low=0)
    batch: int = setting(32, "samples per update, over all processes and micro-batches", low=1)
    accumulate: int = setting(1, "micro-batches per update", low=1)

    lam: float = setting(
        0.05, "weight lambda of the diversity term (8); 0: DMD from step 2 on", low=0
    )
    k: int = setting(5, "anchor step K: teacher steps before the anchor (6)", low=1)
    anchor: str = setting(
        "secant",
        "the anchor's target: the chord (6), or the teacher's x0 there (39)",
        choices=("secant", "denoised"),
    )
    lpips: float = setting(0.25, "weight of DMD-LPIPS' perceptual term", low=0)
    distance: str = setting(
        "lite0",
        "the perceptual distance: the lite0 pyramid, or LPIPS (the package lpips)",
        choices=("lite0", "lpips"),
    )
    gan: float = setting(5e-3, "weight of DMD-GAN's adversarial term", low=0)
    critic: float = setting(1e-2, "weight of DMD-GAN's head in the fake network's loss", low=0)
    normaliser: str = setting(
        "released",
        "divides the DMD gradient: nothing, |x_t - x0_real|, or |x - x0_real|",
        choices=("none", "released", "dmd2"),
    )
    times: str = setting(
        "per_sample",
        "training times drawn per sample, or one per batch (the released script)",
        choices=("per_sample", "per_batch"),
    )

    teacher_steps: int = setting(30, "steps T of the teacher's sampler", low=1)
    guidance: float = setting(3.5, "classifier-free guidance of the teacher; 1 is off", low=0)
    student_steps: int = setting(4, "steps N of the student", low=1)
    student_grid: str = setting(
        "even",
        "how the student's steps are placed (see workbench.core.schedules)",
        choices=("even", "diffusers"),
    )

    student_sampler: str = setting(
        "ode",
        "how the student steps: along its own path, or re-noised each time (DMD2, LCM)",
        choices=("ode", "renoise"),
    )

    student_rate: float = setting(1e-5, "AdamW learning rate of the student", low=0, high=1e38)
    fake_rate: float = setting(1e-5, "AdamW learning rate of the fake network", low=0, high=1e38)
    weight_decay: float = setting(0.0, "AdamW weight decay of both", low=0)
    clip: float = setting(1.0, "gradient norm limit of both; 0 is off", low=0)
    lora: int = setting(
        0,
        "rank of the adapters by which student and fake network share one base; 0 trains whole "
        "copies",
        low=0,
    )
    checkpointing: bool = setting(
        False,
        "evaluate blocks again in the backward pass: far less memory, a third slower",
    )
    optimizer: str = setting(
        "adamw",
        "AdamW, or with 8-bit states (CUDA; the package bitsandbytes)",
        choices=("adamw", "adamw8bit"),
    )
    ema: float = setting(
        0.0,
        "decay of the student's weight average, which is then saved as the student; 0 is off",
        low=0,
        high=0.999999,
    )
    precision: str = setting(
        "bf16",
        "of the networks' arithmetic; losses and trained weights stay fp32",
        choices=("bf16", "fp16", "fp32"),
    )
    offload: bool = setting(
        False,
        "keep optimiser states, and the teacher in fake updates, in the computer's memory",
    )
    compile: bool = setting(
        False,
        "torch.compile the networks' repeated blocks: minutes at the start, then faster",
    )

    checkpoint_every: int = setting(50, "rounds between checkpoints", low=1)
    keep: int = setting(2, "checkpoints kept", low=1)
    sample_every: int = setting(
        40, "rounds between sample grids and diversity measurements; 0 is never", low=0
    )

    def __post_init__(self):
        if isinstance(self.method, str):
            object.__setattr__(self, "method", METHODS.spelling(self.method))
        check_settings(self)
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

    def to_dict(self) -> dict[str, Any]:
        """The settings as they are saved: bools are "on" or "off", as they have always been, so
        that a recipe keeps its digest.
        """
        values = dataclasses.asdict(self)
        return {
            name: ("off", "on")[value] if isinstance(value, bool) else value
            for name, value in values.items()
        }

    def to_json(self) -> str:
        """A JSON object of `to_dict`."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """The recipe of a JSON object; a missing setting has its default.

        Raises:
            ValueError: A value is wrong or a key is unknown; names the nearest known one.
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
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:12]


def check_settings(settings: Any) -> None:
    """Checks every field of a dataclass of `setting`s, and writes "on" and "off" as bools and whole
    numbers as floats.

    Raises:
        ValueError: A value has another type, is not finite, or is outside its range or choices; the
            message names the setting and the nearest choice.
    """
    kinds = typing.get_type_hints(type(settings))
    for item in dataclasses.fields(settings):
        value = _typed(item.name, getattr(settings, item.name), kinds[item.name])
        object.__setattr__(settings, item.name, value)
        _check_choice(item.name, value, item.metadata["choices"])
        low, high = item.metadata["low"], item.metadata["high"]
        if (low is not None and value < low) or (high is not None and value > high):
            raise ValueError(
                f"{item.name} = {value!r} is outside its range (from {low} to {high or 'any'})"
            )


def _typed(name: str, value: Any, kind: type) -> Any:
    if kind is bool and value in ("on", "off"):
        return value == "on"
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"{name} must be {kind.__name__}, not {value!r}")
    if kind is float and not math.isfinite(value):
        raise ValueError(f"{name} = {value!r} is not a finite number")
    return value


def _check_choice(name: str, value: Any, choices: Collection[str] | None) -> None:
    if choices is None or value in choices:
        return
    failed = "".join(f"; {failure}" for failure in getattr(choices, "failures", ()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the message has them
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"{name} = {value!r} is not one of {', '.join(choices)}{hint}{failed}")
