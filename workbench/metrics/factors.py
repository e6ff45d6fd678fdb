"""Diversity of scenes in terms that can be checked: how much each factor that a caption leaves open
varies from seed to seed.

Like Eq. (9), every spread compares pairs of images of one prompt, through an embedding u of the
factor:

    spread = sqrt( 1/2 mean_{i<j} |u_i - u_j|^2 )

which is a standard deviation if u is a number. The factors, each present only if the caption leaves
it open:

    position        (x, y), in units of half the frame
    radius          log radius
    rotation        exp(i m angle), m the symmetry; in [0, 1] and absent for circles and unnamed
                    shapes
    shade           saturation, hue and value, the hue relative to that of the colour's name (HSV
                    cylinder)
    shape, colour   one-hot if unnamed: the root of the chance that two seeds differ
    background      rgb at the four corners

Only images that match their caption count (`detector.match`), so that mistakes do not pass for
diversity; `matched` counts them. Objects are matched between two images by their names in the
caption; objects with one name, as in "three stars", by least squared distance, so their order
cannot matter. Spreads are means over the objects.

Departs from entropies of shape and colour: the chance to differ has no bias in the number of
images, and four colours in one image that stay the same from seed to seed are not diversity.
"""

from __future__ import annotations

import colorsys
import itertools
import math
import zlib
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import torch

from workbench.scenes.detector import SYMMETRY, DetectedObject, Seen, match, satisfies
from workbench.scenes.grammar import COLOURS, SHAPES, Request, Thing
from workbench.scenes.renderer import HUES, Scenes, draw_scenes

FACTORS = ("position", "radius", "rotation", "shade", "shape", "colour", "background")
POOL = 1800  # drawn scenes that stand for the data of one request


@dataclass(frozen=True)
class RelativeSpread:
    """Spreads of samples over those of data: 1 is as diverse as the world itself, 0 is always the
    same image.
    """

    mean: float  # over prompts; nan if no prompt has two images that match it
    by_factor: dict[str, float]  # over the prompts that leave the factor open
    by_prompt: list[float]  # mean over the prompt's factors, nan if fewer than two images match it
    matched: int  # images that match their caption, of `total`
    total: int


def spread(seen: list[Seen], request: Request) -> dict[str, float]:
    """The spread of each factor that `request` leaves open over the images of its S seeds, by the
    formula above.

    Absent factors are absent, never 0; images that do not match are dropped (`matched` counts the
    others), and with fewer than two left the result is empty.
    """
    return _spread(_embeddings(seen, request), request.count > 1)


def matched(seen: list[Seen], request: Request) -> int:
    """The number of images that match the caption."""
    return sum(satisfies(one, request) for one in seen)


def relative_spread(seen_by_prompt: list[list[Seen]], requests: list[Request]) -> RelativeSpread:
    """Each prompt's spreads over the mean spreads of drawn scenes of the same request and number
    of images, averaged over factors, then prompts. `mean_interval` of the finite `by_prompt`
    is an interval for `mean`.

    Raises ValueError when the two lists differ in length or are empty.
    """
    _same_length(seen_by_prompt, requests)
    ratios = []
    for seen, request in zip(seen_by_prompt, requests):
        here = spread(seen, request)
        data = data_spread(request, matched(seen, request)) if here else {}
        ratios.append({name: value / data[name] for name, value in here.items()})
    by_prompt = [float(np.mean(list(ratio.values()))) if ratio else math.nan for ratio in ratios]
    by_factor = {
        name: float(np.mean([ratio[name] for ratio in ratios if name in ratio]))
        for name in FACTORS
        if any(name in ratio for ratio in ratios)
    }
    usable = [value for value in by_prompt if not math.isnan(value)]
    return RelativeSpread(
        float(np.mean(usable)) if usable else math.nan,
        by_factor,
        by_prompt,
        sum(map(matched, seen_by_prompt, requests)),
        sum(map(len, seen_by_prompt)),
    )


@cache
def data_spread(request: Request, images: int) -> dict[str, float]:
    """The mean spread of many groups of `images` (2 or more) scenes of `request`, as drawn: the
    ground truth.

    The detector adds less than one percent to it on rendered scenes. Cached; a new request costs
    about 0.2 s.
    """
    pool = _data(request)
    size = len(pool["background"])
    groups = [slice(start, start + images) for start in range(0, size - images + 1, images)] or [
        slice(0, size)
    ]
    spreads = [
        _spread({name: u[group] for name, u in pool.items()}, request.count > 1) for group in groups
    ]
    return {name: float(np.mean([one[name] for one in spreads])) for name in spreads[0]}


