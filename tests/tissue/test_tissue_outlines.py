"""Masks become polygons that hold exactly their pixels, and polygons become those masks again."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from shapely.geometry import Point

from napari_camelyon.tissue import mask_polygons, rasterise

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.booleans())


@given(masks, st.sampled_from([1.0, 2.5, 32.92]))
def test_a_mask_comes_back_from_its_polygons(mask, pixel_px):
    polygons = mask_polygons(mask, pixel_px, simplify_pixels=0)
    assert all(polygon.is_valid for polygon in polygons)
    assert sum(polygon.area for polygon in polygons) == pytest.approx(mask.sum() * pixel_px**2)
    np.testing.assert_array_equal(rasterise(polygons, mask.shape, pixel_px), mask)


def test_a_hole_and_an_island_in_it_are_kept():
    mask = np.zeros((12, 12), bool)
    mask[1:11, 1:11] = True
    mask[3:9, 3:9] = False
    mask[5:7, 5:7] = True
    outer, island = mask_polygons(mask, 2.0)
    assert len(outer.interiors) == 1
    assert outer.bounds == (2, 2, 22, 22)
    assert island.bounds == (10, 10, 14, 14)


def test_simplifying_moves_no_outline_farther_than_a_pixel():
    y, x = np.mgrid[:80, :80]
    disc = np.hypot(x - 39.5, y - 39.5) < 30
    (exact,) = mask_polygons(disc, 4.0, simplify_pixels=0)
    (simple,) = mask_polygons(disc, 4.0)
    assert shapely.get_num_coordinates(simple) < shapely.get_num_coordinates(exact) / 2
    assert simple.boundary.hausdorff_distance(exact.boundary) <= 4.0


def test_a_pixel_belongs_to_what_its_centre_lies_in():
    disc = Point(50, 60).buffer(23)
    mask = rasterise([disc], (30, 25), 4.0)
    rows, columns = np.mgrid[:30, :25]
    inside = shapely.contains_xy(disc, (columns + 0.5) * 4, (rows + 0.5) * 4)
    np.testing.assert_array_equal(mask, inside)


def test_what_lies_beyond_the_slide_is_cut_off():
    around = shapely.box(-50, -50, 500, 500)
    assert rasterise([around], (10, 12), 4.0).all()
    assert not rasterise([shapely.box(600, 600, 700, 700)], (10, 12), 4.0).any()
