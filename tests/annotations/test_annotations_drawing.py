"""What is drawn of many outlines, and what a person means who points at them."""

from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from napari_camelyon.annotations import (
    AnnotationSet,
    make_annotation,
    region_of,
    remove_annotations,
    replace_annotation,
)
from napari_camelyon.annotations.drawing import (
    drawn_lines,
    outlines_of,
    pick,
    segments,
    thinned,
    update_outlines,
    visible_ids,
)
from napari_camelyon.annotations.measures import measure

SQUARE = np.array([(0, 0), (100, 0), (100, 100), (0, 100)], float)


def wavy(x=0.0, y=0.0, radius=1000.0, count=600):
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    length = radius * (1 + 0.1 * np.sin(7 * angle) + 0.01 * np.sin(90 * angle))
    return np.stack([x + length * np.cos(angle), y + length * np.sin(angle)], axis=1)


def made(*rings, **more):
    return AnnotationSet(tuple(make_annotation("polygon", ring, **more) for ring in rings))


def drawn(points):
    return shapely.MultiLineString(list(points.reshape(-1, 2, 2)))


@pytest.mark.parametrize("tolerance_px", [0.1, 0.6, 3.0, 40.0])
def test_drawn_pieces_stay_within_the_tolerance(tolerance_px):
    one = made(wavy())
    points, owner = segments(outlines_of(one), [one.annotations[0].id], tolerance_px)
    true = shapely.LinearRing(wavy())
    assert shapely.hausdorff_distance(drawn(points), true, 0.05) <= tolerance_px + 1e-9
    assert set(owner) == {0}
    if tolerance_px < 0.5:
        assert len(points) == 2 * 600


@given(st.floats(0.2, 300))
def test_thinning_keeps_ends_and_stays_within_the_diagonal(tolerance_px):
    line = wavy()
    thin = thinned(line, tolerance_px)
    assert (thin[[0, -1]] == line[[0, -1]]).all()
    offset = shapely.distance(shapely.points(line), shapely.LineString(thin))
    assert offset.max() <= tolerance_px * 2**0.5 + 1e-9


def test_pieces_tell_to_which_annotation_they_belong():
    both = made(SQUARE, SQUARE + 1000)
    ids = [a.id for a in both]
    points, owner = segments(outlines_of(both), ids, 0.1)
    assert [drawn(points[owner == k]).bounds for k in (0, 1)] == [
        (0, 0, 100, 100),
        (1000, 1000, 1100, 1100),
    ]


def test_holes_parts_lines_and_dots_are_drawn_as_they_are():
    holed = make_annotation("polygon", SQUARE, holes=[SQUARE * 0.2 + 10])
    assert sum(shapely.LineString(line).length for line in drawn_lines(holed)) == 400 + 80
    ruler = make_annotation("ruler", SQUARE[:2])
    assert [len(line) for line in drawn_lines(ruler)] == [2], "a line is not closed"
    assert drawn_lines(make_annotation("dot", SQUARE[:1])) == ()
    assert drawn_lines(make_annotation("polygon", [(0, 0), (1e300, 0), (5, 5)])) == ()


def test_only_what_meets_the_view_is_visible():
    rings = [SQUARE + 300 * k for k in range(5)]
    some = made(*rings)
    ids = [a.id for a in some]
    assert visible_ids(outlines_of(some), (350, 350, 650, 650)) == ids[1:3]
    assert visible_ids(outlines_of(some), (100, 100, 100, 100)) == ids[:1]


def test_an_update_tells_what_changed_and_forgets_the_old_shape():
    before = made(SQUARE, SQUARE + 500, SQUARE + 900)
    outlines = outlines_of(before)
    first, second, third = (a.id for a in before)
    segments(outlines, [first, second, third], 3.0)
    after = replace_annotation(
        remove_annotations(before, {third}), replace(before.annotations[1], points=SQUARE + 5000)
    )
    assert set(update_outlines(outlines, after)) == {second, third}
    assert update_outlines(outlines, after) == []
    assert visible_ids(outlines, (0, 0, 2000, 2000)) == [first]
    points, _ = segments(outlines, [second], 3.0)
    assert drawn(points).bounds == (5000, 5000, 5100, 5100)


# --- picking -----------------------------------------------------------------------------------


def test_the_line_within_reach_is_meant_else_the_smallest_region_around():
    large, small = SQUARE * 10, SQUARE + 400
    both = made(large, small)
    outer, inner = (a.id for a in both)
    outlines = outlines_of(both)
    assert pick(outlines, (450, 450), 5) == inner
    assert pick(outlines, (200, 200), 5) == outer
    assert pick(outlines, (398, 450), 5) == inner
    assert pick(outlines, (1003, 500), 5) == outer
    assert pick(outlines, (1010, 500), 5) is None
    assert pick(outlines, (450, 450), 5, skip={inner}) == outer


def test_a_hole_is_not_its_region():
    holed = AnnotationSet((make_annotation("polygon", SQUARE * 10, holes=[SQUARE + 400]),))
    assert pick(outlines_of(holed), (450, 450), 5) is None
    assert pick(outlines_of(holed), (401, 450), 5) is not None


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=3, max_size=9),
    st.tuples(st.integers(0, 40), st.integers(0, 40)),
)
def test_what_is_picked_is_what_the_region_covers(ring, at):
    at = (at[0] + 0.37, at[1] + 0.41)  # on no line
    one = made(ring)
    picked = pick(outlines_of(one), at, 1e-9) is not None
    assert picked == shapely.contains_xy(region_of(one.annotations[0]), *at)


# --- sizes -------------------------------------------------------------------------------------


def test_sizes_respect_pixels_that_are_not_square():
    size = measure(make_annotation("polygon", SQUARE), (0.5, 0.25))
    assert size.area_mm2 == pytest.approx(0.05 * 0.025)
    assert size.perimeter_mm == pytest.approx(2 * (0.05 + 0.025))
    assert size.greatest_diameter_mm == pytest.approx(np.hypot(0.05, 0.025))
    ruler = measure(make_annotation("ruler", [(0, 0), (30, 80)]), (0.5, 0.25))
    assert ruler.area_mm2 == 0
    assert ruler.perimeter_mm == ruler.greatest_diameter_mm == pytest.approx(0.025)
