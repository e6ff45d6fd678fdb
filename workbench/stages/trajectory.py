"""A recorded pass of a model: for every seed its states x_t and, at each step, the model's belief
x0 of the image.

Latents are kept on the CPU in half precision: 9 seeds x 30 steps at 1024 px take 0.3 GB.
`TrajectoryImages` decodes a step on first use, and keeps it at screen size.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from workbench.io.files import write_atomically
from workbench.io.strict_json import to_json

PICTURE_SIDE = 256  # pixels of a measured picture; larger ones are averaged down to it
_TENSORS = ("times", "alpha_sigma", "x0", "x_t")


@dataclass(frozen=True)
class Trajectory:
    """N steps of S seeds. Step k = 1..N starts at times[k - 1] from the state x_t[k - 1] with the
    belief x0[k - 1], and leads to x_t[k] at times[k]; x_t[0] is the initial noise and x_t[N] the
    final latent.
    """

    prompt: str
    model: str
    seeds: tuple[int, ...]
    times: Tensor  # [N + 1] fp32, falling
    alpha_sigma: Tensor  # [N + 1, 2] fp32
    x0: Tensor  # [N, S, C, h, w] fp16
    x_t: Tensor  # [N + 1, S, C, h, w] fp16
    settings: dict  # how the model was sampled, JSON

    def __len__(self) -> int:
        return len(self.x0)

    def save(self, path: str | Path) -> None:
        """Writes one safetensors file, whole or not at all."""
        header = {
            "prompt": self.prompt,
            "model": self.model,
            "seeds": self.seeds,
            "settings": self.settings,
        }
        tensors = {name: getattr(self, name).contiguous() for name in _TENSORS}
        write_atomically(
            Path(path),
            lambda part: save_file(tensors, part, metadata={"trajectory": to_json(header)}),
        )

    @classmethod
    def open(cls, path: str | Path) -> Trajectory:
        """The trajectory that `save` wrote; its tensors stay in the file until they are used.
        Raises ValueError for another file.
        """
        try:
            with safe_open(path, "pt") as file:
                header = json.loads(file.metadata()["trajectory"])
                tensors = {name: file.get_tensor(name) for name in _TENSORS}
            trajectory = cls(
                header["prompt"],
                header["model"],
                tuple(header["seeds"]),
                settings=dict(header["settings"]),
                **tensors,
            )
            trajectory._check()
            return trajectory
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is not a recorded trajectory ({error}); record it again"
            ) from error

    def _check(self) -> None:
        steps, seeds, *latent = self.x0.shape
        expected = {
            "times": (steps + 1,),
            "alpha_sigma": (steps + 1, 2),
            "x_t": (steps + 1, seeds, *latent),
        }
        wrong = [
            name for name, shape in expected.items() if tuple(getattr(self, name).shape) != shape
        ]
        if wrong or seeds != len(self.seeds) or len(latent) != 3 or not steps:
            raise ValueError(f"the shapes of {', '.join(wrong) or 'x0'} do not fit")

    @staticmethod
    def cat(parts: list[Trajectory]) -> Trajectory:
        """The trajectories of several groups of seeds as one."""
        first = parts[0]
        return Trajectory(
            first.prompt,
            first.model,
            tuple(seed for part in parts for seed in part.seeds),
            first.times,
            first.alpha_sigma,
            torch.cat([part.x0 for part in parts], 1),
            torch.cat([part.x_t for part in parts], 1),
            first.settings,
        )

    def first(self, count: int) -> Trajectory:
        """The trajectory of the first `count` seeds."""
        return replace(
            self, seeds=self.seeds[:count], x0=self.x0[:, :count], x_t=self.x_t[:, :count]
        )


def trajectory_bytes(latent_shape: tuple[int, ...], steps: int, seeds: int) -> int:
    """The size of a trajectory in memory and on disk."""
    return 2 * math.prod(latent_shape) * seeds * (2 * steps + 1)


class TrajectoryImages:
    """The images of a trajectory at most `side` pixels wide, [S, 3, H, W] in [0, 1], each step
    decoded at its first use.
    """

    def __init__(
        self, trajectory: Trajectory, decode: Callable[[Tensor], Tensor], side: int = PICTURE_SIDE
    ):
        self.trajectory, self._decode, self._side = trajectory, decode, side
        # uint8: a quarter of the memory, and as exact as a file
        self._steps: dict[int, Tensor] = {}

    def __getitem__(self, index: int) -> Tensor:
        """The beliefs of step `index` + 1; index N is the final image."""
        if index not in self._steps:
            trajectory, last = self.trajectory, len(self.trajectory)
            if not 0 <= index <= last:
                raise IndexError(f"step {index} of {last}")
            images = self._decode(
                (trajectory.x_t if index == last else trajectory.x0)[index].float()
            )
            if not torch.isfinite(images).all():  # they would turn black
                raise ValueError(
                    f"the pictures of {trajectory.model} at step {min(index + 1, last)} are not "
                    "finite (NaN)"
                )
            self._steps[index] = (downsampled(images, self._side) * 255).round().byte()
        return self._steps[index].float() / 255

    @property
    def final(self) -> Tensor:
        """The final images [S, 3, H, W]."""
        return self[len(self.trajectory)]

    @property
    def beliefs(self) -> Iterator[Tensor]:
        """The beliefs [S, 3, H, W] of every step, one after the other."""
        return (self[index] for index in range(len(self.trajectory)))


def downsampled(images: Tensor, side: int) -> Tensor:
    """Images [..., H, W] averaged down to `side` pixels; smaller ones as they are."""
    if images.shape[-1] <= side:
        return images
    flat = F.interpolate(images.flatten(0, -4), (side, side), mode="area")
    return flat.unflatten(0, images.shape[:-3])
