"""Fewer points and calmer borders: valid, near, and with an honest word on how near."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from outlines import any_rings, bits, largest, points_of, polygons, region, star

from napari_camelyon import annotations


def slow_deviation(first, second, step=0.05):
    """The Hausdorff distance of two borders, densified literally: half a step or less too small."""
    borders = [shapely.segmentize(part.boundary, step) for part in (first, second)]
    points = [shapely.points(shapely.get_coordinates(border)) for border in borders]
    return max(
        shapely.distance(points[0], second.boundary).max(),
        shapely.distance(points[1], first.boundary).max(),
    )


def rings_in(whole):
    return sorted(len(part.interiors) for part in shapely.get_parts(whole) if not part.is_empty)


def check(annotation, edited, deviation):
    own = region(annotation)
    assert edited.id == annotation.id
    if edited is annotation:
        assert deviation == 0
        return
    # As stored: where rings touch, the grid of regions would take or add a sliver.
    stored = shapely.MultiPolygon([shapely.Polygon(p.points, p.holes) for p in edited.parts])
    assert all(part.is_valid for part in stored.geoms)
    assert rings_in(stored) == rings_in(own)
    if own.length < 1000:
        expected = slow_deviation(own, stored)
        assert expected - 0.002 <= deviation <= expected + 0.03


@given(st.one_of(polygons(), any_rings()), st.floats(0.01, 60))
def test_simplifying_keeps_some_of_the_points_and_all_rings(annotation, tolerance):
    edited, deviation = annotations.simplify(annotation, tolerance)
    check(annotation, edited, deviation)
    # A point that the file repeats stays repeated where its ring is not changed.
    assert len(bits(points_of(edited))) <= max(
        len(bits(points_of(annotation))), shapely.get_num_coordinates(region(annotation))
    )
    known = bits(shapely.get_coordinates(region(annotation))) | bits(points_of(annotation))
    assert bits(points_of(edited)) <= known
    assert deviation <= 2 * tolerance


@given(st.one_of(polygons(), any_rings()), st.floats(0.5, 100))
def test_smoothing_never_makes_an_outline_cross_itself(annotation, spacing):
    check(annotation, *annotations.smooth(annotation, spacing))


def circle(radius, count=400):
    return star((0, 0), np.full(count, radius))


def test_smoothing_takes_out_what_is_short_and_keeps_what_is_long():
    angle = np.linspace(0, 2 * np.pi, 4000, endpoint=False)

    def waves(length_px):
        count = round(2 * np.pi * 1000 / length_px)
        ring = star((0, 0), 1000 + 4 * np.sin(count * angle))
        edited, deviation = annotations.smooth(annotations.make_annotation("polygon", ring), 50)
        return np.ptp(np.hypot(*edited.points.T)) / 8, deviation

    assert waves(50)[0] < 0.15
    assert 0.35 < waves(100)[0] < 0.65
    assert waves(400)[0] > 0.95
    assert waves(50)[1] == pytest.approx(4, abs=0.3)


def test_smoothing_does_not_shrink():
    ring = annotations.make_annotation("polygon", circle(100))
    smoothed, deviation = annotations.smooth(ring, 50)
    assert region(smoothed).area == pytest.approx(region(ring).area, rel=0.01)
    assert 0 < deviation < 1
    speck = annotations.make_annotation("polygon", circle(100), holes=[circle(2, 9)])
    assert len(annotations.smooth(speck, 80)[0].holes) == 1


def test_a_narrow_neck_and_a_thin_wall_survive():
    """Smoothing alone would pull the border through the neck, and over the hole beside it."""
    comb = [(0, 0), (400, 0), (400, 100)]
    for x in range(390, 20, -20):
        comb += [(x, 100), (x - 5, 1), (x - 10, 100)]
    annotation = annotations.make_annotation("polygon", [*comb, (0, 100)])
    smoothed, deviation = annotations.smooth(annotation, 60)
    check(annotation, smoothed, deviation)
    assert smoothed is not annotation
    hole = np.array([(399, 99), (399.5, 99), (399.5, 99.5), (399, 99.5)])
    square = annotations.make_annotation(
        "polygon", [(0, 0), (400, 0), (400, 100), (0, 100)], holes=[hole]
    )
    smoothed, deviation = annotations.smooth(square, 100)
    check(square, smoothed, deviation)
    assert smoothed is not square
    assert len(smoothed.holes) == 1


@given(polygons(), polygons())
def test_the_deviation_is_the_hausdorff_distance_of_the_borders(first, second):
    found = annotations.border_deviation(region(first), region(second))
    assert found == pytest.approx(slow_deviation(region(first), region(second)), abs=0.03)


def test_the_deviation_is_also_found_within_an_edge():
    outer = shapely.Polygon([(0, 0), (100, 0), (100, 40), (0, 40)])
    notched = shapely.Polygon([(0, 0), (45, 0), (50, 30), (55, 0), (100, 0), (100, 40), (0, 40)])
    found = annotations.border_deviation(outer, notched)
    # Half-way between both long edges, on a side of the notch.
    assert found == pytest.approx(20, abs=1e-3)
    bridged = shapely.Polygon([(0, 0), (100, 0), (100, 9), (50, 40), (0, 9)])
    assert annotations.border_deviation(outer, bridged) == pytest.approx(
        slow_deviation(outer, bridged), abs=0.03
    )


def test_nothing_to_do():
    triangle = annotations.make_annotation("polygon", [(0, 0), (9, 0), (0, 9)])
    assert annotations.simplify(triangle, 100) == (triangle, 0)
    line = annotations.make_annotation("polygon", [(0, 0), (9, 0)])
    assert annotations.smooth(line, 3) == (line, 0)
    assert annotations.smooth(triangle, 0) == (triangle, 0)


@pytest.mark.parametrize("name", ["tumor_047", "tumor_039", "test_026"])
def test_real_outlines(shared_data, name):
    annotation = largest(shared_data, name)
    own = region(annotation)
    for edit in (annotations.simplify(annotation, 4), annotations.smooth(annotation, 100)):
        edited, deviation = edit
        check(annotation, edited, deviation)
        assert edited is not annotation
        assert 1 < deviation < 60
        assert region(edited).area == pytest.approx(own.area, rel=0.01)
