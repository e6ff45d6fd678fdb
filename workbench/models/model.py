"""`Model`: something that can be sampled, teacher or student, with its times and its sampler."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from workbench.core.denoiser import Backend, Condition, Denoiser, Guided
from workbench.core.presets import SCENES
from workbench.core.sampler import Stage, sample
from workbench.core.seeds import grid_renoise


@dataclass(frozen=True)
class Model:
    """Something to sample: a denoiser, the times and the sampler it is sampled with, and what to
    call it.
    """

    name: str
    denoiser: Denoiser
    times: Tensor
    info: dict  # recipe, digest and the like, as text
    sampler: str = "ode"  # or "renoise", or "multistep", see `workbench.core.sampler`
    fresh: float = 1.0

    def stages(
        self, noise: Tensor, condition: Condition, seeds: list[int], taken: int = 0
    ) -> Iterator[Stage]:
        """The stages from initial `noise`, one seed a row; the seeds also name the noise between
        steps, the first of which is that behind step `taken` + 1.
        """
        draw = grid_renoise(tuple(noise.shape[1:]), seeds)
        renoise = (lambda index: draw(taken + index)) if self.sampler == "renoise" else None
        return sample(
            self.denoiser,
            noise,
            condition,
            self.times,
            renoise,
            self.fresh,
            self.sampler == "multistep",
        )

    def sampled(
        self, noise: Tensor, condition: Condition, seeds: list[int], taken: int = 0
    ) -> Tensor:
        """The latents at the end of `stages`."""
        *_, last = self.stages(noise, condition, seeds, taken)
        return last.x_s

    @property
    def network(self) -> nn.Module | None:
        """The diffusers network or the adapter behind it; an exact denoiser has none."""
        return getattr(
            self.denoiser.denoiser if isinstance(self.denoiser, Guided) else self.denoiser,
            "network",
            None,
        )

    @property
    def evaluations(self) -> int:
        """Network evaluations for one image (NFEs)."""
        guided = isinstance(self.denoiser, Guided) and self.denoiser.guidance != 1
        return (len(self.times) - 1) * (2 if guided else 1)


def teacher_model(
    backend: Backend, steps: int = SCENES.teacher_steps, guidance: float = SCENES.guidance
) -> Model:
    """The teacher under guidance, on the grid that its diffusers pipeline would take."""
    denoiser = Guided(backend.denoiser(backend.network), guidance, backend.encode([""]))
    return Model(
        "teacher",
        denoiser,
        backend.schedule.sampling_times(steps, "diffusers"),
        {"steps": steps, "guidance": guidance},
    )
