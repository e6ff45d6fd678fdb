"""`Model`: a teacher or a student to sample, with its times, its sampler and its origin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from workbench.core.denoiser import Backend, Condition, Denoiser, Guided
from workbench.core.presets import SCENES
from workbench.core.recipe import Recipe
from workbench.core.sampler import Stage, sample
from workbench.core.seeds import grid_renoise


@dataclass(frozen=True)
class StudentInfo:
    """The origin of a student, as far as it is known; of a teacher nothing is.

    `method` is a key of `METHODS`, or a published student's title. `digest` is the recipe's at the
    time of training; an earlier version had fewer settings, and so another digest. `weights` is the
    digest of its files, `teacher` those of its teacher's parts at the time of training (empty if an
    earlier version trained it). `source`, `revision` and `licence` are a published student's;
    `place` is what `open_model` opens it by.
    """

    method: str | None = None
    recipe: Recipe | None = None
    digest: str | None = None
    rounds: int | None = None
    weights: str = ""
    teacher: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    revision: str = ""
    licence: str = ""
    place: str = ""


@dataclass(frozen=True)
class Model:
    """A denoiser, the times [N + 1] and the sampler that it is sampled with, its name and its
    origin.
    """

    name: str
    denoiser: Denoiser
    times: Tensor
    info: StudentInfo = field(default_factory=StudentInfo)
    sampler: str = "ode"  # or "renoise", or "multistep", see `workbench.core.sampler`
    renoise_fraction: float = 1.0

    def stages(
        self, noise: Tensor, condition: Condition, seeds: list[int], taken: int = 0
    ) -> Iterator[Stage]:
        """The stages from initial noise, without gradients.

        Args:
            noise: Initial noise, or the state after `taken` steps of a longer model; [B, ...].
            condition: B rows.
            seeds: B of them; they name the noise between steps.
            taken: Steps that were taken before, so that the noise of a re-noising sampler continues
                after them.

        Returns:
            N stages, their states [B, ...] in fp32.
        """
        draw = grid_renoise(tuple(noise.shape[1:]), seeds)
        return sample(
            self.denoiser,
            noise,
            condition,
            self.times,
            renoise=(lambda index: draw(taken + index)) if self.sampler == "renoise" else None,
            renoise_fraction=self.renoise_fraction,
            multistep=self.sampler == "multistep",
        )

    def sampled(
        self, noise: Tensor, condition: Condition, seeds: list[int], taken: int = 0
    ) -> Tensor:
        """The latents at the end of `stages`.

        Args:
            noise: As for `stages`, [B, ...].
            condition: B rows.
            seeds: B of them.
            taken: Steps that were taken before.

        Returns:
            [B, ...], fp32.
        """
        *_, last = self.stages(noise, condition, seeds, taken)
        return last.x_s

    @property
    def network(self) -> nn.Module | None:
        """The diffusers network or the adapter that is evaluated; an exact denoiser has none."""
        inner = self.denoiser.denoiser if isinstance(self.denoiser, Guided) else self.denoiser
        return getattr(inner, "network", None)

    @property
    def evaluations(self) -> int:
        """Network evaluations per image (NFEs)."""
        guided = isinstance(self.denoiser, Guided) and self.denoiser.guidance != 1
        return (len(self.times) - 1) * (2 if guided else 1)


def teacher_model(
    backend: Backend, steps: int = SCENES.teacher_steps, guidance: float = SCENES.guidance
) -> Model:
    """The teacher under guidance, on the grid of times of its diffusers pipeline."""
    denoiser = Guided(backend.denoiser(backend.network), guidance, backend.encode([""]))
    return Model("teacher", denoiser, backend.schedule.sampling_times(steps, "diffusers"))
