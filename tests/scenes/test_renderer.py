"""Scenes hold what was asked, and pixels hold the scenes: areas, colours, determinism."""

import math

import pytest
import torch

from workbench.scenes.grammar import COLOURS, SHAPES, TASKS, draw_requests, parse, requests
from workbench.scenes.renderer import (
    BACKGROUND_CHROMA,
    RADIUS,
    REACH,
    SIDE,
    TILT,
    UPRIGHT,
    Scenes,
    draw_scenes,
    hsv_to_rgb,
    pixel_coverage,
    render_scenes,
)

AREAS = {
    "circle": math.pi,
    "square": 1.6**2,
    "triangle": 3 * math.sqrt(3) * (REACH / 2) ** 2,
    "star": 5 * REACH * 0.46 * math.sin(math.pi / 5),
}  # of radius 1, from the outlines' vertices


def drawn(count: int, task: str | None = None, seed: int = 0) -> tuple[list, Scenes]:
    asked = draw_requests(count, seed, task)
    return asked, draw_scenes(asked, torch.Generator().manual_seed(seed))


def one(shape: str, radius: float, angle: float = 0.0, x: float = 0.0, y: float = 0.0) -> Scenes:
    return Scenes(
        torch.tensor([1]),
        torch.tensor([[SHAPES.index(shape)]]),
        torch.tensor([[0]]),
        torch.tensor([[[x, y]]]),
        torch.tensor([[radius]]),
        torch.tensor([[angle]]),
        torch.tensor([[[1.0, 0.1, 0.1]]]),
        torch.full((1, 2, 3), 0.5),
        torch.tensor([0.0]),
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("radius", "error"), [(0.19, 0.035), (0.3, 0.02), (0.5, 0.01)])
def test_covered_area_is_the_area_of_the_outline(shape, radius, error):
    areas = [
        pixel_coverage(one(shape, radius, angle, x, 0.01))[0, 0].sum() * (2 / SIDE) ** 2
        for angle in (0.0, 0.3, 0.7)
        for x in (0.0, 0.013)
    ]
    assert all(area == pytest.approx(AREAS[shape] * radius**2, rel=error) for area in areas)


@pytest.mark.parametrize("shape", SHAPES)
def test_edges_are_anti_aliased_as_a_fine_rendering_averaged_down(shape):
    scene = one(shape, 0.4, 0.2, 0.05, -0.1)
    fine = torch.nn.functional.avg_pool2d(pixel_coverage(scene, 8 * SIDE), 8)
    difference = (pixel_coverage(scene) - fine).abs()
    assert difference.mean() < 0.002
    assert difference.max() < 0.26
    partial = ((pixel_coverage(scene) > 0.02) & (pixel_coverage(scene) < 0.98)).sum()
    assert partial > SIDE / 2


def test_shapes_stay_within_their_reach_and_y_points_down():
    axis = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    for shape in SHAPES:
        cover = pixel_coverage(one(shape, 0.3, 0.4, 0.2, 0.5))[0, 0]
        assert (cover.sum(1) * axis).sum() / cover.sum() == pytest.approx(0.5, abs=0.01)
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        assert ((x - 0.2) ** 2 + (y - 0.5) ** 2)[cover > 0].sqrt().max() < 0.3 * REACH + 2 / SIDE


@pytest.mark.parametrize("task", TASKS)
def test_scenes_hold_what_was_asked(task):
    asked, scenes = drawn(300, task)
    signs = {"left of": (1, 0), "right of": (-1, 0), "above": (0, 1), "below": (0, -1)}
    for b, request in enumerate(asked):
        assert scenes.count[b] == len(request.objects)
        for m, thing in enumerate(request.objects):
            assert thing.shape in (None, SHAPES[scenes.shape[b, m]])
            assert thing.colour in (None, COLOURS[scenes.colour[b, m]])
        if request.relation:
            offset = scenes.centre[b, 1] - scenes.centre[b, 0]
            along = (offset * torch.tensor(signs[request.relation])).sum()
            assert along == offset.abs().max()
            assert along > 0.3


def test_what_is_left_open_is_drawn_evenly():
    scenes = draw_scenes([parse("a shape")] * 2400, torch.Generator().manual_seed(1))
    for index, classes in ((scenes.shape[:, 0], len(SHAPES)), (scenes.colour[:, 0], len(COLOURS))):
        frequency = torch.bincount(index, minlength=classes) / len(scenes)
        assert (frequency - 1 / classes).abs().max() < 4 * math.sqrt(1 / classes / len(scenes))
    assert scenes.centre[:, 0].mean(0).abs().max() < 0.04
    low, high = RADIUS[1]
    assert scenes.radius[:, 0].min() > low
    assert scenes.radius[:, 0].max() < high
    assert scenes.radius[:, 0].mean() == pytest.approx((low + high) / 2, abs=0.01)
    tilt = (scenes.angle[:, 0] - UPRIGHT).rad2deg()
    assert tilt.abs().max() <= TILT + 1e-4
    assert tilt.std() == pytest.approx(TILT / math.sqrt(3), rel=0.03)


