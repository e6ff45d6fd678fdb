"""Recovers the factors of a scene from its pixels, and scores GenEval's six tasks on them. No
learned part.

A pixel belongs to an object when its chroma (max - min of r, g, b) is above that of any
background; objects are the connected components of equal nearest hue. A component's soft coverage
is its pixels' chroma over its own full chroma, and its shape is read from complex moments about
its centre, which turn a rotation into a phase:

    Z_m = sum a (r / R)^m exp(i m phi) / sum a,   R^2 = sum a / pi
    with m = 3, 4, 5 for triangle, square, star

and the moment of inertia sum a (r / R)^2 / sum a as a fourth feature. The nearest rendered
prototype gives the shape and its area the radius; the phase gives the rotation modulo the shape's
symmetry.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from workbench.scenes.grammar import COLOURS, SHAPES, Request, Thing
from workbench.scenes.renderer import HUES, SIDE, Scenes, pixel_coverage

CHROMA = 0.36  # between the backgrounds' 0.24 and the objects' 0.52
MIN_PIXELS = 12  # smaller components are specks
SYMMETRY = {"circle": 0, "square": 4, "triangle": 3, "star": 5}
POSITION_MARGIN = 0.1  # as GenEval's position threshold: an offset below it is no relation


@dataclass(frozen=True)
class DetectedObject:
    """One detected object. Units as in `Scenes`; `fit` is the distance to the shape's prototype (0
    is perfect).
    """

    shape: str
    colour: str
    x: float
    y: float
    radius: float
    angle: float  # radians, modulo the shape's symmetry; 0 for a circle
    rgb: tuple[float, float, float]
    fit: float


@dataclass(frozen=True)
class Seen:
    """The content of one image: objects by falling size, and the background's colours at its four
    corners [4, 3].
    """

    objects: tuple[DetectedObject, ...]
    corners: np.ndarray = field(repr=False)


def detect(images: Tensor) -> list[Seen]:
    """The content of each image [B, 3, 64, 64] in [0, 1]. Raises ValueError for another shape or
    range.
    """
    if images.ndim != 4 or images.shape[1:] != (3, SIDE, SIDE):
        raise ValueError(
            f"the detector reads [B, 3, {SIDE}, {SIDE}] images, not {list(images.shape)}"
        )
    if not len(images):
        return []
    pixels = images.detach().float().cpu().numpy()
    if not np.isfinite(pixels).all() or pixels.min() < -1e-3 or pixels.max() > 1 + 1e-3:
        raise ValueError(
            "the detector reads finite values in [0, 1]; scale images from [-1, 1] with (x + 1) / 2"
        )
    chroma = pixels.max(1) - pixels.min(1)
    labels, owners = _components(pixels, chroma)
    objects_of: list[list[DetectedObject]] = [[] for _ in pixels]
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        owner = owners[label]
        if owner >= 0:
            objects_of[owner].append(
                _describe(pixels[owner], chroma[owner], labels[box][0] == label, box[1:])
            )
    return [
        Seen(tuple(sorted(objects, key=lambda o: -o.radius)), corners)
        for objects, corners in zip(objects_of, _corners(pixels, chroma))
    ]


def _components(pixels: np.ndarray, chroma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels [B * colours, H, W] of connected pixels of one nearest hue, and the image of each
    label (-1: a speck).
    """
    hue = _hue(pixels, chroma)
    centres = np.array([HUES[name] for name in COLOURS])
    away = np.abs((hue[:, None] - centres[None, :, None, None] + 180) % 360 - 180)
    nearest = np.where(chroma > CHROMA, away.argmin(1), -1)
    planes = (nearest[:, None] == np.arange(len(COLOURS))[None, :, None, None]).reshape(
        -1, *chroma.shape[1:]
    )
    in_plane = np.zeros((3, 3, 3), dtype=int)
    in_plane[1] = ndimage.generate_binary_structure(2, 1)
    labels, count = ndimage.label(planes, in_plane)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    owners = np.full(count + 1, -1)
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        if sizes[label] >= MIN_PIXELS:
            owners[label] = box[0].start // len(COLOURS)
    return labels, owners


def _hue(pixels: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """Degrees in [0, 360) of [B, 3, H, W] pixels."""
    r, g, b = pixels[:, 0], pixels[:, 1], pixels[:, 2]
    top, c = pixels.argmax(1), np.maximum(chroma, 1e-6)
    sixth = np.choose(top, [((g - b) / c) % 6, (b - r) / c + 2, (r - g) / c + 4])
    return sixth * 60


def _describe(
    pixels: np.ndarray, chroma: np.ndarray, mask: np.ndarray, box: tuple[slice, slice]
) -> DetectedObject:
    """The object whose core `mask` fills part of `box`; its soft edge is one pixel wider on each
    side.
    """
    rows, columns = (slice(max(s.start - 1, 0), min(s.stop + 1, SIDE)) for s in box)
    core = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=bool)
    core[
        box[0].start - rows.start : box[0].stop - rows.start,
        box[1].start - columns.start : box[1].stop - columns.start,
    ] = mask
    local = chroma[rows, columns]
    full = np.quantile(local[core], 0.8)
    rim = ndimage.binary_dilation(core) & ~core
    floor = min(np.median(local[rim]) if rim.any() else 0.0, 0.5 * full)
    cover = np.clip((local - floor * 0.5) / max(full - floor * 0.5, 1e-6), 0, 1) * (core | rim)
    cover[core] = np.maximum(cover[core], 0.5)
    y, x = np.mgrid[rows, columns]
    y, x = (y + 0.5) / SIDE * 2 - 1, (x + 0.5) / SIDE * 2 - 1
    total = cover.sum()
    cx, cy = (cover * x).sum() / total, (cover * y).sum() / total
    features, phases = _moments(x - cx, y - cy, cover)
    shape, fit = _nearest_shape(features)
    area = total * (2 / SIDE) ** 2
    solid = core & (local >= full * 0.9)
    rgb = np.median(pixels[:, rows, columns][:, solid], axis=1)
    hue = _hue(rgb[None, :, None, None], (rgb.max() - rgb.min())[None, None, None])[0, 0, 0]
    colour = min(COLOURS, key=lambda name: abs((hue - HUES[name] + 180) % 360 - 180))
    order = SYMMETRY[shape]
    angle = (phases[order] / order) % (2 * math.pi / order) if order else 0.0
    return DetectedObject(
        shape,
        colour,
        float(cx),
        float(cy),
        math.sqrt(area / _areas()[shape]),
        float(angle),
        tuple(float(v) for v in rgb),
        fit,
    )


