"""Spreads of known factors, what is dropped, and that data measured against data gives 1."""

import math

import numpy as np
import pytest
import torch

from workbench.metrics.factors import data_spread, matched, relative_spread, spread
from workbench.scenes.detector import DetectedObject, Seen, detect, satisfies
from workbench.scenes.grammar import TASKS, parse, requests
from workbench.scenes.renderer import HUES, draw_scenes, hsv_to_rgb, render_scenes


def found(
    shape="circle", colour="red", x=0.0, y=0.0, radius=0.4, angle=0.0, value=0.9
) -> DetectedObject:
    rgb = tuple(
        hsv_to_rgb(torch.tensor(HUES[colour]), torch.tensor(0.9), torch.tensor(value)).tolist()
    )
    return DetectedObject(shape, colour, x, y, radius, angle, rgb, 0.0)


def seen(*objects: DetectedObject, grey: float = 0.5) -> Seen:
    return Seen(objects, np.full((4, 3), grey))


def rendered(text: str, count: int, seed: int) -> list[Seen]:
    return detect(
        render_scenes(draw_scenes([parse(text)] * count, torch.Generator().manual_seed(seed)))
    )


def test_only_open_factors_are_present():
    always = {"position", "radius", "shade", "background"}
    for text, more in [
        ("a red circle", set()),
        ("a red star", {"rotation"}),
        ("a circle", {"colour"}),
        ("a red shape", {"shape"}),
        ("a shape", {"shape", "colour"}),
        ("three stars", {"rotation", "colour"}),
        ("a red circle left of a shape", {"shape", "colour"}),
        ("a red circle and a blue square", {"rotation"}),
    ]:
        assert set(spread(rendered(text, 4, 0), parse(text))) == always | more, text


def test_spread_is_the_standard_deviation_of_numbers():
    rng = np.random.default_rng(0)
    x, y, radius, value, grey = (rng.uniform(0.2, 0.5, 7) for _ in range(5))
    value += 0.4
    images = [
        seen(found(x=a, y=b, radius=r, value=v), grey=g)
        for a, b, r, v, g in zip(x, y, radius, value, grey)
    ]
    result = spread(images, parse("a red circle"))
    assert result["position"] == pytest.approx(math.sqrt(x.var(ddof=1) + y.var(ddof=1)))
    assert result["radius"] == pytest.approx(np.log(radius).std(ddof=1))
    assert result["shade"] == pytest.approx(value.std(ddof=1), rel=1e-5)
    assert result["background"] == pytest.approx(math.sqrt(3) * grey.std(ddof=1))


def test_rotation_knows_the_symmetry_of_the_shape():
    turned = [seen(found("square", angle=a)) for a in (0.01, math.pi / 2 - 0.01, 0.0)]
    assert spread(turned, parse("a red square"))["rotation"] < 0.06
    as_triangle = [seen(found("triangle", angle=a)) for a in (0.01, math.pi / 2 - 0.01, 0.0)]
    assert spread(as_triangle, parse("a red triangle"))["rotation"] > 0.5
    uniform = [seen(found("star", angle=2 * math.pi / 5 * n / 400)) for n in range(400)]
    assert spread(uniform, parse("a red star"))["rotation"] == pytest.approx(1, abs=0.01)


def test_shape_and_colour_spread_is_the_root_of_the_chance_to_differ():
    images = [
        seen(found(shape, colour))
        for shape, colour in [("circle", "red"), ("star", "red"), ("star", "blue")]
    ]
    result = spread(images, parse("a shape"))
    assert result["shape"] == pytest.approx(math.sqrt(2 / 3))
    assert result["colour"] == pytest.approx(math.sqrt(2 / 3))


def test_shade_is_measured_within_the_colour():
    assert spread([seen(found(colour=c)) for c in HUES], parse("a circle"))[
        "shade"
    ] == pytest.approx(0, abs=1e-6)


