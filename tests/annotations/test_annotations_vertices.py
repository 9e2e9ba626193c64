"""Finding, moving, inserting and deleting points, against slow literal readings."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from outlines import PLACES, any_rings, polygons

from napari_camelyon import annotations
from napari_camelyon.annotations import Part, Vertex

SQUARE = np.array([(0, 0), (10, 0), (10, 10), (0, 10)], float)


def made(kind="polygon", points=SQUARE, **more):
    return annotations.make_annotation(kind, points, name="a", group="Tumor", **more)


def with_all():
    """Two parts, the first with two holes, one point without a number."""
    holes = (SQUARE[:3] + 1, SQUARE + 2)
    broken = np.array([(100, 0), (np.nan, 3), (110, 0), (105, 9)])
    return made(holes=holes, more_parts=(Part(broken, (SQUARE + 101,)),))


def vertices(annotation):
    return [
        Vertex(part, ring, index)
        for part, ring, points in annotations.rings(annotation)
        for index in range(len(points))
    ]


def point(annotation, vertex):
    stored = {(part, ring): points for part, ring, points in annotations.rings(annotation)}
    return stored[vertex.part, vertex.ring][vertex.index]


@given(st.one_of(polygons(), any_rings()), PLACES, st.floats(0, 80))
def test_the_nearest_vertex_is_nearest_and_near_enough(annotation, at, within):
    found = annotations.nearest_vertex(annotation, at, within)
    distances = [np.hypot(*(point(annotation, v) - at)) for v in vertices(annotation)]
    if found is None:
        assert min(distances) > within
    else:
        assert np.hypot(*(point(annotation, found) - at)) == min(distances) <= within


@given(st.one_of(polygons(), any_rings()), PLACES)
def test_the_nearest_edge_is_nearest_and_follows_its_vertex(annotation, at):
    vertex, place = annotations.nearest_edge(annotation, at, 1e9)
    lines = [
        shapely.LineString([*points, points[0]]) for _, _, points in annotations.rings(annotation)
    ]
    nearest = min(line.distance(shapely.Point(at)) for line in lines)
    assert np.hypot(*np.subtract(place, at)) == pytest.approx(nearest, abs=1e-9)
    points = {(p, r): ring for p, r, ring in annotations.rings(annotation)}[
        vertex.part, vertex.ring
    ]
    edge = shapely.LineString([points[vertex.index], points[(vertex.index + 1) % len(points)]])
    assert edge.distance(shapely.Point(place)) < 1e-9
    assert annotations.nearest_edge(annotation, at, nearest - 1e-6) is None


def test_points_without_a_number_are_nowhere_but_can_be_given_one():
    annotation = with_all()
    assert annotations.nearest_vertex(annotation, (101, 3), 1e3) == Vertex(1, 0, 0)
    vertex, place = annotations.nearest_edge(annotation, (105, -0.1), 1)
    assert (vertex, place) == (Vertex(1, 0, 0), (105, 0))
    mended = annotations.move_vertex(annotation, Vertex(1, 0, 1), (104, -5))
    assert annotations.nearest_vertex(mended, (104, -5), 0) == Vertex(1, 0, 1)
    nothing = made(points=np.full((3, 2), np.nan))
    assert annotations.nearest_vertex(nothing, (0, 0), np.inf) is None
    assert annotations.nearest_edge(nothing, (0, 0), np.inf) is None


def test_a_point_on_a_spline_is_looked_for_on_its_curve():
    points = np.array([(0, 0), (np.nan, 0), (100, 0), (100, 0), (100, 100), (0, 100)])
    spline = made("spline", points)
    bulge = annotations.outline(spline)[:, 1].min()
    assert bulge < -5
    vertex, place = annotations.nearest_edge(spline, (50, bulge), 0.5)
    assert vertex == Vertex(0, 0, 0)
    assert place[1] == pytest.approx(bulge, abs=0.5)
    assert annotations.nearest_edge(spline, (50, 50), 20) is None
    vertex, _ = annotations.nearest_edge(spline, (100 - bulge, 50), 0.5)
    assert_array_equal(points[vertex.index], (100, 0))
    more = annotations.insert_vertex(spline, vertex, (100 - bulge, 50))
    assert more.kind == "spline"
    assert (
        annotations.region_of(more).symmetric_difference(annotations.region_of(spline)).area
        < 0.05 * 100**2
    )


def test_lines_are_not_closed_and_dots_have_no_edges():
    line = made("polyline", SQUARE)
    assert annotations.nearest_edge(line, (0, 5), 1) is None
    assert annotations.nearest_edge(made(), (0, 5), 1) == (Vertex(0, 0, 3), (0, 5))
    assert annotations.nearest_edge(made("pointset", SQUARE), (5, 0), 9) is None


@pytest.mark.parametrize("vertex", vertices(with_all()))
def test_only_the_named_point_changes(vertex):
    annotation = with_all()
    before = {(p, r): ring for p, r, ring in annotations.rings(annotation)}
    at = (vertex.part, vertex.ring)

    def check(edited, expected):
        after = {(p, r): ring for p, r, ring in annotations.rings(edited)}
        assert after.keys() == before.keys()
        for key, ring in after.items():
            assert_array_equal(ring, expected if key == at else before[key])
        assert (edited.id, edited.name, edited.group) == (annotation.id, "a", "Tumor")

    moved = before[at].copy()
    moved[vertex.index] = (7, 8)
    check(annotations.move_vertex(annotation, vertex, (7, 8)), moved)
    longer = [*before[at][: vertex.index + 1], (7, 8), *before[at][vertex.index + 1 :]]
    check(annotations.insert_vertex(annotation, vertex, (7, 8)), longer)
    if len(before[at]) > 3:
        shorter = [row for k, row in enumerate(before[at]) if k != vertex.index]
        check(annotations.delete_vertex(annotation, vertex), shorter)


def test_what_has_too_few_points_goes():
    annotation = with_all()
    without_hole = annotations.delete_vertex(annotation, Vertex(0, 1, 1))
    assert [len(hole) for hole in without_hole.holes] == [4]
    part = annotations.delete_vertex(annotation, Vertex(1, 0, 0))
    assert len(part.parts) == 2
    part = annotations.delete_vertex(part, Vertex(1, 0, 0))
    assert len(part.parts) == 1
    triangle = made("spline", SQUARE[:3], more_parts=(Part(SQUARE, (SQUARE[:3] + 1,)),))
    second = annotations.delete_vertex(triangle, Vertex(0, 0, 2))
    assert (second.kind, len(second.points), len(second.holes)) == ("polygon", 4, 1)
    assert annotations.delete_vertex(made(points=SQUARE[:3]), Vertex(0, 0, 0)) is None
    assert annotations.delete_vertex(made(points=SQUARE[:2]), Vertex(0, 0, 0)) is None
    assert annotations.delete_vertex(made("dot", SQUARE[:1]), Vertex(0, 0, 0)) is None
    assert annotations.delete_vertex(made("ruler", SQUARE[:2]), Vertex(0, 0, 0)) is None


def test_kinds_follow_what_the_points_can_be():
    first = Vertex(0, 0, 0)
    assert annotations.move_vertex(made("rectangle"), first, (1, 1)).kind == "polygon"
    assert annotations.move_vertex(made("ruler", SQUARE[:2]), first, (1, 1)).kind == "ruler"
    assert annotations.insert_vertex(made("ruler", SQUARE[:2]), first, (1, 1)).kind == "polyline"
    assert annotations.insert_vertex(made("dot", SQUARE[:1]), first, (1, 1)).kind == "pointset"


@pytest.mark.parametrize(
    "vertex", [Vertex(0, 0, 4), Vertex(0, 3, 0), Vertex(2, 0, 0), Vertex(0, 0, -1)]
)
def test_points_that_are_not_there_are_refused(vertex):
    for change in (
        lambda: annotations.move_vertex(with_all(), vertex, (0, 0)),
        lambda: annotations.insert_vertex(with_all(), vertex, (0, 0)),
        lambda: annotations.delete_vertex(with_all(), vertex),
    ):
        with pytest.raises(IndexError, match="has no point"):
            change()


def test_everything_moves_together():
    annotation = with_all()
    moved = annotations.move_annotation(annotation, (5, -2))
    for (_, _, before), (_, _, after) in zip(
        annotations.rings(annotation), annotations.rings(moved), strict=True
    ):
        assert_array_equal(after - before, np.where(np.isnan(before), np.nan, (5, -2)))
    assert moved.kind == annotation.kind
    assert annotations.move_annotation(annotation, (0, 0)) is annotation
