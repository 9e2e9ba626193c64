"""Files that change, go, or end too early while they are open; arrays to read into; handles."""

import gc
import os
import shutil
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

import made_tiffs
from napari_camelyon.errors import DamagedSlideError, SlideError
from napari_camelyon.slides import open_slide, write_slide
from napari_camelyon.slides.open_file import OpenFile
from napari_camelyon.slides.tile_cache import TileCache

BACKENDS = ["openslide", "tiff"]
WHOLE = (0, 0, 420, 300)

# There an open file can be neither replaced nor removed.
not_on_windows = pytest.mark.skipif(sys.platform == "win32", reason="open files stay on Windows")


@pytest.fixture(scope="module")
def pixels():
    return made_tiffs.tissue()


@pytest.fixture
def path(tmp_path, pixels) -> Path:
    return made_tiffs.generic(tmp_path / "slide.tif", pixels, compression="deflate")


@pytest.fixture
def other(tmp_path, pixels) -> Path:
    return made_tiffs.generic(tmp_path / "other.tif", 255 - pixels, compression="lzw")


@not_on_windows
class TestReplaced:
    def test_reading_goes_on_and_opening_again_gives_the_new_one(self, path, other, pixels):
        with open_slide(path) as slide:
            slide.read(0, 0, 64, 64)
            before = slide.fingerprint
            other.replace(path)
            np.testing.assert_array_equal(slide.read(*WHOLE), pixels)
            with open_slide(path) as fresh:
                np.testing.assert_array_equal(fresh.read(*WHOLE), 255 - pixels)
                assert fresh.fingerprint != before
            # Nor does the cache mix them up afterwards.
            np.testing.assert_array_equal(slide.read(*WHOLE), pixels)

    @pytest.mark.parametrize("backend", ["auto", "openslide"])
    def test_openslide_never_takes_one_file_for_the_other(self, path, tmp_path, pixels, backend):
        # Both are laid out alike, so that the old file's places fit the new one.
        for name in ("slide.tif", "other.tif"):
            shown = pixels if name == "slide.tif" else 255 - pixels
            made_tiffs.generic(tmp_path / name, shown, compression=None)
        with open_slide(path, backend=backend) as slide:
            if backend == "openslide":
                slide.read(0, 0, 64, 64)
            (tmp_path / "other.tif").replace(path)
            with pytest.raises(SlideError, match=r"was replaced or changed.*open it again"):
                slide.read(*WHOLE)
            with pytest.raises(SlideError, match="replaced"):
                slide.fingerprint  # noqa: B018

    def test_a_dead_openslide_handle_does_not_come_back_as_another_file(
        self, damaged_slide, other, noise
    ):
        with open_slide(damaged_slide, backend="openslide") as slide:
            with pytest.raises(DamagedSlideError):
                slide.read(130, 70, 20, 20)
            other.replace(damaged_slide)
            with pytest.raises(SlideError, match=r"was replaced or changed.*open it again"):
                slide.read(0, 0, 20, 20)

    def test_a_dead_openslide_handle_of_a_file_that_is_gone(self, damaged_slide):
        with open_slide(damaged_slide, backend="openslide") as slide:
            with pytest.raises(DamagedSlideError):
                slide.read(130, 70, 20, 20)
            damaged_slide.unlink()
            with pytest.raises(SlideError, match=r"cannot be reached any more.*moved or removed"):
                slide.read(0, 0, 20, 20)

    def test_a_file_that_is_gone_is_still_read_directly(self, path, pixels):
        with open_slide(path) as slide, open_slide(path, backend="openslide") as slow:
            slide.read(0, 0, 64, 64)
            slow.read(0, 0, 64, 64)
            path.unlink()
            np.testing.assert_array_equal(slide.read(*WHOLE), pixels)
            with pytest.raises(SlideError, match=r"cannot be reached any more.*moved or removed"):
                slow.read(*WHOLE)
        with pytest.raises(SlideError, match="no slide"):
            open_slide(path)


def test_a_file_that_is_written_to_while_open_is_told(path, pixels):
    with open_slide(path, backend="tiff") as slide:
        slide.read(0, 0, 10, 10)
        with tifffile.TiffFile(path) as tif:
            place, size = tif.pages.first.dataoffsets[-1], tif.pages.first.databytecounts[-1]
        with path.open("r+b") as file:
            file.seek(place)
            file.write(b"\xff" * size)
        with pytest.raises(SlideError, match="was changed while it was open") as error:
            slide.read(400, 290, 20, 10)
        assert not isinstance(error.value, DamagedSlideError)


