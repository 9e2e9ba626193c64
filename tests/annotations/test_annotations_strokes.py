"""The brush: its preview against the exact result, and paths drawn by hand."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from outlines import (
    GRID_PLACES,
    PLACES,
    STARS,
    any_rings,
    bits,
    largest,
    points_of,
    polygons,
    region,
)

from napari_camelyon import annotations

PATHS = st.lists(st.one_of(PLACES, GRID_PLACES), min_size=1, max_size=6)
RADII = st.floats(1, 30)


def literal_distance(path, points):
    path = [path[0], *path] if len(path) == 1 else path
    return shapely.distance(shapely.points(points), shapely.LineString(path))


@given(PATHS, RADII)
def test_a_stroke_covers_what_is_nearer_to_its_path_than_the_radius(path, radius):
    stroke = annotations.stroke_region(path, radius)
    axis = np.arange(-31, 132, 3.7)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    distance = literal_distance(path, points)
    covered = shapely.contains_xy(stroke, points)
    assert stroke.is_valid
    assert covered[distance < 0.99 * radius].all()
    assert not covered[distance > 1.01 * radius].any()


@given(PATHS, RADII)
def test_a_stroke_grows_to_what_its_whole_path_covers(path, radius):
    grown = annotations.stroke_region(path[:1], radius)
    for k in range(1, len(path)):
        grown = annotations.extend_stroke(grown, path[k - 1 : k + 1], radius)
    whole = annotations.stroke_region(path, radius)
    assert grown.symmetric_difference(whole).area < 0.02 * radius * whole.length


def test_a_stroke_of_nothing_is_nothing():
    assert annotations.stroke_region(np.empty((0, 2)), 5).is_empty
    assert annotations.stroke_region([(np.nan, 3)], 5).is_empty
    assert annotations.stroke_region([(1, 3)], 0).is_empty
    assert annotations.stroke_region([(1, 3), (np.nan, 0)], 2).equals(
        annotations.stroke_region([(1, 3)], 2)
    )


def lines_of(found):
    """The lines of a preview, all of at least two points, as one geometry."""
    assert all(len(line) > 1 for line in found)
    return shapely.MultiLineString([shapely.linestrings(line) for line in found])


def all_near(first, second):
    """Whether all of some lines, looked at every tenth, are within 1e-3 px of others."""
    places = shapely.points(shapely.get_coordinates(shapely.segmentize(first, 0.1)))
    shapely.prepare(second)
    if second.is_empty:
        return first.is_empty
    return bool((shapely.distance(places, second) <= 1e-3).all())


def is_the_border_of(found, exact):
    if exact.is_empty or not found:
        return exact.is_empty == (not found)
    drawn, border = lines_of(found), exact.boundary
    return all_near(drawn, border) and all_near(border, drawn)


def is_the_border_but_for_slivers(found, own, stroke, adding):
    """What is thinner than 5e-5 px may be drawn or not: the grid may have kept it or not.

    So it is for slivers of the result, and for gaps in it.
    """
    operation = shapely.union if adding else shapely.difference
    exact = operation(own, stroke, grid_size=1e-5)
    certain = exact
    for distance in (-1e-4, 2e-4, -1e-4):
        certain = certain.buffer(distance, join_style="mitre")
    possible = shapely.union_all([exact.boundary, operation(own, stroke).boundary])
    return all_near(lines_of(found), possible) and all_near(certain.boundary, lines_of(found))


@given(polygons(), PATHS, RADII, st.booleans())
def test_the_preview_is_the_border_of_the_exact_result(annotation, path, radius, adding):
    stroke = annotations.stroke_region(path, radius)
    own = region(annotation)
    exact = own.union(stroke) if adding else own.difference(stroke)
    preview = annotations.begin_stroke(annotation, adding=adding)
    assert is_the_border_of(annotations.preview_outline(preview, stroke), exact)
    result = region(annotations.end_stroke(preview, stroke))
    assert result.symmetric_difference(exact).area < 1e-2


@given(any_rings(), PATHS, RADII, st.booleans())
def test_so_it_is_for_outlines_that_cross_themselves(annotation, path, radius, adding):
    stroke = annotations.stroke_region(path, radius)
    preview = annotations.begin_stroke(annotation, adding=adding)
    found = annotations.preview_outline(preview, stroke)
    assert is_the_border_but_for_slivers(found, region(annotation), stroke, adding)


@given(
    st.lists(GRID_PLACES, min_size=3, max_size=8),
    st.lists(GRID_PLACES, min_size=3, max_size=8),
    st.booleans(),
)
def test_so_it_is_where_borders_coincide(ring, painted, adding):
    annotation = annotations.make_annotation("polygon", ring)
    stroke = annotations.ring_region(np.array(painted))
    preview = annotations.begin_stroke(annotation, adding=adding)
    found = annotations.preview_outline(preview, stroke)
    assert is_the_border_but_for_slivers(found, region(annotation), stroke, adding)


def test_a_gap_thinner_than_the_grid_may_go():
    ring = [(0.0, 0.0), (40.0, 20.0), (50.0, 40.0)]
    annotation = annotations.make_annotation("polygon", ring)
    painted = np.array([(40.0, 0.0), (50.0, 50.0), (40.0, 20.0), (50.0, 40.0)])
    stroke = annotations.ring_region(painted)
    found = annotations.preview_outline(annotations.begin_stroke(annotation, adding=True), stroke)
    assert is_the_border_but_for_slivers(found, region(annotation), stroke, adding=True)
    assert not is_the_border_but_for_slivers(found[:-2], region(annotation), stroke, adding=True)


@pytest.mark.parametrize("nudge", [0.0, 3e-6, -3e-6])
def test_the_same_dab_again_adds_nothing_and_erases_all(nudge):
    """What the first dab left on the grid is nearly, not exactly, what the second one covers."""
    dab = annotations.stroke_region([(51.3, 48.7)], 20)
    painted = annotations.end_stroke(annotations.begin_stroke(None, adding=True), dab)
    again = annotations.stroke_region([(51.3 + nudge, 48.7)], 20)
    adding = annotations.begin_stroke(painted, adding=True)
    assert is_the_border_of(annotations.preview_outline(adding, again), region(painted))
    erasing = annotations.begin_stroke(painted, adding=False)
    assert annotations.preview_outline(erasing, again) == []


def test_painting_on_nothing():
    stroke = annotations.stroke_region([(0, 0), (50, 0)], 5)
    adding = annotations.begin_stroke(None, adding=True)
    assert is_the_border_of(annotations.preview_outline(adding, stroke), stroke)
    painted = annotations.end_stroke(adding, stroke)
    assert painted.kind == "polygon"
    assert region(painted).symmetric_difference(stroke).area < 1e-3
    erasing = annotations.begin_stroke(None, adding=False)
    assert annotations.preview_outline(erasing, stroke) == []
    assert annotations.end_stroke(erasing, stroke) is None
    assert annotations.end_stroke(adding, shapely.Polygon()) is None


@given(polygons(), PATHS, RADII)
def test_the_end_of_a_stroke_is_the_edit_by_its_region(annotation, path, radius):
    stroke = annotations.stroke_region(path, radius)
    for adding, edit in ((True, annotations.add_region), (False, annotations.cut_region)):
        ended = annotations.end_stroke(annotations.begin_stroke(annotation, adding=adding), stroke)
        expected = edit(annotation, stroke)
        assert (ended is None) == (expected is None)
        if ended is not None:
            assert annotations.same_annotation(ended, expected)


@pytest.mark.parametrize("name", ["tumor_047", "tumor_039", "test_026"])
@pytest.mark.parametrize("adding", [True, False])
def test_the_preview_on_real_outlines(shared_data, name, adding):
    annotation = largest(shared_data, name)
    drawn = annotations.outline(annotation)
    path = drawn[:: len(drawn) // 40][:25]
    preview = annotations.begin_stroke(annotation, adding=adding)
    for stroke in (
        annotations.stroke_region(drawn[500:501], 60),
        annotations.stroke_region(path, 300),
    ):
        found = annotations.preview_outline(preview, stroke)
        operation = shapely.union if adding else shapely.difference
        exact = operation(preview.region, stroke, grid_size=1e-5)
        lines = lines_of(found)
        assert lines.length == pytest.approx(exact.boundary.length, rel=1e-6)
        corners = shapely.points(shapely.get_coordinates(exact.boundary))
        shapely.prepare(lines)
        assert shapely.distance(corners, lines).max() < 1e-3
        assert shapely.distance(shapely.points(np.concatenate(found)), exact.boundary).max() < 1e-3


@given(STARS, st.floats(0, 3), st.integers(0, 3))
def test_a_path_by_hand_becomes_a_ring_near_to_it(ring, tolerance, repeats):
    path = np.repeat(ring, repeats + 1, axis=0)
    path = np.concatenate([path, path[:repeats], [(np.nan, 1)]])
    found = annotations.freehand_ring(path, tolerance)
    if tolerance == 0:
        assert region(annotations.make_annotation("polygon", found)).equals(shapely.Polygon(ring))
    assert bits(found) <= bits(ring)
    assert shapely.Polygon(found).is_valid
    away = shapely.distance(shapely.points(ring), shapely.LinearRing(found))
    assert away.max() <= 2 * tolerance + 1e-9
    assert len(found) == len(np.unique(found, axis=0))


def test_hands_that_close_a_ring_cross_its_beginning():
    angle = np.linspace(0, 2 * np.pi + 0.2, 200)
    path = (100 + 3 * angle)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    path[-1] *= 0.8
    ring = annotations.freehand_ring(path, 0.5)
    assert shapely.Polygon(ring).is_valid
    assert shapely.Polygon(ring).symmetric_difference(annotations.ring_region(path)).area < 400
    around = np.concatenate([path[:, :], path[::-1] * 0.7])  # leaves a hole: one ring has none
    kept = annotations.freehand_ring(around, 0.5)
    assert (
        annotations.ring_region(kept).symmetric_difference(annotations.ring_region(around)).area
        < 800
    )


@pytest.mark.parametrize(
    "path", [[], [(1, 1)], [(1, 1)] * 9, [(0, 0), (5, 5)], [(0, 0), (5, 5), (9, 9)], [(np.nan, 0)]]
)
def test_what_encloses_nothing_is_no_ring(path):
    assert annotations.freehand_ring(np.array(path, float).reshape(-1, 2), 1) is None


@given(st.lists(GRID_PLACES, max_size=12), st.floats(0, 20))
def test_a_ring_by_hand_always_encloses_something(path, tolerance):
    ring = annotations.freehand_ring(np.array(path, float).reshape(-1, 2), tolerance)
    whole = annotations.ring_region(np.array(path, float).reshape(-1, 2))
    assert (ring is None) == whole.is_empty
    if ring is not None:
        assert not annotations.ring_region(ring).is_empty
        assert np.isfinite(ring).all()


def test_untouched_rings_are_handed_out_as_they_are():
    far = np.array([(500, 0), (510, 0), (505, 9)], float)
    annotation = annotations.make_annotation(
        "polygon", far - (450, 0), more_parts=[annotations.Part(far)]
    )
    preview = annotations.begin_stroke(annotation, adding=True)
    one, other = (
        annotations.preview_outline(preview, annotations.stroke_region([(50, x)], 5))
        for x in (0, 1)
    )
    assert {id(line) for line in one} & {id(line) for line in other}
    ended = annotations.end_stroke(preview, annotations.stroke_region([(50, 0)], 5))
    assert bits(far) <= bits(points_of(ended))
    assert_array_equal(ended.more_parts[0].points, far)


def test_a_brush_that_is_round_on_the_screen_is_an_ellipse_where_pixels_are_not_square():
    path = np.array([(100, 100), (180, 140), (160, 260)], float)
    stroke = annotations.stroke_region(path, 20, 40)
    stretched = shapely.transform(stroke, lambda points: points * (1, 0.5))
    round_one = annotations.stroke_region(path * (1, 0.5), 20)
    assert stretched.symmetric_difference(round_one).area < 1e-6
    dab = annotations.stroke_region([(0, 0)], 20, 40)
    np.testing.assert_allclose(dab.bounds, (-20, -40, 20, 40))
    grown = annotations.extend_stroke(dab, [(0, 0), (0, 100)], 20, 40)
    np.testing.assert_allclose(grown.bounds, (-20, -40, 20, 140))
    assert annotations.stroke_region(path, 20, 0).is_empty