def _moments(
    x: np.ndarray, y: np.ndarray, cover: np.ndarray
) -> tuple[np.ndarray, dict[int, float]]:
    """(|Z_3|, |Z_4|, |Z_5|, inertia) of a coverage about its centre, and the phases of its Z_m."""
    total = cover.sum()
    scale = math.sqrt(total * (2 / SIDE) ** 2 / math.pi)
    z = (x + 1j * y) / scale
    moments = {m: (cover * z**m).sum() / total for m in (3, 4, 5)}
    inertia = (cover * np.abs(z) ** 2).sum() / total
    # the phase of a square's Z_4 is that of its corners, half a period from its sides
    phases = {m: float(np.angle(-value if m == 4 else value)) for m, value in moments.items()}
    return np.array([abs(moments[3]), abs(moments[4]), abs(moments[5]), inertia]), phases


def _nearest_shape(features: np.ndarray) -> tuple[str, float]:
    distances = {
        shape: float(np.linalg.norm(features - prototype))
        for shape, prototype in _prototypes().items()
    }
    shape = min(distances, key=distances.get)
    return shape, distances[shape]


@cache
def _areas() -> dict[str, float]:
    """Area of each shape of radius 1, in units of its frame, from a large rendering."""
    return {shape: float(_rendered(shape, 512).sum()) * (2 / 512) ** 2 / 0.64 for shape in SHAPES}


@cache
def _prototypes() -> dict[str, np.ndarray]:
    axis = (np.arange(512) + 0.5) / 512 * 2 - 1
    x, y = np.meshgrid(axis, axis)
    result = {}
    for shape in SHAPES:
        cover = _rendered(shape, 512)
        z = (x + 1j * y) / math.sqrt(cover.sum() * (2 / 512) ** 2 / math.pi)
        result[shape] = (
            np.array(
                [abs((cover * z**m).sum()) for m in (3, 4, 5)] + [(cover * np.abs(z) ** 2).sum()]
            )
            / cover.sum()
        )
    return result


def _rendered(shape: str, side: int) -> np.ndarray:
    """[side, side] coverage of one centred shape of radius 0.8."""
    one = Scenes(
        torch.tensor([1]),
        torch.tensor([[SHAPES.index(shape)]]),
        torch.zeros(1, 1, dtype=torch.long),
        torch.zeros(1, 1, 2),
        torch.tensor([[0.8]]),
        torch.zeros(1, 1),
        torch.zeros(1, 1, 3),
        torch.zeros(1, 2, 3),
        torch.zeros(1),
    )
    return pixel_coverage(one, side)[0, 0].double().numpy()


def _corners(pixels: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """[B, 4, 3] background colour at the corners: least squares of a plane through the pixels
    outside of objects.
    """
    axis = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    design = np.stack([np.ones_like(x), x, y], -1).reshape(-1, 3)
    at = np.array([[1, -1, -1], [1, 1, -1], [1, -1, 1], [1, 1, 1]])
    result = np.empty((len(pixels), 4, 3))
    for n, image in enumerate(pixels):
        free = ~ndimage.binary_dilation(chroma[n] > CHROMA, iterations=2).ravel()
        free = free if free.sum() >= 16 else np.ones_like(free)
        plane, *_ = np.linalg.lstsq(design[free], image.reshape(3, -1).T[free], rcond=None)
        result[n] = np.clip(at @ plane, 0, 1)
    return result


def satisfies(seen: Seen, request: Request) -> bool:
    """Whether an image shows its caption: there is a `match`."""
    return match(seen, request) is not None


def match(seen: Seen, request: Request) -> tuple[DetectedObject, ...] | None:
    """The detected object for each of `request.objects`, or None, by the rule of the caption's
    GenEval task: every requested object is detected, matched one to one; counting needs exactly
    that many; a position is that of the centres. If several objects fit, the larger come first.

    Departs: GenEval ignores other objects outside counting; here, too, an extra object does not
    fail the image.
    """
    if request.count > 1:
        right = len(seen.objects) == request.count and all(
            _is(found, request.things[0]) for found in seen.objects
        )
        return seen.objects if right else None
    if len(request.things) == 1:
        return next(((found,) for found in seen.objects if _is(found, request.things[0])), None)
    first, second = request.things
    return next(
        (
            (a, b)
            for a in seen.objects
            for b in seen.objects
            if a is not b and _is(a, first) and _is(b, second) and _holds(request.relation, a, b)
        ),
        None,
    )


def _is(found: DetectedObject, thing: Thing) -> bool:
    return found.colour == (thing.colour or found.colour) and found.shape == (
        thing.shape or found.shape
    )


def _holds(relation: str | None, first: DetectedObject, second: DetectedObject) -> bool:
    dx, dy = second.x - first.x, second.y - first.y
    along = {None: 1.0, "left of": dx, "right of": -dx, "above": dy, "below": -dy}[relation]
    return along > POSITION_MARGIN
