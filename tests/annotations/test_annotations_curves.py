"""ASAP's splines against ASAP's own formula, piece by piece and slowly."""

import math

import numpy as np
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from napari_camelyon import annotations

CONTROL_POINTS = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 200)), min_size=3, max_size=9
).map(lambda rows: np.array(rows, float))


def drawn_by_asap(points, steps=200):
    """A literal reading of PolyQtAnnotation::getCurrentPath for a closed spline."""
    n = len(points)
    curve = []
    for i in range(n):
        p1, p2 = points[i], points[(i + 1) % n]
        if i < n - 1:
            p0 = points[i - 1] if i > 0 else points[n - 1]
            p3 = points[i + 2] if i < n - 2 else p2 + (p2 - p1)
        else:
            p0, p3 = p1 - (p2 - p1), points[1]
        d1, d2, d3 = math.dist(p0, p1), math.dist(p1, p2), math.dist(p2, p3)
        r1, r2, r3 = math.sqrt(d1), math.sqrt(d2), math.sqrt(d3)
        b1 = (d1 * p2 - d2 * p0 + (2 * d1 + 3 * r1 * r2 + d2) * p1) / (3 * r1 * (r1 + r2))
        b2 = (d3 * p1 - d2 * p3 + (2 * d3 + 3 * r3 * r2 + d2) * p2) / (3 * r3 * (r3 + r2))
        for step in range(steps):
            t = step / steps
            curve.append(
                (1 - t) ** 3 * p1 + 3 * t * (1 - t) ** 2 * b1 + 3 * t**2 * (1 - t) * b2 + t**3 * p2
            )
    return np.array(curve)


@given(CONTROL_POINTS)
def test_the_outline_is_the_curve_that_asap_draws(points):
    assume((np.abs(points - np.roll(points, 1, axis=0)).sum(axis=1) > 0).all())
    outline = annotations.spline_outline(points, tolerance_px=0.25)
    expected = drawn_by_asap(points)
    distance = shapely.hausdorff_distance(
        shapely.LineString([*outline, outline[0]]), shapely.LineString([*expected, expected[0]])
    )
    assert distance <= 0.25 + 0.05  # the tolerance, and the chords of the slow reading


@given(CONTROL_POINTS)
def test_the_outline_passes_through_all_control_points(points):
    outline = annotations.spline_outline(points)
    rows = {tuple(row) for row in outline.tolist()}
    assert {tuple(row) for row in points.tolist()} <= rows or len(outline) < 3


def test_repeated_and_missing_points_do_no_harm():
    triangle = np.array([(0, 0), (100, 0), (50, 80)], float)
    expected = annotations.spline_outline(triangle)
    stuttering = triangle[[0, 0, 1, 2, 2, 0, 0]]
    assert_array_equal(annotations.spline_outline(stuttering), expected)
    with_nan = np.insert(triangle, 1, (np.nan, 3), axis=0)
    assert_array_equal(annotations.spline_outline(with_nan), expected)
    assert len(annotations.spline_outline(np.empty((0, 2)))) == 0
    assert_array_equal(annotations.spline_outline([(1, 2), (3, 4)]), [(1, 2), (3, 4)])
    assert len(annotations.spline_outline([(1, 2)] * 5)) < 3


def test_points_that_lie_close_stay_the_only_ones():
    angle = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    circle = 500 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert_allclose(annotations.spline_outline(circle), circle)
