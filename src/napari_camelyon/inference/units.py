"""What is computed at once, and what comes next.

Which patches share a batch is decided by the grid, the selected patches and the size of a batch
alone: the cells are put on a space-filling curve and cut into batches, each of which is full but
the last. So neither the order of a run nor its pauses and interruptions change a value. A *unit*
is some batches that follow each other: it is read as a whole, ahead of its turn.

What comes next may change at any time: what a person looks at, then a sparse pass over the whole
slide so that the overview fills everywhere, then the neighbours of high values, then the curve,
along which tiles of the file are shared.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_camelyon.geometry import Grid

__all__ = [
    "UnitPlan",
    "View",
    "Waiting",
    "batches_with",
    "give_back",
    "look",
    "note_values",
    "plan_units",
    "take_next",
    "wait_for",
]

View = tuple[float, float, float, float]
"""``(x, y, width, height)`` in level-0 pixels."""

BLOCK_PX = 1024
"""Side of a block, which is read in one piece, in model pixels: 3 MB of pixels."""

_CELLS_A_BLOCK = 8
"""Longest side of a block in cells, unless it is predicted as a whole: where patches overlap, a
compact block shows sooner what is around a place, and fewer pixels are read than in a strip."""

_PATCHES_A_UNIT = 64
"""At least, as far as batches are smaller: fewer, and reading is asked for in dribs and drabs;
more, and a change of the view shows late."""

_ONE_IN = 16
"""Of the units, this one is in the sparse pass. Its patches share few tiles with each other."""

_LEVELS = 4
"""Steps of suspicion: with more, noise among low values would tear the curve to pieces."""


@dataclass(frozen=True, eq=False, slots=True)
class UnitPlan:
    """The selected cells of a grid, in batches and units.

    Attributes
    ----------
    grid : Grid
    cells : ndarray of int64, shape (n, 2)
        ``(row, column)`` of the selected cells, in the order of the curve.
    blocks : ndarray of int64, shape (n,)
        Number of the block that each cell is read with: row × columns of blocks + column.
    block_shape : tuple of int
        Rows and columns of cells in a block.
    batch_edges : ndarray of int64, shape (batches + 1,)
        Batch i holds the cells from ``batch_edges[i]`` to ``batch_edges[i + 1]``.
    batches_a_unit : int
        Unit i holds the batches from ``i * batches_a_unit``.
    """

    grid: Grid
    cells: NDArray[np.int64]
    blocks: NDArray[np.int64]
    block_shape: tuple[int, int]
    batch_edges: NDArray[np.int64]
    batches_a_unit: int

    @property
    def batch_count(self) -> int:
        """Number of batches."""
        return len(self.batch_edges) - 1

    @property
    def unit_count(self) -> int:
        """Number of units."""
        return -(-self.batch_count // self.batches_a_unit)

    @property
    def unit_edges(self) -> NDArray[np.int64]:
        """As `batch_edges`, for units; shape (units + 1,)."""
        return np.append(self.batch_edges[:-1][:: self.batches_a_unit], self.batch_edges[-1])

    def batches_of(self, unit: int) -> range:
        """Return the numbers of the batches of a unit."""
        first = unit * self.batches_a_unit
        return range(first, min(first + self.batches_a_unit, self.batch_count))

    def batch(self, number: int) -> slice:
        """Return which of `cells` a batch holds."""
        return slice(int(self.batch_edges[number]), int(self.batch_edges[number + 1]))


def plan_units(
    grid: Grid, selected: NDArray[np.bool_], patch_px: int, batch_size: int | None
) -> UnitPlan:
    """Put the selected cells of a grid into batches and units.

    Parameters
    ----------
    grid : Grid
    selected : ndarray of bool, shape grid.shape
    patch_px : int
        Side of the model's input in pixels.
    batch_size : int or None
        Patches predicted at once; every batch but the last has as many. None: whole blocks are
        predicted at once, as in dense runs.

    Returns
    -------
    UnitPlan
    """
    tall = _cells_a_block(grid.patch_height_px, grid.stride_y_px, patch_px)
    wide = _cells_a_block(grid.patch_width_px, grid.stride_x_px, patch_px)
    if batch_size is not None:
        tall, wide = min(tall, _CELLS_A_BLOCK), min(wide, _CELLS_A_BLOCK)
    rows, columns = _count_blocks(grid, (tall, wide))
    cells = np.argwhere(selected)
    block_row, block_column = cells[:, 0] // tall, cells[:, 1] // wide
    order = np.argsort(_on_curve(block_row, block_column, max(rows, columns)), kind="stable")
    cells, blocks = cells[order], (block_row * columns + block_column)[order]
    if batch_size is None:
        edges = np.append(np.flatnonzero(np.diff(blocks, prepend=-1)), len(cells))
        return UnitPlan(grid, cells, blocks, (tall, wide), edges, 1)
    edges = np.append(np.arange(0, len(cells), batch_size), len(cells))
    batches_a_unit = max(1, -(-_PATCHES_A_UNIT // batch_size))
    return UnitPlan(grid, cells, blocks, (tall, wide), edges, batches_a_unit)


@dataclass(eq=False, slots=True)
class Waiting:
    """The units of a run that are not read yet; from `wait_for`.

    Attributes
    ----------
    plan : UnitPlan
    waits : ndarray of bool, shape (units,)
        Which ones.
    view : tuple of float or None
        What a person looks at.
    in_view : ndarray of bool, shape (units,)
        Which units have a patch there.
    highest : ndarray of int8, shape (block rows, block columns)
        Step of the highest value in each block so far.
    suspicion : ndarray of int8, shape (units,)
        Step of the highest value in the blocks of a unit and around them.
    """

    plan: UnitPlan
    waits: NDArray[np.bool_]
    view: View | None
    in_view: NDArray[np.bool_]
    highest: NDArray[np.int8]
    suspicion: NDArray[np.int8]
    _in_sparse_pass: NDArray[np.bool_] = field(repr=False)
    _blocks_of_units: NDArray[np.int64] = field(repr=False)
    _edges_of_units: NDArray[np.int64] = field(repr=False)
    _extents: tuple[NDArray[np.int64], NDArray[np.int64]] = field(repr=False)
    _is_stale: bool = False


def batches_with(plan: UnitPlan, marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which batches hold one of the marked cells.

    Parameters
    ----------
    plan : UnitPlan
    marked : ndarray of bool, shape (n,)
        Of `UnitPlan.cells`.

    Returns
    -------
    ndarray of bool, shape (batches,)
    """
    return np.logical_or.reduceat(marked, plan.batch_edges[:-1]) if len(marked) else marked


