"""Adding, cutting, uniting and splitting: shapely's areas, and every other point bit for bit."""

from dataclasses import replace
from difflib import SequenceMatcher

import numpy as np
import pytest
import shapely
from hypothesis import assume, given
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
    star,
)

from napari_camelyon import annotations
from napari_camelyon.annotations import Part
from napari_camelyon.errors import AnnotationError

REGIONS = STARS.map(shapely.Polygon)
SQUARE = np.array([(0, 0), (100, 0), (100, 100), (0, 100)], float)


def differing_area(first, second):
    return region(first).symmetric_difference(second).area


@given(st.one_of(polygons(), any_rings()), REGIONS)
def test_adding_and_cutting_are_union_and_difference(annotation, other):
    own = region(annotation)
    added, left = (
        annotations.add_region(annotation, other),
        annotations.cut_region(annotation, other),
    )
    assert differing_area(added, own.union(other)) < 1e-2
    assert differing_area(left, own.difference(other)) < 1e-2
    for edited in (added, left):
        if edited is not None and edited is not annotation:
            assert all(ring_is_valid(part) for part in edited.parts)
            areas = [part_region(part).area for part in edited.parts]
            assert areas[0] == pytest.approx(max(areas), abs=1e-2)


def part_region(part):
    return shapely.Polygon(part.points, part.holes)


def ring_is_valid(part):
    return part_region(part).is_valid


@given(polygons(), REGIONS)
def test_points_that_are_not_concerned_keep_their_bits(annotation, other):
    points = points_of(annotation)
    inside = shapely.contains_xy(other, points)
    near = shapely.distance(shapely.points(points), other.boundary) < 1e-3
    added = annotations.add_region(annotation, other)
    assert bits(points[~inside & ~near]) <= bits(points_of(added))
    left = annotations.cut_region(annotation, other)
    if left is not None:
        assert bits(points[~inside & ~near]) <= bits(points_of(left))
        new = np.array([p for p in points_of(left) if p.tobytes() not in bits(points)])
        on_the_cut = shapely.distance(shapely.points(new.reshape(-1, 2)), other.boundary)
        assert (on_the_cut < 1e-4).all()


@given(polygons(), st.data())
def test_rings_run_and_start_as_they_did(annotation, data):
    """What a brush does at one vertex leaves the rest of the ring where it was in the file."""
    count = len(annotation.points)
    at = data.draw(st.integers(1, count - 1))
    dab = shapely.Point(annotation.points[at]).buffer(0.5)
    for edited in (
        annotations.add_region(annotation, dab),
        annotations.cut_region(annotation, dab),
    ):
        assert_array_equal(edited.points[:at], annotation.points[:at])
        rest = count - at - 1
        assert_array_equal(edited.points[len(edited.points) - rest :], annotation.points[at + 1 :])
        assert len(edited.holes) == len(annotation.holes)
        for hole, original in zip(edited.holes, annotation.holes, strict=True):
            assert_array_equal(hole, original)


@given(polygons())
def test_where_the_first_point_goes_the_ring_still_ends_as_it_did(annotation):
    dab = shapely.Point(annotation.points[0]).buffer(0.5)
    cut = annotations.cut_region(annotation, dab)
    rest = len(annotation.points) - 1
    assert_array_equal(cut.points[len(cut.points) - rest :], annotation.points[1:])


@given(polygons(), st.lists(st.integers(0, 30), min_size=1, max_size=4))
def test_repeated_points_stay_repeated(annotation, repeated):
    places = sorted(place % len(annotation.points) for place in repeated)
    stuttering = np.insert(annotation.points, places, annotation.points[places], axis=0)
    # One that differs by less than the grid's pitch is a point of its own, too.
    stuttering = np.insert(stuttering, 2, stuttering[2] + 1e-7, axis=0)
    annotation = replace(annotation, points=stuttering)
    far = shapely.box(1000, 0, 1001, 1)
    added = annotations.add_region(annotation, far)
    assert_array_equal(added.points, stuttering)
    closed = replace(annotation, points=np.concatenate([stuttering, stuttering[:1]]))
    assert_array_equal(annotations.add_region(closed, far).points, closed.points)