def test_a_file_cut_off_says_so(path, tmp_path):
    # libtiff's writers put directories first: cut where the last tiles lie.
    with tifffile.TiffFile(path) as tif:
        pages = list(tif.pages)
        offsets = [offset for page in pages for offset in page.dataoffsets]
        directories = [page.offset for page in pages]
    assert max(directories) > 0
    cut = tmp_path / "cut.tif"
    content = bytearray(path.read_bytes())
    # The tiles of level 0 claimed to lie beyond the end, as after a copy that broke off.
    counts = pages[0].tags["TileOffsets"]
    step = counts.valuebytecount // counts.count
    beyond = (len(content) - 5).to_bytes(step, "little")
    last = counts.valueoffset + step * (counts.count - 1)
    content[last : last + step] = beyond
    cut.write_bytes(content)
    with open_slide(cut, backend="tiff") as slide:
        slide.read(0, 0, 64, 64)
        with pytest.raises(DamagedSlideError, match="may be cut off"):
            slide.read(400, 290, 20, 10)
    assert max(offsets) < len(content)


@pytest.mark.parametrize("kind", ["OME", "pyramid in strips", "JPEG 2000", "big-endian"])
def test_a_file_cut_off_before_a_level_is_refused(tmp_path, pixels, kind):
    whole, _ = made_tiffs.unknown_to_openslide(kind, tmp_path / "whole.tif", pixels)
    with tifffile.TiffFile(whole) as tif:
        page = tif.pages.first
        places = [sub.offset for sub in page.pages or ()] or [page.offset for page in tif.pages]
    cut = tmp_path / "cut.tif"
    cut.write_bytes(whole.read_bytes()[: max(places) + 3])
    with pytest.raises(SlideError, match="cut off"):
        open_slide(cut)


class TestClaims:
    @pytest.fixture
    def claiming(self, tmp_path, pixels) -> Path:
        """A BigTIFF of which one length has a wrong bit; OpenSlide aborts the process on it."""
        path = tmp_path / "claiming.tif"
        write_slide(
            path, lambda x, y, w, h: pixels[y : y + h, x : x + w], 420, 300, 0.25, tile_px=64
        )
        with tifffile.TiffFile(path) as tif:
            counts = tif.pages.first.tags["TileByteCounts"]
        with path.open("r+b") as file:
            file.seek(counts.valueoffset + 8 * 3)
            file.write((1 << 50).to_bytes(8, "little"))
        return path

    @pytest.mark.parametrize("backend", ["auto", "openslide"])
    def test_are_refused_before_openslide_believes_them(self, claiming, backend):
        with pytest.raises(SlideError, match="claims a tile of 1125899906842624 bytes"):
            open_slide(claiming, backend=backend)

    def test_leave_the_other_tiles_to_who_asks(self, claiming, pixels):
        with open_slide(claiming, backend="tiff") as slide:
            found = slide.read(0, 0, 192, 300)
            assert np.abs(found.astype(int) - pixels[:, :192]).mean() < 12
            with pytest.raises(DamagedSlideError, match="x=192, y=0"):
                slide.read(192, 0, 64, 64)


class TestOut:
    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("region", [(10, 20, 130, 90), (-30, -20, 500, 400), (900, 900, 5, 5)])
    def test_is_filled_and_returned(self, path, backend, region):
        with open_slide(path, backend=backend) as slide:
            expected = slide.read(*region)
            large = np.full((region[3] + 10, region[2] + 20, 3), 7, np.uint8)
            out = large[4:-6, 5:-15]  # not contiguous
            assert slide.read(*region, out=out) is out
        np.testing.assert_array_equal(out, expected)
        assert (large[:4] == 7).all()
        assert (large[:, :5] == 7).all()
        assert (large[-6:] == 7).all()
        assert (large[:, -15:] == 7).all()

    def test_no_second_array_of_that_size_is_made(self, path):
        out = np.empty((300, 420, 3), np.uint8)
        with open_slide(path) as slide:
            slide.read(*WHOLE, out=out)  # tiles are in the cache now
            tracemalloc.start()
            try:
                slide.read(*WHOLE, out=out)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert peak < out.nbytes // 2

    def test_on_a_source_of_its_own(self, tmp_path, pixels):
        with open_slide(made_tiffs.ome(tmp_path / "a.ome.tif", pixels)) as slide:
            out = np.empty((300, 420, 3), np.uint8)
            slide.read(*WHOLE, out=out)
        np.testing.assert_array_equal(out, pixels)

    @pytest.mark.parametrize(
        "out",
        [
            np.empty((300, 420, 4), np.uint8),
            np.empty((420, 300, 3), np.uint8),
            np.empty((300, 420, 3), np.float32),
        ],
        ids=["RGBA", "turned", "float"],
    )
    def test_what_does_not_fit_is_refused(self, path, out):
        with open_slide(path) as slide, pytest.raises(ValueError, match="uint8 of shape"):
            slide.read(*WHOLE, out=out)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="handles are counted on Linux")
