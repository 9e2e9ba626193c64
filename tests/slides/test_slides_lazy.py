"""The dask pyramid: exact halves, the slide's own pixels, read in parallel and only where asked."""

import pickle
import threading
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import made_tiffs
from napari_camelyon.errors import SlideError
from napari_camelyon.slides import Level, dask_levels, open_slide
from napari_camelyon.slides.slide import DAMAGED_RGB


class GreySlide:
    """Stands in for slides of any size: says what is read, gives grey."""

    fingerprint = "0" * 32
    tile_px = 512

    def __init__(self, width_px: int, height_px: int, read=None) -> None:
        self.width_px, self.height_px = width_px, height_px
        self.levels = (Level(width_px, height_px, 1.0, 1.0),)
        self.reads: list[tuple[int, int, int, int, int]] = []
        self._read = read

    def read(self, x_px, y_px, width_px, height_px, level=0, *, on_damage=None):
        self.reads.append((x_px, y_px, width_px, height_px, level))
        if self._read is not None:
            self._read()
        return np.full((height_px, width_px, 3), 200, dtype=np.uint8)


@given(st.integers(1, 300_000), st.integers(1, 300_000))
def test_levels_are_exact_halves_for_any_size(width_px, height_px):
    slide = GreySlide(width_px, height_px)
    shapes = [level.shape for level in dask_levels(slide)]
    for index, (rows, columns, channels) in enumerate(shapes):
        assert channels == 3
        # This quotient is what napari scales the level by.
        assert Fraction(shapes[0][0], rows) == Fraction(shapes[0][1], columns) == 2**index
    coarsest = 2 ** (len(shapes) - 1)
    assert 0 <= shapes[0][0] - height_px < coarsest
    assert 0 <= shapes[0][1] - width_px < coarsest
    assert max(shapes[-1]) <= 1024
    assert len(shapes) == 1 or max(shapes[-1]) > 512
    assert slide.reads == []


def test_every_level_shows_the_slide(make_slide, shrink):
    pixels = np.random.default_rng(8).integers(0, 256, (1500, 4100, 3), dtype=np.uint8)
    # The file lacks ×2 and ×8: these levels are averaged from the next finer one.
    with open_slide(make_slide(pixels, factors=(1, 4), tile_px=256)) as slide:
        levels = dask_levels(slide)
        assert [level.shape for level in levels] == [
            (1504, 4104, 3),
            (752, 2052, 3),
            (376, 1026, 3),
            (188, 513, 3),
        ]
        computed = [level.compute() for level in levels]
    np.testing.assert_array_equal(computed[0][:1500, :4100], pixels)
    assert (computed[0][1500:] == 255).all()
    assert (computed[0][:, 4100:] == 255).all()
    np.testing.assert_array_equal(computed[2][:375, :1025], shrink(pixels, 4))
    for index in (1, 3):
        whole = shrink(pixels, 2**index).astype(int)
        shown = computed[index][: whole.shape[0], : whole.shape[1]]
        assert np.abs(shown - whole).max() <= 1  # averages are rounded differently


def test_only_what_is_asked_for_is_read():
    slide = GreySlide(97_792, 221_184)
    levels = dask_levels(slide)
    assert levels[0][100_000:100_100, 50_000:50_100].compute().shape == (100, 100, 3)
    assert slide.reads == [(49_664, 99_840, 512, 512, 0)]


def test_chunks_are_multiples_of_the_files_tiles(make_slide, noise):
    with open_slide(make_slide(noise, tile_px=240)) as slide:
        assert dask_levels(slide)[0].chunks == ((388,), (480, 44), (3,))


def test_blocks_are_read_in_parallel():
    # Two readers that each wait for the other: only parallel reading gets past the barrier.
    barrier = threading.Barrier(2)
    slide = GreySlide(1024, 512, read=lambda: barrier.wait(timeout=60))
    assert dask_levels(slide)[0].compute(num_workers=2).shape == (512, 1024, 3)


def test_pickles_with_its_slide(make_slide, noise):
    with open_slide(make_slide(noise)) as slide:
        level = dask_levels(slide)[0]
        twin = pickle.loads(pickle.dumps(level))
        np.testing.assert_array_equal(twin.compute(), level.compute())


def test_same_content_same_name(make_slide, noise):
    path = make_slide(noise)
    with open_slide(path) as a, open_slide(path) as b, open_slide(make_slide(255 - noise)) as c:
        names = [dask_levels(slide)[0].name for slide in (a, b, c)]
    assert names[0] == names[1] != names[2]


class TestDamage:
    def test_computing_raises(self, damaged_slide):
        with open_slide(damaged_slide) as slide, pytest.raises(SlideError, match="damaged"):
            dask_levels(slide)[0].compute()

    def test_shown_as_missing_and_told(self, damaged_slide, noise):
        told: list[SlideError] = []
        with open_slide(damaged_slide) as slide:
            shown = dask_levels(slide, on_damage=told.append)[0].compute()
        expected = noise.copy()
        expected[64:128, 128:192] = DAMAGED_RGB
        np.testing.assert_array_equal(shown, expected)
        assert len(told) == 1
        assert "x=128, y=64" in str(told[0])

    @pytest.mark.parametrize("backend", ["openslide", "tiff"])
    @pytest.mark.parametrize("level", [0, 1])
    def test_the_damaged_tile_alone_is_lost(self, tmp_path, damage_tile, backend, level):
        # Tiles of 80 × 48 px, which no chunk is a multiple of.
        pixels = made_tiffs.tissue(700, 1100)
        path = made_tiffs.generic(tmp_path / "t.tif", pixels, 2, tile=(48, 80), compression="lzw")
        damage_tile(path, 2, 3, level)
        told: list[SlideError] = []
        with open_slide(path, backend=backend) as slide:
            shown = dask_levels(slide, on_damage=told.append)[level].compute()
        expected = made_tiffs.pyramid(pixels, 2)[level].copy()
        expected[3 * 48 : 4 * 48, 2 * 80 : 3 * 80] = DAMAGED_RGB
        height, width = expected.shape[:2]
        np.testing.assert_array_equal(shown[:height, :width], expected)
        assert len(told) == 1
        assert f"level {level} at x={2 * 80 << level}, y={3 * 48 << level}" in str(told[0])

    def test_averaged_levels_lose_what_covers_the_tile(self, tmp_path, damage_tile, shrink):
        pixels = made_tiffs.tissue(1000, 2100)
        path = made_tiffs.generic(tmp_path / "t.tif", pixels, 1, compression="lzw")
        damage_tile(path, 5, 7)
        with open_slide(path) as slide:
            levels = dask_levels(slide, on_damage=lambda _: None)
            shown = [level.compute().astype(int) for level in levels[1:]]
        for number, found in enumerate(shown, start=1):
            factor = 2**number
            expected = shrink(pixels, factor)
            top, left, side = 7 * 64 // factor, 5 * 64 // factor, 64 // factor
            assert (found[top : top + side, left : left + side] == DAMAGED_RGB).all()
            expected[top : top + side, left : left + side] = DAMAGED_RGB
            height, width = expected.shape[:2]
            assert np.abs(found[:height, :width] - expected).max() <= 1

    def test_a_slide_that_is_closed_is_told_as_a_whole(self, make_slide, noise):
        slide = open_slide(make_slide(noise))
        told: list[SlideError] = []
        level = dask_levels(slide, on_damage=told.append)[0]
        slide.close()
        assert (level.compute() == DAMAGED_RGB).all()
        assert all("closed" in str(error) for error in told)
