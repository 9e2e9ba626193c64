"""The pyramid that napari is shown: levels that are exact halves of each other.

napari takes the scale of a level from the ratio of array shapes. So level 0 is extended with white,
at its right and bottom edge, to a multiple of the coarsest factor (by less than one pixel of the
coarsest level), and every level is half the one before. A pixel of any level then lies where it
belongs, exactly, and ``[y, x]`` of level 0 is the slide's own pixel. Where the file has a level of
the wanted factor its pixels are passed on untouched; missing ones are averaged from the next finer
level of the file.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import SlideError
from napari_camelyon.slides.resample import read_downsampled
from napari_camelyon.slides.slide import DAMAGED_RGB, Damage, Slide

__all__ = ["COARSEST_PX", "PyramidLevel", "pyramid_levels"]

COARSEST_PX = 1024
"""Longest side of the coarsest level, which is read as a whole and serves as the thumbnail."""


@dataclass(frozen=True)
class PyramidLevel:
    """One level of the ×2 pyramid.

    Attributes
    ----------
    slide : Slide
    factor : int
        Level-0 pixels along one pixel; a power of two.
    rows, columns : int
        Size, the white margin included.
    """

    slide: Slide
    factor: int
    rows: int
    columns: int

    def read(
        self,
        column: int,
        row: int,
        width: int,
        height: int,
        on_damage: Callable[[SlideError], None] | None = None,
    ) -> NDArray[np.uint8]:
        """Read a window of the level.

        Parameters
        ----------
        column, row, width, height : int
            In pixels of the level.
        on_damage : callable, optional
            Called with the error of each damaged tile, which is then filled with `DAMAGED_RGB`
            while everything else is read as usual.

        Returns
        -------
        ndarray of uint8, shape (height, width, 3)

        Raises
        ------
        SlideError
            A part is damaged and there is no `on_damage`.
        """
        if on_damage is None:
            return self._read(column, row, width, height, None)
        try:
            return self._read(column, row, width, height, lambda damage: on_damage(damage.error))
        except SlideError as error:  # closed, or gone as a whole
            on_damage(error)
            return np.full((height, width, 3), DAMAGED_RGB, np.uint8)

    def _read(
        self,
        column: int,
        row: int,
        width: int,
        height: int,
        on_damage: Callable[[Damage], object] | None,
    ) -> NDArray[np.uint8]:
        return read_downsampled(
            self.slide, column, row, width, height, factor=self.factor, on_damage=on_damage
        )


def pyramid_levels(slide: Slide) -> list[PyramidLevel]:
    """Return the levels of a slide, level 0 first; the last measures at most `COARSEST_PX`."""
    factors = [1]
    while max(slide.width_px, slide.height_px) / factors[-1] > COARSEST_PX:
        factors.append(2 * factors[-1])
    coarsest = factors[-1]
    rows = math.ceil(slide.height_px / coarsest) * coarsest
    columns = math.ceil(slide.width_px / coarsest) * coarsest
    return [PyramidLevel(slide, factor, rows // factor, columns // factor) for factor in factors]
