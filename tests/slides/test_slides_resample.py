"""Reading at a pixel size: every pixel is the mean over the area that it covers."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_camelyon.errors import MissingMppError
from napari_camelyon.slides import open_slide, read_resampled, resize_box

ROUNDING = 0.501
"""Half a grey level, and what float32 adds to it."""


def on_endless_white(image: NDArray[np.uint8], row: int, column: int) -> NDArray[np.float64]:
    if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
        return image[row, column].astype(float)
    return np.full(3, 255.0)


def mean_over(
    image: NDArray[np.uint8], left: float, top: float, right: float, bottom: float
) -> NDArray[np.float64]:
    """The mean over a rectangle, literally: each pixel weighs as much as lies in it."""
    total = np.zeros(3)
    for row in range(math.floor(top), math.ceil(bottom)):
        tall = min(row + 1, bottom) - max(row, top)
        for column in range(math.floor(left), math.ceil(right)):
            wide = min(column + 1, right) - max(column, left)
            total += wide * tall * on_endless_white(image, row, column)
    return total / ((right - left) * (bottom - top))


def between_centres(image: NDArray[np.uint8], x: float, y: float) -> NDArray[np.float64]:
    """Linear interpolation at a point measured from the corner, literally."""
    column, row = math.floor(x - 0.5), math.floor(y - 0.5)
    right, down = x - 0.5 - column, y - 0.5 - row
    upper = (1 - right) * on_endless_white(image, row, column) + right * on_endless_white(
        image, row, column + 1
    )
    lower = (1 - right) * on_endless_white(image, row + 1, column) + right * on_endless_white(
        image, row + 1, column + 1
    )
    return (1 - down) * upper + down * lower


@pytest.fixture(scope="module")
def noise_slide(make_slide, noise):
    with open_slide(make_slide(noise, mpp=0.25), mpp=0.25) as slide:
        yield slide


@settings(max_examples=150)
@given(
    x_px=st.integers(-40, 540),
    y_px=st.integers(-40, 400),
    width=st.integers(0, 9),
    height=st.integers(0, 9),
    shrink_by=st.floats(1.0, 13.0),
)
def test_coarser_than_level_0_is_the_mean_over_the_area(
    noise_slide, noise, shrink, x_px, y_px, width, height, shrink_by
):
    mpp = 0.25 * shrink_by
    factor = max(level for level in (1, 2, 4) if level <= shrink_by * 1.01)
    assume(factor <= shrink_by)  # a level is taken up to 1 % too coarse, and interpolated
    image = shrink(noise, factor)
    step = shrink_by / factor
    region = noise_slide.read(x_px, y_px, width, height, mpp=mpp)
    assert region.shape == (height, width, 3)
    for row in range(height):
        for column in range(width):
            left, top = x_px / factor + column * step, y_px / factor + row * step
            wanted = mean_over(image, left, top, left + step, top + step)
            assert np.abs(region[row, column] - wanted).max() <= ROUNDING


@settings(max_examples=60)
@given(
    x_px=st.integers(-3, 525),
    y_px=st.integers(-3, 389),
    width=st.integers(1, 9),
    height=st.integers(1, 9),
    grow_by=st.floats(1.001, 5.0),
)
def test_finer_than_level_0_is_interpolated(noise_slide, noise, x_px, y_px, width, height, grow_by):
    region = noise_slide.read(x_px, y_px, width, height, mpp=0.25 / grow_by)
    for row in range(height):
        for column in range(width):
            wanted = between_centres(
                noise, x_px + (column + 0.5) / grow_by, y_px + (row + 0.5) / grow_by
            )
            assert np.abs(region[row, column] - wanted).max() <= ROUNDING


@pytest.mark.parametrize("mpp", [0.2, 0.25, 0.375, 0.5, 1.0, 1.3])
def test_neighbouring_regions_fit_together(noise_slide, mpp):
    # 60 pixels of the result are whole level-0 pixels at each of these.
    whole = noise_slide.read(30, 20, 100, 50, mpp=mpp).astype(int)
    right = noise_slide.read(30 + round(60 * mpp / 0.25), 20, 40, 50, mpp=mpp).astype(int)
    assert np.abs(whole[:, 60:] - right).max() <= 1  # each rounds on its own


def test_levels_and_whole_factors_come_as_they_are_stored(noise_slide, noise, shrink):
    np.testing.assert_array_equal(noise_slide.read(10, 20, 90, 60, mpp=0.25), noise[20:80, 10:100])
    np.testing.assert_array_equal(
        noise_slide.read(40, 80, 30, 20, mpp=1.0), shrink(noise, 4)[20:40, 10:40]
    )


def test_pixels_that_are_not_square_become_square(make_slide):
    """Columns 0.2 and rows 0.4 µm apart: a tall ellipse on the slide is a circle in µm."""
    rows, columns = np.mgrid[:200, :400]
    inside = ((columns - 199.5) * 0.2) ** 2 + ((rows - 99.5) * 0.4) ** 2 < 30**2
    pixels = np.where(inside[..., None], 0, 255).astype(np.uint8).repeat(3, axis=2)
    with open_slide(make_slide(pixels, factors=(1, 2)), mpp=(0.2, 0.4)) as slide:
        region = slide.read(0, 0, 80, 80, mpp=1.0)
    dark = 1 - region[..., 0] / 255
    assert dark.sum() == pytest.approx(math.pi * 30**2, rel=0.01)
    for axis in (0, 1):
        assert np.count_nonzero(dark.max(axis=axis) > 0.5) in (59, 60)


def test_one_axis_may_shrink_while_the_other_grows(make_slide, noise):
    with open_slide(make_slide(noise, factors=(1,)), mpp=(0.2, 0.4)) as slide:
        region = slide.read(7, 5, 12, 10, mpp=0.3)
    for row in range(10):
        for column in range(12):
            y = 5 + (row + 0.5) * 0.75
            upper, down = math.floor(y - 0.5), (y - 0.5) % 1
            left = 7 + column * 1.5
            lines = [
                mean_over(noise, left, line, left + 1.5, line + 1) for line in (upper, upper + 1)
            ]
            wanted = (1 - down) * lines[0] + down * lines[1]
            assert np.abs(region[row, column] - wanted).max() <= ROUNDING


def test_large_regions_are_read_in_strips_without_seams(noise_slide, monkeypatch):
    for mpp in (0.2, 0.37, 1.3):
        whole = noise_slide.read(-5, 3, 60, 70, mpp=mpp).astype(int)
        with monkeypatch.context() as patch:
            patch.setattr("napari_camelyon.slides.resample._PIXELS_AT_ONCE", 1000)
            patch.setattr("napari_camelyon.slides.resample._FLOATS_AT_ONCE", 2000)
            strips = noise_slide.read(-5, 3, 60, 70, mpp=mpp).astype(int)
        assert np.abs(whole - strips).max() <= 1


def test_no_pixel_size_is_said_and_nonsense_refused(make_slide, noise, noise_slide):
    with open_slide(make_slide(noise, mpp=None)) as slide, pytest.raises(MissingMppError):
        slide.read(0, 0, 8, 8, mpp=0.5)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="µm/px"):
            noise_slide.read(0, 0, 8, 8, mpp=wrong)
    with pytest.raises(ValueError, match="not both"):
        noise_slide.read(0, 0, 8, 8, 1, mpp=0.5)


def test_result_belongs_to_the_caller(noise_slide):
    for mpp in (0.2, 0.25, 0.5, 0.37):
        region = noise_slide.read(3, 5, 16, 16, mpp=mpp)
        before = region.copy()
        region[:] = 0
        np.testing.assert_array_equal(noise_slide.read(3, 5, 16, 16, mpp=mpp), before)


def test_a_box_is_cut_before_it_is_resized(noise):
    """Nothing beside the box may leak in when it shrinks."""
    inside = resize_box(noise, (10.0, 20.0, 47.0, 61.0), 17, 13)
    alone = resize_box(noise[20:61, 10:47].copy(), (0.0, 0.0, 37.0, 41.0), 17, 13)
    assert np.abs(inside.astype(int) - alone).max() <= 1


def test_real_tissue_keeps_its_brightness(shared_data):
    """Averages of areas that tile a region have the region's average."""
    with open_slide(shared_data / "slides" / "CMU-1-Small-Region.svs") as slide:
        fine = slide.read(200, 300, 1170, 1170)
        coarse = read_resampled(slide, 200, 300, 1170, 1170, 500, 500)
    np.testing.assert_allclose(fine.mean(axis=(0, 1)), coarse.mean(axis=(0, 1)), atol=0.02)