def test_reading_and_errors_leave_no_handles(damaged_slide, tmp_path, pixels):
    def handles(path: Path) -> int:
        found = 0
        for each in Path("/proc/self/fd").iterdir():
            try:
                found += each.readlink() == path
            except OSError:
                continue
        return found

    ome = made_tiffs.ome(tmp_path / "a.ome.tif", pixels)
    for path, backend in ((damaged_slide, "openslide"), (damaged_slide, "tiff"), (ome, "auto")):
        slide = open_slide(path, backend=backend)

        def read(number: int, slide=slide) -> None:
            try:
                slide.read(number % 200, 70, 20, 20)
            except DamagedSlideError:
                return

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(read, range(200)))
        assert handles(path) <= 1  # OpenSlide opens the file for every read and closes it
        slide.close()
        del slide, read
        gc.collect()
        assert handles(path) == 0


def test_a_network_drive_that_gives_less_is_asked_again(path, monkeypatch):
    whole = path.read_bytes()
    file = OpenFile(path)
    read = OpenFile._read
    monkeypatch.setattr(OpenFile, "_read", lambda self, at, size: read(self, at, min(size, 7)))
    assert file.read(3, 100) == whole[3:103]
    assert file.read(len(whole) - 5, 100) == whole[-5:]
    assert file.read(len(whole) + 5, 100) == b""
    assert file.read(0, 10**15) == whole


@pytest.mark.skipif(not hasattr(os, "pread"), reason="this system reads under a lock anyway")
def test_systems_that_cannot_read_at_a_place(path, monkeypatch):
    whole = path.read_bytes()
    monkeypatch.delattr(os, "pread")
    file = OpenFile(path)
    places = [(place, 50) for place in range(0, len(whole) - 50, 997)]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda where: file.read(*where), places))
    assert found == [whole[place : place + size] for place, size in places]


def test_sixteen_threads_read_what_one_reads(tmp_path, pixels):
    paths = [
        made_tiffs.ome(tmp_path / "a.ome.tif", pixels),
        made_tiffs.generic(tmp_path / "planes.tif", pixels, planarconfig="separate"),
        made_tiffs.generic(tmp_path / "strips.tif", pixels, tile=None, rowsperstrip=7),
    ]
    rng = np.random.default_rng(1)
    for path in paths:
        regions = [
            (int(x), int(y), int(w), int(h), int(level))
            for x, y, w, h, level in rng.integers(
                (-9, -9, 1, 1, 0), (400, 290, 90, 90, 3), (200, 5)
            )
        ]
        with open_slide(path) as slide, ThreadPoolExecutor(16) as pool:
            serial = [slide.read(*region) for region in regions]
            together = list(pool.map(lambda region, slide=slide: slide.read(*region), regions))
        for one, another in zip(serial, together, strict=True):
            np.testing.assert_array_equal(one, another)


@given(
    st.integers(0, 3000),
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 40), st.booleans()), max_size=60),
)
def test_the_cache_never_exceeds_its_bound(most_bytes, steps):
    cache = TileCache(most_bytes)
    held: dict[int, int] = {}
    for key, side, is_put in steps:
        if is_put:
            cache.put(key, np.zeros((side, side, 3), np.uint8))
            if side * side * 3 <= most_bytes:
                assert cache.get(key).shape == (side, side, 3)
                held[key] = side * side * 3
        else:
            cache.get(key)
        kept = {key: cache.get(key) for key in range(13)}
        assert cache.bytes_held == sum(tile.nbytes for tile in kept.values() if tile is not None)
        assert cache.bytes_held <= most_bytes


def test_a_copy_of_a_slide_keeps_its_fingerprint(tmp_path, pixels):
    path = made_tiffs.ome(tmp_path / "a.ome.tif", pixels)
    copy = Path(shutil.copy(path, tmp_path / "b.ome.tif"))
    with open_slide(path) as one, open_slide(copy) as other:
        assert one.fingerprint == other.fingerprint
