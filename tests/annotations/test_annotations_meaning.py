"""What outlines enclose and what groups mean, against slow literal readings."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from napari_camelyon import annotations

CELLS = st.one_of(st.integers(0, 24), st.floats(0, 24).map(lambda value: round(value, 6)))
RINGS = st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=9).map(
    lambda rows: np.array(rows, float)
)


def winding_numbers(ring, points):
    """How often a ring winds around each point: the angle it is seen under, added up literally."""
    total = np.zeros(len(points))
    for start, end in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        a, b = start - points, end - points
        cross = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
        total += np.arctan2(cross, (a * b).sum(axis=1))
    return np.rint(total / (2 * np.pi)).astype(int)


def raster_points():
    # Points off the whole and half numbers, so that none lies on an edge between grid points by
    # chance more often than the mask below leaves out.
    axis = np.arange(0.37, 24, 0.731)
    return np.stack(np.meshgrid(axis, axis + 0.0123), axis=-1).reshape(-1, 2)


def inside(region, points):
    return shapely.contains_xy(region, points)


def away_from(rings, points):
    lines = [
        shapely.LinearRing(ring) if len(ring) > 2 else shapely.MultiPoint(ring) for ring in rings
    ]
    return shapely.distance(shapely.points(points), shapely.union_all(lines)) > 1e-3


@given(RINGS)
def test_a_ring_encloses_what_it_winds_around(ring):
    region = annotations.ring_region(ring)
    points = raster_points()
    clear = away_from([ring], points)
    assert region.is_valid
    assert_array_equal(inside(region, points)[clear], (winding_numbers(ring, points) != 0)[clear])


@given(
    st.lists(RINGS, max_size=4),
    st.lists(RINGS, max_size=4),
)
@settings(deadline=None)
def test_the_tumour_region_is_what_the_rule_says_point_by_point(tumours, cut_outs):
    made = annotations.AnnotationSet(
        tuple(annotations.make_annotation("polygon", ring, group="Tumor") for ring in tumours)
        + tuple(annotations.make_annotation("polygon", ring, group="_2") for ring in cut_outs)
    )
    region = annotations.tumour_region(made)
    assert region.is_valid

    points = raster_points()
    in_tumour = [winding_numbers(ring, points) != 0 for ring in tumours]
    in_cut_out = [winding_numbers(ring, points) != 0 for ring in cut_outs]
    expected = np.zeros(len(points), bool)
    for ring, covered in zip(tumours, in_tumour, strict=True):
        kept = covered.copy()
        tumour = annotations.ring_region(ring)
        for other, cut in zip(cut_outs, in_cut_out, strict=True):
            hole = annotations.ring_region(other)
            island = hole.area > tumour.area and (
                tumour.intersection(hole).area >= 0.9 * tumour.area
            )
            if not island:
                kept &= ~cut
        expected |= kept
    clear = away_from([*tumours, *cut_outs], points)
    assert_array_equal(inside(region, points)[clear], expected[clear])


def square(x, y, size):
    return np.array([(x, y), (x + size, y), (x + size, y + size), (x, y + size)], float)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_islands_in_holes_stay_in_whatever_order_the_file_has(order):
    nested = [
        annotations.make_annotation("polygon", square(0, 0, 100), group="Tumor"),
        annotations.make_annotation("polygon", square(10, 10, 80), group="Exclusion"),
        annotations.make_annotation("polygon", square(30, 30, 40), group="Tumor"),
        annotations.make_annotation("polygon", square(40, 40, 10), group="Exclusion"),
    ]
    region = annotations.tumour_region(annotations.AnnotationSet(tuple(nested[k] for k in order)))
    assert region.area == pytest.approx(100**2 - 80**2 + 40**2 - 10**2)


def test_a_cut_out_drawn_exactly_over_a_tumour_removes_it():
    made = annotations.AnnotationSet(
        tuple(
            annotations.make_annotation("polygon", square(0, 0, 9), group=group)
            for group in ("metastases", "normal")
        )
    )
    assert annotations.tumour_region(made).is_empty


def test_the_official_islands_are_kept(shared_data):
    """18 in test_026 and 2 in tumor_110; painting holes last would lose them."""
    for name, islands in (("test_026", 18), ("tumor_110", 2)):
        annotation_set = annotations.read(shared_data / f"annotations/asap_c16/{name}.xml")
        choice = annotations.choose_profile(annotation_set)
        assert choice.profile is annotations.CAMELYON16
        regions = {"tumour": [], "cut-out": []}
        for annotation in annotation_set:
            meaning = annotations.meaning_of(annotation, annotation_set.groups, choice.profile)
            regions[meaning].append(annotations.region_of(annotation))
        holes_last = shapely.union_all(regions["tumour"]).difference(
            shapely.union_all(regions["cut-out"])
        )
        kept = annotations.tumour_region(annotation_set).difference(holes_last.buffer(0.01))
        assert len(shapely.get_parts(kept)) == islands


@pytest.mark.parametrize(
    ("groups", "name"),
    [
        (["_0", "_1", "_2"], "CAMELYON16"),
        (["Tumor", "Exclusion", None], "CAMELYON16"),
        (["metastases"], "CAMELYON17"),
        (["metastases", "Tumor"], "CAMELYON16 + CAMELYON17"),
        (["Stroma"], "none"),
        ([], "none"),
    ],
)
def test_the_profile_is_chosen_by_the_groups_in_use_and_says_why(groups, name):
    made = annotations.AnnotationSet(
        tuple(
            annotations.make_annotation("polygon", square(9 * k, 0, 1), group=group)
            for k, group in enumerate(groups)
        )
    )
    choice = annotations.choose_profile(made)
    assert choice.profile.name == name
    for group in groups:
        assert group is None or group in choice.reason
    assert annotations.tumour_region(made).is_empty == (name == "none")


def test_marks_and_unknown_groups_have_no_region_and_nested_groups_inherit():
    groups = (
        annotations.Group("Tumor"),
        annotations.Group("front", parent="Tumor"),
        annotations.Group("a", parent="b"),
        annotations.Group("b", parent="a"),
    )

    def meaning(kind, group):
        annotation = annotations.make_annotation(kind, square(0, 0, 1), group=group)
        return annotations.meaning_of(annotation, groups, annotations.CAMELYON16)

    assert meaning("polygon", "front") == "tumour"
    assert meaning("polygon", "a") == ""
    assert meaning("polygon", None) == ""
    assert meaning("dot", "Tumor") == ""
    assert meaning("ruler", "Tumor") == ""


def test_a_group_has_the_colour_of_the_outermost_group_it_belongs_to():
    groups = (annotations.Group("t", colour="#112233"), annotations.Group("f", "t", "#ff0000"))
    assert annotations.group_colour("f", groups) == "#112233"
    assert annotations.group_colour("t", groups) == "#112233"
    assert annotations.group_colour("x", groups) is None
    assert annotations.group_colour(None, groups) is None


@given(st.lists(st.tuples(CELLS, CELLS), max_size=12), st.floats(0.1, 2), st.floats(0.1, 2))
def test_the_greatest_diameter_is_the_greatest_distance_of_two_points(points, mpp_x, mpp_y):
    scaled = np.array(points, float).reshape(-1, 2) * (mpp_x, mpp_y)
    expected = max((np.hypot(*(a - b)) for a in scaled for b in scaled), default=0.0)
    region = shapely.MultiPoint(points)
    assert_allclose(annotations.greatest_diameter_um(region, (mpp_x, mpp_y)), expected)


@given(st.integers(3, 60), st.floats(0, 7), st.floats(-3, 5), st.integers(1, 3))
def test_the_greatest_diameter_of_round_and_straight_outlines(count, turn, exponent, repeats):
    """All corners of a round ring lie opposite each other, many of a straight side on no corner."""
    angle = turn + np.linspace(0, 2 * np.pi, count, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) * 10**exponent
    step = np.roll(ring, -1, axis=0) - ring
    ring = 90_000 + np.concatenate([ring + step * k / repeats for k in range(repeats)])
    expected = np.hypot(*((ring[:, None] - ring) * (0.5, 0.25)).T).max()
    found = annotations.greatest_diameter_um(shapely.MultiPoint(ring), (0.5, 0.25))
    assert_allclose(found, expected, rtol=1e-8, atol=1e-9)


def test_the_greatest_diameter_of_the_largest_outlines_is_no_matter_of_minutes():
    """Comparing every two corners took 100 s, while a person waited for the sizes of a region."""
    angle = np.linspace(0, 2 * np.pi, 45_066)[:-1]
    ring = shapely.Polygon(20_000 * np.stack([np.cos(angle), np.sin(angle)], axis=1))
    assert_allclose(annotations.greatest_diameter_um(ring, (0.25, 0.25)), 10_000, rtol=1e-6)


def test_areas_are_in_square_millimetres():
    assert annotations.area_mm2(shapely.box(0, 0, 1000, 2000), (0.5, 0.25)) == 0.25


def test_a_spline_counts_as_drawn_or_as_in_the_official_masks():
    spline = annotations.make_annotation("spline", square(0, 0, 100), group="Tumor")
    made = annotations.AnnotationSet((spline,))
    assert annotations.tumour_region(made, splines_as_drawn=False).area == 100**2
    drawn = annotations.tumour_region(made)
    assert drawn.equals(shapely.Polygon(annotations.spline_outline(spline.points)))
    assert drawn.area > 1.1 * 100**2