def test_nothing_done_is_the_annotation_itself():
    for kind in ("polygon", "spline", "rectangle"):
        annotation = annotations.make_annotation(kind, SQUARE)
        assert annotations.add_region(annotation, shapely.box(10, 10, 20, 20)) is annotation
        assert annotations.add_region(annotation, shapely.Polygon()) is annotation
        assert annotations.cut_region(annotation, shapely.box(500, 0, 900, 100)) is annotation
        assert annotations.fill_holes(annotation) is annotation
        assert annotations.split(annotation, [(500, 0), (500, 9)]) == [annotation]
        assert annotations.unite([annotation]) is annotation
        assert annotations.intersect([annotation]) is annotation
        assert annotations.subtract(annotation, []) is annotation
    square = annotations.make_annotation("polygon", SQUARE)
    assert annotations.cut_region(square, shapely.box(100, 0, 900, 100)) is square
    assert annotations.with_region(square, shapely.Polygon()) is None
    assert annotations.cut_region(square, shapely.box(-1, -1, 101, 101)) is None
    assert annotations.subtract(square, [square]) is None


def test_what_is_no_outline_is_kept():
    kept = {"name": "n", "group": "Tumor", "colour": "#123456"}
    spline = replace(annotations.make_annotation("spline", SQUARE, **kept), extra={"Tool": "pen"})
    other = annotations.make_annotation("polygon", SQUARE + 50, name="other")
    box = shapely.box(50, 50, 150, 150)
    for edited in (
        annotations.add_region(spline, box),
        annotations.cut_region(spline, box),
        annotations.unite([spline, other]),
        annotations.subtract(spline, [other]),
        annotations.intersect([spline, other]),
        annotations.split(spline, [(-50, 40), (150, 40)])[0],
    ):
        assert edited.kind == "polygon"
        assert (edited.id, edited.extra) == (spline.id, spline.extra)
        assert (edited.name, edited.group, edited.colour) == ("n", "Tumor", "#123456")


def corners_of(annotation):
    return shapely.multipoints(points_of(annotation))


@given(st.lists(polygons(), min_size=1, max_size=3))
def test_unite_subtract_and_intersect_are_what_shapely_says(made):
    regions = list(map(region, made))
    assert differing_area(annotations.unite(made), shapely.union_all(regions)) < 1e-2
    rest = regions[0].difference(shapely.union_all(regions[1:]))
    assert differing_area(annotations.subtract(made[0], made[1:]), rest) < 1e-2
    assert differing_area(annotations.intersect(made), shapely.intersection_all(regions)) < 1e-2
    points = np.concatenate(list(map(points_of, made)))
    for edited in (annotations.unite(made), annotations.intersect(made)):
        if edited is not None:
            crossings = shapely.union_all([r.boundary for r in regions])
            corners = shapely.points(points_of(edited))
            assert (shapely.distance(corners, crossings) < 1e-4).all()
            # Every corner of any outline that is on the new border is there bit for bit; of two
            # that only the last digits tell apart, one is.
            at = shapely.distance(shapely.points(points), corners_of(edited)) < 1e-5
            new = bits(points_of(edited))
            for corner in points[at]:
                twins = points[np.hypot(*(points - corner).T) < 2e-5]
                assert bits(twins) & new


@given(polygons(), PLACES, PLACES)
def test_the_pieces_of_a_split_are_the_whole_and_do_not_overlap(annotation, start, end):
    assume(np.hypot(*np.subtract(start, end)) > 1)
    own = region(annotation)
    step = np.subtract(end, start) / np.hypot(*np.subtract(start, end))
    line = np.array([start - 500 * step, end + 500 * step])
    pieces = annotations.split(annotation, line)
    regions = list(map(region, pieces))
    knife = shapely.LineString(line)
    expected = shapely.get_parts(own.difference(knife.buffer(1e-6)))
    assume(all(part.area > 1e-3 for part in expected))
    assert len(pieces) == len(expected)
    assert sum(piece.area for piece in regions) == pytest.approx(own.area, abs=1e-2)
    assert shapely.union_all(regions).symmetric_difference(own).area < 1e-2
    assert regions[0].area == pytest.approx(max(piece.area for piece in regions), abs=1e-2)
    assert pieces[0].id == annotation.id
    assert len({piece.id for piece in pieces}) == len(pieces)
    assert bits(points_of(annotation)) <= bits(np.concatenate(list(map(points_of, pieces))))


def test_a_line_that_ends_inside_cuts_nothing_off():
    holed = annotations.make_annotation("polygon", SQUARE, holes=[SQUARE * 0.2 + 40])
    assert annotations.split(holed, [(-10, 20), (50, 20)]) == [holed]
    assert annotations.split(holed, [(-10, 50), (50, 50)]) == [holed]  # ends in the hole
    assert len(annotations.split(holed, [(-10, 50), (110, 50)])) == 2
    assert annotations.split(holed, [(np.nan, 0), (5, 5)]) == [holed]
    around = [(10, 0), (10, 30), (30, 30), (30, 10), (-10, 10)]
    assert sorted(region(p).area for p in annotations.split(holed, around)) == [100, 400, 9100]


