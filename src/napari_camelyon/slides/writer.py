"""Write a pyramidal, JPEG-tiled BigTIFF from tiles that are made on demand.

The tiles of all levels come out of one walk over the pyramid as a quad-tree, deepest first, so
that a slide of any size passes through the memory of a few tiles. That order is why the
directories are laid out here and not by tifffile, which wants one finished level after the other.
Layout: Adobe TIFF 6.0, TIFF Technical Note 2 (JPEG) and the BigTIFF design
(https://libtiff.gitlab.io/libtiff/specification/bigtiff.html).
"""

import struct
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from napari_camelyon.files import atomic_file
from napari_camelyon.geometry import Mpp

__all__ = ["write_slide"]

Pixels = NDArray[np.uint8]
ReadTile = Callable[[int, int, int, int], Pixels | None]
"""``read_tile(x_px, y_px, width_px, height_px)`` gives uint8 (height, width, 3), None for white."""

COARSEST_PX = 1024
"""Levels are added until the longer side is no more than this."""

_TILE_MULTIPLE_PX = 16  # TIFF 6.0, section 15: tile sides are multiples of 16
_SHORT, _LONG, _RATIONAL, _ASCII, _LONG8 = 3, 4, 5, 2, 16
_SOFTWARE = "napari-camelyon"


