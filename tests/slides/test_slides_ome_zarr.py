"""OME-Zarr slides against the arrays they were written from, and one sentence for what is none."""

import json
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numcodecs import BZ2, LZ4, LZMA, Blosc, GZip, Zlib, Zstd
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from made_ome_zarr import LAYOUTS, Layout, Made, attributes, halving, set_attributes, write
from napari_camelyon.errors import SlideError
from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap, write_heatmap
from napari_camelyon.slides import dask_levels, describe, is_slide, open_slide, slide_name
from napari_camelyon.slides.ome_zarr import OmeZarrSource
from napari_camelyon.slides.ome_zarr_metadata import read_ome_zarr
from napari_camelyon.slides.tile_cache import TileCache

CODECS_V2 = [Blosc("lz4"), Blosc("zstd"), Zlib(), GZip(), BZ2(), LZMA(), LZ4(), Zstd(), None]
CODECS_V3 = [BloscCodec(cname="lz4"), BloscCodec(), GzipCodec(), ZstdCodec(), None]


def sentence(error: pytest.ExceptionInfo[BaseException], *parts: str) -> None:
    message = str(error.value)
    assert all(part in message for part in parts), message
    assert "\n" not in message
    assert message.endswith((".", "?"))
    assert len(message) < 700


def refused(path: Path, *parts: str) -> None:
    assert not is_slide(path)
    with pytest.raises(SlideError) as error:
        open_slide(path)
    sentence(error, *parts)


def change(document: Path, entries: dict[str, Any]) -> None:
    document.write_text(json.dumps(json.loads(document.read_text()) | entries))


def chunks_of(array: Path) -> list[Path]:
    found = [file for file in array.rglob("*") if file.is_file()]
    return [file for file in found if file.name != "zarr.json" and not file.name.startswith(".")]


def chunk_grid(*chunk: int) -> dict[str, Any]:
    return {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}}}


def shards(side_px: int, chunk_px: int) -> dict[str, Any]:
    raw = [{"name": "bytes", "configuration": {"endian": "little"}}]
    inner = {"chunk_shape": [3, chunk_px, chunk_px], "codecs": raw, "index_codecs": raw}
    return chunk_grid(3, side_px, side_px) | {
        "codecs": [{"name": "sharding_indexed", "configuration": inner}]
    }


@pytest.fixture(scope="module")
def pyramid(noise, shrink) -> list[NDArray[np.uint8]]:
    return [shrink(noise, factor) for factor in (1, 2, 4)]


@pytest.fixture(scope="module", params=LAYOUTS)
def stored(request, pyramid, tmp_path_factory) -> Path:
    """The pyramid in each of the ways that the specifications allow."""
    folder = tmp_path_factory.mktemp("stored") / "patient_000_node_1.zarr"
    return write(folder, replace(halving(pyramid), layout=LAYOUTS[request.param]))


@pytest.fixture(scope="module")
def plain(pyramid, tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("plain") / "plain.zarr", halving(pyramid))


@pytest.fixture
def own(plain, tmp_path) -> Path:
    """A copy to be damaged."""
    return shutil.copytree(plain, tmp_path / "own.zarr")


def small(axes: str = "cyx", shape: tuple[int, ...] = (3, 20, 30), dtype: str = "u1") -> Made:
    values = np.random.default_rng(1).integers(0, 256, shape).astype(dtype)
    return Made([values], axes=axes, scales=[{"y": 0.5, "x": 0.5}])