def test_parts_that_a_line_does_not_cut_stay_with_the_id():
    second = Part(SQUARE + 1000)
    annotation = annotations.make_annotation("polygon", SQUARE, more_parts=(second,))
    first, other = annotations.split(annotation, [(30, -10), (30, 110)])
    assert first.id == annotation.id
    assert [part_region(part).area for part in first.parts] == [7000, 10000]
    assert_array_equal(first.more_parts[0].points, second.points)
    assert region(other).area == 3000


@given(polygons())
def test_filling_holes_leaves_the_outer_ring(annotation):
    filled = annotations.fill_holes(annotation)
    assert filled.holes == ()
    assert_array_equal(filled.points, annotation.points)
    for k, hole in enumerate(annotation.holes):
        one = annotations.fill_holes(annotation, hole.mean(axis=0))
        expected = [other for j, other in enumerate(annotation.holes) if j != k]
        assert len(one.holes) == len(expected)
        for ring, other in zip(one.holes, expected, strict=True):
            assert_array_equal(ring, other)
    assert annotations.fill_holes(annotation, (1e4, 1e4)) is annotation


def test_islands_in_holes_and_holes_in_islands():
    rings = [50 + (SQUARE - 50) * share for share in (1, 0.8, 0.6, 0.4)]
    nested = annotations.make_annotation(
        "polygon", rings[0], holes=[rings[1]], more_parts=[Part(rings[2], (rings[3],))]
    )
    area = [shapely.Polygon(ring).area for ring in rings]
    inner = annotations.fill_holes(nested, (50, 50))
    assert region(inner).area == pytest.approx(area[0] - area[1] + area[2])
    outer = annotations.fill_holes(nested, (12, 12))
    assert region(outer).area == pytest.approx(area[0])
    assert len(outer.parts) == 1
    assert region(annotations.fill_holes(nested)).area == pytest.approx(area[0])
    assert annotations.fill_holes(nested, (25, 25)) is nested  # on the island
    # A ring that runs back over its beginning encloses a place that it does not wind around.
    angle = np.linspace(0, 2 * np.pi + 0.3, 60)[:, None]
    circle = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    overlapping = annotations.make_annotation(
        "polygon", np.concatenate([50 * circle, 40 * circle[::-1]])
    )
    assert len(region(overlapping).interiors) == 1
    assert not region(annotations.fill_holes(overlapping)).interiors


def test_what_encloses_nothing_is_refused_and_what_would_be_lost_too():
    dot = annotations.make_annotation("dot", [(1, 1)], name="D")
    far = annotations.make_annotation("polygon", [*SQUARE, (1e9, 0)], name="F")
    box = shapely.box(0, 0, 5, 5)
    for bad, reason in ((dot, "D is a dot"), (far, "F has points far from any slide")):
        for change in (
            lambda bad=bad: annotations.add_region(bad, box),
            lambda bad=bad: annotations.cut_region(bad, box),
            lambda bad=bad: annotations.unite([bad, bad]),
            lambda bad=bad: annotations.begin_stroke(bad, adding=True),
            lambda bad=bad: annotations.simplify(bad, 1),
        ):
            with pytest.raises(AnnotationError, match=reason):
                change()
    two = annotations.make_annotation("polygon", SQUARE[:2])
    assert region(annotations.add_region(two, box)).area == 25
    with pytest.raises(AnnotationError, match="None of these outlines"):
        annotations.unite([two, two])
    for nothing in (annotations.unite, annotations.intersect):
        with pytest.raises(ValueError, match="At least one"):
            nothing([])


@given(any_rings(), any_rings())
def test_results_are_valid_whatever_was_drawn(first, second):
    for edited in (
        annotations.unite([first, second]) if region(first).area + region(second).area else None,
        annotations.subtract(first, [second]),
        annotations.intersect([first, second]),
    ):
        if edited is not None and edited is not first:
            assert all(map(ring_is_valid, edited.parts))


def test_exact_bits_give_way_where_they_would_cross():
    """Notches whose tips end a millionth of a pixel or ten above an edge that the brush cuts."""
    random = np.random.default_rng(0)
    lost = []
    for _ in range(300):
        slope = random.uniform(-1e-5, 1e-5)
        notches = [
            [(x + 0.3, 100), (x, x * slope + random.uniform(1e-7, 1.2e-5)), (x - 0.3, 100)]
            for x in sorted(random.permutation(np.arange(10.5, 90, 1.7))[:4], reverse=True)
        ]
        corners = [(0, 0), (100, 100 * slope), (100, 100)]
        ring = np.array([*corners, *np.concatenate(notches), (0, 100)])
        annotation = annotations.make_annotation("polygon", ring + random.uniform(0, 1, 2))
        place = annotation.points[0] + (random.uniform(5, 95), 0)
        dab = shapely.Point(place).buffer(random.uniform(1, 3))
        for edit in (annotations.add_region, annotations.cut_region):
            edited = edit(annotation, dab)
            assert all(map(ring_is_valid, edited.parts))
            far_up = annotation.points[annotation.points[:, 1] > 50]
            lost.append(len(bits(far_up) - bits(points_of(edited))))
    # Only the ends of edges that meet at such a tip may be on the grid.
    assert max(lost) <= 4
    assert np.mean(lost) < 0.1


