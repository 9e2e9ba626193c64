"""The one coordinate convention: every conversion, both ways, and the axis order of each."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from napari_camelyon.geometry import (
    Grid,
    layer_to_slide,
    level_to_slide,
    mean_mpp,
    nearest_level_pixel,
    slide_to_layer,
    slide_to_level,
    slide_to_um,
    um_to_slide,
    world_placement,
)

points = npst.arrays(
    np.float64,
    st.tuples(st.integers(0, 5), st.just(2)),
    elements=st.floats(-1e6, 1e6, allow_nan=False),
)
spacings = st.tuples(st.floats(0.05, 20), st.floats(0.05, 20))
sizes = st.integers(1, 5_000)


@st.composite
def grids(draw):
    return Grid(
        rows=draw(st.integers(1, 50)),
        columns=draw(st.integers(1, 50)),
        x_px=draw(st.integers(-10_000, 200_000)),
        y_px=draw(st.integers(-10_000, 200_000)),
        patch_width_px=draw(sizes),
        patch_height_px=draw(sizes),
        stride_x_px=draw(sizes),
        stride_y_px=draw(sizes),
    )


def test_the_corner_of_the_image_lies_half_a_pixel_before_the_first_pixel_centre():
    assert slide_to_layer((0, 0)).tolist() == [-0.5, -0.5]
    assert layer_to_slide((0, 0)).tolist() == [0.5, 0.5]


def test_slide_points_are_x_y_and_layer_points_are_row_column():
    assert slide_to_layer((100, 7)).tolist() == [6.5, 99.5]
    assert layer_to_slide((6.5, 99.5)).tolist() == [100, 7]


@given(points)
def test_layer_and_slide_points_go_back_and_forth(xy):
    np.testing.assert_allclose(layer_to_slide(slide_to_layer(xy)), xy, atol=1e-9)


@given(points, spacings)
def test_levels_and_micrometres_go_back_and_forth(xy, factors):
    for there, back in ((slide_to_level, level_to_slide), (slide_to_um, um_to_slide)):
        np.testing.assert_allclose(back(there(xy, factors), factors), xy, atol=1e-6)


@given(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), spacings)
def test_the_nearest_pixel_of_a_level_begins_within_half_of_one(xy, factors):
    pixel = nearest_level_pixel(*xy, factors)
    away = np.abs(slide_to_level(xy, factors) - pixel)
    assert (away <= 0.5 + 1e-9).all()
    assert nearest_level_pixel(*level_to_slide((7, -3), factors), factors) == (7, -3)


def test_the_first_factor_belongs_to_x():
    assert slide_to_level((10, 12), (2, 3)).tolist() == [5, 4]
    assert level_to_slide((5, 4), (2, 3)).tolist() == [10, 12]
    assert slide_to_um((10, 20), (0.5, 0.25)).tolist() == [5, 5]
    assert um_to_slide((5, 5), (0.5, 0.25)).tolist() == [10, 20]


@given(spacings)
def test_the_mean_pixel_size_keeps_areas(mpp):
    assert mean_mpp(mpp) ** 2 == pytest.approx(mpp[0] * mpp[1])


def test_layers_share_scale_and_units_in_row_column_order():
    assert world_placement((0.5, 0.25)) == {"scale": (0.25, 0.5), "units": ("µm", "µm")}
    assert world_placement(None) == {"scale": (1.0, 1.0), "units": ("pixel", "pixel")}


# -- the grid --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["rows", "columns", "patch_width_px", "patch_height_px", "stride_x_px", "stride_y_px"]
)
def test_a_grid_of_nothing_is_refused(name):
    entries = dict.fromkeys(
        ("rows", "columns", "patch_width_px", "patch_height_px", "stride_x_px", "stride_y_px"), 1
    )
    Grid(x_px=0, y_px=0, **entries)
    with pytest.raises(ValueError, match="at least one"):
        Grid(x_px=0, y_px=0, **{**entries, name: 0})


def test_corners_and_centres_of_an_uneven_grid():
    grid = Grid(3, 4, 100, 1000, 10, 20, 7, 5)
    assert grid.shape == (3, 4)
    assert grid.corners((2, 1)).tolist() == [107, 1010]
    assert grid.centres((2, 1)).tolist() == [112, 1020]
    assert grid.corners((2, 1)).dtype == np.int64
    assert grid.cell_size_um((0.5, 0.25)) == (3.5, 1.25)
    assert grid.patch_size_um((0.5, 0.25)) == (5.0, 5.0)


@given(grids(), npst.arrays(np.int64, (4, 2), elements=st.integers(0, 49)))
def test_a_centre_lies_half_a_patch_from_its_corner(grid, cells):
    half = (grid.patch_width_px / 2, grid.patch_height_px / 2)
    np.testing.assert_array_equal(grid.centres(cells) - grid.corners(cells), [half] * 4)


@given(grids(), npst.arrays(np.float64, (4, 2), elements=st.floats(-100, 100)))
def test_cells_and_centres_go_back_and_forth(grid, cells):
    np.testing.assert_allclose(grid.cells_at(grid.centres(cells)), cells, atol=1e-6)


@given(grids(), st.none() | spacings, st.integers(0, 49), st.integers(0, 49))
def test_the_layer_shows_a_cell_at_its_patch_centre(grid, mpp, row, column):
    """World = data × scale + translate must be where the slide's layer has that slide point."""
    placed = grid.layer_placement(mpp)
    world = np.array([row, column]) * placed["scale"] + placed["translate"]
    slide_layer = slide_to_layer(grid.centres((row, column))) * world_placement(mpp)["scale"]
    np.testing.assert_allclose(world, slide_layer, rtol=1e-12, atol=1e-6)
    assert placed["units"] == world_placement(mpp)["units"]


@pytest.mark.parametrize(
    ("patch", "stride", "origin"), list(itertools.product((1, 2, 7, 224), (1, 5, 64), (0, 13)))
)
def test_the_layer_is_translated_by_origin_and_half_a_patch_less_half_a_pixel(
    patch, stride, origin
):
    grid = Grid(2, 2, origin, origin + 1, patch, patch + 2, stride, stride + 1)
    placed = grid.layer_placement(None)
    assert placed["scale"] == (stride + 1, stride)
    assert placed["translate"] == (origin + 1 + (patch + 1) / 2, origin + (patch - 1) / 2)


@pytest.mark.parametrize("patch", [2, 3, 8])
def test_the_middle_of_a_marked_patch_is_found_in_the_pixels(patch):
    """An oracle in pixels: mark one patch in an image and look where its marked pixels lie."""
    grid = Grid(5, 6, 3, 4, patch, patch, 9, 10)
    image = np.zeros((80, 90), dtype=bool)
    x, y = grid.corners((3, 4))
    image[y : y + patch, x : x + patch] = True
    rows, columns = np.nonzero(image)
    assert layer_to_slide((rows.mean(), columns.mean())).tolist() == (grid.centres((3, 4)).tolist())
