"""The slide writer against two independent readers: OpenSlide and tifffile."""

import threading

import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_camelyon.errors import FileWriteError
from napari_camelyon.slides import write_slide


def smooth_picture(width_px, height_px):
    """Colours that say where they are and that JPEG keeps."""
    y, x = np.mgrid[:height_px, :width_px].astype(float)
    return np.stack(
        [40 + 150 * x / width_px, 60 + 120 * y / height_px, np.full_like(x, 128)], axis=2
    ).astype(np.uint8)


def reader_of(picture, empty=lambda x_px, y_px: False):
    def read_tile(x_px, y_px, width_px, height_px):
        if empty(x_px, y_px):
            return None
        return picture[y_px : y_px + height_px, x_px : x_px + width_px]

    return read_tile


def composited(slide, x_px, y_px, level, size):
    rgba = np.asarray(slide.read_region((x_px, y_px), level, size)).astype(int)
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    picture = smooth_picture(2501, 1337)
    path = tmp_path_factory.mktemp("slides") / "smooth.tif"
    write_slide(
        path, reader_of(picture, lambda x, y: x < 512), 2501, 1337, (0.243, 0.2431), tile_px=256
    )
    return path, picture


def test_openslide_sees_exact_downsamples_and_both_spacings(written):
    with openslide.OpenSlide(written[0]) as slide:
        assert slide.level_downsamples == (1, 2, 4)
        assert slide.dimensions == (2504, 1340)  # padded to a multiple of 4
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.243, abs=1e-9)
        assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(0.2431, abs=1e-9)
        assert slide.properties["openslide.level[2].tile-width"] == "256"


def test_every_level_shows_the_same_place(written):
    path, picture = written
    with openslide.OpenSlide(path) as slide:
        for level, scale in enumerate((1, 2, 4)):
            seen = composited(slide, 1024, 512, level, (512 // scale, 256 // scale))
            wanted = picture[512:768, 1024:1536].reshape(
                256 // scale, scale, 512 // scale, scale, 3
            )
            assert np.abs(seen - wanted.mean(axis=(1, 3))).max() <= 4


def test_empty_tiles_and_padding_are_white_for_both_readers(written):
    path, _ = written
    with openslide.OpenSlide(path) as slide:
        for level in range(3):
            assert (composited(slide, 0, 0, level, (128 >> level, 128 >> level)) == 255).all()
        assert composited(slide, 2502, 1338, 0, (2, 2)).min() > 240  # ringing at the edge
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        assert tif.is_bigtiff
        assert page.databytecounts[0] == page.dataoffsets[0] == 0
        assert (tif.asarray()[:300, :512] == 255).all()


def test_a_white_slide_holds_no_pixels(tmp_path):
    path = tmp_path / "white.tif"
    write_slide(path, lambda *_: None, 60_000, 60_000, 0.5)
    with tifffile.TiffFile(path) as tif:
        assert all(max(level.pages[0].databytecounts) == 0 for level in tif.series[0].levels)
        assert tif.series[0].levels[-1].shape == (938, 938, 3)


@settings(max_examples=25, deadline=None)
@given(
    width_px=st.integers(1, 700),
    height_px=st.integers(1, 2300),
    tile_px=st.sampled_from([64, 128, 512]),
)
def test_any_size_gives_exact_levels(tmp_path_factory, width_px, height_px, tile_px):
    path = tmp_path_factory.mktemp("any") / "any.tif"
    picture = np.full((height_px, width_px, 3), (180, 90, 140), np.uint8)
    write_slide(path, reader_of(picture), width_px, height_px, 0.5, tile_px=tile_px)
    with openslide.OpenSlide(path) as slide:
        assert slide.level_downsamples == tuple(2**n for n in range(slide.level_count))
        assert 0 <= slide.dimensions[0] - width_px < 2 ** (slide.level_count - 1)
        assert 0 <= slide.dimensions[1] - height_px < 2 ** (slide.level_count - 1)
        assert max(slide.level_dimensions[-1]) <= 1024
        middle = composited(slide, width_px // 2, height_px // 2, 0, (1, 1))
        assert np.abs(middle - (180, 90, 140)).max() <= 4 or min(width_px, height_px) < 17


def test_threads_change_nothing_and_are_used(tmp_path):
    picture = smooth_picture(1500, 900)
    seen = set()

    def read_tile(*place):
        seen.add(threading.get_ident())
        return reader_of(picture)(*place)

    write_slide(tmp_path / "one.tif", reader_of(picture), 1500, 900, 0.5, tile_px=128)
    write_slide(tmp_path / "two.tif", read_tile, 1500, 900, 0.5, tile_px=128, workers=2)
    assert (tmp_path / "one.tif").read_bytes() == (tmp_path / "two.tif").read_bytes()
    assert threading.get_ident() not in seen


def test_no_more_than_a_few_tiles_wait_in_memory(tmp_path):
    asked = []
    ahead = []

    def read_tile(x_px, y_px, width_px, height_px):
        asked.append((x_px, y_px))
        return np.full((height_px, width_px, 3), 200, np.uint8)

    def progress(done, in_all):
        ahead.append(len(asked) - done)
        assert in_all == 16 * 16

    write_slide(
        tmp_path / "s.tif", read_tile, 1024, 1024, 0.5, tile_px=64, workers=2, progress=progress
    )
    assert len(asked) == 256
    assert max(ahead) <= 5


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_leaves_the_old_file_alone(tmp_path, workers):
    path = tmp_path / "s.tif"
    path.write_bytes(b"old")

    def read_tile(x_px, y_px, width_px, height_px):
        if x_px > 600:
            raise RuntimeError("the scanner stopped")
        return np.zeros((height_px, width_px, 3), np.uint8)

    with pytest.raises(RuntimeError, match="scanner"):
        write_slide(path, read_tile, 3000, 2000, 0.5, workers=workers)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_place_is_explained(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(FileWriteError, match="Could not write"):
        write_slide(tmp_path / "file" / "s.tif", lambda *_: None, 100, 100, 0.5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width_px": 0}, "at least one pixel"),
        ({"mpp": 0.0}, "spacing"),
        ({"tile_px": 100}, "multiple of 16"),
        ({"quality": 0}, "quality"),
    ],
)
def test_impossible_requests_are_refused(tmp_path, changes, words):
    request = {"width_px": 10, "height_px": 10, "mpp": 0.5} | changes
    with pytest.raises(ValueError, match=words):
        write_slide(tmp_path / "s.tif", lambda *_: None, **request)


def test_a_tile_of_the_wrong_shape_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected uint8 of shape"):
        write_slide(tmp_path / "s.tif", lambda *_: np.zeros((3, 3), np.uint8), 100, 100, 0.5)
