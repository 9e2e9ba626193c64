"""The large slide whose tiles repeat: a true pyramid, and the same to every reader."""

import numpy as np
import openslide
import pytest
import tifffile

from napari_camelyon.slides import open_slide, write_slide

TILE_PX = 64
SIZE_PX = (47 * TILE_PX, 35 * TILE_PX)  # three levels; the coarser ones end within a tile


@pytest.fixture(scope="module")
def repeated():
    noise = np.random.default_rng(4).integers(0, 256, (3, 2, 16, 16, 3), dtype=np.uint8)
    # Coarse squares, which JPEG keeps well enough to tell tiles apart.
    squares = noise.repeat(4, axis=2).repeat(4, axis=3)
    return np.concatenate(np.concatenate(squares, axis=1), axis=1)


@pytest.fixture(params=[1.0, 0.4])
def written(repeated, tmp_path, request):
    from large_slide import write_large_slide

    path = tmp_path / "large.tif"
    write_large_slide(path, *SIZE_PX, tile_px=TILE_PX, pixels=repeated, tissue_share=request.param)
    return path, request.param


def test_levels_are_those_of_a_slide_written_tile_by_tile(written, repeated, tmp_path):
    path, share = written
    with open_slide(path) as slide:
        stored = slide.read(0, 0, slide.width_px, slide.height_px)
        glass = np.zeros(stored.shape[:2], bool)
        for top in range(0, slide.height_px, TILE_PX):
            for left in range(0, slide.width_px, TILE_PX):
                tile = np.s_[top : top + TILE_PX, left : left + TILE_PX]
                glass[tile] = (stored[tile] == 255).all()

    def tile(x_px, y_px, width_px, height_px):
        if glass[y_px, x_px]:
            return None
        rows = (y_px + np.arange(TILE_PX)) % repeated.shape[0]
        columns = (x_px + np.arange(TILE_PX)) % repeated.shape[1]
        return repeated[np.ix_(rows, columns)][:height_px, :width_px]

    if share == 1:
        assert not glass.any()
    else:
        assert abs((1 - glass.mean()) - share) < 0.05
    plain = tmp_path / "plain.tif"
    width_px, height_px = stored.shape[1], stored.shape[0]
    write_slide(plain, tile, width_px, height_px, 0.25, tile_px=TILE_PX)
    with tifffile.TiffFile(path) as found, tifffile.TiffFile(plain) as expected:
        assert len(found.pages) == len(expected.pages) == 3
        for page, other in zip(found.pages, expected.pages, strict=True):
            np.testing.assert_array_equal(page.asarray(), other.asarray())


def test_every_tile_is_that_of_openslide(written):
    path, _ = written
    with open_slide(path, backend="tiff") as direct, openslide.OpenSlide(path) as plain:
        assert direct.backend == "tiff"
        for index, level in enumerate(direct.levels):
            rgba = plain.read_region((0, 0), index, (level.width_px, level.height_px))
            white = np.full((level.height_px, level.width_px, 4), 255, np.uint8)
            expected = np.where(np.asarray(rgba)[..., 3:] == 0, white, rgba)[..., :3]
            np.testing.assert_array_equal(
                direct.read(0, 0, level.width_px, level.height_px, level=index), expected
            )


def test_a_hundred_tiles_are_stored_for_thousands(written):
    path, _ = written
    with tifffile.TiffFile(path) as tif:
        offsets = [offset for page in tif.pages for offset in page.dataoffsets if offset]
    assert len(offsets) > 500
    assert len(set(offsets)) < 100