class TestPixels:
    def test_every_level_is_what_was_written(self, stored, pyramid):
        assert is_slide(stored)
        with open_slide(stored) as slide:
            assert slide.name == "patient_000_node_1" == slide_name(stored)
            assert (slide.vendor, slide.backend, slide.tile_px) == ("ome-zarr", "zarr", 64)
            assert slide.mpp == pytest.approx((0.25, 0.25))
            assert [level.downsample_x for level in slide.levels] == [1, 2, 4]
            for index, expected in enumerate(pyramid):
                height, width = expected.shape[:2]
                np.testing.assert_array_equal(slide.read(0, 0, width, height, index), expected)

    @given(data=st.data())
    def test_regions_anywhere(self, stored, pyramid, data):
        level = data.draw(st.integers(0, 2))
        factor, expected = 2**level, pyramid[level]
        rows, columns = expected.shape[:2]
        column = data.draw(st.integers(-90, columns + 20))
        row = data.draw(st.integers(-90, rows + 20))
        width, height = data.draw(st.integers(0, 200)), data.draw(st.integers(0, 200))
        white = np.full((rows + 400, columns + 400, 3), 255, np.uint8)
        white[100 : 100 + rows, 100 : 100 + columns] = expected
        with open_slide(stored) as slide:
            np.testing.assert_array_equal(
                slide.read(column * factor, row * factor, width, height, level),
                white[100 + row : 100 + row + height, 100 + column : 100 + column + width],
            )

    @pytest.mark.parametrize("axes", ["cyx", "tczyx", "czyx", "tcyx", "cxy", "tczxy", "yx", "zyx"])
    def test_axes_in_any_order(self, tmp_path, axes):
        rng = np.random.default_rng(3)
        rgb = rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)
        if "c" not in axes:
            rgb[:] = rgb[..., :1]
        sides = {"y": 70, "x": 90, "c": 3}
        values = np.empty([sides.get(axis, 1) for axis in axes], np.uint8)
        for place in np.ndindex(values.shape):
            at = dict(zip(axes, place, strict=True))
            values[place] = rgb[at["y"], at["x"], at.get("c", 0)]
        made = Made([values], axes=axes, scales=[{"y": 0.3, "x": 0.2}])
        with open_slide(write(tmp_path / "a.zarr", made)) as slide:
            assert slide.mpp == pytest.approx((0.2, 0.3))
            np.testing.assert_array_equal(slide.read(0, 0, 90, 70), rgb)

    def test_one_channel_is_grey(self, tmp_path):
        made = small(shape=(1, 20, 30))
        with open_slide(write(tmp_path / "grey.zarr", made)) as slide:
            expected = np.repeat(made.levels[0][0][..., np.newaxis], 3, axis=2)
            np.testing.assert_array_equal(slide.read(0, 0, 30, 20), expected)

    def test_alpha_lets_white_through(self, tmp_path):
        made = small(shape=(4, 20, 30))
        colour, alpha = made.levels[0][:3].astype(float), made.levels[0][3] / 255
        expected = np.moveaxis(colour * alpha + 255 * (1 - alpha), 0, 2)
        with open_slide(write(tmp_path / "rgba.zarr", made)) as slide:
            found = slide.read(0, 0, 30, 20)
        assert np.abs(found - expected).max() <= 0.5 + 1e-9

    @pytest.mark.parametrize("fill_value", [0, 255, 17])
    @pytest.mark.parametrize("layout", [Layout(zarr_format=2), Layout()])
    def test_a_chunk_that_is_not_there_is_the_fill_value(self, tmp_path, fill_value, layout):
        made = small(shape=(3, 96, 128))
        made.layout, made.fill_value = layout, fill_value
        made.levels[0][:, :48, :64] = fill_value  # zarr leaves this chunk out
        path = write(tmp_path / "sparse.zarr", made)
        with open_slide(path) as slide:
            found = slide.read(0, 0, 128, 96)
        np.testing.assert_array_equal(found, np.moveaxis(made.levels[0], 0, 2))
        chunks = [file for file in (path / "0").rglob("*") if file.name in {"0", "1"}]
        assert sum(file.is_file() for file in chunks) == 3

    def test_the_pyramid_for_napari_begins_with_the_slide(self, plain, noise):
        with open_slide(plain) as slide:
            np.testing.assert_array_equal(np.asarray(dask_levels(slide)[0][:388, :524]), noise)


