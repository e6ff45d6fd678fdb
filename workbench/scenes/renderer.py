"""Draws scenes: from a `Request` to random factors, from factors to anti-aliased pixels, both for
whole batches.

Coordinates run from -1 to 1 (x to the right, y DOWN, as pixels do); a radius is in the same unit.
Each shape is a signed distance function d(p) of its own frame; the coverage of a pixel is clip(1/2
- d, 0, 1) with d in pixels, which is exact for a straight edge that is parallel to the pixel grid
and within a few percent elsewhere.

Objects are saturated (chroma >= 0.52) and backgrounds are not (chroma <= 0.24): that gap makes the
detector exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from workbench.scenes.grammar import COLOURS, MAX_OBJECTS, SHAPES, Request

SIDE = 64
HUES = {
    "red": 0.0,
    "yellow": 52.0,
    "green": 118.0,
    "cyan": 182.0,
    "blue": 228.0,
    "purple": 292.0,
}  # degrees
HUE_JITTER, SATURATION, VALUE = 8.0, (0.8, 1.0), (0.65, 1.0)
BACKGROUND_CHROMA = 0.24
RADIUS = {
    1: (0.32, 0.52),
    2: (0.27, 0.40),
    3: (0.24, 0.31),
    4: (0.22, 0.27),
}  # by the number of objects
# degrees to either side of upright; corners at any rotation were learned far more slowly
TILT = 15.0
GAP = 0.10  # between the circumscribed circles of two objects
UPRIGHT = -math.pi / 2  # the angle at which a triangle or a star points up, as y runs down
REACH = 1.15  # the farthest point of any shape of radius 1


@dataclass
class Scenes:
    """The factors of B scenes with up to M objects; object slots from `count` on are unused."""

    count: Tensor  # [B] number of objects
    shape: Tensor  # [B, M] index into SHAPES
    colour: Tensor  # [B, M] index into COLOURS
    centre: Tensor  # [B, M, 2] x, y
    radius: Tensor  # [B, M]
    angle: Tensor  # [B, M] radians
    rgb: Tensor  # [B, M, 3] the shade drawn for `colour`
    background: Tensor  # [B, 2, 3] the two ends of the gradient
    direction: Tensor  # [B] radians, where the gradient points

    def __len__(self) -> int:
        return len(self.count)

    def __getitem__(self, index) -> Scenes:
        return Scenes(*(getattr(self, field.name)[index] for field in fields(self)))

    @property
    def present(self) -> Tensor:
        """[B, M] bool: which object slots are in use."""
        return torch.arange(self.shape.shape[1]) < self.count[:, None]


def draw_scenes(requests: list[Request], generator: torch.Generator) -> Scenes:
    """One random scene per request; everything that it leaves open is drawn from `generator`."""
    batch, slots = len(requests), MAX_OBJECTS

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    shape = torch.randint(len(SHAPES), (batch, slots), generator=generator)
    colour = torch.randint(len(COLOURS), (batch, slots), generator=generator)
    for b, request in enumerate(requests):
        for m, thing in enumerate(request.objects):
            if thing.shape:
                shape[b, m] = SHAPES.index(thing.shape)
            if thing.colour:
                colour[b, m] = COLOURS.index(thing.colour)
    count = torch.tensor([len(request.objects) for request in requests])
    low, high = (
        torch.tensor([RADIUS[n][end] for n in range(1, slots + 1)])[count - 1, None]
        for end in (0, 1)
    )
    radius = low + (high - low) * uniform(batch, slots)
    hue = torch.tensor([HUES[name] for name in COLOURS])[colour] + uniform(
        batch, slots, low=-HUE_JITTER, high=HUE_JITTER
    )
    rgb = hsv_to_rgb(
        hue,
        uniform(batch, slots, low=SATURATION[0], high=SATURATION[1]),
        uniform(batch, slots, low=VALUE[0], high=VALUE[1]),
    )
    return Scenes(
        count,
        shape,
        colour,
        _place(requests, count, radius, generator),
        radius,
        UPRIGHT + math.radians(TILT) * uniform(batch, slots, low=-1.0),
        rgb,
        _backgrounds(batch, uniform),
        uniform(batch, high=2 * math.pi),
    )


def _backgrounds(batch: int, uniform) -> Tensor:
    """[batch, 2, 3] dull colours: hsv with value v and saturation at most BACKGROUND_CHROMA / v."""
    value = uniform(batch, 2, low=0.15, high=0.98)
    chroma = BACKGROUND_CHROMA * uniform(batch, 2).sqrt() * value.clamp(max=0.5) / 0.5
    return hsv_to_rgb(uniform(batch, 2, high=360.0), chroma / value, value)


def hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """[..., 3] in [0, 1], from a hue in degrees and saturation and value in [0, 1]."""
    k = (torch.tensor([5.0, 3.0, 1.0]) + hue[..., None] / 60.0) % 6.0
    return value[..., None] * (1 - saturation[..., None] * torch.minimum(k, 4 - k).clamp(0, 1))


def _place(
    requests: list[Request], count: Tensor, radius: Tensor, generator: torch.Generator
) -> Tensor:
    """[B, M, 2] centres: inside the frame, apart by GAP, and in the requested relation. By
    rejection, all scenes in parallel.
    """
    batch, slots = radius.shape
    centre = torch.zeros(batch, slots, 2)
    present = torch.arange(slots) < count[:, None]
    both = present[:, :, None] & present[:, None, :] & ~torch.eye(slots, dtype=torch.bool)
    near = REACH * (radius[:, :, None] + radius[:, None, :]) * 0.9 + GAP
    room = 1 - radius[..., None] * REACH
    todo = torch.arange(batch)
    while len(todo):
        tried = (2 * torch.rand(len(todo), slots, 2, generator=generator) - 1) * room[todo]
        apart = (tried[:, :, None] - tried[:, None, :]).norm(dim=-1) >= near[todo]
        fits = (apart | ~both[todo]).flatten(1).all(1)
        related = torch.tensor(
            [
                _related(requests[i].relation, *tried[n, :2].tolist())
                for n, i in enumerate(todo.tolist())
            ]
        )
        good = fits & related
        centre[todo[good]] = tried[good]
        todo = todo[~good]
    return centre


def _related(relation: str | None, first: list[float], second: list[float]) -> bool:
    """The relation's axis carries the larger part of the offset, so that "left of" never looks
    like "above".
    """
    if relation is None:
        return True
    dx, dy = second[0] - first[0], second[1] - first[1]
    along, across = {
        "left of": (dx, dy),
        "right of": (-dx, dy),
        "above": (dy, dx),
        "below": (-dy, dx),
    }[relation]
    return along > abs(across)


def render_scenes(scenes: Scenes, side: int = SIDE) -> Tensor:
    """[B, 3, side, side] in [0, 1]: the objects over a two-colour gradient."""
    axis = (torch.arange(side) + 0.5) / side * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    along = x * scenes.direction.cos()[:, None, None] + y * scenes.direction.sin()[:, None, None]
    mix = (0.5 + along / (2 * math.sqrt(2)))[:, None]
    start, end = scenes.background[:, 0, :, None, None], scenes.background[:, 1, :, None, None]
    image = start + (end - start) * mix
    cover = pixel_coverage(scenes, side)
    for m in range(int(scenes.count.max())):
        a = cover[:, m : m + 1]
        image = image + (scenes.rgb[:, m, :, None, None] - image) * a
    return image.clamp(0, 1)


def pixel_coverage(scenes: Scenes, side: int = SIDE) -> Tensor:
    """[B, M, side, side] in [0, 1]: the share of each pixel that each object covers; 0 for unused
    slots.
    """
    axis = (torch.arange(side) + 0.5) / side * 2 - 1
    result = torch.zeros(*scenes.shape.shape, side, side)
    for index, distance in enumerate((_circle, _square, _triangle, _star)):
        chosen = scenes.present & (scenes.shape == index)
        if not chosen.any():
            continue
        centre, radius, angle = scenes.centre[chosen], scenes.radius[chosen], scenes.angle[chosen]
        x = axis[None, None, :] - centre[:, 0, None, None]
        y = axis[None, :, None] - centre[:, 1, None, None]
        cos, sin, r = (v[:, None, None] for v in (angle.cos(), angle.sin(), radius))
        d = distance((x * cos + y * sin) / r, (y * cos - x * sin) / r) * r * side / 2
        result[chosen] = (0.5 - d).clamp(0, 1)
    return result


# Signed distances in the frame of a shape of radius 1: negative inside. Areas are within 1.4 to
# 3.1.
def _circle(x: Tensor, y: Tensor) -> Tensor:
    return (x * x + y * y).sqrt() - 1


def _square(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(x.abs(), y.abs()) - 0.8


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    half = math.sqrt(3) / 2
    return torch.maximum(-x, torch.maximum(0.5 * x + half * y, 0.5 * x - half * y)) - REACH / 2


def _star(x: Tensor, y: Tensor, inner: float = 0.46) -> Tensor:
    """Five points: fold the plane into one half-sector, then the distance to its single edge."""
    sector = 2 * math.pi / 5
    phi = torch.atan2(y, x)
    phi = ((phi + sector / 2) % sector - sector / 2).abs()
    r = (x * x + y * y).sqrt()
    tip, notch = (REACH, 0.0), (inner * math.cos(sector / 2), inner * math.sin(sector / 2))
    ex, ey = notch[0] - tip[0], notch[1] - tip[1]
    length = math.hypot(ex, ey)
    return ((r * phi.cos() - tip[0]) * ey - (r * phi.sin() - tip[1]) * ex) / length
