"""Damaged TIFFs of every kind: pixels or a sentence, in bounded memory, and never a crash."""

import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

import made_tiffs
import napari_camelyon
from napari_camelyon.errors import SlideError
from napari_camelyon.slides import is_slide, open_slide
from napari_camelyon.slides.open_file import OpenFile
from napari_camelyon.slides.tiff_directories import read_directories
from napari_camelyon.slides.tiff_source import find_images
from napari_camelyon.slides.tiff_tiles import UnsupportedTiffError

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
    "a directory that follows itself": (tiff(*rgb(16, 16), following=8), "should list"),
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
            find_images(OpenFile(path))
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


def test_directories_in_a_circle_are_visited_once(tmp_path):
    path = tmp_path / "circle.tif"
    # The second directory follows the first and is its own sub-directory; the first follows it.
    first = tiff((256, 4, 1, 16), (330, 4, 1, 38), following=38)
    second = struct.pack("<HHHIII", 1, 330, 4, 1, 38, 8)
    path.write_bytes(first + second)
    found = read_directories(OpenFile(path))
    assert len(found) == 1
    assert len(found[0].children) == 1


def test_overlapping_directories_take_no_more_time_than_the_file_is_long(tmp_path):
    path = tmp_path / "overlapping.tif"
    # Each byte pair could begin a directory of 4,096 fields that leads to the next one.
    path.write_bytes(struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", 4096) * 200_000)
    found = read_directories(OpenFile(path))
    assert found is not None
    assert len(found) <= 400_008 // 12 // 4096


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
