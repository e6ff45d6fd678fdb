"""What a participant with a program could learn from the pictures as they arrive: a simple
classifier on a picture's lengths and pixel statistics, and the linking of pictures by pixels.

A classifier needs pictures whose methods it was told, which the page never tells; without them it
can sort pictures into groups, and no group has a name. See docs/study.md. Not here: the disguise
(`server.pictures`).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import numpy as np
from PIL import Image

FOLDS = 5
LENGTH, PACKED, PIXELS = slice(0, 1), slice(1, 2), slice(2, None)  # columns of `statistics`
RIDGE = 1e-3


def statistics(content: bytes) -> np.ndarray:
    """[17]: the length of the PNG as it is sent, that of its packed pixels; of each channel mean,
    deviation, and mean step to the right and downwards; the shares of black, white and grey.
    """
    pixels = decoded(content).astype(float)
    flat = pixels.reshape(-1, 3)
    right, down = (np.abs(np.diff(pixels, axis=axis)).mean((0, 1)) for axis in (1, 0))
    spread = flat.max(1) - flat.min(1)
    shares = [(flat.max(1) < 8).mean(), (flat.min(1) > 247).mean(), (spread < 8).mean()]
    return np.array(
        [len(content), packed_length(content), *flat.mean(0), *flat.std(0), *right, *down, *shares]
    )


def decoded(content: bytes) -> np.ndarray:
    """[H, W, 3] uint8: the pixels of a PNG."""
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image)


def packed_length(content: bytes) -> int:
    """The bytes of a PNG's packed pixels (its chunk IDAT)."""
    place = 8
    while content[place + 4 : place + 8] != b"IDAT":
        place += 12 + struct.unpack(">I", content[place : place + 4])[0]
    return struct.unpack(">I", content[place : place + 4])[0]


def accuracy(numbers: np.ndarray, methods: Sequence[int], items: Sequence[int]) -> float:
    """The share of pictures [N] whose method a linear classifier on their numbers [N, F] guesses,
    trained by least squares on other items' pictures with their methods (`FOLDS` folds of items).
    With constant numbers it guesses the most frequent method, or the first.
    """
    methods, items = np.asarray(methods), np.asarray(items)
    targets, right = np.eye(methods.max() + 1)[methods], 0
    for fold in range(FOLDS):
        held = items % FOLDS == fold
        centre, scale = numbers[~held].mean(0), numbers[~held].std(0)
        inputs = np.where(scale > 0, (numbers - centre) / np.where(scale > 0, scale, 1), 0)
        inputs = np.hstack([inputs, np.ones((len(inputs), 1))])
        known = inputs[~held]
        weights = np.linalg.solve(
            known.T @ known + RIDGE * len(known) * np.eye(known.shape[1]), known.T @ targets[~held]
        )
        right += int(((inputs[held] @ weights).argmax(1) == methods[held]).sum())
    return right / len(methods)


def linked(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> float:
    """The share of pictures whose nearest of `second`, by the mean difference of pixels, is that of
    the same place.
    """
    flat = np.stack([image.reshape(-1) for image in second]).astype(np.int16)
    nearest = [int(np.abs(flat - image.reshape(-1)).mean(1).argmin()) for image in first]
    return float(np.mean([found == n for n, found in enumerate(nearest)]))
