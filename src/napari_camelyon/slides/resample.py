"""Reading a region at any size, from the next finer level."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:  # a slide makes its thumbnail with this module
    from napari_camelyon.slides.slide import Damage, Slide

__all__ = ["choose_level", "read_downsampled", "read_resampled", "resize_box"]

_PIXELS_AT_ONCE = 1 << 24
"""Most pixels of the file read in one piece: 48 MiB as RGB, whatever the file's pyramid lacks."""


def choose_level(slide: Slide, downsample: float) -> int:
    """Return the coarsest level that is at least as fine as `downsample`.

    Parameters
    ----------
    slide : Slide
    downsample : float
        Level-0 pixels per wanted pixel. A level 1 % coarser still counts as fine enough: mpp
        values of one scanner differ in the third digit.
    """
    fine_enough = [
        index
        for index, level in enumerate(slide.levels)
        if max(level.downsample_x, level.downsample_y) <= downsample * 1.01
    ]
    return fine_enough[-1] if fine_enough else 0


def read_resampled(
    slide: Slide,
    x_px: float,
    y_px: float,
    width_px: float,
    height_px: float,
    out_width: int,
    out_height: int,
    *,
    on_damage: Callable[[Damage], object] | None = None,
) -> NDArray[np.uint8]:
    """Read a region of level 0 as an image of a given size.

    Parameters
    ----------
    slide : Slide
    x_px, y_px : float
        Slide point of the region's top-left corner.
    width_px, height_px : float
        Size of the region in level-0 pixels.
    out_width, out_height : int
        Size of the result.
    on_damage : callable, optional
        As in `Slide.read`.

    Returns
    -------
    ndarray of uint8, shape (out_height, out_width, 3)
        RGB; white outside the slide.

    Raises
    ------
    SlideError
        The slide cannot be read there.
    """
    level_index = choose_level(slide, min(width_px / out_width, height_px / out_height))
    level = slide.levels[level_index]
    # The region's corner need not fall on a pixel of the level: read one more on each side and
    # let the resampling take the exact part of it.
    left, top = x_px / level.downsample_x, y_px / level.downsample_y
    right, bottom = left + width_px / level.downsample_x, top + height_px / level.downsample_y
    first_column, first_row = math.floor(left + 1e-6), math.floor(top + 1e-6)
    columns = max(1, math.ceil(right - 1e-6) - first_column)
    rows = max(1, math.ceil(bottom - 1e-6) - first_row)
    pixels = slide.read(
        round(first_column * level.downsample_x),
        round(first_row * level.downsample_y),
        columns,
        rows,
        level=level_index,
        on_damage=on_damage,
    )
    box = (
        max(0.0, left - first_column),
        max(0.0, top - first_row),
        min(float(columns), right - first_column),
        min(float(rows), bottom - first_row),
    )
    return resize_box(pixels, box, out_width, out_height)


def read_downsampled(
    slide: Slide,
    column: int,
    row: int,
    width: int,
    height: int,
    *,
    factor: float,
    on_damage: Callable[[Damage], object] | None = None,
) -> NDArray[np.uint8]:
    """Read a region of the slide shrunk by any factor, in bounded memory.

    Parameters
    ----------
    slide : Slide
    column, row : int
        First pixel of the result, counted in shrunken pixels from the slide's corner.
    width, height : int
        Size of the result.
    factor : float
        Level-0 pixels per pixel of the result, at least 1.
    on_damage : callable, optional
        As in `Slide.read`.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        RGB; white outside the slide.

    Raises
    ------
    SlideError
        The slide cannot be read there.
    """
    level = slide.levels[choose_level(slide, factor)]
    read_a_pixel = max(1.0, (factor / level.downsample_x) * (factor / level.downsample_y))
    at_once = max(1, int(_PIXELS_AT_ONCE / read_a_pixel))
    wide = min(max(width, 1), at_once)
    tall = max(1, at_once // wide)
    result = np.empty((height, width, 3), dtype=np.uint8)
    for top in range(0, height, tall):
        for left in range(0, width, wide):
            part = result[top : top + tall, left : left + wide]
            part[:] = read_resampled(
                slide,
                (column + left) * factor,
                (row + top) * factor,
                part.shape[1] * factor,
                part.shape[0] * factor,
                part.shape[1],
                part.shape[0],
                on_damage=on_damage,
            )
    return result


def resize_box(
    pixels: NDArray[np.uint8],
    box: tuple[float, float, float, float],
    out_width: int,
    out_height: int,
) -> NDArray[np.uint8]:
    """Resize a part of an image without aliasing.

    Shrinking by whole factors averages areas exactly; everything else is Pillow's bilinear
    filter, which widens with the factor when shrinking.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (rows, columns, 3)
    box : tuple of float
        Left, top, right, bottom in pixels from the corner of `pixels`; may be fractional.
    out_width, out_height : int

    Returns
    -------
    ndarray of uint8, shape (out_height, out_width, 3)
    """
    width, height = box[2] - box[0], box[3] - box[1]
    whole = all(float(edge).is_integer() for edge in box)
    if whole and (width, height) == (out_width, out_height):
        left, top, right, bottom = (int(edge) for edge in box)
        return pixels[top:bottom, left:right]
    whole = whole and width % out_width == 0 and height % out_height == 0
    filter_ = Image.Resampling.BOX if whole else Image.Resampling.BILINEAR
    return np.array(Image.fromarray(pixels).resize((out_width, out_height), filter_, box=box))