class TestPlaces:
    def test_downsamples_are_those_of_the_metadata(self, tmp_path):
        """Sizes that suggest a third, and padding to whole tiles, do not matter."""
        values = [np.zeros((3, 100, 130), "u1"), np.zeros((3, 64, 64), "u1")]
        made = Made(values, scales=[{"y": 0.25, "x": 0.25}, {"y": 0.5, "x": 0.625}])
        with open_slide(write(tmp_path / "a.zarr", made)) as slide:
            level = slide.levels[1]
            assert (level.downsample_x, level.downsample_y) == (2.5, 2.0)
            # What lies beyond level 0 is padding.
            assert (level.width_px, level.height_px) == (52, 50)

    def test_fractions_in_decimals_leave_whole_factors(self, tmp_path):
        values = [np.zeros((3, 80 // k, 80 // k), "u1") for k in (1, 2, 4)]
        scales = [{"y": s, "x": s} for s in (0.2498, 0.49960000001, 0.9991999999)]
        with open_slide(write(tmp_path / "a.zarr", Made(values, scales=scales))) as slide:
            assert [level.downsample_x for level in slide.levels] == [1.0, 2.0, 4.0]

    def test_landmarks_lie_at_the_same_place_on_every_level(self, tmp_path):
        """Blocks of 12 × 8 level-0 pixels; levels of unequal factors along the axes."""
        base = np.full((240, 360, 3), 250, np.uint8)
        marks = [(36, 48), (120, 200), (348, 232), (0, 0)]
        for x, y in marks:
            base[y : y + 8, x : x + 12] = (10, 20, 200)
        factors = [(1, 1), (2, 1), (4, 2), (12, 8)]
        made = Made(
            [np.moveaxis(base[::fy, ::fx], 2, 0) for fx, fy in factors],
            scales=[{"y": 0.3 * fy, "x": 0.2 * fx} for fx, fy in factors],
        )
        with open_slide(write(tmp_path / "a.zarr", made)) as slide:
            assert len(slide.levels) == 4
            for index, (fx, fy) in enumerate(factors):
                for x, y in marks:
                    found = slide.read(x - fx, y - fy, 12 // fx + 2, 8 // fy + 2, index)
                    expected = np.full_like(found, 250)
                    if x == 0:
                        expected[0], expected[:, 0] = 255, 255
                    expected[1:-1, 1:-1] = (10, 20, 200)
                    if x == 348:
                        expected[:, -1] = 255
                    if y == 232:
                        expected[-1] = 255
                    np.testing.assert_array_equal(found, expected)

    @pytest.mark.parametrize("shift", [0.0, -7.5])
    def test_centres_of_averaged_blocks_place_levels_at_one_corner(self, pyramid, tmp_path, shift):
        made = halving(pyramid)
        made.translations = [dict.fromkeys("yx", shift + 0.25 * (2**k - 1) / 2) for k in range(3)]
        with open_slide(write(tmp_path / "a.zarr", made)) as slide:
            assert len(slide.levels) == 3
            assert "ome-zarr.levels-left-out" not in slide.properties

    def test_a_level_that_lies_elsewhere_is_left_out_and_named(self, pyramid, tmp_path):
        made = halving(pyramid)
        made.translations = [{}, {"y": 0.125, "x": 0.125 + 0.25 * 3}, {"y": 0.375, "x": 0.375}]
        with open_slide(write(tmp_path / "a.zarr", made)) as slide:
            assert slide.properties["ome-zarr.levels-left-out"] == "1"
            assert [level.downsample_x for level in slide.levels] == [1.0, 4.0]
            np.testing.assert_array_equal(slide.read(0, 0, 131, 97, 1), pyramid[2])

    def test_a_level_that_covers_a_part_is_left_out(self, pyramid, tmp_path):
        made = halving(pyramid)
        made.levels = [made.levels[0], made.levels[1][:, :, :200], made.levels[2]]
        with open_slide(write(tmp_path / "a.zarr", made)) as slide:
            assert slide.properties["ome-zarr.levels-left-out"] == "1"

    def test_transformations_of_the_whole_image_count(self, pyramid, tmp_path):
        made = halving(pyramid, mpp=1.0)
        made.multiscales = {
            "coordinateTransformations": [{"type": "scale", "scale": [1.0, 0.26, 0.24]}]
        }
        with open_slide(write(tmp_path / "a.zarr", made)) as slide:
            assert slide.mpp == pytest.approx((0.24, 0.26))
            assert slide.levels[2].downsample_x == 4.0


class TestPixelSize:
    @pytest.mark.parametrize(
        ("unit", "scale"),
        [
            ("micrometer", 0.25),
            ("nanometer", 250.0),
            ("millimeter", 0.00025),
            ("meter", 2.5e-7),
            ("angstrom", 2500.0),
            ("inch", 0.25 / 25400),
            ("µm", 0.25),
        ],
    )
    def test_units_of_length_are_converted(self, tmp_path, unit, scale):
        made = replace(small(), unit=unit, scales=[{"y": scale, "x": scale}])
        with open_slide(write(tmp_path / "a.zarr", made)) as slide:
            assert slide.mpp == pytest.approx((0.25, 0.25))
            assert slide.mpp_note == "stated by the file"

    @pytest.mark.parametrize("unit", [None, "pixel", "second", {"x": "micrometer"}])
    def test_without_units_it_is_unknown(self, tmp_path, unit):
        with open_slide(write(tmp_path / "a.zarr", replace(small(), unit=unit))) as slide:
            assert slide.mpp is None
        with open_slide(slide.path, mpp=0.3) as slide:
            assert slide.mpp == (0.3, 0.3)

    def test_each_axis_has_its_unit(self, tmp_path):
        made = replace(small(), unit={"x": "nanometer", "y": "micrometer"})
        made.scales = [{"y": 0.26, "x": 240.0}]
        with open_slide(write(tmp_path / "a.zarr", made)) as slide:
            assert slide.mpp == pytest.approx((0.24, 0.26))


@pytest.mark.parametrize("layout", [Layout(zarr_format=2), Layout()])
@pytest.mark.parametrize("listed", [False, True])
def test_of_a_collection_of_bioformats2raw_the_first_image_opens(pyramid, tmp_path, layout, listed):
    collection = tmp_path / "slide.zarr"
    first = "3" if listed else "0"
    zarr.create_group(collection, zarr_format=layout.zarr_format)
    write(collection / first, replace(halving(pyramid), layout=layout))
    write(collection / "1", replace(small(dtype="u2"), layout=layout))
    inner: dict[str, Any] = {"bioformats2raw.layout": 3}
    set_attributes(collection, inner if layout.zarr_format == 2 else {"ome": inner})
    if listed:
        zarr.create_group(collection / "OME", zarr_format=layout.zarr_format)
        series = {"series": ["3", "1"]}
        set_attributes(collection / "OME", series if layout.zarr_format == 2 else {"ome": series})
    assert is_slide(collection)
    with open_slide(collection) as slide:
        assert slide.name == "slide"
        np.testing.assert_array_equal(slide.read(0, 0, 131, 97, 2), pyramid[2])
    shutil.rmtree(collection / first)
    refused(collection, "first one", "missing")


class TestIdentity:
    def test_a_move_and_labels_keep_the_fingerprint(self, own, plain, tmp_path):
        moved = own.rename(tmp_path / "moved.zarr")
        write(moved / "labels" / "cells", small("yx", (20, 30)))
        with open_slide(plain) as one, open_slide(moved) as other:
            assert one.fingerprint == other.fingerprint
            assert len(one.fingerprint) == 32

    def test_other_content_of_equal_size_changes_it(self, tmp_path):
        made = small(shape=(3, 960, 640))
        prints = set()
        for name, value in (("a", 1), ("b", 2)):
            path = tmp_path / f"{name}.zarr"
            made.levels = [np.full_like(made.levels[0], value)]
            write(path, made)
            with open_slide(path) as slide:
                prints.add(slide.fingerprint)
        assert len(prints) == 2

    def test_a_chunk_of_another_size_changes_it(self, own, plain):
        chunk = own / "1" / "c" / "0" / "1" / "2"
        chunk.write_bytes(chunk.read_bytes() + b" ")
        with open_slide(plain) as one, open_slide(own) as other:
            assert one.fingerprint != other.fingerprint

    def test_describe(self, plain):
        with open_slide(plain) as slide:
            facts = json.loads(json.dumps(describe(slide)))
        assert facts["vendor"] == "ome-zarr"
        assert facts["associated_images"] == []
        assert facts["width_mm"] == pytest.approx(0.131)

    def test_round_trip(self, plain):
        with open_slide(plain, mpp=0.3) as slide, pickle.loads(pickle.dumps(slide)) as twin:
            assert twin.mpp == (0.3, 0.3)
            np.testing.assert_array_equal(twin.read(9, 5, 60, 50), slide.read(9, 5, 60, 50))

    def test_another_process_opens_its_own(self, plain):
        with (
            open_slide(plain) as slide,
            ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        ):
            theirs = pool.submit(slide.read, 9, 5, 60, 50).result()
            np.testing.assert_array_equal(theirs, slide.read(9, 5, 60, 50))

    def test_another_backend_is_refused(self, plain):
        for backend in ("openslide", "tiff"):
            with pytest.raises(SlideError) as error:
                open_slide(plain, backend=backend)
            sentence(error, backend, "auto")


def test_sixteen_threads_read_what_one_reads(stored, noise):
    source = OmeZarrSource(stored, TileCache(100_000))
    rng = np.random.default_rng(0)
    places = [tuple(int(n) for n in rng.integers(0, (300, 200))) for _ in range(64)]
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda at: source.read_level(0, *at, 130, 100), places))
    for (column, row), pixels in zip(places, found, strict=True):
        np.testing.assert_array_equal(pixels, noise[row : row + 100, column : column + 130])


def test_decoded_chunks_stay_in_the_cache_and_within_its_bound(own, noise):
    cache = TileCache(5 * 48 * 64 * 3)
    source = OmeZarrSource(own, cache)
    source.read_level(0, 0, 0, 524, 388)
    assert 0 < cache.bytes_held <= cache.most_bytes
    expected = source.read_level(0, 64, 48, 64, 48)
    (own / "0" / "c" / "0" / "1" / "1").unlink()
    np.testing.assert_array_equal(source.read_level(0, 64, 48, 64, 48), expected)
    # Pixels that were handed out are the caller's; those in the cache are not.
    expected[:] = 0
    np.testing.assert_array_equal(source.read_level(0, 64, 48, 64, 48), noise[48:96, 64:128])


class TestDamage:
    @pytest.mark.parametrize("length", [0, 1, 20, 5000])
    def test_a_chunk_that_was_cut_off_is_told_with_its_place(self, stored, tmp_path, length):
        """Noise cannot be compressed, and Blosc takes what lies behind a cut chunk for it."""
        path = Path(shutil.copytree(stored, tmp_path / "damaged.zarr"))
        for file in chunks_of(path / "1"):
            with file.open("r+b") as opened:
                opened.truncate(min(length, file.stat().st_size // 2))
        with open_slide(path) as slide:
            with pytest.raises(SlideError) as error:
                slide.read(64, 96, 262, 194, 1)
            sentence(error, "damaged.zarr", "level 1 at x=0, y=96", "damaged")
            assert slide.read(0, 0, 8, 8).shape == (8, 8, 3)

    @pytest.mark.parametrize(
        "layout",
        [
            *(Layout(zarr_format=2, compressor=codec) for codec in CODECS_V2),
            *(Layout(compressor=codec) for codec in CODECS_V3),
            Layout(shard_px=(48, 64)),  # zarr reads such a shard as a whole
        ],
    )
    def test_damage_is_told_whatever_the_codec(self, tmp_path, layout):
        made = replace(small(shape=(3, 48, 64)), layout=layout)
        path = write(tmp_path / "a.zarr", made)
        with open_slide(path) as slide:
            np.testing.assert_array_equal(
                slide.read(0, 0, 64, 48), np.moveaxis(made.levels[0], 0, 2)
            )
        (chunk,) = chunks_of(path / "0")
        whole = chunk.read_bytes()
        for damaged in (b"", whole[:7], whole[: len(whole) // 2], whole[:-1], b"\xff" * 300):
            chunk.write_bytes(damaged)
            with pytest.raises(SlideError) as error:
                OmeZarrSource(path, TileCache(0)).read_level(0, 0, 0, 64, 48)
            sentence(error, "a.zarr", "level 0 at x=0, y=0", "damaged")

    def test_a_folder_that_has_gone_is_not_white(self, own, tmp_path):
        with open_slide(own) as slide:
            own.rename(tmp_path / "elsewhere.zarr")
            with pytest.raises(SlideError) as error:
                slide.read(0, 0, 10, 10)
            sentence(error, "own.zarr", "moved")
            with pytest.raises(SlideError) as error:
                _ = slide.fingerprint
            sentence(error, "own.zarr", "moved")

    def test_closed(self, plain):
        slide = open_slide(plain)
        slide.read(0, 0, 8, 8)
        slide.close()
        slide.close()
        with pytest.raises(SlideError) as error:
            slide.read(0, 0, 8, 8)
        sentence(error, "closed")

    @pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"zarr_format": 3}', "[" * 99_999])
    def test_broken_documents(self, own, content):
        (own / "1" / "zarr.json").write_text(content)
        refused(own, "own.zarr")
        (own / "zarr.json").write_text(content)
        refused(own, "own.zarr")

    def test_a_level_that_is_missing(self, own):
        shutil.rmtree(own / "1")
        refused(own, "own.zarr", "“1”", "fetch")

    @pytest.mark.parametrize(
        ("changes", "part"),
        [
            ({"shape": [3, 10**12, 10**12]}, "no slide measures"),
            ({"shape": [3, 0, 10]}, "no slide measures"),
            ({"shape": [3, -5, 10]}, "no slide measures"),
            ({"shape": [3, 388, 1e400]}, "damaged"),
            ({"shape": [388, 524]}, "damaged"),
            ({"shape": None}, "damaged"),
            ({"data_type": ["uint8"]}, "damaged"),
        ],
    )
    def test_absurd_arrays(self, own, changes, part):
        change(own / "0" / "zarr.json", changes)
        refused(own, "own.zarr", part)

    @pytest.mark.parametrize(
        ("changes", "part"),
        [
            (chunk_grid(3, 10**6, 10**6), "chunks of 3 × 1000000 × 1000000"),
            (chunk_grid(3, 0, 64), "own.zarr"),
            (chunk_grid(3, 64), "own.zarr"),
            ({"codecs": [{"name": "not-a-codec"}]}, "codec"),
            ({"codecs": []}, "own.zarr"),
            ({"codecs": None}, "own.zarr"),
            ({"fill_value": "white"}, "own.zarr"),
            (shards(1 << 24, 8), "shards of"),
        ],
    )
    def test_absurd_chunks(self, own, changes, part):
        change(own / "0" / "zarr.json", changes)
        with pytest.raises(SlideError) as error:
            open_slide(own)
        sentence(error, "own.zarr", part)

    def test_paths_do_not_lead_out_of_the_folder(self, own, plain):
        made = attributes(halving([np.zeros((4, 4, 3), "u1")]))
        for path in ("../plain.zarr/0", str(plain / "0"), "..\\0", "C:/0"):
            made["ome"]["multiscales"][0]["datasets"][0]["path"] = path
            set_attributes(own, made)
            refused(own, "leads out")

    @given(data=st.data())
    def test_no_metadata_are_a_surprise(self, plain, data):
        """Whatever stands at any one place of the metadata: a description, or one sentence."""
        made = attributes(halving([np.zeros((388, 524, 3), "u1"), np.zeros((2, 2, 3), "u1")]))
        place: Any = {"attributes": made}
        key: Any = "attributes"
        for _ in range(data.draw(st.integers(0, 9))):
            if not isinstance(place[key], dict | list) or not place[key]:
                break
            place = place[key]
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = data.draw(st.sampled_from(keys))
        place[key] = data.draw(ANYTHING)
        folder = plain.parent / "surprise.zarr"
        if not folder.exists():
            shutil.copytree(plain, folder)
        set_attributes(folder, made)
        with suppress(SlideError):
            read_ome_zarr(folder)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "scale", "path", "name"]), inner, max_size=3)
    ),
    max_leaves=5,
)