def write_slide(
    path: Path | str,
    read_tile: ReadTile,
    width_px: int,
    height_px: int,
    mpp: float | Mpp,
    *,
    tile_px: int = 512,
    quality: int = 85,
    description: str = "",
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a whole slide tile by tile; OpenSlide, QuPath and tifffile read it.

    Each level halves the one before until the longer side is at most 1024 px. Width and height
    are padded with white to a multiple of the coarsest downsample (by less than that many
    pixels), so that every level is exactly 2, 4, 8 … times smaller and readers that derive the
    downsample from sizes find those very numbers. Plain white tiles are empty (offset 0, length
    0), as in the files of CAMELYON: OpenSlide gives them as transparent background, tifffile and
    GDAL as white because the no-data value is set to 255.

    Parameters
    ----------
    path : path-like
        The file to write; replaced only when the new one is complete.
    read_tile : callable
        Called once a level-0 tile with ``(x_px, y_px, width_px, height_px)``, cut at the
        slide's edge; returns uint8 of shape (height, width, 3), or None for plain white.
    width_px, height_px : int
        Size of level 0.
    mpp : float or (float, float)
        µm per level-0 pixel, or one for x and one for y.
    tile_px : int
        Side of a stored tile, a multiple of 16.
    quality : int
        JPEG quality, 1–100; chroma is stored at half resolution (4:2:0), as scanners do.
    description : str
        ASCII text for the ImageDescription tag.
    workers : int
        Threads that call `read_tile` ahead of the walk; above 1 it must be thread-safe.
    progress : callable, optional
        Called with ``(tiles done, tiles in all)`` of level 0.

    Raises
    ------
    FileWriteError
        The file cannot be written; what stood there before is untouched.
    ValueError
        A size, the spacing, the quality or what `read_tile` returned makes no sense.
    """
    mpp_xy = (float(mpp), float(mpp)) if isinstance(mpp, (int, float)) else mpp
    _check(width_px, height_px, mpp_xy, tile_px, quality)
    levels = _plan_levels(width_px, height_px, tile_px)
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        # 8-byte offsets; the first directory's place is filled in at the end.
        file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0))
        with ExitStack() as stack:
            tiles = _read_ahead(read_tile, levels, (width_px, height_px), workers, stack)
            _TileWriter(file, levels, tile_px, quality, progress).write(tiles)
        first = _write_directories(file, levels, mpp_xy, tile_px, description)
        file.seek(8)
        file.write(struct.pack("<Q", first))


@dataclass(frozen=True, slots=True)
class _LevelPlan:
    width_px: int
    height_px: int
    columns: int
    rows: int
    offsets: NDArray[np.uint64]
    byte_counts: NDArray[np.uint64]


def _check(width_px: int, height_px: int, mpp: Mpp, tile_px: int, quality: int) -> None:
    if width_px < 1 or height_px < 1:
        raise ValueError(f"A slide needs at least one pixel, not {width_px} × {height_px}.")
    if not all(0.01 <= value <= 1000 for value in mpp):
        raise ValueError(f"The spacing {mpp} µm/px is not between 0.01 and 1000.")
    if tile_px < _TILE_MULTIPLE_PX or tile_px % _TILE_MULTIPLE_PX:
        raise ValueError(f"A tile of {tile_px} px is no multiple of {_TILE_MULTIPLE_PX}.")
    if not 1 <= quality <= 100:
        raise ValueError(f"The JPEG quality {quality} is not between 1 and 100.")


def _plan_levels(width_px: int, height_px: int, tile_px: int) -> list[_LevelPlan]:
    halvings = 0
    while max(width_px, height_px) > COARSEST_PX << halvings:
        halvings += 1
    coarsest_width = -(-width_px >> halvings)
    coarsest_height = -(-height_px >> halvings)
    levels = []
    for finer in range(halvings, -1, -1):
        width, height = coarsest_width << finer, coarsest_height << finer
        columns, rows = -(-width // tile_px), -(-height // tile_px)
        levels.append(
            _LevelPlan(
                width,
                height,
                columns,
                rows,
                np.zeros((rows, columns), np.uint64),
                np.zeros((rows, columns), np.uint64),
            )
        )
    return levels


def _quad_tree(
    levels: list[_LevelPlan], level: int, column: int, row: int
) -> list[tuple[int, int]]:
    """Return the tiles (column, row) one level below a tile."""
    below = levels[level - 1]
    return [
        (column * 2 + right, row * 2 + down)
        for down in (0, 1)
        for right in (0, 1)
        if column * 2 + right < below.columns and row * 2 + down < below.rows
    ]


def _walk_level_0(levels: list[_LevelPlan]) -> Iterator[tuple[int, int]]:
    """Yield (column, row) of the level-0 tiles in the order in which the walk needs them."""

    def below(level: int, column: int, row: int) -> Iterator[tuple[int, int]]:
        if level == 0:
            yield column, row
            return
        for child_column, child_row in _quad_tree(levels, level, column, row):
            yield from below(level - 1, child_column, child_row)

    top = len(levels) - 1
    for row in range(levels[top].rows):
        for column in range(levels[top].columns):
            yield from below(top, column, row)


def _read_ahead(
    read_tile: ReadTile,
    levels: list[_LevelPlan],
    size_px: tuple[int, int],
    workers: int,
    stack: ExitStack,
) -> Callable[[int], Iterator[Pixels | None]]:
    width_px, height_px = size_px

    def read(column: int, row: int, tile_px: int) -> Pixels | None:
        x_px, y_px = column * tile_px, row * tile_px
        width, height = min(tile_px, width_px - x_px), min(tile_px, height_px - y_px)
        if width <= 0 or height <= 0:
            return None  # nothing but padding
        pixels = read_tile(x_px, y_px, width, height)
        if pixels is not None and (pixels.shape != (height, width, 3) or pixels.dtype != np.uint8):
            raise ValueError(
                f"read_tile({x_px}, {y_px}, {width}, {height}) returned {pixels.dtype} of shape "
                f"{pixels.shape}; expected uint8 of shape {(height, width, 3)}."
            )
        return pixels

    def in_order(tile_px: int) -> Iterator[Pixels | None]:
        places = _walk_level_0(levels)
        if workers <= 1:
            for column, row in places:
                yield read(column, row, tile_px)
            return
        pool = ThreadPoolExecutor(workers)
        # After an error elsewhere nobody waits for tiles that nobody needs.
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        waiting: deque[Future[Pixels | None]] = deque()
        for column, row in places:
            waiting.append(pool.submit(read, column, row, tile_px))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    return in_order


class _TileWriter:
    """Walks the quad-tree, stores each tile and remembers where."""

    def __init__(
        self,
        file: BinaryIO,
        levels: list[_LevelPlan],
        tile_px: int,
        quality: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._file = file
        self._levels = levels
        self._tile_px = tile_px
        self._quality = quality
        self._progress = progress
        self._done = 0

    def write(self, tiles: Callable[[int], Iterator[Pixels | None]]) -> None:
        level_0 = tiles(self._tile_px)
        top = len(self._levels) - 1
        for row in range(self._levels[top].rows):
            for column in range(self._levels[top].columns):
                self._build(top, column, row, level_0)

    def _build(
        self, level: int, column: int, row: int, level_0: Iterator[Pixels | None]
    ) -> Pixels | None:
        side = self._tile_px
        if level == 0:
            pixels = self._padded(next(level_0))
            self._count()
        else:
            quarters = np.full((2 * side, 2 * side, 3), 255, np.uint8)
            empty = True
            for child_column, child_row in _quad_tree(self._levels, level, column, row):
                child = self._build(level - 1, child_column, child_row, level_0)
                if child is not None:
                    empty = False
                    down, right = (child_row - 2 * row) * side, (child_column - 2 * column) * side
                    quarters[down : down + side, right : right + side] = child
            pixels = None if empty else _halved(quarters)
        self._store(level, column, row, pixels)
        return pixels

    def _padded(self, pixels: Pixels | None) -> Pixels | None:
        if pixels is None or pixels.min() == 255:
            return None
        if pixels.shape[:2] == (self._tile_px, self._tile_px):
            return pixels
        full = np.full((self._tile_px, self._tile_px, 3), 255, np.uint8)
        full[: pixels.shape[0], : pixels.shape[1]] = pixels
        return full

    def _store(self, level: int, column: int, row: int, pixels: Pixels | None) -> None:
        if pixels is None:
            return  # offset 0 and length 0: an empty tile
        encoded = imagecodecs.jpeg8_encode(
            np.ascontiguousarray(pixels),
            level=self._quality,
            colorspace="RGB",
            outcolorspace="YCBCR",
            subsampling="420",
        )
        self._levels[level].offsets[row, column] = self._file.tell()
        self._levels[level].byte_counts[row, column] = len(encoded)
        self._file.write(encoded)

    def _count(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._levels[0].rows * self._levels[0].columns)


def _halved(pixels: Pixels) -> Pixels:
    """Average each 2 × 2 block, rounding half up."""
    rows = pixels[0::2].astype(np.uint16) + pixels[1::2]
    return ((rows[:, 0::2] + rows[:, 1::2] + 2) >> 2).astype(np.uint8)


def _write_directories(
    file: BinaryIO, levels: list[_LevelPlan], mpp: Mpp, tile_px: int, description: str
) -> int:
    """Append one directory a level, linked; return the place of the first."""
    file.seek(0, 2)
    first = 0
    link = None
    for number, level in enumerate(levels):
        scale = 1 << number
        tags: list[tuple[int, int, int, bytes]] = [
            _tag(254, _LONG, [0 if number == 0 else 1]),  # NewSubfileType: reduced resolution
            _tag(256, _LONG, [level.width_px]),
            _tag(257, _LONG, [level.height_px]),
            _tag(258, _SHORT, [8, 8, 8]),
            _tag(259, _SHORT, [7]),  # JPEG, Technical Note 2
            _tag(262, _SHORT, [6]),  # YCbCr
            _text_tag(270, description),
            _tag(277, _SHORT, [3]),
            _resolution_tag(282, mpp[0] * scale),
            _resolution_tag(283, mpp[1] * scale),
            _tag(284, _SHORT, [1]),
            _tag(296, _SHORT, [3]),  # per centimetre
            _text_tag(305, _SOFTWARE),
            _tag(322, _LONG, [tile_px]),
            _tag(323, _LONG, [tile_px]),
            _tag(324, _LONG8, level.offsets.ravel().tolist()),
            _tag(325, _LONG8, level.byte_counts.ravel().tolist()),
            _tag(530, _SHORT, [2, 2]),
            _text_tag(42113, "255"),  # GDAL_NODATA: what readers put in place of empty tiles
        ]
        place, next_link = _write_directory(file, [tag for tag in tags if tag[2] > 0])
        if link is None:
            first = place
        else:
            file.seek(link)
            file.write(struct.pack("<Q", place))
            file.seek(0, 2)
        link = next_link
    return first


def _write_directory(file: BinaryIO, tags: list[tuple[int, int, int, bytes]]) -> tuple[int, int]:
    """Append long values, then the directory; return its place and the place of its link."""
    entries = []
    for code, kind, count, value in tags:
        stored = value
        if len(value) > 8:
            _align(file)
            stored = struct.pack("<Q", file.tell())
            file.write(value)
        entries.append(struct.pack("<HHQ8s", code, kind, count, stored))
    _align(file)
    place = file.tell()
    file.write(struct.pack("<Q", len(entries)) + b"".join(entries) + struct.pack("<Q", 0))
    return place, file.tell() - 8


def _align(file: BinaryIO) -> None:
    file.write(b"\0" * (-file.tell() % 8))


def _tag(code: int, kind: int, values: list[int]) -> tuple[int, int, int, bytes]:
    letter = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}[kind]
    return code, kind, len(values), struct.pack(f"<{len(values)}{letter}", *values)


def _text_tag(code: int, text: str) -> tuple[int, int, int, bytes]:
    if not text:
        return code, _ASCII, 0, b""
    value = text.encode("ascii", "replace") + b"\0"
    return code, _ASCII, len(value), value


def _resolution_tag(code: int, mpp: float) -> tuple[int, int, int, bytes]:
    """Pixels per centimetre as the closest ratio of two 32-bit numbers."""
    per_cm = Fraction(10_000) / Fraction(mpp)
    largest = min(2**32 - 1, int((2**32 - 1) / max(per_cm, Fraction(1))) - 1)
    ratio = per_cm.limit_denominator(largest)
    return code, _RATIONAL, 1, struct.pack("<II", ratio.numerator, ratio.denominator)