def test_the_order_of_objects_with_one_name_does_not_matter():
    things = [("red", -0.6, 0.25), ("blue", 0.0, 0.24), ("cyan", 0.6, 0.23)]
    a, b, c = (found("star", colour, x, 0.0, radius) for colour, x, radius in things)
    result = spread([seen(a, b, c), seen(c, a, b), seen(b, a, c)], parse("three stars"))
    assert all(value == pytest.approx(0, abs=1e-7) for value in result.values())


def test_objects_with_two_names_are_matched_by_name():
    circle, star = found("circle", x=-0.5), found("star", x=0.5)
    result = spread([seen(circle, star), seen(star, circle)], parse("a circle and a star"))
    assert result["position"] == pytest.approx(0, abs=1e-9)


def test_images_that_miss_what_was_asked_are_dropped_and_counted():
    request = parse("a red circle left of a star")
    right = [seen(found(x=-0.5), found("star", x=0.5, y=0.1 * n)) for n in range(3)]
    wrong = [seen(found(x=0.5), found("star", x=-0.5)), seen(found(x=-0.5)), seen()]
    assert matched(right + wrong, request) == 3
    assert spread(right + wrong, request) == spread(right, request)
    assert spread(right[:1] + wrong, request) == {}
    result = relative_spread([right + wrong, right[:1] + wrong], [request, request])
    assert (result.matched, result.total) == (4, 10)
    assert math.isnan(result.by_prompt[1])
    assert result.mean == result.by_prompt[0]


def test_data_against_data_is_one():
    """Through the detector on one side, as drawn on the other."""
    texts = [
        "a circle",
        "a red star",
        "a shape",
        "three triangles",
        "a yellow star above a blue square",
        "a star and a circle",
    ]
    groups = [rendered(text, 9, seed) for seed in range(8) for text in texts]
    result = relative_spread(groups, [parse(text) for text in texts] * 8)
    assert result.matched == result.total == 9 * len(groups)
    assert result.mean == pytest.approx(1, abs=0.03)
    assert all(value == pytest.approx(1, abs=0.06) for value in result.by_factor.values())
    assert list(result.by_factor) == [
        "position",
        "radius",
        "rotation",
        "shade",
        "shape",
        "colour",
        "background",
    ]


def test_a_collapsed_model_is_near_zero_and_a_half_collapsed_one_between():
    request = parse("two stars")
    same = rendered("two stars", 1, 5) * 9
    assert relative_spread([same], [request]).mean == pytest.approx(0, abs=1e-9)
    noisy = render_scenes(draw_scenes([request], torch.Generator().manual_seed(5))).repeat(
        9, 1, 1, 1
    )
    noisy = (
        noisy + 0.01 * torch.randn(noisy.shape, generator=torch.Generator().manual_seed(0))
    ).clamp(0, 1)
    assert relative_spread([detect(noisy)], [request]).mean < 0.06
    half = rendered("two stars", 3, 5) * 3
    assert 0.4 < relative_spread([half], [request]).mean < 1


def test_a_reference_of_few_images_is_that_of_many_up_to_the_root():
    """The squared form has no bias in the number of images; its root keeps a small one, the same
    on both sides.
    """
    few, many = data_spread(parse("a shape"), 3), data_spread(parse("a shape"), 60)
    assert all(0.8 * many[name] < few[name] < 1.02 * many[name] for name in many)


def test_drawn_scenes_show_what_their_captions_ask_and_not_what_others_do():
    asked = [request for task in TASKS for request in requests(task)[::50]]
    scenes = detect(render_scenes(draw_scenes(asked, torch.Generator().manual_seed(0))))
    assert all(map(satisfies, scenes, asked))
    assert np.mean(list(map(satisfies, scenes[::-1], asked))) < 0.3


def test_lists_of_different_length_are_an_error():
    with pytest.raises(ValueError, match="one request for each"):
        relative_spread([], [])
    with pytest.raises(ValueError, match="one request for each"):
        relative_spread([[seen(found())]], [parse("a circle")] * 2)