def coloured(*channels: tuple[str, str]) -> dict[str, Any]:
    return {"omero": {"channels": [{"label": name, "color": colour} for name, colour in channels]}}


RED_GREEN_BLUE = (("R", "FF0000"), ("G", "00FF00"), ("B", "0000FF"))
DAPI = (("DAPI", "0000FF"), ("FITC", "00FF00"), ("TRITC", "FF0000"))


class TestNoSlide:
    @pytest.mark.parametrize("layout", [Layout(zarr_format=2), Layout()])
    @pytest.mark.parametrize(
        ("made", "parts"),
        [
            (small(dtype="u2"), ("u", "fluorescence", "8-bit")),
            (small(dtype="f4"), ("f", "measured")),
            (replace(small(dtype="i1"), fill_value=0), ("8-bit",)),
            (small(shape=(2, 20, 30)), ("2 channels", "fluorescence")),
            (small(shape=(5, 20, 30)), ("5 channels",)),
            (small("czyx", (3, 4, 20, 30)), ("4 focal planes", "one")),
            (small("tcyx", (2, 3, 20, 30)), ("2 points in time", "one")),
            (replace(small(), extra=coloured(*DAPI)), ("DAPI, FITC, TRITC", "fluorescence")),
            (replace(small(shape=(1, 9, 9)), extra=coloured(DAPI[0])), ("DAPI", "fluorescence")),
            (replace(small(), extra={"plate": {}}), ("plate",)),
            (replace(small(), extra={"image-label": {}}), ("labels",)),
        ],
    )
    def test_is_said_why(self, tmp_path, layout, made, parts):
        refused(write(tmp_path / "other.zarr", replace(made, layout=layout)), "other.zarr", *parts)

    @pytest.mark.parametrize("extra", [coloured(*RED_GREEN_BLUE), coloured(*[("", "FFFFFF")] * 3)])
    def test_colours_of_rgb_are_fine(self, tmp_path, extra):
        assert is_slide(write(tmp_path / "rgb.zarr", replace(small(), extra=extra)))

    @pytest.mark.parametrize("version", ["0.1", "0.3", "0.6", "0.50"])
    @pytest.mark.parametrize("layout", [Layout(zarr_format=2), Layout()])
    def test_other_versions(self, tmp_path, version, layout):
        made = replace(small(), layout=layout)
        known = attributes(made)
        (known.get("ome") or known["multiscales"][0])["version"] = version
        path = write(tmp_path / "other.zarr", made)
        set_attributes(path, known)
        refused(path, version, "0.4", "0.5")

    def test_scales_that_contradict(self, pyramid, tmp_path):
        made = halving(pyramid)
        made.scales = [made.scales[0]] * 3
        refused(write(tmp_path / "a.zarr", made), "contradict", "“1”")
        made.scales = [{"y": s, "x": s} for s in (1.0, 4.0, 2.0)]
        refused(write(tmp_path / "b.zarr", made), "contradict", "“2”")

    @pytest.mark.parametrize(
        "step", [{"type": "affine", "affine": []}, {"type": "scale", "path": "s"}]
    )
    def test_other_transformations(self, own, pyramid, step):
        known = attributes(halving(pyramid))
        known["ome"]["multiscales"][0]["datasets"][1]["coordinateTransformations"] = [step]
        set_attributes(own, known)
        refused(own, step["type"], "not supported")

    def test_heatmaps_of_ours(self, tmp_path):
        values = np.full((4, 5), 0.5, np.float32)
        grid = Grid(4, 5, 0, 0, 100, 100, 100, 100)
        heatmap = Heatmap(grid, values, (0.25, 0.25))
        refused(write_heatmap(heatmap, tmp_path), "heatmap.zarr", "measured")

    def test_arrays_and_groups(self, plain, tmp_path):
        refused(plain / "0", "single array", "above")
        zarr.create_group(tmp_path / "bare.zarr")
        refused(tmp_path / "bare.zarr", "bare.zarr", "multiscales")
        zarr.create_group(tmp_path / "bare2.zarr", zarr_format=2)
        refused(tmp_path / "bare2.zarr", "bare2.zarr")
        (tmp_path / "empty.zarr").mkdir()
        refused(tmp_path / "empty.zarr", "empty.zarr", "OME-Zarr")

    def test_is_told_without_loading_zarr(self, plain):
        script = (
            "import sys; from napari_camelyon.slides import is_slide; "
            f"print(is_slide({str(plain)!r}), 'zarr' in sys.modules)"
        )
        said = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False
        )
        assert said.stdout.split() == ["True", "False"], said.stderr


def test_names_of_folders(plain, tmp_path):
    assert slide_name(plain) == "plain"
    assert slide_name(tmp_path / "not there.svs") == "not there"
    (tmp_path / "1.2.840").mkdir()
    assert slide_name(tmp_path / "1.2.840") == "1.2.840"
