"""The detector recovers the factors of rendered scenes, within the bounds asserted here, and
scores GenEval's six tasks.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from workbench.scenes.detector import SYMMETRY, DetectedObject, Seen, detect, match, satisfies
from workbench.scenes.grammar import (
    COLOURS,
    RELATIONS,
    SHAPES,
    TASKS,
    Request,
    Thing,
    draw_requests,
    parse,
)
from workbench.scenes.renderer import RADIUS, draw_scenes, render_scenes

# largest errors over scenes of n objects: centre (the frame is 2 wide), log radius, rotation in
# degrees
LARGEST = {
    1: (0.007, 0.05, 0.8),
    2: (0.010, 0.08, 2.5),
    3: (0.011, 0.09, 3.5),
    4: (0.012, 0.11, 3.5),
}
MEAN = (0.002, 0.015, 0.35)  # at any crowding


def errors(scenes) -> np.ndarray:
    """[objects, 4] errors in centre, log radius, degrees (0 for a circle) and rgb; raises where an
    object's count, shape or colour is wrong.
    """
    result = []
    for b, seen in enumerate(detect(render_scenes(scenes))):
        assert len(seen.objects) == scenes.count[b], b
        for m in range(int(scenes.count[b])):
            x, y = scenes.centre[b, m].tolist()
            found = min(seen.objects, key=lambda o: math.hypot(o.x - x, o.y - y))
            shape = SHAPES[scenes.shape[b, m]]
            assert (found.shape, found.colour) == (shape, COLOURS[scenes.colour[b, m]]), b
            turn, order = found.angle - scenes.angle[b, m].item(), SYMMETRY[shape]
            degrees = (
                math.degrees(abs(math.remainder(order * turn, 2 * math.pi))) / order
                if order
                else 0.0
            )
            assert 0 <= found.angle < (2 * math.pi / order if order else 1e-9)
            result.append(
                (
                    math.hypot(found.x - x, found.y - y),
                    abs(math.log(found.radius / scenes.radius[b, m].item())),
                    degrees,
                    np.abs(np.array(found.rgb) - scenes.rgb[b, m].numpy()).max(),
                )
            )
    return np.array(result)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_factors_are_recovered_at_every_crowding_and_rotation(count):
    generator = torch.Generator().manual_seed(count)
    scenes = draw_scenes([Request((Thing(),), count=count)] * 250, generator)
    scenes.angle[125:] = (
        2 * math.pi * torch.rand(scenes.angle[125:].shape, generator=generator)
    )  # beyond the world's tilt
    found_errors = errors(scenes)
    assert (found_errors.max(0) < (*LARGEST[count], 1e-3)).all()
    assert (found_errors.mean(0) < (*MEAN, 1e-3)).all()


def test_the_smallest_objects_are_recovered():
    scenes = draw_scenes([Request((Thing(),), count=4)] * 100, torch.Generator().manual_seed(9))
    scenes.radius[:] = RADIUS[4][0]
    found_errors = errors(scenes)
    assert (found_errors.max(0) < (*LARGEST[4], 1e-3)).all()
    assert (found_errors.mean(0) < (*MEAN, 1e-3)).all()


def test_corners_of_the_background_are_recovered():
    scenes = draw_scenes(draw_requests(100, 3), torch.Generator().manual_seed(3))
    bare = draw_scenes(draw_requests(100, 3), torch.Generator().manual_seed(3))
    bare.count[:] = 0
    for seen, image in zip(
        detect(render_scenes(scenes)),
        torch.cat([render_scenes(bare[i : i + 1]) for i in range(100)]),
    ):
        corners = torch.stack(
            [image[:, 0, 0], image[:, 0, -1], image[:, -1, 0], image[:, -1, -1]]
        ).numpy()
        assert (
            np.abs(seen.corners - corners).max() < 0.02
        )  # centres of the corner pixels, half a pixel inside


@pytest.mark.parametrize("task", TASKS)
def test_rendered_scenes_satisfy_their_captions(task):
    asked = draw_requests(150, 5, task)
    seen = detect(render_scenes(draw_scenes(asked, torch.Generator().manual_seed(5))))
    assert all(map(satisfies, seen, asked))


def test_the_imperfect_pixels_of_a_decoder_are_read():
    """Blur, noise and clipping of about what a small autoencoder does."""
    asked = draw_requests(200, 6)
    images = render_scenes(draw_scenes(asked, torch.Generator().manual_seed(6)))
    kernel = torch.tensor([0.1, 0.8, 0.1])
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate").flatten(0, 1)[:, None]
    blurred = F.conv2d(padded, torch.outer(kernel, kernel)[None, None])
    noisy = blurred.view_as(images) + 0.02 * torch.randn(
        images.shape, generator=torch.Generator().manual_seed(0)
    )
    right = sum(map(satisfies, detect(noisy.clamp(0, 1)), asked))
    assert right >= 198, right


def test_empty_backgrounds_and_noise_show_nothing():
    scenes = draw_scenes([parse("a circle")] * 4, torch.Generator().manual_seed(0))
    scenes.radius[:] = 0.02  # a speck
    assert all(seen.objects == () for seen in detect(render_scenes(scenes)))
    assert detect(torch.full((1, 3, 64, 64), 0.5))[0].objects == ()
    assert detect(torch.empty(0, 3, 64, 64)) == []


def test_an_object_that_fills_the_frame_does_not_crash():
    seen = detect(torch.tensor([1.0, 0.0, 0.0])[None, :, None, None].expand(1, 3, 64, 64))[0]
    assert len(seen.objects) == 1
    assert seen.objects[0].colour == "red"
    assert np.isfinite(seen.corners).all()


def test_objects_come_by_falling_size_whatever_the_batch():
    scenes = draw_scenes([parse("three shapes")] * 20, torch.Generator().manual_seed(2))
    together = detect(render_scenes(scenes))
    assert all(
        [o.radius for o in seen.objects] == sorted((o.radius for o in seen.objects), reverse=True)
        for seen in together
    )
    alone = detect(render_scenes(scenes)[7:8])[0]
    assert alone.objects == together[7].objects


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.rand(3, 64, 64), r"\[B, 3, 64, 64\]"),
        (torch.rand(1, 3, 32, 32), r"\[B, 3, 64, 64\]"),
        (torch.rand(1, 4, 64, 64), r"\[B, 3, 64, 64\]"),
        (torch.rand(1, 3, 64, 64) * 2 - 1, r"\(x \+ 1\) / 2"),
        (torch.full((1, 3, 64, 64), float("nan")), "finite"),
    ],
)
def test_bad_images_are_rejected_with_the_way_out(images, words):
    with pytest.raises(ValueError, match=words):
        detect(images)


def found(colour: str, shape: str, x: float = 0.0, y: float = 0.0) -> DetectedObject:
    return DetectedObject(shape, colour, x, y, 0.25, 0.0, (1.0, 0.0, 0.0), 0.0)


def holds(text: str, *objects: DetectedObject) -> bool:
    return satisfies(Seen(objects, np.zeros((4, 3))), parse(text))


def test_single_objects_and_colours():
    assert holds("a circle", found("red", "circle"))
    assert not holds("a circle", found("red", "star"))
    assert not holds("a shape")
    assert holds("a red circle", found("red", "circle"))
    assert not holds("a red circle", found("blue", "circle"))
    assert not holds("a red circle", found("red", "star"), found("blue", "circle"))
    assert holds(
        "a circle", found("red", "star"), found("red", "circle")
    )  # an extra object does not fail


def test_counting_asks_for_exactly_that_many():
    star = found("red", "star")
    assert [holds("three red stars", *[star] * n) for n in (2, 3, 4)] == [False, True, False]
    assert not holds("three red stars", star, star, found("blue", "star"))
    assert not holds("three red stars", star, star, star, found("blue", "star"))


def test_two_objects_are_matched_one_to_one():
    assert holds("a star and a circle", found("red", "circle"), found("red", "star"))
    assert not holds("a shape and a circle", found("red", "circle"))
    assert holds("a red shape and a circle", found("red", "circle"), found("blue", "circle"))
    assert not holds("a red star and a blue circle", found("blue", "star"), found("red", "circle"))


@pytest.mark.parametrize(
    ("relation", "x", "y"), zip(RELATIONS, (0.5, -0.5, 0, 0), (0, 0, 0.5, -0.5))
)
def test_relations_compare_the_centres_beyond_a_margin(relation, x, y):
    text = f"a star {relation} a circle"
    assert holds(text, found("red", "star"), found("red", "circle", x, y))
    assert not holds(text, found("red", "star"), found("red", "circle", -x, -y))
    assert not holds(text, found("red", "star"), found("red", "circle", 0.1 * x, 0.1 * y))


def test_a_match_gives_the_objects_in_the_order_of_the_caption():
    circle, star = found("red", "circle", -0.5), found("blue", "star", 0.5)
    seen = Seen((circle, star), np.zeros((4, 3)))
    assert match(seen, parse("a star right of a circle")) == (star, circle)
    assert match(seen, parse("two shapes")) == (circle, star)
    assert match(seen, parse("a star left of a circle")) is None