def _same_length(first: list, second: list) -> None:
    if len(first) != len(second) or not first:
        raise ValueError(
            f"expected one request for each entry and at least one, not {len(first)} and "
            f"{len(second)}"
        )


@lru_cache(maxsize=64)
def _data(request: Request) -> dict[str, np.ndarray]:
    """Embeddings of POOL scenes, from the request's own generator: the reference does not depend on
    any sample's seeds.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(request.text.encode()))
    return _embeddings(_as_seen(draw_scenes([request] * POOL, generator)), request)


def _as_seen(scenes: Scenes) -> list[Seen]:
    """The output of a perfect detector; objects in the order of the request."""
    toward = torch.stack([scenes.direction.cos(), scenes.direction.sin()], -1)  # [B, 2]
    mix = 0.5 + toward @ torch.tensor([[-1.0, 1.0, -1.0, 1.0], [-1.0, -1.0, 1.0, 1.0]]) / (
        2 * math.sqrt(2)
    )  # [B, 4]
    corners = torch.lerp(
        scenes.background[:, None, 0], scenes.background[:, None, 1], mix[..., None]
    ).numpy()
    shape, colour, centre, radius, angle, rgb = (
        v.tolist()
        for v in (
            scenes.shape,
            scenes.colour,
            scenes.centre,
            scenes.radius,
            scenes.angle,
            scenes.rgb,
        )
    )
    return [
        Seen(
            tuple(
                DetectedObject(
                    SHAPES[shape[b][m]],
                    COLOURS[colour[b][m]],
                    *centre[b][m],
                    radius[b][m],
                    angle[b][m],
                    tuple(rgb[b][m]),
                    0.0,
                )
                for m in range(count)
            ),
            corners[b],
        )
        for b, count in enumerate(scenes.count.tolist())
    ]


def _embeddings(seen: list[Seen], request: Request) -> dict[str, np.ndarray]:
    """[N, objects, D] (or [N, 1, D] for the background) of each open factor, over the N images
    that match.
    """
    pairs = [(found, one.corners) for one in seen if (found := match(one, request)) is not None]
    things = request.objects
    per_object = {  # the objects that have the factor, its embedding
        "position": (things, lambda f, _: (f.x, f.y)),
        "radius": (things, lambda f, _: (math.log(f.radius),)),
        "rotation": ([t for t in things if t.shape and SYMMETRY[t.shape]], _rotation),
        "shade": (things, lambda f, _: _shade(f)),
        "shape": (
            [t for t in things if not t.shape],
            lambda f, _: [f.shape == name for name in SHAPES],
        ),
        "colour": (
            [t for t in things if not t.colour],
            lambda f, _: [f.colour == name for name in COLOURS],
        ),
    }
    result = {}
    for name, (having, embed) in per_object.items():
        if having and pairs:
            result[name] = np.array(
                [[embed(f, t) for f, t in zip(found, things) if t in having] for found, _ in pairs],
                float,
            )
    if pairs:  # corners [4, 3] weigh as one colour
        result["background"] = np.array([corners.reshape(1, -1) for _, corners in pairs]) / 2
    return result


def _rotation(found: DetectedObject, thing: Thing) -> tuple[float, float]:
    phase = SYMMETRY[thing.shape] * found.angle
    return math.cos(phase), math.sin(phase)


def _shade(found: DetectedObject) -> tuple[float, float, float]:
    hue, saturation, value = colorsys.rgb_to_hsv(*found.rgb)
    offset = 2 * math.pi * hue - math.radians(HUES[found.colour])
    return saturation * math.cos(offset), saturation * math.sin(offset), value


def _spread(embeddings: dict[str, np.ndarray], interchangeable: bool) -> dict[str, float]:
    """The formula at the top, over all pairs of N >= 2 images, for embeddings [N, M, D]."""
    if not embeddings or len(embeddings["background"]) < 2:
        return {}
    i, j = np.triu_indices(len(embeddings["background"]), 1)
    order = _nearest_order(embeddings["position"], i, j) if interchangeable else None
    result = {}
    for name, u in embeddings.items():
        other = (
            u[j]
            if order is None or name == "background"
            else np.take_along_axis(u[j], order[..., None], 1)
        )
        result[name] = math.sqrt(0.5 * ((u[i] - other) ** 2).sum(-1).mean())
    return result


def _nearest_order(position: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """[pairs, M]: the order of the objects of image j that lies nearest to those of image i."""
    orders = np.array(list(itertools.permutations(range(position.shape[1]))))  # [R, M]
    distance = ((position[i][:, None] - position[j][:, orders]) ** 2).sum((-1, -2))  # [pairs, R]
    return orders[distance.argmin(1)]
