"""Reading a region at any size, from the next finer level."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    # A slide makes its thumbnail with this module.
    from napari_camelyon.slides.slide import Damage, Slide

__all__ = ["area_means", "choose_level", "read_downsampled", "read_resampled", "resize_box"]

_PIXELS_AT_ONCE = 1 << 24
"""Most pixels of the file read in one piece: 48 MiB as RGB, whatever the file's pyramid lacks."""

_FLOATS_AT_ONCE = 1 << 22
"""Most values turned to float32 in one piece: 16 MiB."""


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
    if not out_width or not out_height:
        return np.empty((out_height, out_width, 3), dtype=np.uint8)
    step_x, step_y = width_px / out_width, height_px / out_height
    index = choose_level(slide, min(step_x, step_y))
    level = slide.levels[index]
    read_a_pixel = max(1.0, (step_x / level.downsample_x) * (step_y / level.downsample_y))
    at_once = max(1, int(_PIXELS_AT_ONCE / read_a_pixel))
    wide = min(out_width, at_once)
    tall = max(1, at_once // wide)
    result = np.empty((out_height, out_width, 3), dtype=np.uint8)
    for top in range(0, out_height, tall):
        for left in range(0, out_width, wide):
            part = result[top : top + tall, left : left + wide]
            rows, columns = part.shape[:2]
            region = (x_px + left * step_x, y_px + top * step_y, columns * step_x, rows * step_y)
            part[:] = _read_part(slide, index, region, columns, rows, on_damage)
    return result


def _read_part(
    slide: Slide,
    index: int,
    region: tuple[float, float, float, float],
    out_width: int,
    out_height: int,
    on_damage: Callable[[Damage], object] | None,
) -> NDArray[np.uint8]:
    level = slide.levels[index]
    x_px, y_px, width_px, height_px = region
    first_column, columns, left, right = _span(x_px, width_px, level.downsample_x, out_width)
    first_row, rows, top, bottom = _span(y_px, height_px, level.downsample_y, out_height)
    pixels = slide.read(
        round(first_column * level.downsample_x),
        round(first_row * level.downsample_y),
        columns,
        rows,
        level=index,
        on_damage=on_damage,
    )
    return resize_box(pixels, (left, top, right, bottom), out_width, out_height)


def _span(
    start_px: float, length_px: float, downsample: float, out_length: int
) -> tuple[int, int, float, float]:
    """Return, along one axis of a level, what to read and which part of it is wanted.

    The region need not begin on a pixel of the level: all that it touches are read, and the
    resampling takes the exact part. Interpolating also looks at the neighbours.
    """
    # Rounded, so that what is whole but for the arithmetic stays whole.
    begin = round(start_px / downsample, 6)
    end = round((start_px + length_px) / downsample, 6)
    neighbour = 1 if end - begin < out_length else 0
    first = math.floor(begin) - neighbour
    count = max(1, math.ceil(end) + neighbour - first)
    return first, count, begin - first, end - first


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
    return read_resampled(
        slide,
        column * factor,
        row * factor,
        width * factor,
        height * factor,
        width,
        height,
        on_damage=on_damage,
    )


def resize_box(
    pixels: NDArray[np.uint8],
    box: tuple[float, float, float, float],
    out_width: int,
    out_height: int,
) -> NDArray[np.uint8]:
    """Resize a part of an image without aliasing.

    Along an axis that shrinks, a pixel of the result is the mean over what it covers, with the
    pixels that it covers in part weighted by that part. Along an axis that grows, it is
    interpolated linearly between the two nearest centres.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (rows, columns, 3)
    box : tuple of float
        Left, top, right, bottom in pixels from the corner of `pixels`; may be fractional, and must
        lie within them.
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
    factors = int(width // out_width), int(height // out_height)
    shrinks = (factors[0] * out_width, factors[1] * out_height) == (width, height)
    if whole and shrinks and (factors[0] * factors[1]).bit_count() == 1:
        # Pillow's sums are exact, but it divides by multiplying, which is exact by a power of two
        # alone; its box filter rounds twice, once along each axis.
        left, top, right, bottom = (int(edge) for edge in box)
        return np.array(Image.fromarray(pixels).reduce(factors, (left, top, right, bottom)))
    return _resize(pixels, box, out_width, out_height)


def _resize(
    pixels: NDArray[np.uint8],
    box: tuple[float, float, float, float],
    out_width: int,
    out_height: int,
) -> NDArray[np.uint8]:
    rows, columns = pixels.shape[:2]
    across = _weights(box[0], box[2], out_width, columns)
    down = _weights(box[1], box[3], out_height, rows)
    result = np.empty((out_height, out_width, 3), dtype=np.uint8)
    lines = pixels.reshape(rows, columns * 3)
    step = max(
        1, _FLOATS_AT_ONCE * out_height // (3 * max(columns, out_width) * max(rows, out_height))
    )
    for first in range(0, out_height, step):
        part = down[first : first + step]
        begin, end = int(part.indices.min()), int(part.indices.max()) + 1
        flat = part[:, begin:end] @ lines[begin:end].astype(np.float32)
        upright = flat.reshape(-1, columns, 3).swapaxes(0, 1).reshape(columns, -1)
        turned = (across @ upright).reshape(out_width, -1, 3).swapaxes(0, 1)
        result[first : first + step] = turned + 0.5
    return result


def area_means(
    values: NDArray[np.float32],
    box: tuple[float, float, float, float],
    out_width: int,
    out_height: int,
) -> NDArray[np.float32]:
    """Shrink a part of a grey image to the exact means over its areas, unrounded.

    As `resize_box`, for float32 of shape (rows, columns).
    """
    rows, columns = values.shape
    down = _weights(box[1], box[3], out_height, rows)
    across = _weights(box[0], box[2], out_width, columns)
    return np.asarray((across @ (down @ values).T).T)


@functools.lru_cache(maxsize=64)
def _weights(begin: float, end: float, out_length: int, length: int) -> csr_array:
    """Return how much each pixel along an axis adds to each of the result, rows summing to 1.

    Returns
    -------
    csr_array of float32, shape (out_length, length)
    """
    from scipy.sparse import csr_array  # takes as long to import as opening ten slides

    scale = (end - begin) / out_length
    if scale >= 1:
        edges = begin + scale * np.arange(out_length + 1)
        first = np.floor(edges[:-1]).astype(int)
        touched = first[:, None] + np.arange(math.ceil(scale) + 1)
        overlap = np.minimum(edges[1:, None], touched + 1) - np.maximum(edges[:-1, None], touched)
        weights = np.maximum(overlap, 0) / scale
    else:
        # Of the pixels' centres, which lie half a pixel from their edges.
        places = begin + scale * (np.arange(out_length) + 0.5) - 0.5
        first = np.floor(places).astype(int)
        touched = first[:, None] + np.arange(2)
        share = places - first
        weights = np.stack([1 - share, share], axis=1)
    # Beyond the edge the last pixel goes on; only roundings and interpolation reach there.
    touched = np.clip(touched, 0, length - 1)
    starts = np.arange(out_length + 1) * touched.shape[1]
    return csr_array(
        (weights.ravel().astype(np.float32), touched.ravel(), starts), shape=(out_length, length)
    )
