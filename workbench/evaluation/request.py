"""The request of an evaluation: its tasks, and the images that they need."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from workbench.evaluation.metrics import Metric, parse_metrics
from workbench.evaluation.prompt_lists import Prompt, PromptList, folder_name
from workbench.io.digests import short_digest
from workbench.io.files import slug
from workbench.io.notation import TEACHER
from workbench.models.backends.parts import Parts
from workbench.models.embedded import EMBEDDED
from workbench.models.sampling import (
    NOISES,
    OFFICIAL,
    PER_PROMPT,
    ImageDraw,
    seed_draws,
    single_draws,
)


class EvaluationStage(Enum):
    """The three stages of an evaluation."""

    IMAGES = "images"
    READING = "reading"
    NUMBER = "number"


class EvaluationTask(NamedTuple):
    """One task of an evaluation, which may fail without the others."""

    stage: EvaluationStage
    subject: str  # the model whose images are generated, the reader, or the metric
    model: str = ""  # of a number

    def __str__(self) -> str:
        if self.stage is EvaluationStage.IMAGES:
            return f"images of {self.subject}"
        return f"{self.subject} of {self.model}" if self.model else self.subject


Failures = dict[EvaluationTask, str]  # the reason of each task that failed


@dataclass(frozen=True)
class EvaluationRequest:
    """What to evaluate. Raises ValueError for unknown metrics, for no models, and for fewer than
    two seeds.
    """

    models: tuple[str, ...]
    prompts: PromptList
    seeds: tuple[int, ...] = tuple(range(9))
    metrics: tuple[str, ...] = ("diversity",)
    features: tuple[str, ...] = ("lite0",)
    noise: str = PER_PROMPT
    image_seeds: int = 1  # seeds per prompt that are read for quality and preference
    teacher: str = "scenes"

    def __post_init__(self):
        if not self.models:
            raise ValueError("there are no models to evaluate: name at least one")
        if not self.metrics:
            raise ValueError("there are no metrics to evaluate by: choose at least one")
        if len(set(self.models)) < len(self.models):
            raise ValueError("a model is named twice")
        if len(self.seeds) < 2:
            raise ValueError("diversity needs at least two seeds per prompt")
        if self.noise not in NOISES:
            raise ValueError(f"noise = {self.noise!r} is not one of {', '.join(NOISES)}")
        if not 1 <= self.image_seeds <= len(self.seeds):
            raise ValueError(
                f"image_seeds = {self.image_seeds} is not from 1 to the number of seeds, "
                f"{len(self.seeds)}"
            )
        if self.noise == OFFICIAL and self.image_seeds != 1:
            raise ValueError(
                "the official noise policy reads quality and preference from one image per "
                "prompt: leave image_seeds at 1"
            )
        self._check_metrics()

    def _check_metrics(self) -> None:
        if not self.parsed:
            raise ValueError("there are no features to measure by: choose at least one")
        for metric in self.parsed:
            if metric.independent and self.noise == OFFICIAL:  # a teacher would be far from itself
                raise ValueError(
                    f"{metric.name} takes all images for independent, and under the official "
                    "noise policy prompts share their noise: choose per-prompt"
                )
            if metric.reference and TEACHER not in self.models:
                raise ValueError(
                    f"{metric.name} compares with the teacher's samples: name the teacher among "
                    "the models"
                )

    @cached_property
    def parsed(self) -> list[Metric]:
        """The metrics, each feature's apart, those that share a reader side by side."""
        return parse_metrics(self.metrics, self.features, self.prompts.prompts)

    def draws(self, metric: Metric, model: str) -> list[list[ImageDraw]]:
        """For each prompt the images of a model that a metric reads; the teacher's of other seeds
        come after all of these.
        """
        own = self.seed_draws if metric.seeds else self.single_draws
        return own + (self.reference_draws if metric.reference and model == TEACHER else [])

    def all_draws(self, model: str) -> list[ImageDraw]:
        """Every image of a model that some metric reads, each once."""
        rows = (row for metric in self.parsed for row in self.draws(metric, model))
        return list(dict.fromkeys(draw for row in rows for draw in row))

    @property
    def seed_draws(self) -> list[list[ImageDraw]]:
        """For each prompt its images for diversity and prompt following."""
        return seed_draws(self.prompts.texts, self.seeds, self.noise)

    @property
    def single_draws(self) -> list[list[ImageDraw]]:
        """For each prompt its images for quality and preference."""
        return single_draws(self.prompts.texts, self.seeds[: self.image_seeds], self.noise)

    @property
    def reference_draws(self) -> list[list[ImageDraw]]:
        """For each prompt as many images of the teacher from other seeds: an independent set, so
        that no student is close to it through shared noise.
        """
        after = max(self.seeds) + 1
        return seed_draws(self.prompts.texts, range(after, after + len(self.seeds)), self.noise)

    def default_folder(self, parts: Parts) -> str:
        """The name of this evaluation's folder: its prompt list, and its teacher by what it holds
        (`parts`), unless that is the usual one.
        """
        name = folder_name(self.prompts)
        if self.teacher in EMBEDDED:
            return name if self.teacher == "scenes" else f"{name}-{self.teacher}"
        return f"{name}-{slug(Path(self.teacher).name)}-{short_digest(dict(parts))[:8]}"

    def to_dict(self) -> dict:
        """The request as JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> EvaluationRequest:
        """The request that `to_dict` wrote. Raises ValueError, KeyError or TypeError for others."""
        lists = {name: tuple(values[name]) for name in ("models", "seeds", "metrics", "features")}
        prompts = tuple(Prompt(**prompt) for prompt in values["prompts"]["prompts"])
        return cls(
            **values | lists | {"prompts": PromptList(**values["prompts"] | {"prompts": prompts})}
        )
