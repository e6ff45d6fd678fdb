"""The figures of an ablation."""

import pytest

from workbench.training.figures_ablation import frontier, ladder, lag_map, mean_of, plane

ONE = {"DMD": [(0.2, 0.9)], "K = 1": [(0.3, 0.8)], "K = 5": [(0.4, 0.5)]}
TWO = {
    "DMD": [(0.1, 0.9), (0.3, 0.9)],
    "K = 1": [(0.3, 0.7), (0.3, 0.9)],
    "K = 5": [(0.4, 0.5), (0.4, 0.5)],
}


def test_the_frontier_with_ties():
    points = [(1.0, 3.0), (1.0, 2.0), (2.0, 2.0), (2.0, 2.0), (0.5, 3.0), (3.0, 1.0), (2.5, 0.5)]
    assert frontier(points) == [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]
    assert frontier(points[::-1]) == frontier(points)
    assert frontier([]) == []


def test_no_point_beats_one_of_the_frontier_and_every_other_is_beaten_or_equalled():
    points = [((7 * n) % 11 / 11, (5 * n * n) % 13 / 13) for n in range(40)]
    edge = frontier(points)
    assert edge == sorted(edge)
    for x, y in points:
        reached = any(a >= x and b >= y and (a, b) != (x, y) for a, b in points)
        assert ((x, y) in edge) != reached


@pytest.mark.parametrize("points", [ONE, TWO])
def test_the_plane_has_each_setting_at_its_mean_with_its_range(points):
    figure = plane(points, (0.5, 0.95), "right", "All settings")
    edge, *settings, teacher = figure.data
    assert [trace.text[0] for trace in settings] == list(points)
    assert teacher.x[0] == 0.5
    for trace, found in zip(settings, points.values()):
        assert (trace.x[0], trace.y[0]) == pytest.approx(mean_of(found))
        assert trace.x[0] + trace.error_x.array[0] == pytest.approx(max(x for x, _ in found))
        assert trace.y[0] - trace.error_y.arrayminus[0] == pytest.approx(min(y for _, y in found))
    assert list(zip(edge.x, edge.y)) == frontier([mean_of(found) for found in points.values()])
    assert figure.layout.yaxis.title.text == "right"


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_ladder_has_a_line_of_means_and_a_dot_for_each_seed(seeds):
    readings = {
        "diversity": [[0.2, 0.4][:seeds], [0.3, 0.3][:seeds], []],
        "right": [[0.9, 0.7][:seeds], [0.8, 0.8][:seeds], []],
    }
    references = {"diversity": {"teacher": 0.5, "DMD": 0.1}, "right": {"teacher": 0.95, "DMD": 0.9}}
    figure = ladder([1, 3, 10], readings, references, "K", "The anchor step", log=True)
    line, dots, *_ = figure.data
    assert line.y == pytest.approx((0.2 if seeds == 1 else 0.3, 0.3, None))
    assert len(dots.y) == 2 * seeds
    assert len(figure.data) == 4
    assert list(dots.x) == [1] * seeds + [3] * seeds  # a setting that is not done leaves a gap
    assert [shape.y0 for shape in figure.layout.shapes] == [0.5, 0.1, 0.95, 0.9]
    assert figure.layout.xaxis.type == "log"
    assert tuple(figure.layout.xaxis2.tickvals) == (1, 3, 10)


@pytest.mark.parametrize(("rows", "columns"), [([1], [2.0]), ([1, 2, 5], [1.0, 2.0])])
def test_the_map_of_the_lag_tells_both_readings_in_each_cell(rows, columns):
    kept, right = (
        [[low + (row + column) / 100 for column in range(len(columns))] for row in range(len(rows))]
        for low in (0.5, 0.7)
    )
    (heat,) = lag_map(rows, columns, kept, right, "What is kept").data
    assert list(heat.y) == [str(row) for row in rows]
    assert list(heat.x) == [f"{column:g}" for column in columns]
    assert heat.text[0][0] == "50%<br>correct 0.70"
    assert len(heat.z) == len(rows)
    assert len(heat.z[0]) == len(columns)
