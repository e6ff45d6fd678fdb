"""The step at which a factor settles, on scenes drawn to change at known steps."""

import copy
import math

import numpy as np
import torch

from workbench.metrics.factors import data_spread
from workbench.scenes.detector import DetectedObject, Seen, detect
from workbench.scenes.grammar import parse
from workbench.scenes.renderer import draw_scenes, render_scenes
from workbench.stages.factors import settled, settled_at

CAPTION = parse("a shape")


def changed(scenes, **changes):
    scenes = copy.deepcopy(scenes)
    for name, change in changes.items():
        setattr(scenes, name, change(getattr(scenes, name)))
    return scenes


def test_rendered_scenes_settle_when_they_were_drawn_to():
    final = draw_scenes([CAPTION] * 5, torch.Generator().manual_seed(0))
    blue = draw_scenes([parse("a blue shape")] * 5, torch.Generator().manual_seed(3))
    steps = [
        torch.full((5, 3, 64, 64), 0.5),  # nothing yet
        render_scenes(
            changed(
                final,
                centre=lambda c: c * 0 - c.sign() * 0.4,
                radius=lambda r: r * 0.6,
                background=lambda b: 1 - b,
                rgb=lambda _: blue.rgb,
            )
        ),
        render_scenes(changed(final, radius=lambda r: r * 0.8, rgb=lambda _: blue.rgb)),
        render_scenes(changed(final, rgb=lambda _: blue.rgb)),
        render_scenes(final),
        render_scenes(final),
    ]
    found = {
        name: settled_at(one).tolist()
        for name, one in settled(
            [detect(step) for step in steps], detect(render_scenes(final)), CAPTION
        ).items()
    }
    assert found["position"] == [3] * 5
    assert found["size"] == [4] * 5
    assert found["background"] == [3] * 5
    names = [seen.objects[0].colour for seen in detect(render_scenes(final))]
    assert found["shape"] == [2] * 5
    assert found["colour"] == [2 if name == "blue" else 5 for name in names]
    assert len(set(names)) > 1


def test_a_factor_that_is_right_only_for_a_while_is_not_settled():
    there, away = (
        Seen(
            (DetectedObject("circle", "red", x, 0.0, 0.4, 0.0, (0.9, 0.1, 0.1), 0.0),),
            np.full((4, 3), 0.5),
        )
        for x in (0.0, 0.8)
    )
    found = settled([[there], [away], [there]], [there], CAPTION)
    assert settled_at(found["position"]).tolist() == [3]
    assert settled_at(found["colour"]).tolist() == [1]


def test_within_a_quarter_of_the_worlds_spread():
    spread, grey = data_spread(CAPTION, 2), np.full((4, 3), 0.5)
    final = Seen((DetectedObject("star", "blue", 0.0, 0.0, 0.4, 0.0, (0.1, 0.1, 0.9), 0.0),), grey)
    for part, expected in ((0.24, 1), (0.26, 2)):
        moved = Seen(
            (
                DetectedObject(
                    "star",
                    "blue",
                    part * spread["position"],
                    0.0,
                    0.4 * math.exp(part * spread["radius"]),
                    0.0,
                    (0.1, 0.1, 0.9),
                    0.0,
                ),
            ),
            grey,
        )
        found = settled([[moved], [final]], [final], CAPTION)
        assert settled_at(found["position"]).tolist() == [expected]
        assert settled_at(found["size"]).tolist() == [expected]


def test_objects_are_matched_whatever_their_order_and_a_missing_one_settles_nothing():
    one, other = (
        DetectedObject("circle", "red", x, 0.0, 0.3, 0.0, (0.9, 0.1, 0.1), 0.0) for x in (-0.5, 0.5)
    )
    grey = np.full((4, 3), 0.5)
    found = settled(
        [[Seen((one,), grey)], [Seen((other, one), grey)]],
        [Seen((one, other), grey)],
        parse("two red circles"),
    )
    assert settled_at(found["position"]).tolist() == [2]
    assert settled_at(found["background"]).tolist() == [1]