def test_upright_triangles_and_stars_point_up():
    for shape in ("triangle", "star"):
        rows = pixel_coverage(one(shape, 0.5, UPRIGHT))[0, 0].sum(1)
        tip = rows.nonzero()[0].item() + 0.5
        assert abs(tip - (0.5 - 0.25 * REACH) * SIDE) < 2
        assert rows[rows > 0][0] < 3


def test_objects_are_inside_the_frame_and_apart():
    _, scenes = drawn(300, "counting")
    reach = scenes.radius * REACH
    inside = (scenes.centre.abs() + reach[..., None]).amax(-1) <= 1 + 1e-6
    assert inside[scenes.present].all()
    for b in range(len(scenes)):
        n = int(scenes.count[b])
        gaps = (
            torch.cdist(scenes.centre[b, :n], scenes.centre[b, :n])
            - reach[b, :n, None]
            - reach[b, None, :n]
        )
        assert gaps[~torch.eye(n, dtype=torch.bool)].min() > 0
    cover = pixel_coverage(scenes)
    assert (cover.sum(1) <= 1 + 1e-6).all()
    assert (cover.flatten(2).amax(2) > 0.99)[scenes.present].all()
    assert not cover[~scenes.present].any()


def test_objects_are_saturated_and_backgrounds_are_not():
    _, scenes = drawn(600)
    rgb = scenes.rgb[scenes.present]
    assert (rgb.amax(-1) - rgb.amin(-1)).min() >= 0.52 - 1e-6
    pixels = render_scenes(scenes)
    chroma = pixels.amax(1) - pixels.amin(1)
    cover = pixel_coverage(scenes).amax(1)
    assert chroma[cover == 0].max() <= BACKGROUND_CHROMA + 1e-5
    assert chroma[cover == 1].min() >= 0.52 - 1e-5
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    assert pixels.shape == (600, 3, SIDE, SIDE)


def test_the_background_is_the_gradient_it_says():
    _, scenes = drawn(8)
    scenes.count[:] = 1
    scenes.radius[:] = 1e-3
    pixels = render_scenes(scenes)
    assert (pixels.mean((2, 3)) - scenes.background.mean(1)).abs().max() < 2e-3
    steps = pixels.diff(dim=3)  # a plane: the same step everywhere, but for the speck
    assert (steps - steps.median(dim=3, keepdim=True).values).abs().flatten(2).quantile(
        0.99, dim=2
    ).max() < 1e-4


def test_the_generator_alone_decides():
    asked, scenes = drawn(20)
    again = draw_scenes(asked, torch.Generator().manual_seed(0))
    assert torch.equal(render_scenes(scenes), render_scenes(again))
    other = draw_scenes(asked, torch.Generator().manual_seed(1))
    assert (render_scenes(scenes) - render_scenes(other)).abs().flatten(1).amax(1).min() > 0.1
    assert draw_requests(20, 0) == asked != draw_requests(20, 1)
    torch.manual_seed(9)
    assert torch.equal(
        render_scenes(draw_scenes(asked, torch.Generator().manual_seed(0))), render_scenes(scenes)
    )


def test_a_scene_renders_alone_as_in_its_batch():
    _, scenes = drawn(12)
    assert torch.allclose(render_scenes(scenes)[5:6], render_scenes(scenes[5:6]), atol=1e-6)


def test_larger_renderings_show_the_same_scene():
    _, scenes = drawn(4)
    fine = torch.nn.functional.avg_pool2d(render_scenes(scenes, 4 * SIDE), 4)
    assert (fine - render_scenes(scenes)).abs().mean() < 2e-3


def test_hsv_to_rgb_agrees_with_the_standard_library():
    import colorsys

    for hue, saturation, value in [
        (h, s, v) for h in (0, 52, 118, 182, 228, 292, 359) for s in (0, 0.5, 1) for v in (0.2, 1)
    ]:
        ours = hsv_to_rgb(*(torch.tensor(float(part)) for part in (hue, saturation, value)))
        assert ours.tolist() == pytest.approx(
            colorsys.hsv_to_rgb(hue / 360, saturation, value), abs=1e-5
        )


def test_every_request_of_two_objects_can_be_placed():
    asked = requests("position")[::60] + requests("color_attr")[::60]
    assert len(draw_scenes(asked, torch.Generator().manual_seed(0))) == len(asked)
