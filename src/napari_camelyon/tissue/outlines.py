"""Between masks and outlines: polygons around what a mask marks, and masks of what they enclose."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_camelyon.annotations.raster import edges_of, strip_tiles

__all__ = ["mask_polygons", "rasterise"]

_SIMPLIFY_PIXELS = 0.75
"""Makes slanting stairs straight, as `annotations.wand_region` does."""
_STRIP_ROWS = 512


def mask_polygons(
    mask: NDArray[np.bool_], pixel_px: float, *, simplify_pixels: float = _SIMPLIFY_PIXELS
) -> list[Any]:
    """Return the polygons, with their holes, around what a mask marks.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, columns)
        Its corner is the slide's corner.
    pixel_px : float
        Side of a mask pixel in level-0 pixels.
    simplify_pixels : float
        How far an outline may leave the edges of the pixels; 0 keeps every corner.

    Returns
    -------
    list of shapely.Polygon
        In slide points, by first row, then by first column. Pixels that touch only at a corner lie
        in different polygons or in one, as the rings around them close.
    """
    lines = _boundary(mask)
    if not len(lines):
        return []
    faces = shapely.get_parts(shapely.polygonize(shapely.linestrings(lines)))
    inside = shapely.get_coordinates(shapely.point_on_surface(faces)).astype(int)
    found = faces[mask[inside[:, 1], inside[:, 0]]]
    if simplify_pixels > 0:
        found = shapely.simplify(found, simplify_pixels)
        found = found[~shapely.is_empty(found)]
    found = shapely.transform(found, lambda points: points * pixel_px)
    bounds = shapely.bounds(found)
    return list(found[np.lexsort((bounds[:, 0], bounds[:, 1]))])


def _boundary(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the straight lines around a mask, shape (n, 2, 2) as ``(x, y)`` of both ends.

    Lines meet at their ends only: where one turns, and where two pixels touch at a corner.
    """
    padded = np.pad(mask, 1).astype(np.int8)
    level = np.diff(padded, axis=0)[:, 1:-1]  # [y, x]: what lies below the line minus what above
    upright = np.diff(padded, axis=1)[1:-1].T  # [x, y]
    across = [_runs(level), _runs(upright)]
    down = across[1][..., ::-1]
    return np.concatenate([across[0], down]).astype(np.float64)


def _runs(signed: NDArray[np.int8]) -> NDArray[np.int64]:
    """Return runs of one sign along the rows, shape (n, 2, 2) as ``(column, row)`` of both ends."""
    # Signs apart: a run of one may follow one of the other at once, where pixels touch at a corner.
    starts, ends = [], []
    for sign in (1, -1):
        edge = np.diff(np.pad(signed == sign, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        starts.append(np.argwhere(edge == 1))
        ends.append(np.argwhere(edge == -1))
    first, last = np.concatenate(starts), np.concatenate(ends)
    return np.stack([first[:, ::-1], last[:, ::-1]], axis=1)


def rasterise(regions: Sequence[Any], shape: tuple[int, int], pixel_px: float) -> NDArray[np.bool_]:
    """Return which pixels of a mask have their centre in one of some regions.

    Parameters
    ----------
    regions : sequence of shapely.Polygon or MultiPolygon
        Valid, in slide points; they may overlap.
    shape : tuple of int
        Rows and columns of the mask, whose corner is the slide's corner.
    pixel_px : float
        Side of a mask pixel in level-0 pixels.

    Returns
    -------
    ndarray of bool
    """
    mask = np.zeros(shape, dtype=bool)
    rows, columns = shape
    for region in regions:
        if region.is_empty:
            continue
        scaled = shapely.transform(region, lambda points: points / pixel_px)
        _left, top, _right, bottom = scaled.bounds
        edges = edges_of(scaled)
        first, last = max(0, math.floor(top)), min(rows, math.ceil(bottom))
        for start in range(first, last, _STRIP_ROWS):
            count = min(_STRIP_ROWS, last - start)
            (tile,) = strip_tiles(edges, start, count, columns, columns)
            mask[start : start + count] |= tile
    return mask
