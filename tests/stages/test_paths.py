"""Paths that lie in a known plane."""

import math

import pytest
import torch

from workbench.stages.paths import displacement, project


def circle(points: int, radius: float, turn: float = 0.0) -> torch.Tensor:
    """[points, 1, 2, 4, 4]: a walk on a circle in a plane of a 32-dimensional space."""
    axes = torch.linalg.qr(
        torch.randn(32, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    )[0]
    angle = torch.arange(points, dtype=torch.float64) * 2 * math.pi / points + turn
    flat = radius * (angle.cos()[:, None] * axes[:, 0] + angle.sin()[:, None] * axes[:, 1])
    return flat.reshape(points, 1, 2, 4, 4)


def test_paths_in_one_plane_keep_their_distances():
    paths = [circle(12, 3.0), torch.cat([circle(5, 1.0), circle(5, 1.0, 0.3)], 1)]
    plane = project(paths)
    assert sum(plane.explained) == pytest.approx(1)
    assert [p.shape for p in plane.paths] == [
        (12, 1, 2),
        (5, 2, 2),
    ]
    for path, points in zip(paths, plane.paths):
        there = torch.cdist(path.flatten(2).flatten(0, 1), paths[0].flatten(2).flatten(0, 1))
        here = torch.cdist(points.flatten(0, 1), plane.paths[0].flatten(0, 1))
        torch.testing.assert_close(here, there, atol=1e-6, rtol=1e-6)


def test_the_same_paths_are_drawn_the_same_way_round():
    first, again = (project([circle(7, 2.0, 0.1), circle(4, 1.0)]).paths for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert (
        first[0]
        .flatten(0, 1)
        .abs()
        .max(0)
        .values.allclose(torch.cat([p.flatten(0, 1) for p in first]).max(0).values)
    )


def test_a_step_of_known_length():
    walk = circle(6, 3.0)  # a hexagon: its sides are its radius
    torch.testing.assert_close(displacement(walk), torch.full((5, 1), 3.0 / math.sqrt(32)))


def test_a_plane_needs_three_points():
    with pytest.raises(ValueError, match="three points"):
        project([torch.zeros(2, 1, 4)])
