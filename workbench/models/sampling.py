"""From a model, prompts and seeds to images: initial noise by policy, batches that are retried,
and decoding.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from workbench.core.denoiser import Backend
from workbench.core.seeds import grid_noise
from workbench.io.files import slug_of
from workbench.io.notation import reason_of
from workbench.models.model import Model

PER_PROMPT, OFFICIAL = NOISES = ("per-prompt", "official")
OFFICIAL_SEED, OFFICIAL_BATCH = 42, 4
NOISE_OF_SEED = (  # what a picture says of its seeds
    "of a seed: torch.randn(latent shape, generator=torch.Generator('cpu').manual_seed(seed))"
)


class NotFiniteError(RuntimeError):
    """A model's output that is NaN or infinite; the message names the model, prompt and seed."""


def sampled_together(latent_shape: tuple[int, int, int]) -> int:
    """The default batch size: 36 small images, 4 of 1024 pixels."""
    return max(1, min(36, 2**16 // (latent_shape[1] * latent_shape[2])))


def sampled_images(model: Model, backend: Backend, draws: list[ImageDraw]) -> Tensor:
    """The images of some draws, sampled as one batch.

    Args:
        model: A model of the backend's teacher.
        backend: Encodes the prompts and decodes the latents.
        draws: B of them.

    Returns:
        [B, 3, H, W] in [0, 1], fp32 on the CPU.
    """
    noise = torch.stack([draw.noise(backend.latent_shape) for draw in draws]).to(backend.device)
    condition = backend.encode([draw.prompt for draw in draws])
    return backend.decode(model.sampled(noise, condition, [draw.seed for draw in draws]))


def images_of(
    model: Model,
    backend: Backend,
    prompts: list[str],
    seeds: list[int],
    batch: int = 0,
    noise: str = OFFICIAL,
) -> Iterator[Tensor]:
    """A row of images for each prompt, one per seed: that of `torch.Generator().manual_seed(seed)`,
    as in the app and in diffusers.

    Args:
        model: A model of the backend's teacher.
        backend: Encodes the prompts and decodes the latents.
        prompts: One row each.
        seeds: S of them.
        batch: Images sampled at a time, across prompts; 0: `sampled_together`.
        noise: "per-prompt" gives each prompt and seed a noise of its own, as `evaluate` does.

    Returns:
        [S, 3, H, W] in [0, 1] for each prompt, fp32 on the CPU.

    Raises:
        NotFiniteError: An image is not finite; with its prompt and seed.
    """
    batch_size, images = batch or sampled_together(backend.latent_shape), []
    draws = [draw for row in seed_draws(prompts, seeds, noise) for draw in row]
    for start in range(0, len(draws), batch_size):
        part = draws[start : start + batch_size]
        for draw, image in zip(part, sampled_images(model, backend, part)):
            if not torch.isfinite(image).all():
                raise NotFiniteError(
                    f"the output of {model.name} for “{draw.prompt}”, {draw.name}, is not finite "
                    "(NaN or infinite): check its weights and the guidance"
                )
            images.append(image)
        while len(images) >= len(seeds):
            yield torch.stack(images[: len(seeds)])
            images = images[len(seeds) :]


@dataclass(frozen=True)
class ImageDraw:
    """One image to generate. `seed` names the noise between steps and, if `row` is None, the
    initial noise.
    """

    prompt: str
    name: str
    seed: int
    row: int | None = None  # of the official batch

    @property
    def path(self) -> str:
        """Its file below the model's folder."""
        return f"{slug_of(self.prompt)}/{self.name}.png"

    @property
    def settings(self) -> dict:
        """What its file says of it: the prompt, the name and the seed of its noise."""
        return {"prompt": self.prompt, "image": self.name, **self.noise_settings}

    @property
    def noise_settings(self) -> dict:
        """The seed of the initial noise, and what else determines the noise of a single image of
        the official policy: the row of its batch and the seed between steps.
        """
        if self.row is None:
            return {"noise_seed": self.seed}
        return {"noise_seed": OFFICIAL_SEED, "noise_row": self.row, "renoise_seed": self.seed}

    def noise(self, shape: tuple[int, ...]) -> Tensor:
        """The initial noise.

        Args:
            shape: Of one latent, [C, h, w].

        Returns:
            [C, h, w], fp32 on the CPU.
        """
        if self.row is None:
            return grid_noise(shape, [self.seed])[0]
        return torch.randn(
            (OFFICIAL_BATCH, *shape), generator=torch.Generator().manual_seed(OFFICIAL_SEED)
        )[self.row]


def draw_of(settings: Mapping) -> ImageDraw:
    """The draw of an image by its file's settings."""
    seed = settings.get("renoise_seed", settings["noise_seed"])
    return ImageDraw(settings["prompt"], settings["image"], seed, settings.get("noise_row"))


def noise_seed(prompt: str, seed: int) -> int:
    """The seed of an image's initial noise, such that no two prompts share a noise."""
    return zlib.crc32(f"{prompt}|{seed}".encode())


def seed_draws(
    prompts: Iterable[str], seeds: Iterable[int], noise: str = PER_PROMPT
) -> list[list[ImageDraw]]:
    """For each prompt its images for diversity and prompt following, one per seed."""
    return [
        [
            ImageDraw(
                prompt, f"seed-{seed:04d}", seed if noise == OFFICIAL else noise_seed(prompt, seed)
            )
            for seed in seeds
        ]
        for prompt in prompts
    ]


def single_draws(
    prompts: list[str], seeds: Iterable[int], noise: str = PER_PROMPT
) -> list[list[ImageDraw]]:
    """For each prompt its images for quality, preference and distance: those of `seeds`, or
    under the official policy another single image.
    """
    if noise == PER_PROMPT:
        return seed_draws(prompts, seeds)
    rows = (number % OFFICIAL_BATCH for number in range(len(prompts)))
    return [
        [ImageDraw(prompt, f"batch-{OFFICIAL_SEED}-row-{row}", noise_seed(OFFICIAL, row), row)]
        for prompt, row in zip(prompts, rows)
    ]


_Item, _Result = TypeVar("_Item"), TypeVar("_Result")


def in_batches(
    batches: Iterable[list[_Item]],
    make: Callable[[list[_Item]], Iterator[_Result]],
    failed: Callable[[_Item, str], _Result] | None = None,
    errors: type[Exception] = RuntimeError,
) -> Iterator[_Result]:
    """What `make` yields for each batch, and for a batch that fails (out of memory, say) what it
    yields for each of its items. An item that fails alone raises, or with `failed` yields
    failed(item, reason).
    """
    queue = list(batches)
    while queue:
        batch, reason = queue.pop(0), ""
        try:
            yield from make(batch)
        except errors as error:
            if len(batch) == 1 and failed is None:
                raise
            reason = reason_of(error)
        if reason:  # after the block, when nothing holds the failed batch in memory any more
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if len(batch) == 1:
                yield failed(batch[0], reason)
            else:
                queue[:0] = [[item] for item in batch]


def even_batches(items: Sequence[_Item], batch_size: int) -> list[list[_Item]]:
    """`items` in as few batches of at most `batch_size` as possible, of about equal size: 10 items
    are 5 + 5, not 9 + 1.
    """
    count = -(-len(items) // batch_size)
    bounds = [len(items) * n // count for n in range(count + 1)]
    return [list(items[a:b]) for a, b in itertools.pairwise(bounds)]
