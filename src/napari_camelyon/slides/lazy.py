"""A slide as dask arrays: the pyramid that napari shows and researchers compute on.

napari takes the scale of a level from the ratio of array shapes. The levels here are therefore
exact halves of each other: a ×2 pyramid whose level 0 is extended with white, at its right and
bottom edge, to a multiple of the coarsest factor (by less than one pixel of the coarsest level).
So a pixel of any level lies where it belongs, exactly, and ``[y, x]`` of level 0 is the slide's
own pixel. Where the file has a level of the wanted factor its pixels are passed on untouched;
missing ones are averaged from the next finer level of the file.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import SlideError
from napari_camelyon.slides.resample import read_downsampled
from napari_camelyon.slides.slide import Slide

__all__ = ["dask_levels"]

COARSEST_PX = 1024
"""Longest side of the coarsest level, which napari reads at once and keeps as the thumbnail."""

_CHUNK_PX = 512
"""Wanted side of a chunk. dask writes out only what is computed, so even a slide of 100,000 chunks
is described in some 20 ms (dask 2026.8; 0.4 s with 2025.1); a window of a screen takes two to three
times as long with chunks of 2048 px, as more is read than is shown (benchmarks/opening.py)."""

DAMAGED_RGB = (255, 0, 255)
"""Colour of what cannot be read: magenta-like tones do not fill 256-pixel squares in tissue."""


def dask_levels(
    slide: Slide, *, on_damage: Callable[[SlideError], None] | None = None
) -> list[da.Array]:
    """Return the slide as a pyramid of lazy arrays for napari, level 0 first.

    Each level is half the one before, exactly; the last measures at most 1024 pixels. Level 0
    begins with the slide's pixels and ends with a white margin of fewer level-0 pixels than the
    last level's factor: ``levels[0][: slide.height_px, : slide.width_px]`` has none.

    Parameters
    ----------
    slide : Slide
        Must stay open for as long as the arrays are used.
    on_damage : callable, optional
        Called, from whichever thread reads, with the error of each damaged piece; the piece is
        then shown in `DAMAGED_RGB` and everything else as usual. Without it, a damaged
        tile raises SlideError from ``compute()``, so that no analysis mistakes it for pixels.

    Returns
    -------
    list of dask.array.Array, shape (rows, columns, 3), uint8
    """
    factors = [1]
    while max(slide.width_px, slide.height_px) / factors[-1] > COARSEST_PX:
        factors.append(2 * factors[-1])
    coarsest = factors[-1]
    rows = math.ceil(slide.height_px / coarsest) * coarsest
    columns = math.ceil(slide.width_px / coarsest) * coarsest
    return [
        _LazyLevel(slide, factor, rows // factor, columns // factor, on_damage).as_array()
        for factor in factors
    ]


@dataclass(frozen=True)
class _LazyLevel:
    """One level of the ×2 pyramid, read block by block."""

    slide: Slide
    factor: int
    rows: int
    columns: int
    on_damage: Callable[[SlideError], None] | None

    @property
    def chunk_px(self) -> int:
        tile_px = self.slide.tile_px
        return tile_px * max(1, round(_CHUNK_PX / tile_px))

    def as_array(self) -> da.Array:
        # A name of our own spares dask the hashing, and is the same for the same content.
        marking = "" if self.on_damage is None else "-marking-damage"
        array: da.Array = da.map_blocks(  # type: ignore[no-untyped-call]
            self.read_block,
            chunks=(_split(self.rows, self.chunk_px), _split(self.columns, self.chunk_px), (3,)),
            dtype=np.uint8,
            meta=np.empty((0, 0, 0), dtype=np.uint8),
            name=f"slide-{self.slide.fingerprint}-x{self.factor}{marking}",
        )
        return array

    def read_block(self, block_id: tuple[int, ...]) -> NDArray[np.uint8]:
        row, column = block_id[0] * self.chunk_px, block_id[1] * self.chunk_px
        height = min(self.chunk_px, self.rows - row)
        width = min(self.chunk_px, self.columns - column)
        try:
            return self._read(column, row, width, height)
        except SlideError:
            if self.on_damage is None:
                raise
        # Again in pieces of the size of the file's tiles, so that the damaged ones alone are lost.
        pixels = np.empty((height, width, 3), dtype=np.uint8)
        side = self.slide.tile_px
        for top in range(0, height, side):
            for left in range(0, width, side):
                part = pixels[top : top + side, left : left + side]
                try:
                    part[:] = self._read(column + left, row + top, part.shape[1], part.shape[0])
                except SlideError as error:
                    part[:] = DAMAGED_RGB
                    self.on_damage(error)
        return pixels

    def _read(self, column: int, row: int, width: int, height: int) -> NDArray[np.uint8]:
        return read_downsampled(self.slide, column, row, width, height, factor=self.factor)


def _split(length: int, chunk: int) -> tuple[int, ...]:
    whole, rest = divmod(length, chunk)
    return (chunk,) * whole + ((rest,) if rest else ())
