"""GenEval's rules: whether the objects that a detector found in an image are those that its prompt
asks for.

A request is a line of GenEval's evaluation_metadata.jsonl:

    {"tag": one of `TASKS`, "prompt": ..., "include": [clause, ...], "exclude": [clause, ...]}
    clause = {"class": one of `NAMES`, "count": n,
              "color": one of `GENEVAL_COLOURS`, "position": [relation, i]}    (both optional)

At most 16 objects of a class are read, the most confident first, with a score above 0.3, in
counting above 0.9; objects that overlap all count. Every `include` clause must hold for its n most
confident objects: there are n; all have the colour; each is in the relation to each object of
clause i, an earlier one that must hold itself. No class of `exclude` may occur n times or more.
With centres a and b of two boxes, and w the sum of their widths (of their heights for the second
component), the offset a - b is shortened by w / 10 in each component, to 0 at most, and divided by
the length of the unshortened one; a relation holds if the result is beyond 1/2 in its direction, so
none or two may hold.

Scores and boxes are compared in fp32, as in the original. This module sees no pixels: the function
that names the colours is an argument. Source: Ghosh et al. 2023 (arXiv 2310.11513),
https://github.com/djghosh13/geneval, evaluate_images.py. Departs: of equally confident objects the
later one comes first (there, the order of an unstable sort); a request that no image could fulfil,
such as an unknown class, is an error.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from workbench.scenes.grammar import RELATIONS, TASKS

THRESHOLD, COUNTING_THRESHOLD = 0.3, 0.9
MAX_OBJECTS = 16
MARGIN = 0.1  # of the summed widths and heights
GENEVAL_COLOURS = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
)
# COCO's classes in COCO's order; mouse, remote and keyboard have longer names here
NAMES = (
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "airplane",
    "bus",
    "train",
    "truck",
    "boat",
    "traffic light",
    "fire hydrant",
    "stop sign",
    "parking meter",
    "bench",
    "bird",
    "cat",
    "dog",
    "horse",
    "sheep",
    "cow",
    "elephant",
    "bear",
    "zebra",
    "giraffe",
    "backpack",
    "umbrella",
    "handbag",
    "tie",
    "suitcase",
    "frisbee",
    "skis",
    "snowboard",
    "sports ball",
    "kite",
    "baseball bat",
    "baseball glove",
    "skateboard",
    "surfboard",
    "tennis racket",
    "bottle",
    "wine glass",
    "cup",
    "fork",
    "knife",
    "spoon",
    "bowl",
    "banana",
    "apple",
    "sandwich",
    "orange",
    "broccoli",
    "carrot",
    "hot dog",
    "pizza",
    "donut",
    "cake",
    "chair",
    "couch",
    "potted plant",
    "bed",
    "dining table",
    "toilet",
    "tv",
    "laptop",
    "computer mouse",
    "tv remote",
    "computer keyboard",
    "cell phone",
    "microwave",
    "oven",
    "toaster",
    "sink",
    "refrigerator",
    "book",
    "clock",
    "vase",
    "scissors",
    "teddy bear",
    "hair drier",
    "toothbrush",
)


@dataclass(frozen=True, eq=False)
class Detection:
    """An object: its class, score in [0, 1], box (left, top, right, bottom) in pixels, right and
    bottom exclusive, and its pixels.
    """

    name: str
    score: float
    box: tuple[float, float, float, float]
    mask: Tensor | None = None  # [H, W] bool


@dataclass(frozen=True)
class Verdict:
    """Whether an image satisfies its request, and the violations if not."""

    correct: bool
    reason: str = ""


# one of GENEVAL_COLOURS for each of the objects, which all are of one class
ColourNames = Callable[[str, list[Detection]], list[str]]


def judge(detections: Sequence[Detection], request: dict, colours: ColourNames) -> Verdict:
    """The verdict on an image with these objects, in any order. `colours` is called only if a
    clause names one and its count is met.

    Raises ValueError for a request that is not GenEval's.
    """
    check(request)
    found = surest(detections, request["tag"])
    matched: list[list[Detection]] = []  # the objects of each clause, none if it does not hold
    faults = []
    for clause in request.get("include", ()):
        objects = found.get(clause["class"], [])[: clause["count"]]
        fault = _fault(objects, clause, matched, colours)
        matched.append([] if fault else objects)
        faults += [fault] if fault else []
    for clause in request.get("exclude", ()):
        count = len(found.get(clause["class"], []))
        if count >= clause["count"]:
            faults.append(
                f"{clause['class']}: {count} found, fewer than {clause['count']} required"
            )
    return Verdict(not faults, "; ".join(faults))


def surest(detections: Sequence[Detection], tag: str) -> dict[str, list[Detection]]:
    """The objects of each class that the rules read, the most confident first, without empty
    classes.
    """
    threshold = np.float32(COUNTING_THRESHOLD if tag == "counting" else THRESHOLD)
    found: dict[str, list[Detection]] = {}
    for detection in sorted(reversed(detections), key=lambda detection: -detection.score):
        if np.float32(detection.score) > threshold:
            found.setdefault(detection.name, []).append(detection)
    return {name: objects[:MAX_OBJECTS] for name, objects in found.items()}


def relations(a: Sequence[float], b: Sequence[float]) -> set[str]:
    """Those of "left of", "right of", "above", "below" in which box a is to box b."""
    corners = np.array([a, b], dtype=np.float32).reshape(2, 2, 2)  # box, corner, (x, y)
    centres, sizes = corners.mean(1), np.abs(corners[:, 1] - corners[:, 0])
    offset = centres[0] - centres[1]
    shortened = np.sign(offset) * np.maximum(np.abs(offset) - MARGIN * (sizes[0] + sizes[1]), 0)
    if np.abs(shortened).max() < 1e-3:
        return set()
    x, y = shortened / np.linalg.norm(offset)
    holds = {"left of": x < -0.5, "right of": x > 0.5, "above": y < -0.5, "below": y > 0.5}
    return {relation for relation in RELATIONS if holds[relation]}


def check(request: dict) -> None:
    """Raises ValueError if a request is not GenEval's, with the mistake and the nearest valid
    value.
    """
    _one_of("tag", request.get("tag"), TASKS)
    for part in ("include", "exclude"):
        for n, clause in enumerate(request.get(part, ())):
            _one_of("class", clause.get("class"), NAMES)
            if not isinstance(clause.get("count"), int) or clause["count"] < 1:
                raise ValueError(
                    f"a GenEval clause counts from 1, and this one says {clause.get('count')!r}: "
                    f"{clause}"
                )
            if "color" in clause:
                _one_of("color", clause["color"], GENEVAL_COLOURS)
            if "position" in clause:
                relation, target = clause["position"]
                _one_of("position", relation, RELATIONS)
                if target not in range(n):
                    raise ValueError(
                        f"a GenEval position refers to an earlier clause, and {target!r} is none "
                        f"of clause {n}: {clause}"
                    )


def _fault(
    objects: list[Detection], clause: dict, matched: list[list[Detection]], colours: ColourNames
) -> str:
    """The violation of an `include` clause by its objects; empty if it holds."""
    name, count = clause["class"], clause["count"]
    if len(objects) < count:
        return f"{name}: {len(objects)} found, {count} required"
    if "color" in clause:
        seen = colours(name, objects)
        if seen.count(clause["color"]) < count:
            return f"{name}: {', '.join(seen)} found, {count} {clause['color']} required"
    if "position" in clause:
        relation, target = clause["position"]
        if not matched[target]:
            return f"{name}: no target to be {relation}"
        wrong = [
            (a, b)
            for a in objects
            for b in matched[target]
            if relation not in relations(a.box, b.box)
        ]
        if wrong:
            there = (
                " and ".join(sorted(relations(wrong[0][0].box, wrong[0][1].box)))
                or "in no relation to"
            )
            return f"{name}: {there} {wrong[0][1].name} found, {relation} required"
    return ""


def _one_of(key: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(known)}"
        raise ValueError(f"GenEval has no {key} {value!r}; {hint}")
