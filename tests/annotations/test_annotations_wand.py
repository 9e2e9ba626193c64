"""The magic wand against a flood fill done pixel by pixel."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.color import rgb2lab

from napari_camelyon import annotations


def flooded(alike, seed):
    """The pixels that are reached from one over sides, one step after the other."""
    reached, waiting = {seed}, [seed]
    while waiting:
        row, column = waiting.pop()
        for step in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            place = (row + step[0], column + step[1])
            inside = 0 <= place[0] < alike.shape[0] and 0 <= place[1] < alike.shape[1]
            if inside and place not in reached and alike[place]:
                reached.add(place)
                waiting.append(place)
    mask = np.zeros(alike.shape, bool)
    mask[tuple(np.array(sorted(reached)).T)] = True
    return mask


def covered(region, shape):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return shapely.contains_xy(region, columns + 0.5, rows + 0.5)


MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@given(MASKS, st.integers(0, 11), st.integers(0, 11))
def test_it_covers_the_pixels_that_a_flood_reaches(mask, row, column):
    seed = (row % mask.shape[0], column % mask.shape[1])
    pixels = np.where(mask[..., None], (200, 60, 120), (240, 240, 240)).astype(np.uint8)
    region = annotations.wand_region(pixels, seed, 5, blur_px=0, smallest_hole_px=0, simplify_px=0)
    expected = flooded(mask == mask[seed], seed)
    assert region.is_valid
    np.testing.assert_array_equal(covered(region, mask.shape), expected)
    assert region.area == expected.sum()


@given(MASKS, st.integers(1, 20))
def test_enclosed_specks_are_filled_up_to_a_size(mask, smallest):
    framed = np.pad(np.pad(mask, 1, constant_values=True), 1, constant_values=False)
    framed[0] = True  # contiguous with the frame, and what is outside is not enclosed
    pixels = np.where(framed[..., None], 90, 240).repeat(3, axis=2).astype(np.uint8)
    options = {"blur_px": 0, "simplify_px": 0}
    bare = annotations.wand_region(pixels, (1, 1), 5, smallest_hole_px=0, **options)
    filled = annotations.wand_region(pixels, (1, 1), 5, smallest_hole_px=smallest, **options)
    holes = [shapely.Polygon(hole) for hole in bare.interiors]
    expected = bare.area + sum(
        hole.area
        for hole in shapely.get_parts(shapely.union_all(holes).buffer(0.01).buffer(-0.01))
        if hole.area < smallest - 0.5
    )
    assert filled.is_valid
    assert filled.area == pytest.approx(expected, abs=0.3)


def test_the_tolerance_is_a_distance_of_colours():
    seed, other = np.array([[(150, 40, 90)]], np.uint8), np.array([[(170, 60, 90)]], np.uint8)
    distance = float(np.linalg.norm(rgb2lab(seed)[0, 0] - rgb2lab(other)[0, 0]))
    pixels = np.concatenate([seed, other], axis=1)
    for tolerance, width in ((distance * 0.99, 1), (distance * 1.01, 2)):
        region = annotations.wand_region(pixels, (0, 0), tolerance, blur_px=0, simplify_px=0)
        assert region.equals(shapely.box(0, 0, width, 1))


def test_slanting_stairs_become_straight_and_noise_goes():
    rows, columns = np.mgrid[:80, :80]
    inside = np.hypot(rows - 40, columns - 40) < 25
    noise = np.random.default_rng(3).normal(0, 8, (80, 80, 1))
    pixels = np.clip(np.where(inside[..., None], 120, 220) + noise, 0, 255)
    region = annotations.wand_region(pixels.repeat(3, axis=2).astype(np.uint8), (40, 40), 15)
    assert region.area == pytest.approx(np.pi * 25**2, rel=0.05)
    assert len(region.exterior.coords) < 60
    assert not region.interiors


def test_a_click_beside_the_picture_selects_nothing():
    pixels = np.zeros((4, 5, 3), np.uint8)
    for seed in ((-1, 0), (4, 0), (0, 5)):
        assert annotations.wand_region(pixels, seed, 5).is_empty
    assert annotations.wand_region(pixels, (3, 4), 5, simplify_px=0).equals(shapely.box(0, 0, 5, 4))
