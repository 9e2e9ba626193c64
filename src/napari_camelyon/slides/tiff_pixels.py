"""Pixels of a TIFF's levels, decoded tile by tile as they lie in the file.

OpenSlide blends every tile in float before it hands it out, which takes several times as long as
decoding it. Here a tile is read and decoded alone and copied to where it belongs.
"""

import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import DamagedSlideError, SlideError
from napari_camelyon.slides.levels import StoredLevel
from napari_camelyon.slides.open_file import OpenFile
from napari_camelyon.slides.tiff_directories import Directory, DirectoryChain
from napari_camelyon.slides.tiff_tiles import TiffPage, UnsupportedTiffError, tiff_page
from napari_camelyon.slides.tile_cache import TileCache

__all__ = ["TiffPixels", "tiff_pixels"]


def tiff_pixels(
    chain: DirectoryChain, levels: Sequence[StoredLevel], cache: TileCache
) -> "TiffPixels | None":
    """Return a reader of the levels that OpenSlide found, or None where it is not made for them.

    Parameters
    ----------
    chain : DirectoryChain
        As `read_directories` gives it.
    levels : sequence of StoredLevel
        As OpenSlide sees them; a tiled image of the same size is wanted for each.
    cache : TileCache
    """
    left = [page for page in _pages(chain.directories) if page.tiled]
    found = []
    for level in levels:
        page = next((page for page in left if _holds(page, level)), None)
        if page is None:
            return None
        # Where two levels of a file look alike, they follow each other as OpenSlide's levels do.
        left.remove(page)
        found.append(page)
    return TiffPixels(chain.file, tuple(found), tuple(level.downsample for level in levels), cache)


def _pages(directories: Sequence[Directory]) -> Iterator[TiffPage]:
    for directory in directories:
        for one in (directory, *directory.children):
            with suppress(UnsupportedTiffError):
                yield tiff_page(one)


def _holds(page: TiffPage, level: StoredLevel) -> bool:
    """Whether an image measures what a level does; that it is that level, its pixels prove."""
    size = page.width_px, page.height_px
    if size == (level.width_px, level.height_px):
        return True
    # Philips stores levels padded to whole tiles, and OpenSlide cuts the padding off.
    wide, tall = page.tile_width_px, page.tile_height_px
    padded = -(-level.width_px // wide) * wide, -(-level.height_px // tall) * tall
    return size == padded and (wide, tall) == (level.tile_width_px, level.tile_height_px)


class TiffPixels:
    """Reads regions of a TIFF's levels; any thread may read."""

    name = "tiff"

    def __init__(
        self,
        file: OpenFile,
        pages: tuple[TiffPage, ...],
        downsamples: tuple[float, ...],
        cache: TileCache,
    ) -> None:
        self.path = file.path
        self._pages = pages
        self._downsamples = downsamples
        self._cache = cache
        self._file: OpenFile | None = file
        # The same path may hold another file later, while the cache still has tiles of this one.
        self._identity = (str(file.path), file.identity)

    def close(self) -> None:
        """Let go of the file; reads that run at this moment still finish."""
        self._file = None

    def read_level(
        self,
        level: int,
        column: int,
        row: int,
        width: int,
        height: int,
        out: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        """Read pixels of a level; see `Source.read_level`."""
        self._open_file()  # tiles in the cache outlive a slide, which is closed all the same
        page = self._pages[level]
        pixels = np.empty((height, width, 3), np.uint8) if out is None else out
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
        return self._corners(level, np.argsort(self._pages[level].sizes[0])[::-1][:count])

    def empty_places(self, level: int, count: int) -> list[tuple[int, int]]:
        """Return the corners, in pixels of a level, of the first tiles that hold nothing."""
        return self._corners(level, np.flatnonzero(self._pages[level].sizes[0] == 0)[:count])

    def _corners(self, level: int, indices: NDArray[np.int64]) -> list[tuple[int, int]]:
        page = self._pages[level]
        return [
            (index % page.columns * page.tile_width_px, index // page.columns * page.tile_height_px)
            for index in indices.tolist()
        ]

    def _tile(self, level: int, index: int) -> NDArray[np.uint8] | None:
        page = self._pages[level]
        if page.sizes[0, index] == 0 or page.offsets[0, index] == 0:
            return None
        key = (self._identity, page.place, index)
        return self._cache.get_or_make(key, lambda: self._decoded(page, level, index))

    def _decoded(self, page: TiffPage, level: int, index: int) -> NDArray[np.uint8]:
        file = self._open_file()  # the name keeps it open while we read
        sizes = page.sizes[:, index].tolist()
        if max(sizes) > page.largest_data_bytes:
            raise self._damage(level, index, f"it claims to hold {max(sizes)} bytes")
        data = [
            file.read(offset, size)
            for offset, size in zip(page.offsets[:, index].tolist(), sizes, strict=True)
        ]
        if any(len(part) < size for part, size in zip(data, sizes, strict=True)):
            raise self._damage(level, index, "the file ends before it, so it may be cut off")
        try:
            return page.decode(data, page.rows_of(index))
        except (ValueError, RuntimeError, IndexError, TypeError, struct.error) as error:
            raise self._damage(level, index, str(error)) from error

    def _damage(self, level: int, index: int, reason: str) -> SlideError:
        """Return the error of a tile; its place is told in pixels of level 0."""
        if self._file is not None and self._file.changed():
            return SlideError(
                f"{self.path} was changed while it was open ({reason}): close it and open it again."
            )
        page, downsample = self._pages[level], self._downsamples[level]
        row, column = divmod(index, page.columns)
        x_px = round(column * page.tile_width_px * downsample)
        y_px = round(row * page.tile_height_px * downsample)
        return DamagedSlideError(
            f"{self.path} cannot be read: level {level} at x={x_px}, y={y_px} "
            f"({page.tile_width_px} × {page.tile_height_px} px) is damaged ({reason}). "
            "Compare the file with its original or fetch it again."
        )

    def _open_file(self) -> OpenFile:
        file = self._file
        if file is None:
            raise SlideError(f"{self.path.name} is closed: open it again to read from it.")
        return file
