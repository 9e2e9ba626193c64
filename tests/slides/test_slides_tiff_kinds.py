"""Every kind of TIFF, read directly: OpenSlide's own pixels, or those that were written."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile

import made_tiffs
from napari_camelyon.errors import SlideError
from napari_camelyon.slides import is_slide, open_slide
from napari_camelyon.slides.open_file import OpenFile
from napari_camelyon.slides.openslide_backend import OpenSlideBackend
from napari_camelyon.slides.proof import is_proven_equal, is_source_proven, largest_difference
from napari_camelyon.slides.tiff_directories import read_directories
from napari_camelyon.slides.tiff_pixels import tiff_pixels
from napari_camelyon.slides.tiff_source import TiffSource, find_images
from napari_camelyon.slides.tile_cache import TileCache


@pytest.fixture(autouse=True)
def _own_verdicts(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_CAMELYON_CACHE", str(tmp_path / "verdicts"))


@pytest.fixture(scope="module")
def pixels():
    return made_tiffs.tissue()


@pytest.mark.parametrize("kind", made_tiffs.KNOWN_TO_OPENSLIDE)
def test_pixels_are_those_of_openslide(tmp_path, pixels, kind):
    path = made_tiffs.known_to_openslide(kind, tmp_path / "made.tif", pixels)
    slow = OpenSlideBackend(path)
    assert len(slow.levels) == (2 if "SVS" in kind or kind == "sparse" else 3)
    with open_slide(path) as slide:
        assert slide.backend == "tiff"  # it was proven
        for index, level in enumerate(slow.levels):
            # Level sizes are whole, so that OpenSlide does not mix pixels.
            assert level.downsample == 2**index
            everything = 0, 0, level.width_px, level.height_px
            expected = slow.read_level(index, *everything)
            found = slide._pixels.read_level(index, *everything)
            np.testing.assert_array_equal(found, expected)
            assert len(np.unique(expected)) > 50


def test_tiles_without_data_are_white(tmp_path, pixels):
    white = made_tiffs.with_white(pixels)
    path = made_tiffs.sparse(tmp_path / "sparse.tif", white)
    with tifffile.TiffFile(path) as tif:
        assert 0 in tif.pages.first.databytecounts
    with open_slide(path) as slide:
        assert slide.backend == "tiff"
        np.testing.assert_array_equal(slide.read(0, 0, 420, 300), white)


@pytest.mark.parametrize("kind", made_tiffs.UNKNOWN_TO_OPENSLIDE)
def test_what_openslide_does_not_see_is_what_was_written(tmp_path, pixels, kind):
    path, written = made_tiffs.unknown_to_openslide(kind, tmp_path / "made.ome.tif", pixels)
    # One image in strips may be any picture.
    assert is_slide(path) == (kind not in {"strips", "one strip", "grey strips"})
    with open_slide(path) as slide:
        assert slide.backend == "tiff"
        several = "OME" in kind or "pyramid" in kind or kind in {"JPEG 2000", "big-endian"}
        assert len(slide.levels) == (3 if several else 1)
        for index, expected in enumerate(made_tiffs.pyramid(written, len(slide.levels))):
            level = slide.levels[index]
            assert (level.downsample_x, level.downsample_y) == (2**index, 2**index)
            height, width = expected.shape[:2]
            np.testing.assert_array_equal(slide.read(0, 0, width, height, index), expected)
            # Across tiles and strips, and over the edge.
            region = slide.read(2**index * 37, 2**index * 21, width, 40, index)
            np.testing.assert_array_equal(region[:, : width - 37], expected[21:61, 37:])
            assert (region[:, width - 37 :] == 255).all()


def test_jpeg_in_strips_is_what_tifffile_decodes(tmp_path, pixels):
    path = tmp_path / "strips.tif"
    made_tiffs.generic(path, pixels, 1, tile=None, compression="jpeg", rowsperstrip=16)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 420, 300), tifffile.imread(path))


@pytest.mark.parametrize(
    "kind",
    ["c16_mosaic_dev.tif", "CMU-1-Small-Region.svs", "boxes.tiff", "tcga-cr-7395-01a-01-ts1.svs"],
)
def test_real_slides_are_proven(shared_data, kind):
    with open_slide(shared_data / "slides" / kind) as slide:
        assert slide.backend == "tiff"


def test_philips_levels_padded_to_tiles_are_read_directly(make_philips):
    wide = np.random.default_rng(3).integers(0, 256, (1500, 2100, 3), dtype=np.uint8)
    # The last three levels are stored in one tile each, and all three look alike.
    path = make_philips(wide, (0.25, 0.25), (1, 2, 4, 8, 16, 32, 64))
    slow = OpenSlideBackend(path)
    with tifffile.TiffFile(path) as tif:
        shapes = [page.shape[:2] for page in tif.pages]
    assert shapes[4:] == [(256, 256)] * 3
    assert all((level.height_px, level.width_px) != (256, 256) for level in slow.levels)
    with open_slide(path) as slide:
        assert slide.vendor == "philips"
        assert slide.backend == "tiff"
        for index, level in enumerate(slow.levels):
            everything = 0, 0, level.width_px, level.height_px
            np.testing.assert_array_equal(
                slide._pixels.read_level(index, *everything),
                slow.read_level(index, *everything),
            )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"dtype": np.uint16}, "8-bit"),
        ({"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)}, "neither RGB"),
        ({"compression": "zstd"}, "compression"),
    ],
    ids=["16 bits", "palette", "zstd"],
)
def test_other_kinds_are_refused_in_a_sentence(tmp_path, pixels, options, reason):
    path = tmp_path / "other.tif"
    options = dict(options)
    stored = pixels.astype(options.pop("dtype", np.uint8))
    if "photometric" in options:
        stored = stored[..., 0]
    else:
        options["photometric"] = "rgb"
    tifffile.imwrite(path, stored, metadata=None, **options)
    assert not is_slide(path)
    with pytest.raises(SlideError, match=reason) as error:
        open_slide(path)
    assert "other.tif" in str(error.value)


def test_large_strips_are_refused_with_advice(tmp_path):
    path = tmp_path / "large.tif"
    with tifffile.TiffWriter(path) as writer:  # sparse: no byte of its pixels is written
        writer.write(
            shape=(9000, 9000, 3),
            dtype=np.uint8,
            photometric="rgb",
            compression=None,
            metadata=None,
        )
    assert not is_slide(path)
    with pytest.raises(SlideError, match=r"strips instead of tiles.*Convert") as error:
        open_slide(path)
    assert "9000 × 9000 px" in str(error.value)


TURNED = [
    (274, "H", 1, 3, True)
]  # Orientation: the first row is the bottom, the first column right


def test_a_turned_image_is_refused(tmp_path, pixels):
    path = tmp_path / "turned.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", metadata=None, extratags=TURNED)
    with pytest.raises(SlideError, match="turned"):
        open_slide(path)


class TestProof:
    def both(self, path):
        slow = OpenSlideBackend(path)
        fast = tiff_pixels(read_directories(OpenFile(path)), slow.levels, TileCache(1 << 22))
        return slow, fast

    def test_refuses_pixels_that_differ(self, tmp_path, pixels):
        # libtiff turns every tile by itself, where we turn nothing.
        path = made_tiffs.generic(tmp_path / "turned.tif", pixels, 1, extratags=TURNED)
        slow, fast = self.both(path)
        assert largest_difference(slow, fast) > 50
        with open_slide(path) as slide:
            assert slide.backend == "openslide"
            np.testing.assert_array_equal(
                slide.read(0, 0, 420, 300), slow.read_level(0, 0, 0, 420, 300)
            )

    def test_remembers_either_verdict(self, tmp_path, pixels):
        turned = self.both(made_tiffs.generic(tmp_path / "t.tif", pixels, 1, extratags=TURNED))
        straight = self.both(made_tiffs.generic(tmp_path / "s.tif", pixels, 1))
        assert not is_proven_equal(*turned, "0" * 32)
        assert is_proven_equal(*straight, "1" * 32)
        # Compared again, each would come out the other way.
        assert not is_proven_equal(*straight, "0" * 32)
        assert is_proven_equal(*turned, "1" * 32)

    def test_one_differing_level_is_enough(self, tmp_path, pixels):
        levels = made_tiffs.pyramid(pixels, 3)
        paths = []
        for name, coarsest in (("one", levels[2]), ("other", levels[2][::-1])):
            paths.append(tmp_path / f"{name}.tif")
            with tifffile.TiffWriter(paths[-1]) as writer:
                for number, level in enumerate([*levels[:2], coarsest]):
                    writer.write(
                        level,
                        photometric="rgb",
                        tile=(64, 64),
                        subfiletype=1 if number else 0,
                        metadata=None,
                    )
        slow = OpenSlideBackend(paths[0])
        fast = tiff_pixels(read_directories(OpenFile(paths[1])), slow.levels, TileCache(1 << 22))
        assert largest_difference(slow, fast) > 50

    def test_what_both_cannot_read_does_not_count(self, damaged_slide):
        with open_slide(damaged_slide) as slide:
            assert slide.backend == "tiff"

    def test_what_neither_can_read_at_all_is_not_proven(self, shared_data):
        with open_slide(shared_data / "slides" / "unreadable.svs") as slide:
            assert slide.backend == "openslide"

    @pytest.mark.parametrize("level", [0, 1, 2])
    @pytest.mark.parametrize("pieces", [{}, {"tile": None, "rowsperstrip": 16}], ids=str)
    def test_every_level_of_a_source_is_compared(self, tmp_path, pixels, level, pieces):
        path = made_tiffs.ome(tmp_path / "made.ome.tif", pixels, compression=None, **pieces)
        file = OpenFile(path)
        images = find_images(read_directories(file))
        assert is_source_proven(TiffSource(file, images, TileCache(1 << 22)), None)
        # The same tiles in another order, as if the directory had been read wrongly.
        page = images.levels[level]
        wrong = replace(page, offsets=page.offsets[:, ::-1])
        levels = (*images.levels[:level], wrong, *images.levels[level + 1 :])
        source = TiffSource(file, replace(images, levels=levels), TileCache(1 << 22))
        seen = None if pieces else OpenSlideBackend(path)
        (tmp_path / "verdicts").rename(tmp_path / f"verdicts of {level}")
        assert not is_source_proven(source, seen)