def test_holes_keep_their_order():
    places = np.random.default_rng(1).permutation(25)
    holes = [SQUARE / 20 + (20 * (k % 5) + 5, 20 * (k // 5) + 5) for k in places]
    annotation = annotations.make_annotation("polygon", SQUARE, holes=holes)
    cut = annotations.cut_region(annotation, shapely.box(-5, -5, 2, 2))
    assert len(cut.holes) == 25
    for hole, original in zip(cut.holes, holes, strict=True):
        assert_array_equal(hole, original)


@pytest.mark.parametrize("name", ["tumor_047", "tumor_039", "test_026"])
def test_real_outlines_keep_every_other_point(shared_data, name):
    annotation = largest(shared_data, name)
    drawn = annotations.outline(annotation)
    own = region(annotation)
    dab = shapely.Point(drawn[len(drawn) // 2]).buffer(60)
    on_border = shapely.get_coordinates(own)
    stays = on_border[shapely.distance(shapely.points(on_border), dab) > 1e-3]
    # Crossings are new places, on the grid; all others are the annotator's.
    expected = bits(stays) & bits(drawn)
    for edited, area in (
        (annotations.add_region(annotation, dab), own.union(dab).area),
        (annotations.cut_region(annotation, dab), own.difference(dab).area),
    ):
        assert expected <= bits(points_of(edited))
        assert all(map(ring_is_valid, edited.parts))
        assert region(edited).area == pytest.approx(area, rel=1e-9)


def test_saving_after_a_stroke_changes_few_lines(shared_data, tmp_path):
    path = shared_data / "annotations/asap_c16/test_026.xml"
    found = annotations.read(path)
    valid = [a for a in found if shapely.Polygon(a.points).is_valid]
    annotation = max(valid, key=lambda a: len(a.points))
    dab = shapely.Point(annotation.points[len(annotation.points) // 2]).buffer(5)
    changed = annotations.cut_region(annotation, dab)
    annotations.write(annotations.replace_annotation(found, changed), tmp_path / "saved.xml")
    before, after = (
        [line.partition(b"X=")[2] for line in file.read_bytes().splitlines()]
        for file in (path, tmp_path / "saved.xml")
    )
    same = [
        match.size
        for match in SequenceMatcher(a=before, b=after, autojunk=False).get_matching_blocks()
        if match.size
    ]
    assert len(same) == 2
    assert sum(same) >= len(before) - 20


@given(
    st.lists(st.tuples(GRID_PLACES, GRID_PLACES), max_size=4),
    st.sampled_from([(0.0, 0.0), (0.3, 0.7)]),
)
def test_the_region_is_the_same_whether_holes_are_cut_or_drawn(boxes, shift):
    """Holes may touch or cross the outline and each other, lie outside or have no area."""
    holes = [
        np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float) + shift
        for (x0, y0), (x1, y1) in boxes
    ]
    annotation = annotations.make_annotation("polygon", SQUARE, holes=holes)
    expected = shapely.Polygon(SQUARE)
    for hole in holes:
        expected = expected.difference(shapely.box(*hole.min(axis=0), *hole.max(axis=0)))
    own = region(annotation)
    assert own.is_valid
    assert own.symmetric_difference(expected).area < 1e-2


def test_thousands_of_holes_and_of_regions_are_no_matter_of_minutes():
    """One hole after the other took four minutes; so did all points again for each region."""
    places = [np.array([20.0 * (k % 60), 20.0 * (k // 60)]) for k in range(3600)]
    angle = np.linspace(0, 2 * np.pi, 30_000, endpoint=False)
    ring = 600 + 2000 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    small = [star(place, np.full(40, 5.0)) for place in places]
    annotation = annotations.make_annotation("polygon", ring, holes=small)
    filled = annotations.fill_holes(annotation)
    assert bits(filled.points) == bits(ring)
    assert not filled.holes
    united = annotations.unite([annotations.make_annotation("polygon", one) for one in small])
    assert len(united.parts) == 3600
    assert bits(points_of(united)) == bits(np.concatenate(small))