def wait_for(plan: UnitPlan, needed: NDArray[np.bool_]) -> Waiting:
    """Return the units of a plan that are to be taken.

    Parameters
    ----------
    plan : UnitPlan
    needed : ndarray of bool, shape (batches,)
        The batches in which there is something to do.
    """
    units = plan.unit_count
    waits = np.zeros(units, dtype=np.bool_)
    waits[np.flatnonzero(needed) // plan.batches_a_unit] = True
    unit_of_cell = np.repeat(np.arange(units), np.diff(plan.unit_edges))
    new_unit = np.diff(unit_of_cell, prepend=-1) != 0
    begins = np.flatnonzero(new_unit | (np.diff(plan.blocks, prepend=-1) != 0))
    edges = np.searchsorted(unit_of_cell[begins], np.arange(units))
    return Waiting(
        plan,
        waits,
        None,
        np.zeros(units, dtype=np.bool_),
        np.zeros(_count_blocks(plan.grid, plan.block_shape), dtype=np.int8),
        np.zeros(units, dtype=np.int8),
        np.arange(units) % _ONE_IN == 0,
        plan.blocks[begins],
        edges,
        _extents(plan),
    )


def look(waiting: Waiting, view: View | None) -> None:
    """Say what a person looks at; it comes next."""
    waiting.view = view
    waiting.in_view[:] = False
    if view is None or not waiting.plan.unit_count:
        return
    begin, end = np.array(view[:2]), np.array(view[:2]) + np.array(view[2:])
    first, last = waiting._extents
    waiting.in_view |= ((first >= begin) & (last <= end)).all(axis=1)
    # Only of units that reach across the edge of the view every patch is asked.
    partly = ((first < end) & (last > begin)).all(axis=1) & ~waiting.in_view
    plan = waiting.plan
    edges = plan.unit_edges
    unit_of_cell = np.repeat(np.flatnonzero(partly), np.diff(edges)[partly])
    corners = plan.grid.corners(plan.cells[np.repeat(partly, np.diff(edges))])
    patch = np.array([plan.grid.patch_width_px, plan.grid.patch_height_px])
    seen = ((corners < end) & (corners + patch > begin)).all(axis=1)
    waiting.in_view[unit_of_cell[seen]] = True


def note_values(waiting: Waiting, cells: NDArray[np.int64], values: NDArray[np.float32]) -> None:
    """Say what was predicted, so that the neighbours of high values come earlier.

    Parameters
    ----------
    waiting : Waiting
    cells : ndarray of int64, shape (n, 2)
        Of the grid.
    values : ndarray of float32, shape (n,)
        0–1; NaN says nothing.
    """
    known = ~np.isnan(values)
    steps = (values[known] * _LEVELS).astype(np.int8)
    tall, wide = waiting.plan.block_shape
    places = cells[known, 0] // tall, cells[known, 1] // wide
    if (steps > waiting.highest[places]).any():
        np.maximum.at(waiting.highest, places, steps)
        waiting._is_stale = True


def take_next(waiting: Waiting) -> int | None:
    """Return the unit that comes next, which then waits no longer; None: all were taken."""
    units = np.flatnonzero(waiting.waits)
    if not len(units):
        return None
    if waiting._is_stale:
        around = ndimage.maximum_filter(waiting.highest, size=3, mode="nearest").ravel()
        waiting.suspicion[:] = np.maximum.reduceat(
            around[waiting._blocks_of_units], waiting._edges_of_units
        )
        waiting._is_stale = False
    for preferred in (waiting.in_view, waiting._in_sparse_pass):
        if preferred[units].any():
            units = units[preferred[units]]
    unit = int(units[np.argmax(waiting.suspicion[units])])
    waiting.waits[unit] = False
    return unit


def give_back(waiting: Waiting, unit: int) -> None:
    """Let a unit wait again that was taken but not begun."""
    waiting.waits[unit] = True


def _extents(plan: UnitPlan) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the slide points of the top-left and bottom-right corner of each unit."""
    starts = plan.unit_edges[:-1]
    if not len(starts):
        return np.empty((0, 2), dtype=np.int64), np.empty((0, 2), dtype=np.int64)
    corners = plan.grid.corners(plan.cells)
    patch = np.array([plan.grid.patch_width_px, plan.grid.patch_height_px])
    return np.minimum.reduceat(corners, starts), np.maximum.reduceat(corners, starts) + patch


def _cells_a_block(patch_length_px: int, stride_px: int, patch_px: int) -> int:
    block_length_px = BLOCK_PX * patch_length_px / patch_px
    return max(1, int((block_length_px - patch_length_px) // stride_px) + 1)


def _count_blocks(grid: Grid, block_shape: tuple[int, int]) -> tuple[int, int]:
    return -(-grid.rows // block_shape[0]), -(-grid.columns // block_shape[1])


def _on_curve(rows: NDArray[np.int64], columns: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """Return the places on Hilbert's curve through a square, on which neighbours are neighbours.

    Hilbert, "Ueber die stetige Abbildung einer Linie auf ein Flächenstück", Math. Ann. 38 (1891).
    """
    x, y = columns.copy(), rows.copy()
    side = 1 << max(0, side - 1).bit_length()
    place = np.zeros(len(x), dtype=np.int64)
    half = side // 2
    while half:
        right, low = (x & half) > 0, (y & half) > 0
        place += half * half * ((3 * right) ^ low)
        mirrored = right & ~low
        x, y = np.where(mirrored, side - 1 - x, x), np.where(mirrored, side - 1 - y, y)
        x, y = np.where(low, x, y), np.where(low, y, x)
        half //= 2
    return place
