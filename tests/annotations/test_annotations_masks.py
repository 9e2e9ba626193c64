"""Masks: which pixels, how they are stored, and that a whole slide never is in memory."""

import json
import tracemalloc

import numpy as np
import openslide
import pytest
import shapely
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from napari_camelyon import annotations
from napari_camelyon.annotations.raster import edges_of, strip_tiles
from napari_camelyon.annotations.regions import cut, merge
from napari_camelyon.errors import AnnotationError, FileWriteError


def rasterised(region, shape, tile_px):
    rows, columns = shape
    edges = edges_of(region)
    whole = np.zeros(shape, bool)
    for first in range(0, rows, tile_px):
        tiles = strip_tiles(edges, first, min(tile_px, rows - first), columns, tile_px)
        for start, tile in zip(range(0, columns, tile_px), tiles, strict=True):
            whole[first : first + tile_px, start : start + tile_px] = tile
    return whole


def assert_as_geos_says(mask, region):
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.5
    inside = shapely.contains_xy(region, x.ravel(), y.ravel()).reshape(mask.shape)
    rows, columns = np.nonzero(mask != inside)
    # Of a centre on the very edge either may be said; GEOS says outside.
    centres = shapely.points(columns + 0.5, rows + 0.5)
    assert (shapely.distance(shapely.boundary(region), centres) < 1e-9).all()


COORDINATE = st.one_of(
    st.floats(-20, 120),
    st.integers(-20, 120).map(float),
    st.integers(-40, 240).map(lambda v: v / 2),
)
RING = st.lists(st.tuples(COORDINATE, COORDINATE), min_size=3, max_size=12).map(np.array)


@given(st.lists(RING, min_size=1, max_size=4), st.lists(RING, max_size=3), st.sampled_from([7, 64]))
def test_a_pixel_is_inside_when_its_centre_is(outers, holes, tile_px):
    # On the grid of `PRECISION_PX`: in full floating point GEOS fails on slivers of 1e-30 px.
    tumour = merge([annotations.ring_region(ring) for ring in outers])
    whole = cut(tumour, [annotations.ring_region(ring) for ring in holes])
    assert_as_geos_says(rasterised(whole, (90, 101), tile_px), whole)


def test_edges_between_neighbours_are_nobodys_twice():
    left = shapely.Polygon([(0, 0), (10.5, 0), (3.5, 9), (0, 9)])
    right = shapely.Polygon([(10.5, 0), (20, 0), (20, 9), (3.5, 9)])
    both = [rasterised(region, (9, 20), 8).astype(int) for region in (left, right)]
    assert_array_equal(sum(both), np.ones((9, 20)))


def made_set():
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float)
    return annotations.AnnotationSet(
        (
            annotations.make_annotation(
                "polygon", square * 1500 + 100.3, group="Tumor", holes=[square * 400 + 300]
            ),
            annotations.make_annotation("polygon", square * 200 + 400, group="Tumor"),
            annotations.make_annotation("polygon", square * 100 + 1000, group="Exclusion"),
            annotations.make_annotation("polygon", [(1, 1), (2500, 30), (40, 1900)], group="_0"),
        ),
        tuple(map(annotations.Group, ("Tumor", "Exclusion", "_0"))),
    )


