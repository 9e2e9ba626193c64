"""Lesions: what belongs together, how it is measured, and laws that must hold for any heatmap."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage
from skimage.measure import find_contours

from napari_camelyon.errors import StagingError
from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging import (
    LesionRules,
    classify_node,
    find_lesions,
    restage_node,
    restage_nodes,
)
from napari_camelyon.staging.deposits import label_cells
from napari_camelyon.staging.measuring import ring_polygons, trace_borders, tumour_scores

NAN = np.float32("nan")


def heatmap(values, *, stride=128, patch=128, origin=(0, 0), mpp=(0.25, 0.25), **entries):
    """Cells of 32 µm side by side, unless asked otherwise."""
    values = np.asarray(values, dtype=np.float32)
    grid = Grid(*values.shape, *origin, patch, patch, stride, stride)
    return Heatmap(grid, values, mpp, **entries)


def rectangle(rows, columns, *, inside=0.9, outside=0.1, rim=3):
    values = np.full((rows + 2 * rim, columns + 2 * rim), outside)
    values[rim : rim + rows, rim : rim + columns] = inside
    return values


small_fields = npst.arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    elements=st.sampled_from([0, 0.2, 0.4, 0.5, 0.6, 0.8, 1, NAN]).map(np.float32),
)
smooth_fields = npst.arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    elements=st.floats(0, 1, width=32) | st.just(NAN),
)


# -- one lesion, by hand ---------------------------------------------------------------------------


def test_a_bar_is_as_long_as_its_cells_less_the_patch_that_saw_it():
    # 20 cells of 16 µm in a row: 320 µm. A patch of 32 µm sees tumour from half of it away.
    values = rectangle(1, 20)
    (lesion,) = find_lesions(heatmap(values, stride=64, patch=128))
    assert lesion.diameter_mm == pytest.approx(0.288, abs=1e-3)
    assert lesion.margin_mm == pytest.approx(0.016)
    assert lesion.patches == 20
    assert lesion.mean_probability == pytest.approx(0.9)
    assert lesion.id == 1
    # It runs along row 3, from half a stride before the first cell's centre, less half a patch.
    (left, y), (right, y_too) = sorted(lesion.diameter_ends_px)
    centre = 3 * 64 + 64
    assert (y, y_too) == pytest.approx((centre, centre))
    assert (left, right) == pytest.approx((3 * 64 + 64 - 32 + 64, 22 * 64 + 64 + 32 - 64), abs=4)


def test_values_of_the_centre_are_wider_by_the_centre_only():
    values = rectangle(1, 20)
    centre = heatmap(values, stride=64, patch=384, value_meaning="centre", centre_um=31.0)
    assert find_lesions(centre)[0].diameter_mm == pytest.approx(0.289, abs=1e-3)
    anywhere = replace(centre, value_meaning="any_tumour")
    assert find_lesions(anywhere)[0].diameter_mm == pytest.approx(0.320 - 0.096, abs=1e-3)


def test_a_covered_fraction_is_measured_where_half_of_the_patch_is_covered():
    # A border at x = 500 µm, patches of 64 µm every 32 µm: the fraction rises linearly across it.
    centres = np.arange(40) * 32 + 32
    values = np.tile(np.clip((centres - 500) / 64 + 0.5, 0, 1), (40, 1))
    values[:5] = values[-5:] = values[:, -5:] = 0
    meant = heatmap(values, stride=128, patch=256, value_meaning="covered_fraction")
    for threshold in (0.2, 0.5, 0.8):
        (lesion,) = find_lesions(meant, threshold=threshold)
        assert lesion.bounds_px[0] * 0.25 == pytest.approx(500, abs=5)


def test_the_outline_lies_in_slide_pixels_with_its_holes():
    values = rectangle(40, 50)
    values[20:26, 20:26] = 0.1
    plain = find_lesions(heatmap(values, patch=32))[0]
    assert plain.outline.geom_type == "Polygon"
    assert len(plain.outline.interiors) == 1
    moved = find_lesions(heatmap(values, patch=32, origin=(1000, 77)))[0]
    expected = shapely.transform(plain.outline, lambda xy: xy + (1000, 77))  # noqa: RUF005
    assert shapely.equals_exact(moved.outline, expected, tolerance=1e-6)
    assert moved.bounds_px == pytest.approx(expected.bounds)
    assert moved.diameter_mm == pytest.approx(plain.diameter_mm)
    assert moved.area_mm2 == pytest.approx(plain.area_mm2)


def test_pixels_that_are_not_square_are_measured_in_micrometres():
    values = rectangle(10, 30)
    lesion = find_lesions(heatmap(values, stride=40, patch=1, mpp=(0.5, 0.25)))[0]
    # 30 columns of 20 µm by 10 rows of 10 µm: the diagonal, its corners cut by half a cell.
    assert lesion.diameter_mm == pytest.approx(np.hypot(600, 100) / 1000, rel=0.03)
    turned = find_lesions(heatmap(values.T, stride=40, patch=1, mpp=(0.25, 0.5)))[0]
    assert turned.diameter_mm == pytest.approx(lesion.diameter_mm)


def test_what_is_smaller_than_the_grid_can_show_has_a_place_but_no_size():
    values = rectangle(2, 1)
    (lesion,) = find_lesions(heatmap(values, stride=128, patch=512))
    assert lesion.diameter_mm == 0
    assert lesion.margin_mm == pytest.approx(0.032)
    assert lesion.outline.contains(shapely.Point(lesion.diameter_ends_px[0]))
    assert np.subtract(lesion.bounds_px[2:], lesion.bounds_px[:2]) == pytest.approx([128, 128])


def test_no_speck_is_left_of_what_is_smaller_than_its_patch():
    # Upside down, the buffer of GEOS 3.14 leaves 131 µm² of this where nothing can be left.
    values = np.zeros((3, 6))
    values[0, 4], values[0, 5], values[1, 4] = 0.8, 0.5, 0.5
    (lesion,) = find_lesions(heatmap(values))
    (same,) = find_lesions(heatmap(values[::-1]))
    assert lesion.area_mm2 == pytest.approx(same.area_mm2)
    assert lesion.outline.contains(shapely.Point(lesion.diameter_ends_px[0]))


# -- what is tumour, and what belongs together -----------------------------------------------------


def test_a_value_of_exactly_the_threshold_is_tumour():
    values = rectangle(4, 4, inside=0.7)
    assert find_lesions(heatmap(values), threshold=0.7)[0].patches == 16
    assert find_lesions(heatmap(values), threshold=0.7001) == []


def test_what_was_not_computed_is_no_tumour():
    values = rectangle(4, 9, outside=NAN)
    values[:, 7] = NAN
    first, second = find_lesions(heatmap(values), join_dilation_um=0)
    assert (first.patches, second.patches) == (16, 16)
    assert find_lesions(heatmap(np.full((5, 5), NAN))) == []


def test_the_heatmaps_own_threshold_is_the_default():
    values = rectangle(4, 4, inside=0.6)
    assert find_lesions(heatmap(values, threshold=0.65)) == []
    assert len(find_lesions(heatmap(values, threshold=0.55))) == 1


def test_cells_that_touch_at_a_corner_belong_together():
    values = np.zeros((8, 8))
    values[1:4, 1:4] = values[4:7, 4:7] = 1
    (lesion,) = find_lesions(heatmap(values, patch=1), join_dilation_um=0)
    assert lesion.patches == 18
    assert lesion.outline.is_valid


def test_tumour_at_the_edge_of_the_heatmap_is_measured():
    (lesion,) = find_lesions(heatmap(np.ones((10, 20)), patch=1))
    assert lesion.diameter_mm == pytest.approx(np.hypot(20, 10) * 0.032, rel=0.03)


def test_small_deposits_are_left_out_before_joining():
    values = np.zeros((5, 30))
    values[2, ::2] = 1
    assert find_lesions(heatmap(values, patch=1)) == []
    (lesion,) = find_lesions(heatmap(values, patch=1), min_patches=1)
    assert lesion.patches == 15


@pytest.mark.parametrize(("cells_between", "lesions"), [(1, 1), (2, 1), (3, 2)])
def test_deposits_nearer_than_75_um_are_one_lesion(cells_between, lesions):
    # Cells of 32 µm and almost no patch: gaps of 32, 64 and 96 µm.
    values = np.zeros((10, 30))
    values[3:7, 3:9] = values[3:7, 9 + cells_between : 17 + cells_between] = 1
    found = find_lesions(heatmap(values, patch=1))
    assert len(found) == lesions
    assert found[0].patches == (56 if lesions == 1 else 32)
    apart = find_lesions(heatmap(values, patch=1), join_dilation_um=0)
    assert [lesion.patches for lesion in apart] == [32, 24]
    if lesions == 1:
        # Measured from end to end, not grown by the joining.
        length_um = (14 + cells_between) * 32
        assert found[0].diameter_mm * 1000 == pytest.approx(np.hypot(length_um, 128), rel=0.04)
        assert found[0].area_mm2 == pytest.approx(sum(lesion.area_mm2 for lesion in apart))
        assert found[0].outline.geom_type == "MultiPolygon"


def test_the_gap_is_one_of_tissue_not_of_cells():
    # 32 µm between the cells, but each patch of 64 µm saw tumour half a patch away: 96 µm.
    values = np.zeros((10, 30))
    values[3:7, 3:9] = values[3:7, 10:17] = 1
    assert len(find_lesions(heatmap(values, patch=256))) == 2


def test_an_island_in_a_hole_belongs_to_the_lesion_around_it():
    values = rectangle(30, 30)
    values[8:28, 8:28] = 0.1
    values[17:19, 17:19] = 0.9
    (lesion,) = find_lesions(heatmap(values, patch=1))
    assert lesion.patches == 30 * 30 - 20 * 20 + 4
    assert len(find_lesions(heatmap(values, patch=1), join_dilation_um=0)) == 2


def test_lesions_come_largest_first_and_are_numbered():
    values = np.zeros((60, 60))
    for row, size in [(2, 3), (15, 9), (40, 6)]:
        values[row : row + size, 5 : 5 + size] = 0.8
    found = find_lesions(heatmap(values, patch=1))
    assert [lesion.patches for lesion in found] == [81, 36, 9]
    assert [lesion.id for lesion in found] == [1, 2, 3]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"threshold": 0}, "threshold 0"),
        ({"threshold": 1.0}, "threshold 1.0"),
        ({"threshold": float("nan")}, "threshold nan"),
        ({"threshold": 0.6, "seed_threshold": 0.5}, "lower than the threshold 0.6"),
        ({"seed_threshold": 0.4}, "lower than the threshold 0.5"),
        ({"seed_threshold": 1.5}, "seed threshold 1.5"),
        ({"min_diameter_mm": -1}, "-1 mm"),
        ({"min_patches": 0}, "at least 1 patch"),
        ({"join_dilation_um": -1}, "-1 µm"),
        ({"join_dilation_um": float("inf")}, "inf µm"),
    ],
)
def test_impossible_parameters_are_named(entries, message):
    with pytest.raises(StagingError, match=message):
        find_lesions(heatmap(np.ones((3, 3))), **entries)


def test_a_deposit_without_a_seed_is_left_out_and_one_with_it_keeps_its_extent():
    values = np.zeros((9, 20))
    values[2:6, 2:6] = 0.6
    values[3, 3] = 0.9
    values[2:6, 12:16] = 0.6
    field = heatmap(values, patch=1)
    both = find_lesions(field, join_dilation_um=0)
    assert len(both) == 2
    (seeded,) = find_lesions(field, seed_threshold=0.9, join_dilation_um=0)
    assert seeded.patches == 16
    assert seeded.diameter_mm in [lesion.diameter_mm for lesion in both]
    assert find_lesions(field, seed_threshold=0.95) == []


def test_lesions_below_the_least_diameter_are_left_out_after_joining():
    values = np.zeros((9, 40))
    values[2:5, 2:5] = values[2:5, 6:9] = 1
    values[2:5, 30:33] = 1
    field = heatmap(values, patch=1)
    large, small = find_lesions(field, join_dilation_um=20)
    kept = find_lesions(field, min_diameter_mm=small.diameter_mm + 1e-6, join_dilation_um=20)
    assert kept == [large]


# -- laws ------------------------------------------------------------------------------------------


@given(small_fields | smooth_fields, st.sampled_from([0.3, 0.5, 0.8]))
def test_contours_are_those_of_scikit_image(values, threshold):
    padded = np.pad(values, 1, constant_values=np.nan)
    labels, count = ndimage.label(padded >= np.float32(threshold), np.ones((3, 3)))
    if count == 0:
        return

    def score(cells):
        return tumour_scores(cells, threshold, is_fraction=False)

    cells = np.flatnonzero(labels)
    points, deposits, rings = trace_borders(
        labels.ravel(), cells, padded.shape[1], lambda asked: score(padded.ravel()[asked])
    )
    expected = find_contours(score(padded), 0.0, fully_connected="high")
    ours = [points[rings == ring] for ring in range(rings.max() + 1)]

    def as_sets(many):
        return sorted(sorted(map(tuple, np.round(one, 6))) for one in many)

    assert as_sets(ours) == as_sets([ring[:-1] for ring in expected])
    polygons = ring_polygons(points, deposits, rings)
    assert len(polygons) == count
    assert shapely.is_valid(polygons).all()
    area = sum(shapely.area(shapely.polygons(ring)) for ring in ours)
    expected_area = sum(shapely.area(shapely.polygons(ring)) for ring in expected)
    assert area == pytest.approx(expected_area)
    for label, polygon in enumerate(polygons, start=1):
        for row, column in np.argwhere(labels == label):
            assert polygon.intersects(shapely.Point(row, column))


@given(
    small_fields | smooth_fields,
    st.sampled_from([16, 128, 200, 700]),
    st.sampled_from(["any_tumour", "covered_fraction", "centre"]),
    st.sampled_from([0.0, 37.5]),
)
def test_lesions_are_consistent_whatever_the_heatmap(values, patch, meaning, dilation):
    field = heatmap(values, patch=patch, value_meaning=meaning, centre_um=20.0)
    found = find_lesions(field, min_patches=1, join_dilation_um=dilation)
    tumour = values >= 0.5
    assert sum(lesion.patches for lesion in found) == tumour.sum()
    assert bool(found) == bool(tumour.any())
    if dilation == 0:
        assert len(found) == ndimage.label(tumour, np.ones((3, 3)))[1]
    for lesion in found:
        assert lesion.outline.is_valid
        assert not lesion.outline.is_empty
        assert lesion.area_mm2 > 0
        assert 0.5 <= lesion.mean_probability <= lesion.max_probability <= 1
        assert lesion.outline.bounds == lesion.bounds_px
        ends = np.array(lesion.diameter_ends_px)
        length_mm = np.linalg.norm(ends[0] - ends[1]) * 0.25 / 1000
        assert length_mm == pytest.approx(lesion.diameter_mm, abs=1e-9)
        assert lesion.margin_mm > 0
    assert [lesion.diameter_mm for lesion in found] == sorted(
        (lesion.diameter_mm for lesion in found), reverse=True
    )


@given(
    small_fields | smooth_fields,
    st.tuples(st.floats(0.05, 0.95), st.floats(0.05, 0.95)).map(sorted),
    st.sampled_from([1, 128]),
    st.sampled_from([1, 2, 4]),
)
def test_a_higher_threshold_never_makes_the_largest_lesion_larger(
    values, thresholds, patch, min_patches
):
    field = heatmap(values, patch=patch)
    low, high = (
        find_lesions(field, threshold=threshold, min_patches=min_patches)
        for threshold in thresholds
    )
    largest_low = max((lesion.diameter_mm for lesion in low), default=0)
    largest_high = max((lesion.diameter_mm for lesion in high), default=0)
    assert largest_high <= largest_low + 1e-9


@given(small_fields, st.sampled_from([1, 128]))
def test_turning_or_mirroring_the_heatmap_changes_no_size(values, patch):
    def lesions(field):
        return find_lesions(heatmap(field, patch=patch), min_patches=1)

    plain = lesions(values)
    for same in map(lesions, (values.T, values[::-1], np.rot90(values))):
        assert sorted(lesion.patches for lesion in same) == sorted(
            lesion.patches for lesion in plain
        )
        assert [lesion.diameter_mm for lesion in same] == pytest.approx(
            [lesion.diameter_mm for lesion in plain]
        )
        if patch == 1:  # otherwise slivers come and go with the last digit
            assert sum(lesion.area_mm2 for lesion in same) == pytest.approx(
                sum(lesion.area_mm2 for lesion in plain), rel=1e-3
            )


@given(small_fields)
def test_joining_farther_never_makes_more_lesions_or_a_smaller_largest_one(values):
    field = heatmap(values, patch=1)
    found = [
        find_lesions(field, min_patches=1, join_dilation_um=dilation)
        for dilation in (0, 10, 37.5, 100)
    ]
    counts = [len(lesions) for lesions in found]
    assert counts == sorted(counts, reverse=True)
    largest = [lesions[0].diameter_mm if lesions else 0 for lesions in found]
    assert largest == sorted(largest)


@given(
    st.integers(1, 12).flatmap(
        lambda wide: st.tuples(
            st.just(wide),
            st.lists(st.lists(st.booleans(), min_size=wide, max_size=wide), min_size=1),
        )
    )
)
def test_cells_are_labelled_as_scipy_does(drawn):
    wide, rows = drawn
    tumour = np.pad(np.array(rows), 1)
    cells = np.flatnonzero(tumour)
    if len(cells):
        labels, _ = ndimage.label(tumour, np.ones((3, 3)))
        np.testing.assert_array_equal(label_cells(cells, wide + 2) + 1, labels.ravel()[cells])


rules = st.builds(
    LesionRules,
    threshold=st.none() | st.sampled_from([0.2, 0.5, 0.7]),
    seed_threshold=st.none() | st.sampled_from([0.75, 0.9]),
    min_patches=st.sampled_from([1, 2, 4]),
    min_diameter_mm=st.sampled_from([0.0, 0.05]),
    join_dilation_um=st.sampled_from([0.0, 37.5]),
)


@given(
    small_fields | smooth_fields,
    st.sampled_from([16, 200]),
    st.sampled_from(["any_tumour", "covered_fraction", "centre"]),
    rules,
)
def test_restaging_says_what_classifying_all_lesions_says(values, patch, meaning, rules):
    field = heatmap(values, patch=patch, value_meaning=meaning, centre_um=20.0)
    lesions = find_lesions(field, **asdict(rules))
    slowly = classify_node(lesions, heatmap=field, name="n")
    restaged = restage_node(field, rules, name="n")
    quickly = restaged.result
    same = {"deciding_lesion": None, "diameter_mm": None}
    assert replace(quickly, **same) == replace(slowly, **same)
    assert bool(lesions) == (restaged.diameter_ends_px is not None)
    if lesions:
        assert quickly.diameter_mm == pytest.approx(slowly.diameter_mm, rel=1e-12, abs=1e-12)
        ends = np.array(restaged.diameter_ends_px)
        equal = [one for one in lesions if one.diameter_mm > quickly.diameter_mm - 1e-9]
        assert any(np.allclose(ends, one.diameter_ends_px) for one in equal)


def test_nodes_restaged_together_are_as_each_alone():
    fields = {
        name: heatmap(rectangle(4, size), patch=1)
        for name, size in zip("abc", (3, 9, 80), strict=True)
    }
    together = restage_nodes(fields, LesionRules(threshold=0.6))
    assert list(together) == ["a", "b", "c"]
    for name, field in fields.items():
        assert together[name] == restage_node(field, LesionRules(threshold=0.6), name=name)
    assert restage_nodes({}) == {}
