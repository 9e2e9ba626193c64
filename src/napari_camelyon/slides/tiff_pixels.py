"""Pixels of a tiled TIFF, decoded tile by tile as they lie in the file.

OpenSlide blends every tile in float before it hands it out, which takes several times as long as
decoding it. Here a tile is read and decoded alone, by the decoders that tifffile chooses, and
copied to where it belongs.
"""

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_camelyon.errors import SlideError
from napari_camelyon.slides.levels import StoredLevel
from napari_camelyon.slides.tile_cache import TileCache

__all__ = ["TiffPixels", "tiff_pixels"]

_LARGEST_TILE_PX = 4096  # a larger "tile" is a level stored in one piece


@dataclass(frozen=True)
class _Page:
    """One level: where its tiles lie and how they are decoded."""

    width_px: int
    height_px: int
    tile_width_px: int
    tile_height_px: int
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    decode: Callable[..., Any]
    tables: bytes | None

    @property
    def columns(self) -> int:
        return -(-self.width_px // self.tile_width_px)


def tiff_pixels(path: Path, levels: Sequence[StoredLevel], cache: TileCache) -> "TiffPixels | None":
    """Return a reader of a file's levels, or None where the file is not made for it.

    Parameters
    ----------
    path : Path
    levels : sequence of StoredLevel
        As OpenSlide sees them; a page of the same size is wanted for each.
    cache : TileCache
    """
    try:
        with tifffile.TiffFile(path) as tif:
            pages = [_page(page) for page in _all_pages(tif)]
    except (tifffile.TiffFileError, OSError, ValueError, KeyError, IndexError, TypeError):
        return None
    found = []
    for level in levels:
        size = (level.width_px, level.height_px)
        fitting = [page for page in pages if page and (page.width_px, page.height_px) == size]
        if len(fitting) != 1:
            return None
        found.append(fitting[0])
    return TiffPixels(path, tuple(found), tuple(level.downsample for level in levels), cache)


def _all_pages(tif: tifffile.TiffFile) -> Iterator[tifffile.TiffPage]:
    for listed in tif.pages:
        page = listed if isinstance(listed, tifffile.TiffPage) else listed.aspage()
        yield page
        if page.subifds:
            yield from (sub for sub in page.pages or () if isinstance(sub, tifffile.TiffPage))


def _page(page: tifffile.TiffPage) -> _Page | None:
    right = (
        page.is_tiled
        and page.dtype == np.uint8
        and page.samplesperpixel == 3
        and page.planarconfig == tifffile.PLANARCONFIG.CONTIG
        and page.imagedepth == 1
        and max(page.tilewidth, page.tilelength) <= _LARGEST_TILE_PX
    )
    if not right:
        return None
    offsets, sizes = tuple(page.dataoffsets), tuple(page.databytecounts)
    in_all = -(-page.imagewidth // page.tilewidth) * -(-page.imagelength // page.tilelength)
    if len(offsets) != in_all or len(sizes) != in_all:
        return None
    return _Page(
        page.imagewidth,
        page.imagelength,
        page.tilewidth,
        page.tilelength,
        offsets,
        sizes,
        page.decode,
        page.jpegtables,
    )


class TiffPixels:
    """Reads regions of a TIFF's levels; any thread may read."""

    def __init__(
        self,
        path: Path,
        pages: tuple[_Page, ...],
        downsamples: tuple[float, ...],
        cache: TileCache,
    ) -> None:
        self.path = path
        self._pages = pages
        self._downsamples = downsamples
        self._cache = cache
        self._file: _File | None = _File(path)
        stat = os.fstat(self._file.descriptor)
        # The same path may hold another file later, while the cache still has tiles of this one.
        self._identity = (str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns)

    def close(self) -> None:
        """Let go of the file; reads that run at this moment still finish."""
        self._file = None

    def read_level(
        self, level: int, column: int, row: int, width: int, height: int
    ) -> NDArray[np.uint8]:
        """Read pixels of a level; see `OpenSlideBackend.read_level`."""
        self._open_file()  # tiles in the cache outlive a slide, which is closed all the same
        page = self._pages[level]
        pixels = np.empty((height, width, 3), np.uint8)
        wide, tall = page.tile_width_px, page.tile_height_px
        for tile_row in range(row // tall, (row + height - 1) // tall + 1):
            for tile_column in range(column // wide, (column + width - 1) // wide + 1):
                left, top = tile_column * wide - column, tile_row * tall - row
                into = pixels[max(top, 0) : top + tall, max(left, 0) : left + wide]
                tile = self._tile(level, tile_row * page.columns + tile_column)
                if tile is None:
                    into[:] = 255
                    continue
                first_row, first_column = max(-top, 0), max(-left, 0)
                into[:] = tile[
                    first_row : first_row + into.shape[0],
                    first_column : first_column + into.shape[1],
                ]
        return pixels

    def fullest_places(self, level: int, count: int) -> list[tuple[int, int]]:
        """Return the corners, in pixels of a level, of the tiles that take the most bytes."""
        page = self._pages[level]
        fullest = np.argsort(page.sizes)[::-1][:count].tolist()
        return [
            (index % page.columns * page.tile_width_px, index // page.columns * page.tile_height_px)
            for index in fullest
        ]

    def _tile(self, level: int, index: int) -> NDArray[np.uint8] | None:
        page = self._pages[level]
        if page.sizes[index] == 0:
            return None
        key = (self._identity, level, index)
        return self._cache.get_or_make(key, lambda: self._decoded(page, level, index))

    def _decoded(self, page: _Page, level: int, index: int) -> NDArray[np.uint8]:
        data = self._bytes(page.offsets[index], page.sizes[index])
        row, column = divmod(index, page.columns)
        x_px = round(column * page.tile_width_px * self._downsamples[level])
        y_px = round(row * page.tile_height_px * self._downsamples[level])
        where = (
            f"{self.path} cannot be read: level {level} at x={x_px}, y={y_px} "
            f"({page.tile_width_px} × {page.tile_height_px} px) is damaged"
        )
        if len(data) < page.sizes[index]:
            raise SlideError(f"{where} (the file ends before it). Fetch the file again.")
        try:
            decoded = page.decode(data, index, jpegtables=page.tables)[0]
        except (ValueError, RuntimeError, IndexError, TypeError) as error:
            raise SlideError(
                f"{where} ({error}). Compare the file with its original or fetch it again."
            ) from error
        tile = np.asarray(decoded[0], np.uint8)
        if tile.shape != (page.tile_height_px, page.tile_width_px, 3):
            # tifffile cuts the last tiles at the image's edge.
            whole = np.full((page.tile_height_px, page.tile_width_px, 3), 255, np.uint8)
            whole[: tile.shape[0], : tile.shape[1]] = tile
            tile = whole
        return tile

    def _bytes(self, offset: int, size: int) -> bytes:
        file = self._open_file()  # the name keeps it open while we read
        try:
            return file.read(offset, size)
        except OSError as error:
            raise SlideError(
                f"{self.path} cannot be read any more ({error.strerror}): was it moved?"
            ) from error

    def _open_file(self) -> "_File":
        file = self._file
        if file is None:
            raise SlideError(f"{self.path.name} is closed: open it again to read from it.")
        return file


class _File:
    """A file that is closed when the last thread lets go of it, never under a running read."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._lock = threading.Lock()
        weakref.finalize(self, os.close, self.descriptor)

    def read(self, offset: int, size: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self.descriptor, size, offset)
        with self._lock:  # Windows knows no reading at a place
            os.lseek(self.descriptor, offset, os.SEEK_SET)
            return os.read(self.descriptor, size)
