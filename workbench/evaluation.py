"""Scores models on prompts and seeds: Eq. (9) with an interval over prompts and, on scenes, factor spread and correctness.

Every model gets the same noise for a (prompt, seed): `noise_seed` mixes both, so no two prompts share their noises.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from workbench import seeds as streams
from workbench.models import Model
from workbench.denoiser import Backend
from workbench.metrics.diversity import bootstrap_interval, diversity
from workbench.metrics.factors import correctness, relative_spread
from workbench.metrics.lite0 import Lite0
from workbench.metrics.vision import Feature
from workbench.scenes.detector import detect
from workbench.scenes.grammar import GrammarError, parse


@dataclass(frozen=True)
class Score:
    """One model on P prompts x S seeds. Intervals are [low, high] at 95 %, by bootstrap over prompts."""

    model: str
    prompts: int
    seeds: int
    feature: str
    diversity: float  # Eq. (9)
    diversity_interval: tuple[float, float]
    diversity_by_prompt: list[float]
    evaluations: int  # NFEs an image
    milliseconds: float  # an image, sampling and decoding
    spread: float | None = None  # factor spread over that of the data, scenes only
    spread_interval: tuple[float, float] | None = None
    spread_by_factor: dict[str, float] | None = None
    correct: dict[str, float] | None = None  # by GenEval task and "overall", scenes only

    def to_dict(self) -> dict:
        return asdict(self)


def noise_seed(prompt: str, seed: int) -> int:
    """The seed of the initial noise of one image."""
    return zlib.crc32(f"{prompt}|{seed}".encode())


def sampled_together(latent_shape: tuple[int, int, int]) -> int:
    """36 small images, 4 of 1024 pixels."""
    return max(1, min(36, 2**16 // (latent_shape[1] * latent_shape[2])))


def images_of(model: Model, backend: Backend, prompts: list[str], seeds: list[int], batch: int = 0) -> Iterator[Tensor]:
    """[S, 3, H, W] in [0, 1] for each prompt. `batch` images are sampled together; 0: as many as `sampled_together` says."""
    together, made = batch or sampled_together(backend.latent_shape), []
    cells = [(prompt, seed) for prompt in prompts for seed in seeds]
    for start in range(0, len(cells), together):
        part = cells[start : start + together]
        each = [noise_seed(prompt, seed) for prompt, seed in part]
        noise = streams.grid_noise(backend.latent_shape, each).to(backend.device)
        condition = backend.encode([prompt for prompt, _ in part])
        made += backend.decode(model.sampled(noise, condition, each))
        while len(made) >= len(seeds):
            yield torch.stack(made[: len(seeds)])
            made = made[len(seeds) :]


def evaluate(model: Model, backend: Backend, prompts: list[str], seeds: list[int], feature: Feature | None = None,
             progress: Callable[[Iterator[Tensor]], Iterable[Tensor]] = iter) -> Score:
    """The `Score` of a model. Raises ValueError for fewer than two seeds. `progress` may watch the prompts go by (tqdm)."""
    if len(seeds) < 2:
        raise ValueError("diversity needs at least two seeds a prompt")
    feature = feature or Lite0.load()
    begun = time.perf_counter()
    rows = list(progress(images_of(model, backend, prompts, seeds)))
    taken = time.perf_counter() - begun
    values = diversity(torch.stack([feature.features(row) for row in rows]))
    middle = bootstrap_interval(values)
    score = dict(model=model.name, prompts=len(prompts), seeds=len(seeds), feature=feature.protocol, diversity=middle.mean,
                 diversity_interval=(middle.low, middle.high), diversity_by_prompt=values.tolist(),
                 evaluations=model.evaluations, milliseconds=1e3 * taken / (len(prompts) * len(seeds)))
    return Score(**score, **_scenes_scores(rows, prompts))


def _scenes_scores(rows: list[Tensor], prompts: list[str]) -> dict:
    """Spread and correctness, when the prompts are captions of the scenes world and the images are of its size."""
    try:
        requests = [parse(prompt) for prompt in prompts]
        seen = [detect(row) for row in rows]
    except (GrammarError, ValueError):
        return {}
    relative = relative_spread(seen, requests)
    usable = [value for value in relative.by_prompt if value == value]
    over = bootstrap_interval(torch.tensor(usable)) if usable else None
    flat = [(one, request) for row, request in zip(seen, requests) for one in row]
    return {"spread": relative.mean, "spread_interval": (over.low, over.high) if over else None,
            "spread_by_factor": relative.by_factor, "correct": correctness(*(list(part) for part in zip(*flat)))}


def table(scores: list[Score]) -> str:
    """The scores as a Markdown table."""
    lines = [f"| model | NFE | ms / image | diversity (9) on {scores[0].feature} | factor spread | correct | by task |",
             "|---|---|---|---|---|---|---|"]
    for s in scores:
        low, high = s.diversity_interval
        spread = f"{s.spread:.2f}" if s.spread is not None else ""
        correct = f"{s.correct['overall']:.3f}" if s.correct else ""
        tasks = ", ".join(f"{name} {value:.2f}" for name, value in s.correct.items() if name != "overall") if s.correct else ""
        lines.append(f"| {s.model} | {s.evaluations} | {s.milliseconds:.1f} | {s.diversity:.3f} [{low:.3f}, {high:.3f}] | {spread} "
                     f"| {correct} | {tasks} |")
    return "\n".join(lines)
