"""From polygons to pixels, tile by tile: a pixel belongs to a region when its centre lies inside.

A row of tiles is filled from left to right by counting crossings: along the line through the
centres of a row of pixels, what lies right of an odd number of edges is inside. All rings of a
region count alike, so that holes and islands need no order. Only the edges are held in memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["Edges", "edges_of", "strip_tiles"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """The edges of a region, none of them level: each runs from `top` to a lower `bottom`.

    Attributes
    ----------
    top_x, top_y, bottom_x, bottom_y : ndarray of float64, shape (n,)
        In pixels of the raster, from its corner.
    """

    top_x: NDArray[np.float64]
    top_y: NDArray[np.float64]
    bottom_x: NDArray[np.float64]
    bottom_y: NDArray[np.float64]


def edges_of(region: Any) -> Edges:
    """Return the edges of a valid shapely (Multi)Polygon, holes included."""
    rings = shapely.get_rings(shapely.get_parts(region))
    points, ring_of = shapely.get_coordinates(rings, return_index=True)
    together = ring_of[:-1] == ring_of[1:]
    start, end = points[:-1][together], points[1:][together]
    down = start[:, 1] < end[:, 1]
    level = start[:, 1] == end[:, 1]
    top = np.where(down[:, None], start, end)[~level]
    bottom = np.where(down[:, None], end, start)[~level]
    return Edges(top[:, 0], top[:, 1], bottom[:, 0], bottom[:, 1])


def strip_tiles(
    edges: Edges, first_row: int, rows: int, columns: int, tile_px: int
) -> Iterator[Mask | bool]:
    """Yield the tiles of one row of tiles, from left to right.

    Parameters
    ----------
    edges : Edges
        Of the region.
    first_row, rows : int
        Which rows of pixels the tiles cover.
    columns : int
        Width of the raster; the last tile may be narrower.
    tile_px : int
        Width of a tile.

    Yields
    ------
    ndarray of bool, shape (rows, width of the tile), or bool
        Which pixels lie inside; one value for all of them where no edge passes.
    """
    row, column = _crossings(edges, first_row, rows, columns)
    inside = np.zeros(rows, dtype=bool)  # the pixels before the tile
    for start in range(0, columns, tile_px):
        width = min(tile_px, columns - start)
        low, high = np.searchsorted(column, (start, start + width))
        if low == high and (inside.all() or not inside.any()):
            yield bool(inside[0])
            continue
        places = row[low:high] * width + (column[low:high] - start)
        changes = (np.bincount(places, minlength=rows * width) & 1).astype(bool)
        tile = np.logical_xor.accumulate(changes.reshape(rows, width), axis=1)
        tile ^= inside[:, None]
        inside = tile[:, -1].copy()
        yield tile


def _crossings(
    edges: Edges, first_row: int, rows: int, columns: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return row and first column to the right of every crossing, by increasing column.

    An edge counts for the centres from its upper end on, but not at its lower end, so that a
    corner is not counted twice.
    """
    near = (edges.bottom_y > first_row + 0.5) & (edges.top_y <= first_row + rows - 0.5)
    top_x, top_y = edges.top_x[near], edges.top_y[near]
    slope = (edges.bottom_x[near] - top_x) / (edges.bottom_y[near] - top_y)
    first = np.maximum(np.ceil(top_y - 0.5).astype(np.int64), first_row)
    end = np.minimum(np.ceil(edges.bottom_y[near] - 0.5).astype(np.int64), first_row + rows)
    counts = np.maximum(end - first, 0)
    edge = np.repeat(np.arange(len(counts)), counts)
    row = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    x = top_x[edge] + (row + 0.5 - top_y[edge]) * slope[edge]
    column = np.clip(np.ceil(x - 0.5), 0, columns).astype(np.int64)
    order = np.argsort(column, kind="stable")
    return (row - first_row)[order], column[order]
