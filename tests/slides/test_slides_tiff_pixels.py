"""Tiles decoded straight from the file against OpenSlide's pixels."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from napari_camelyon.errors import SlideError
from napari_camelyon.slides.open_file import OpenFile
from napari_camelyon.slides.openslide_backend import OpenSlideBackend
from napari_camelyon.slides.tiff_directories import read_directories
from napari_camelyon.slides.tiff_pixels import tiff_pixels
from napari_camelyon.slides.tile_cache import TileCache

REAL = [
    "CMU-1-Small-Region.svs",
    "boxes.tiff",
    "c16_mosaic_dev.tif",
    "tcga-cr-7395-01a-01-ts1.svs",  # JPEG 2000
]


def both(path, cache_bytes=1 << 24):
    slow = OpenSlideBackend(path)
    fast = tiff_pixels(read_directories(OpenFile(path)), slow.levels, TileCache(cache_bytes))
    assert fast is not None
    return slow, fast


def regions(level, count=8, largest=700):
    rng = np.random.default_rng(0)
    yield 0, 0, min(64, level.width_px), min(64, level.height_px)
    if not level.downsample.is_integer():
        return  # anywhere else OpenSlide places the region between pixels and mixes them
    yield level.width_px - 1, level.height_px - 1, 1, 1
    for _ in range(count):
        width = int(rng.integers(1, min(largest, level.width_px) + 1))
        height = int(rng.integers(1, min(largest, level.height_px) + 1))
        column = int(rng.integers(0, level.width_px - width + 1))
        row = int(rng.integers(0, level.height_px - height + 1))
        yield column, row, width, height


@pytest.mark.parametrize("name", REAL)
def test_pixels_of_real_slides_are_those_of_openslide(shared_data, name):
    slow, fast = both(shared_data / "slides" / name)
    for index, level in enumerate(slow.levels):
        for region in regions(level):
            np.testing.assert_array_equal(
                fast.read_level(index, *region), slow.read_level(index, *region)
            )


def test_pixels_of_a_generated_slide_are_those_of_openslide(make_slide, noise):
    slow, fast = both(make_slide(noise))
    for index, level in enumerate(slow.levels):
        for region in regions(level):
            np.testing.assert_array_equal(
                fast.read_level(index, *region), slow.read_level(index, *region)
            )


def test_sixteen_threads_read_what_one_reads(shared_data):
    slow, fast = both(shared_data / "slides" / "CMU-1-Small-Region.svs", cache_bytes=1 << 20)
    places = [region for _ in range(8) for region in regions(slow.levels[0], largest=300)]
    alone = [fast.read_level(0, *region) for region in places]
    with ThreadPoolExecutor(16) as threads:
        together = list(threads.map(lambda region: fast.read_level(0, *region), places))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_levels_that_the_file_does_not_have_are_left_to_openslide(shared_data, make_slide, noise):
    slow = OpenSlideBackend(shared_data / "slides" / "boxes.tiff")
    other = read_directories(OpenFile(make_slide(noise)))
    assert tiff_pixels(other, slow.levels, TileCache(0)) is None


def test_a_file_that_took_the_place_of_the_one_looked_into_is_left_to_openslide(
    make_slide, noise, tmp_path
):
    path = make_slide(noise)
    chain = read_directories(OpenFile(path))
    assert OpenSlideBackend(path, chain).tiff is chain
    other = tmp_path / "other.tif"
    other.write_bytes(path.read_bytes())
    other.replace(path)
    assert OpenSlideBackend(path, chain).tiff is None


def test_a_closed_file_says_so(make_slide, noise):
    _, fast = both(make_slide(noise))
    fast.close()
    with pytest.raises(SlideError, match="closed"):
        fast.read_level(0, 0, 0, 10, 10)


def test_a_file_that_is_cut_off_says_where(make_slide, noise, tmp_path):
    path = tmp_path / "cut.tif"
    whole = make_slide(noise).read_bytes()
    path.write_bytes(whole)
    slow, fast = both(path)
    with path.open("r+b") as file:
        file.truncate(len(whole) // 8)
    last = slow.levels[0].height_px - 1
    with pytest.raises(SlideError, match="the file ends before it"):
        fast.read_level(0, 0, last, slow.levels[0].width_px, 1)


class TestMakingTiles:
    def test_a_tile_that_many_threads_want_is_made_once(self):
        cache, made = TileCache(1000), []
        others_wait = threading.Barrier(2)

        def make():
            made.append(threading.get_ident())
            others_wait.wait(timeout=60)
            return np.full((10, 10, 3), len(made), np.uint8)

        with ThreadPoolExecutor(8) as threads:
            results = [threads.submit(cache.get_or_make, "tile", make) for _ in range(8)]
            others_wait.wait(timeout=60)  # a second maker would wait for a third party in vain
            tiles = [result.result(timeout=60) for result in results]
        assert len(made) == 1
        assert all(tile is tiles[0] for tile in tiles)
        assert cache.get("tile") is tiles[0]

    def test_who_waited_for_a_failure_tries_again(self):
        cache, begun, fail = TileCache(1000), threading.Event(), threading.Event()

        def fails():
            begun.set()
            fail.wait(timeout=60)
            raise SlideError("damaged")

        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(cache.get_or_make, "tile", fails)
            begun.wait(timeout=60)
            tile = np.zeros((10, 10, 3), np.uint8)
            second = threads.submit(cache.get_or_make, "tile", lambda: tile)
            fail.set()
            with pytest.raises(SlideError):
                first.result(timeout=60)
            assert second.result(timeout=60) is tile

    def test_a_tile_too_large_to_keep_is_given_all_the_same(self):
        cache = TileCache(10)
        tile = np.zeros((10, 10, 3), np.uint8)
        assert cache.get_or_make("tile", lambda: tile) is tile
        assert cache.get("tile") is None
        assert cache.bytes_held == 0


def test_the_cache_keeps_to_its_bound_and_to_what_was_used_last():
    cache = TileCache(1000)
    tiles = [np.full((10, 10, 3), value, np.uint8) for value in range(5)]
    for number, tile in enumerate(tiles[:3]):
        cache.put(number, tile)
    assert cache.get(0) is tiles[0]
    cache.put(3, tiles[3])
    assert cache.bytes_held == 900
    assert cache.get(1) is None
    assert cache.get(0) is tiles[0]
    cache.put(3, tiles[4])
    assert cache.bytes_held == 900
    cache.put(9, np.zeros((100, 100, 3), np.uint8))
    assert cache.get(9) is None