@pytest.mark.parametrize(("name", "downsample"), [("a.tif", 1), ("a.ome.tif", 2), ("a.tiff", 3)])
def test_the_file_holds_the_tumour_at_every_level(tmp_path, name, downsample):
    made, size = made_set(), (2501, 2103)
    annotations.write_mask(made, tmp_path / name, size, mpp=(0.25, 0.24), downsample=downsample)
    region = annotations.tumour_region(made)
    with tifffile.TiffFile(tmp_path / name) as file:
        (series,) = file.series
        assert series.is_pyramidal == (downsample < 3)
        for k, level in enumerate(series.levels):
            factor = downsample * 2**k
            assert level.shape == tuple(-(-side // factor) for side in size[::-1])
            scaled = shapely.transform(region, lambda p, f=factor: p / f)
            pixels = level.asarray()
            assert pixels.dtype == np.uint8
            assert_as_geos_says(pixels == 1, scaled)
            assert set(np.unique(pixels)) == {0, 1}
            page = level.pages[0]
            assert (page.tilewidth, page.is_tiled, page.compression) == (512, True, 8)
            numerator, denominator = page.tags["XResolution"].value
            assert_allclose(1e4 * denominator / numerator, 0.25 * factor, rtol=1e-6)
        if file.is_ome:
            assert f'PhysicalSizeX="{0.25 * downsample}"' in file.ome_metadata
        else:
            said = json.loads(file.pages[0].description)
            assert said == {"values": {"tumour": 1}, "downsample": downsample}


def test_openslide_opens_it_as_a_slide(tmp_path):
    made, path = made_set(), tmp_path / "a.tif"
    annotations.write_mask(made, path, (2501, 2103), mpp=(0.25, 0.24))
    with openslide.OpenSlide(path) as slide:
        assert slide.dimensions == (2501, 2103)
        assert slide.level_count == 3
        assert_allclose(float(slide.properties["openslide.mpp-x"]), 0.25)
        assert_allclose(float(slide.properties["openslide.mpp-y"]), 0.24)
        region = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., 0]
    assert_as_geos_says(region == 1, annotations.tumour_region(made))


def test_groups_have_the_values_asked_for_later_ones_on_top(tmp_path):
    made, path = made_set(), tmp_path / "a.tif"
    annotations.write_mask(
        made, path, (2501, 2103), mpp=None, values={"Tumor": 7, "Exclusion": 255, "_0": 3}
    )
    pixels = tifffile.imread(path)
    expected = np.zeros(pixels.shape, np.uint8)
    for name, value in (("Tumor", 7), ("Exclusion", 255), ("_0", 3)):
        drawn = [annotations.region_of(a) for a in made if a.group == name]
        expected[rasterised(shapely.union_all(drawn), pixels.shape, 512)] = value
    assert_array_equal(pixels, expected)
    assert set(np.unique(pixels)) == {0, 3, 7, 255}


def test_official_outlines_give_the_pixels_that_geos_gives(shared_data, tmp_path):
    found = annotations.read(shared_data / "annotations/asap_c16/test_026.xml")
    annotations.write_mask(found, tmp_path / "a.tif", (98_304, 103_936), mpp=None, downsample=64)
    region = shapely.transform(annotations.tumour_region(found), lambda p: p / 64)
    pixels = tifffile.imread(tmp_path / "a.tif")
    assert pixels.sum() > 1000
    assert_as_geos_says(pixels == 1, region)


def test_what_cannot_be_meant_is_refused_and_nothing_is_left(tmp_path):
    made, path = made_set(), tmp_path / "a.tif"

    def stop(done, total):
        assert total == 25 + 9 + 4
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        annotations.write_mask(made, path, (2501, 2103), mpp=None, progress=stop)
    with pytest.raises(AnnotationError, match="groups with any: Exclusion, Tumor, _0"):
        annotations.write_mask(made, path, (9, 9), mpp=None, values={"tumour": 1})
    with pytest.raises(AnnotationError, match=r"\.ome\.tif"):
        annotations.write_mask(made, tmp_path / "a.png", (9, 9), mpp=None)
    unknown = annotations.AnnotationSet(
        (annotations.make_annotation("polygon", [(0, 0), (1, 0), (0, 1)], group="x"),)
    )
    with pytest.raises(AnnotationError, match="say which ones are"):
        annotations.write_mask(unknown, path, (9, 9), mpp=None)
    for wrong in ({"downsample": 0.5}, {"values": {"_0": 0}}, {"mpp": (0.0, 1.0)}):
        with pytest.raises(ValueError, match="between"):
            annotations.write_mask(made, path, (9, 9), **{"mpp": None, **wrong})
    (tmp_path / "file").write_text("")
    with pytest.raises(FileWriteError):
        annotations.write_mask(made, tmp_path / "file" / "a.tif", (9, 9), mpp=None)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_slide_without_outlines_gives_an_empty_mask(tmp_path):
    annotations.write_mask(annotations.AnnotationSet(), tmp_path / "a.tif", (700, 20), mpp=None)
    assert not tifffile.imread(tmp_path / "a.tif").any()


def test_the_mask_of_the_largest_slide_never_is_in_memory(tmp_path):
    size = (97_792, 221_184)
    tracemalloc.start()
    try:
        annotations.write_mask(made_set(), tmp_path / "a.tif", size, mpp=None, downsample=4)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40e6  # as an array it would be 1350 MB
