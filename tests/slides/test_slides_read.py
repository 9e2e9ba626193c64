"""Pixels: the right ones, at the right place, from any thread, around any damage."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openslide
import pytest
import scipy.ndimage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from napari_camelyon.errors import SlideError
from napari_camelyon.slides import Slide, open_slide
from napari_camelyon.slides.resample import read_resampled

REAL_SLIDES = [
    "CMU-1-Small-Region.svs",
    "CMU-1-Small-Region-dicom",
    "tcga-cr-7395-01a-01-ts1.svs",
    "boxes.tiff",
    "c16_mosaic_dev.tif",
]


@pytest.fixture(scope="module")
def noise_slide(make_slide, noise):
    with open_slide(make_slide(noise)) as slide:
        yield slide


class TestConventions:
    @pytest.mark.parametrize("size", [16, 32, 23])
    def test_pixels_belong_to_who_asked(self, noise_slide, size):
        pixels = read_resampled(noise_slide, 3, 5, 32, 32, size, size)
        before = read_resampled(noise_slide, 3, 5, 32, 32, size, size)
        pixels[:] = 0  # torch warns of arrays that cannot be written
        np.testing.assert_array_equal(read_resampled(noise_slide, 3, 5, 32, 32, size, size), before)

    def test_x_goes_right_and_y_goes_down(self, make_slide):
        pixels = np.full((120, 200, 3), 255, dtype=np.uint8)
        pixels[30, 150] = (10, 20, 30)
        with open_slide(make_slide(pixels, factors=(1,))) as slide:
            assert (slide.width_px, slide.height_px) == (200, 120)
            np.testing.assert_array_equal(slide.read(150, 30, 1, 1), [[[10, 20, 30]]])

    def test_result_is_height_by_width(self, noise_slide):
        region = noise_slide.read(0, 0, 30, 20)
        assert region.shape == (20, 30, 3)
        assert region.dtype == np.uint8

    def test_place_in_level_0_and_size_in_the_level(self, noise_slide, noise, shrink):
        region = noise_slide.read(40, 80, 30, 20, level=2)
        np.testing.assert_array_equal(region, shrink(noise, 4)[20:40, 10:40])

    @pytest.mark.parametrize(("x_px", "column"), [(40, 10), (41, 10), (42, 11), (43, 11), (44, 11)])
    def test_a_coarser_region_begins_at_the_nearest_pixel_edge(
        self, noise_slide, noise, shrink, x_px, column
    ):
        region = noise_slide.read(x_px, 0, 30, 20, level=2)
        np.testing.assert_array_equal(region, shrink(noise, 4)[:20, column : column + 30])

    def test_result_belongs_to_the_caller(self, noise_slide):
        region = noise_slide.read(0, 0, 16, 16)
        region[:] = 0
        assert noise_slide.read(0, 0, 16, 16).any()

    def test_empty_region(self, noise_slide):
        assert noise_slide.read(5, 5, 0, 7).shape == (7, 0, 3)

    def test_negative_size_and_unknown_level_are_refused(self, noise_slide):
        with pytest.raises(ValueError, match="-1"):
            noise_slide.read(0, 0, -1, 5)
        for level in (-1, 3):
            with pytest.raises(IndexError, match="levels 0 to 2"):
                noise_slide.read(0, 0, 5, 5, level)


@given(
    x_px=st.integers(-700, 700),
    y_px=st.integers(-600, 600),
    width=st.integers(0, 150),
    height=st.integers(0, 150),
    level=st.integers(0, 2),
)
def test_every_region_is_a_crop_on_endless_white(
    noise_slide, noise, shrink, x_px, y_px, width, height, level
):
    factor = 2**level
    image = shrink(noise, factor)
    margin = 1000
    canvas = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), constant_values=255)
    row = int(np.floor(y_px / factor + 0.5)) + margin
    column = int(np.floor(x_px / factor + 0.5)) + margin
    np.testing.assert_array_equal(
        noise_slide.read(x_px, y_px, width, height, level),
        canvas[row : row + height, column : column + width],
    )


@pytest.mark.parametrize("level", [1, 2, 3])
def test_odd_sizes_do_not_shift_the_levels(make_slide, level):
    """A ramp names its own place; OpenSlide's own downsample is several pixels off at the end."""
    height, width = 199, 251
    rows, columns = np.mgrid[:height, :width]
    ramp = np.stack([columns, rows, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    factor = 2**level
    with open_slide(make_slide(ramp, factors=(1, 2, 4, 8))) as slide:
        for column, row in ((0, 0), (3, 2), (width // factor - 4, height // factor - 4)):
            region = slide.read(column * factor, row * factor, 4, 4, level).astype(float)
            centres = (np.arange(4) + 0.5) * factor - 0.5
            # Half a pixel from OpenSlide's whole level-0 places, the rest from rounded grey levels.
            off_px = 1.01
            np.testing.assert_allclose(
                region[..., 0], np.tile(column * factor + centres, (4, 1)), atol=off_px
            )
            np.testing.assert_allclose(
                region[..., 1].T, np.tile(row * factor + centres, (4, 1)), atol=off_px
            )


def test_regions_beyond_openslides_own_pieces_have_no_seams(make_slide):
    # OpenSlide takes the downsample of level 1 for 2.00781 and places its second piece, at pixel
    # 4096, at 8223.996 cut down to 8223: two grey levels of this saw-tooth.
    columns = np.arange(8401) % 100 * 2
    pixels = np.broadcast_to(columns[None, :, None], (131, 8401, 3)).astype(np.uint8)
    with open_slide(make_slide(pixels, factors=(1, 2), tile_px=256)) as slide:
        np.testing.assert_array_equal(slide.read(100, 3, 8200, 120), pixels[3:123, 100:8300])
        region = slide.read(0, 0, 4200, 64, level=1).astype(int)[:, 4096:]
    expected = np.arange(4096, 4200) * 2 % 100 * 2 + 1
    teeth = np.abs(np.diff(expected, prepend=expected[0], append=expected[-1])) > 4
    smooth = ~(teeth[:-1] | teeth[1:])
    assert np.abs(region - expected[None, :, None])[:, smooth].max() <= 1


@pytest.mark.parametrize("name", REAL_SLIDES)
def test_real_slides_equal_openslide(shared_data, name):
    path = shared_data / "slides" / name
    rng = np.random.default_rng(11)
    with open_slide(path) as slide, openslide.OpenSlide(_openslide_path(path)) as reference:
        for level, size in enumerate(slide.levels):
            for _ in range(8):
                x_px = int(rng.integers(-100, slide.width_px))
                y_px = int(rng.integers(-100, slide.height_px))
                column = int(np.floor(x_px / size.downsample_x + 0.5))
                row = int(np.floor(y_px / size.downsample_y + 0.5))
                # OpenSlide is asked for the same pixel of the level, in its own terms.
                downsample = reference.level_downsamples[level]
                place = round(column * downsample), round(row * downsample)
                if level and min(place) < 0:
                    continue  # it interpolates across the edge where its downsample is not whole
                expected = _on_white(reference.read_region(place, level, (130, 110)))
                region = slide.read(x_px, y_px, 130, 110, level)
                right = (place[0] / downsample - column, place[1] / downsample - row)
                cut = 0 if right == (0, 0) else 1
                # Where OpenSlide is asked for a place between pixels it mixes their neighbours, at
                # the edge with transparency.
                inside = (
                    slice(cut, min(110, size.height_px - row) - cut),
                    slice(cut, min(130, size.width_px - column) - cut),
                )
                mixed = _between_pixels(region, *right)
                assert np.abs(mixed - expected)[inside].max(initial=0) <= 2 * cut
                assert (region[max(0, size.height_px - row) :] == 255).all()
                assert (region[:, max(0, size.width_px - column) :] == 255).all()


def _between_pixels(region: np.ndarray, right: float, down: float) -> np.ndarray:
    return scipy.ndimage.shift(region.astype(float), (-down, -right, 0), order=1, mode="nearest")


def test_transparent_is_white_and_bounds_are_known(make_leica, noise):
    path = make_leica(noise, 100, 50, (900, 700))
    with open_slide(path) as slide:
        assert (slide.width_px, slide.height_px) == (900, 700)
        assert slide.bounds_px == (100, 50, 524, 388)
        assert slide.objective_power == 20
        whole = slide.read(0, 0, 900, 700)
    expected = np.full((700, 900, 3), 255, dtype=np.uint8)
    expected[50:438, 100:624] = noise
    np.testing.assert_array_equal(whole, expected)


class TestThumbnail:
    def test_shows_everything_at_the_wanted_size(self, make_slide):
        pixels = np.full((600, 1000, 3), 255, dtype=np.uint8)
        pixels[:300, :500] = (200, 0, 0)
        with open_slide(make_slide(pixels)) as slide:
            thumbnail = slide.thumbnail(100)
        assert thumbnail.shape == (60, 100, 3)
        assert (thumbnail[:29, :49] == (200, 0, 0)).all()
        assert (thumbnail[31:] == 255).all()
        assert (thumbnail[:, 51:] == 255).all()

    @pytest.mark.parametrize("max_px", [1, 33, 130, 260, 524, 4000])
    def test_never_larger_than_wanted_nor_than_the_slide(self, noise_slide, max_px):
        height, width = noise_slide.thumbnail(max_px).shape[:2]
        assert max(height, width) == min(max_px, 524)

    def test_one_level_in_pieces(self, make_slide, shrink, monkeypatch):
        pixels = np.random.default_rng(2).integers(0, 256, (512, 768, 3), dtype=np.uint8)
        monkeypatch.setattr("napari_camelyon.slides.resample._PIXELS_AT_ONCE", 10_000)
        with open_slide(make_slide(pixels, factors=(1,))) as slide:
            difference = slide.thumbnail(192).astype(int) - shrink(pixels, 4)
        assert np.abs(difference).max() <= 1  # averages are rounded differently


class TestThreads:
    def test_sixteen_readers_equal_one(self, make_slide, noise):
        rng = np.random.default_rng(4)
        regions = [
            (int(x), int(y), int(w), int(h), int(level))
            for x, y, w, h, level in rng.integers(
                (-50, -50, 1, 1, 0), (500, 380, 120, 120, 3), size=(300, 5)
            )
        ]
        path = make_slide(noise)
        with open_slide(path) as slide, ThreadPoolExecutor(16) as pool:
            serial = [slide.read(*region) for region in regions]
            concurrent = list(pool.map(lambda region: slide.read(*region), regions))
        for one, other in zip(serial, concurrent, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_closing_under_readers_is_an_error_not_a_crash(self, make_slide, noise):
        path = make_slide(noise)

        def read_until_closed(slide: Slide) -> str:
            try:
                while True:
                    slide.read(0, 0, 500, 380)
            except SlideError as error:
                return str(error)

        with ThreadPoolExecutor(8) as pool:
            slide = open_slide(path)
            told = [pool.submit(read_until_closed, slide) for _ in range(8)]
            slide.read(0, 0, 100, 100)
            slide.close()
            assert all("closed" in each.result() for each in told)


# OpenSlide names no tile: there it is the region that was asked for.
@pytest.mark.parametrize(
    ("backend", "place"), [("openslide", "x=130, y=70"), ("tiff", "x=128, y=64")]
)
class TestDamage:
    BAD = (130, 70, 20, 20)
    GOOD = (300, 200, 100, 100)

    def test_the_rest_still_reads(self, damaged_slide, noise, backend, place):
        with open_slide(damaged_slide, backend=backend) as slide:
            for _ in range(3):
                with pytest.raises(SlideError) as error:
                    slide.read(*self.BAD)
                assert "damaged.tif" in str(error.value)
                assert place in str(error.value)
                np.testing.assert_array_equal(slide.read(*self.GOOD), crop(noise, self.GOOD))

    def test_readers_of_sound_parts_never_notice(self, damaged_slide, noise, backend, place):
        with open_slide(damaged_slide, backend=backend) as slide, ThreadPoolExecutor(16) as pool:
            good = [pool.submit(slide.read, *self.GOOD) for _ in range(100)]
            bad = [pool.submit(slide.read, *self.BAD) for _ in range(100)]
            for each in good:
                np.testing.assert_array_equal(each.result(), crop(noise, self.GOOD))
            for each in bad:
                with pytest.raises(SlideError, match=place):
                    each.result()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bits_give_pixels_or_a_sentence(make_slide, noise, tmp_path, data):
    content = bytearray(make_slide(noise[:130, :130], factors=(1, 2)).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path / "flipped.tif"
    path.write_bytes(content)
    with contextlib.suppress(SlideError), open_slide(path) as slide:
        assert slide.read(0, 0, 130, 130).shape == (130, 130, 3)


def crop(pixels: NDArray[np.uint8], region: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    x, y, width, height = region
    return pixels[y : y + height, x : x + width]


def _openslide_path(path: Path) -> Path:
    return min(path.iterdir()) if path.is_dir() else path


def _on_white(image: Image.Image) -> NDArray[np.uint8]:
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))
