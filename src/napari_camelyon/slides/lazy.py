"""A slide as dask arrays: the pyramid that napari shows and researchers compute on."""

from collections.abc import Callable
from dataclasses import dataclass

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import SlideError
from napari_camelyon.slides.pyramid import PyramidLevel, pyramid_levels
from napari_camelyon.slides.slide import Slide

__all__ = ["dask_levels"]

_CHUNK_PX = 512
"""Wanted side of a chunk. dask writes out only what is computed, so even a slide of 100,000 chunks
is described in some 20 ms (dask 2026.8; 0.4 s with 2025.1); a window of a screen takes two to three
times as long with chunks of 2048 px, as more is read than is shown (benchmarks/opening.py)."""


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
        Called, from whichever thread reads, with the error of each damaged tile; the tile is
        then shown in `DAMAGED_RGB` and everything else as usual. Without it, a damaged
        tile raises SlideError from ``compute()``, so that no analysis mistakes it for pixels.

    Returns
    -------
    list of dask.array.Array, shape (rows, columns, 3), uint8
    """
    return [_LazyLevel(level, on_damage).as_array() for level in pyramid_levels(slide)]


@dataclass(frozen=True)
class _LazyLevel:
    """One level of the pyramid, read block by block."""

    level: PyramidLevel
    on_damage: Callable[[SlideError], None] | None

    @property
    def chunk_px(self) -> int:
        tile_px = self.level.slide.tile_px
        return tile_px * max(1, round(_CHUNK_PX / tile_px))

    def as_array(self) -> da.Array:
        level = self.level
        # A name of our own spares dask the hashing, and is the same for the same content.
        marking = "" if self.on_damage is None else "-marking-damage"
        array: da.Array = da.map_blocks(  # type: ignore[no-untyped-call]
            self.read_block,
            chunks=(_split(level.rows, self.chunk_px), _split(level.columns, self.chunk_px), (3,)),
            dtype=np.uint8,
            meta=np.empty((0, 0, 0), dtype=np.uint8),
            name=f"slide-{level.slide.fingerprint}-x{level.factor}{marking}",
        )
        return array

    def read_block(self, block_id: tuple[int, ...]) -> NDArray[np.uint8]:
        row, column = block_id[0] * self.chunk_px, block_id[1] * self.chunk_px
        height = min(self.chunk_px, self.level.rows - row)
        width = min(self.chunk_px, self.level.columns - column)
        return self.level.read(column, row, width, height, self.on_damage)


def _split(length: int, chunk: int) -> tuple[int, ...]:
    whole, rest = divmod(length, chunk)
    return (chunk,) * whole + ((rest,) if rest else ())
