"""Damaged TIFFs of every kind: pixels or a sentence, in bounded memory, and never a crash."""

import io
import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

import made_tiffs
import napari_camelyon
from napari_camelyon.errors import DamagedSlideError, SlideError
from napari_camelyon.slides import is_slide, open_slide
from napari_camelyon.slides.open_file import OpenFile
from napari_camelyon.slides.tiff_directories import read_directories
from napari_camelyon.slides.tiff_source import TiffSource, find_images
from napari_camelyon.slides.tiff_tiles import UnsupportedTiffError
from napari_camelyon.slides.tile_cache import TileCache

DRIVER = Path(__file__).with_name("fuzz_tiffs.py")
CASES = 390


def test_hundreds_of_damaged_files_give_pixels_or_a_sentence(tmp_path):
    pixels = made_tiffs.tissue(140, 170)
    files = [
        made_tiffs.known_to_openslide(kind, tmp_path / f"known {number}.tif", pixels)
        for number, kind in enumerate(made_tiffs.KNOWN_TO_OPENSLIDE)
    ]
    files += [
        made_tiffs.unknown_to_openslide(kind, tmp_path / f"unknown {number}.tif", pixels)[0]
        for number, kind in enumerate(made_tiffs.UNKNOWN_TO_OPENSLIDE)
    ]
    done = subprocess.run(
        [sys.executable, "-W", "error", DRIVER, "20261", str(CASES), *files],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(napari_camelyon.__file__).parents[1]),
            "NAPARI_CAMELYON_CACHE": str(tmp_path / "cache"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    tried = done.stdout.strip().splitlines()
    assert done.returncode == 0, f"{tried[-1] if tried else 'before any case'}\n{done.stderr}"
    assert done.stderr == ""  # nor does a library tell the terminal what it found


def tiff(*fields: tuple[int, int, int, int], following: int = 0, rest: bytes = b"") -> bytes:
    """Return a little-endian TIFF of one directory at byte 8: (tag, type, count, value)."""
    entries = b"".join(struct.pack("<HHII", *field) for field in sorted(fields))
    return (
        struct.pack("<2sHIH", b"II", 42, 8, len(fields))
        + entries
        + struct.pack("<I", following)
        + rest
    )


def rgb(width: int, height: int, *more: tuple[int, int, int, int]) -> list[tuple[int, ...]]:
    return [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (277, 3, 1, 3),
        *more,
    ]


def tile(side: int, count: int = 1, place: int = 8, size: int = 16) -> list[tuple[int, ...]]:
    return [(322, 4, 1, side), (323, 4, 1, side), (324, 4, count, place), (325, 4, count, size)]


HOSTILE = {
    "a tile of 100 GB": (tiff(*rgb(200_000, 200_000), *tile(200_000)), "tiles measure 200000"),
    "10^9 tiles": (tiff(*rgb(2**20, 2**20), *tile(32, 2**30)), "should list 1073741824 tiles"),
    "2^62 pixels": (tiff(*rgb(2**31 - 1, 2**31 - 1), *tile(16)), "a size of"),
    "no pixels": (tiff(*rgb(0, 0), *tile(16)), "a size of 0 × 0"),
    "a strip of 100 GB": (
        tiff(*rgb(180_000, 180_000), (273, 4, 1, 8), (279, 4, 1, 16)),
        "strips instead of tiles",
    ),
    "a directory that follows itself": (tiff(*rgb(16, 16), following=8), "to the end"),
    "a directory of 65,535 fields": (
        struct.pack("<2sHIH", b"II", 42, 8, 65_535) + bytes(100),
        "first directory",
    ),
    "its directory beyond its end": (struct.pack("<2sHI", b"II", 42, 2**31), "first directory"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_claims_are_refused_before_anything_is_allocated(tmp_path, kind):
    content, reason = HOSTILE[kind]
    path = tmp_path / "hostile.tif"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(UnsupportedTiffError, match=reason):
            find_images(read_directories(OpenFile(path)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("kind", ["a strip of 100 GB", "a directory of 65,535 fields"])
def test_what_only_this_room_could_read_is_refused_in_a_sentence(tmp_path, kind):
    content, reason = HOSTILE[kind]
    path = tmp_path / "hostile.tif"
    path.write_bytes(content)
    assert not is_slide(path)
    with pytest.raises(SlideError, match=reason) as error:
        open_slide(path)
    assert "hostile.tif" in str(error.value)
    assert str(error.value).endswith(".")


def one_tile(path: Path, compression: int, data: bytes) -> TiffSource:
    """Open a TIFF of one tile of 64 px that holds these bytes."""
    tifffile.imwrite(
        path,
        iter([data]),
        shape=(64, 64, 3),
        dtype=np.uint8,
        photometric="rgb",
        tile=(64, 64),
        compression=compression,
        metadata=None,
    )
    file = OpenFile(path)
    return TiffSource(file, find_images(read_directories(file)), TileCache(0))


def jpeg_of(size: int) -> bytes:
    data = bytearray(imagecodecs.jpeg8_encode(np.zeros((64, 64, 3), np.uint8)))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">2H", size, size)
    return bytes(data)


def jpeg_of_scans(scans: int, **options: object) -> bytes:
    """Repeat the last scan of a JPEG."""
    written = io.BytesIO()
    Image.new("RGB", (64, 64)).save(written, "jpeg", **options)
    data = written.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * (scans - 1) + data[-2:]


def jpeg_of_scans_of_one_colour(scans: int) -> bytes:
    """Let each scan of a sequential JPEG have one colour of three, as it may."""
    data = jpeg_of(64)
    place = data.index(b"\xff\xda")
    scan = b"\xff\xda" + struct.pack(">H", 8) + bytes([1, 1, 0, 0, 63, 0]) + bytes(32)
    return data[:place] + scan * scans + b"\xff\xd9"


def jpeg_2000_of(size: int, part: int, layers: int = 1) -> bytes:
    pixels = np.zeros((64, 64, 3), np.uint8)
    data = bytearray(imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", level=40))
    place = data.index(b"\xff\x51")
    data[place + 6 : place + 14] = struct.pack(">2I", size, size)
    data[place + 22 : place + 30] = struct.pack(">2I", part, part)
    place = data.index(b"\xff\x52")
    data[place + 6 : place + 8] = struct.pack(">H", layers)
    return bytes(data)


TOO_MUCH = {
    "a JPEG of 65,000 px": (7, jpeg_of(65_000), "shape"),
    "a progressive JPEG of a thousand scans": (
        7,
        jpeg_of_scans(1_000, progressive=True),
        "too many scans",
    ),
    "a JPEG of a thousand scans": (7, jpeg_of_scans_of_one_colour(1_000), "too many scans"),
    "a JPEG of scans after the last one": (7, jpeg_of_scans(1_000), "more than one scan"),
    "a JPEG 2000 of 65,000 px": (33005, jpeg_2000_of(65_000, 65_000), "another size"),
    "a JPEG 2000 of 4,096 parts": (33005, jpeg_2000_of(64, 1), "parts"),
    "a JPEG 2000 of 65,535 layers": (33005, jpeg_2000_of(64, 64, 65_535), "layers"),
    "10 MB of zeros, deflated": (8, imagecodecs.zlib_encode(bytes(10_000_000)), "SPACE"),
}


@pytest.mark.parametrize("kind", TOO_MUCH)
def test_tiles_that_hold_more_than_a_tile_are_refused_before_they_are_decoded(tmp_path, kind):
    compression, data, reason = TOO_MUCH[kind]
    source = one_tile(tmp_path / "tile.tif", compression, data)
    tracemalloc.start()
    try:
        with pytest.raises(DamagedSlideError, match=reason) as error:
            source.read_level(0, 0, 0, 64, 64)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
    assert "level 0 at x=0, y=0" in str(error.value)


def test_a_stream_that_is_too_long_is_decoded_as_far_as_the_tile_goes(tmp_path):
    data = imagecodecs.lzw_encode(bytes(20_000_000))
    source = one_tile(tmp_path / "tile.tif", 5, data)
    tracemalloc.start()
    try:
        assert not source.read_level(0, 0, 0, 64, 64).any()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize(
    ("compression", "data"),
    [
        (7, jpeg_of(64)),
        (7, jpeg_of_scans(1, progressive=True)),
        (7, jpeg_of_scans_of_one_colour(3)),
        (33005, jpeg_2000_of(64, 64)),
    ],
    ids=["JPEG", "progressive", "one colour", "2000"],
)
def test_what_is_tried_above_is_sound_without_its_claim(tmp_path, compression, data):
    source = one_tile(tmp_path / "tile.tif", compression, data)
    assert source.read_level(0, 0, 0, 64, 64).shape == (64, 64, 3)


def test_directories_in_a_circle_are_visited_once(tmp_path):
    path = tmp_path / "circle.tif"
    # The second directory follows the first and is its own sub-directory; the first follows it.
    first = tiff((256, 4, 1, 16), (330, 4, 1, 38), following=38)
    second = struct.pack("<HHHIII", 1, 330, 4, 1, 38, 8)
    path.write_bytes(first + second)
    found = read_directories(OpenFile(path))
    assert len(found.directories) == 1
    assert len(found.directories[0].children) == 1
    assert not found.complete


def test_overlapping_directories_take_no_more_time_than_the_file_is_long(tmp_path):
    path = tmp_path / "overlapping.tif"
    # Each byte pair could begin a directory of 4,096 fields that leads to the next one.
    path.write_bytes(struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", 4096) * 200_000)
    found = read_directories(OpenFile(path))
    assert found is not None
    assert len(found.directories) <= 400_008 // 12 // 4096


@pytest.mark.parametrize("name", ["unreadable.svs", "unopenable.tiff"])
@pytest.mark.parametrize("backend", ["auto", "tiff", "openslide"])
def test_real_broken_files_are_told_in_a_sentence(shared_data, name, backend):
    def read() -> None:
        with open_slide(shared_data / "slides" / name, backend=backend) as slide:
            slide.read(0, 0, 16, 16)

    with pytest.raises(SlideError) as error:
        read()
    assert name in str(error.value)
    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)
