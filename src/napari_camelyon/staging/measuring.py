"""How large is what a grid of values shows? Contours below the cell, and what they exceed.

A cell says something about its whole patch, and it says it at the patch's centre. So the contour
around the tumour cells is not the outline of the tumour, but larger or smaller by an amount that
the meaning of a value fixes (`Excess`):

- "any_tumour": a patch is positive when its centre lies in the tumour grown by the patch
  (Minkowski sum), so in every direction u the contour is wider than the tumour by exactly
  w·|u_x| + h·|u_y| for a patch of w × h;
- "centre": the same with the central square in place of the patch;
- "covered_fraction" f: at a straight border f is 1/2 where the centre lies on the border, and the
  contour at a threshold t lies (1/2 - t) patches outside of it.

Widths of Minkowski sums add for every shape, convex or not, because a width depends on the convex
hull alone. What remains is the sampling by the grid; see `greatest_diameters`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array, csgraph

from napari_camelyon.heatmaps import Heatmap

__all__ = [
    "Excess",
    "diameter_margins_um",
    "excess_of",
    "greatest_diameters",
    "is_tumour",
    "ring_polygons",
    "trace_borders",
    "tumour_scores",
    "unseen_um",
]

_FARTHEST_FROM_BORDER = 1.0
# Keeps contour points apart from cell centres, where several would coincide and spoil a ring.
_NEAREST_TO_BORDER = 1e-3

# Half a degree off the best direction costs 0.004 % of the diameter.
_ANGLES = np.deg2rad(np.arange(180.0))
_DIRECTIONS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)])


@dataclass(frozen=True, slots=True)
class Excess:
    """By how much the contour around tumour cells is larger than the tumour.

    Attributes
    ----------
    width_um, height_um : float
        Sides of the box by which the tumour appears grown (Minkowski sum).
    radius_um : float
        Distance by which it appears grown in every direction; negative: shrunk.
    """

    width_um: float = 0.0
    height_um: float = 0.0
    radius_um: float = 0.0

    def widths_um(self, directions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what a width in each unit direction, shape (2, n), is too large by, shape (n,)."""
        across, down = np.abs(directions)
        widths: NDArray[np.float64] = self.width_um * across + self.height_um * down
        return widths + 2 * self.radius_um

    def offsets_um(self, directions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the vectors from border to contour in unit directions, both of shape (n, 2)."""
        # A direction along an axis meets the middle of a side of the box, not a corner.
        signs = np.where(np.abs(directions) < 1e-9, 0.0, np.sign(directions))
        half_box = np.array([self.width_um, self.height_um]) / 2
        offsets: NDArray[np.float64] = signs * half_box + directions * self.radius_um
        return offsets

    @property
    def mean_um(self) -> float:
        """The distance between contour and border, averaged over all directions."""
        return (self.width_um + self.height_um) / math.pi + self.radius_um


def excess_of(heatmap: Heatmap, threshold: float) -> Excess:
    """Return the excess of contours at a threshold, from what the heatmap's values mean."""
    width_um, height_um = heatmap.grid.patch_size_um(heatmap.mpp)
    if heatmap.value_meaning == "covered_fraction":
        return Excess(radius_um=(0.5 - threshold) * (width_um + height_um) / 2)
    if heatmap.value_meaning == "centre" and heatmap.centre_um is not None:
        return Excess(width_um=heatmap.centre_um, height_um=heatmap.centre_um)
    return Excess(width_um=width_um, height_um=height_um)


def is_tumour(values: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    """Tell where a value reaches the threshold; NaN never does."""
    # In single precision: a cell that holds the threshold itself counts.
    reached: NDArray[np.bool_] = values >= np.float32(threshold)
    return reached


def tumour_scores(
    values: NDArray[np.float32], threshold: float, *, is_fraction: bool
) -> NDArray[np.float64]:
    """Return scores that change sign where the contour runs, for linear interpolation.

    A covered fraction changes linearly across a border, so its score is its distance from the
    threshold. A probability does not: it saturates on either side, at any distance. It is cut off
    symmetrically about the threshold, so that a step from "surely not" to "surely" is put halfway
    between two cells for every threshold, and the contour still moves continuously with the
    threshold where probabilities are in between. (The region inside shrinks monotonically as the
    threshold rises.)

    Parameters
    ----------
    values : ndarray of float32
        Heatmap values; NaN counts as no tumour.
    threshold : float
        Between 0 and 1; a value of exactly the threshold is tumour.
    is_fraction : bool
        Whether a value is a covered fraction.

    Returns
    -------
    ndarray of float64
        Positive in tumour cells, negative elsewhere, within ±1.
    """
    known = np.nan_to_num(values.astype(np.float64), nan=0.0)
    distance = np.abs(known - threshold)
    if not is_fraction:
        distance /= min(threshold, 1 - threshold)
    scores: NDArray[np.float64] = np.clip(distance, _NEAREST_TO_BORDER, _FARTHEST_FROM_BORDER)
    return np.where(is_tumour(values, threshold), scores, -scores)


def trace_borders(
    labels: NDArray[np.int32],
    cells: NDArray[np.intp],
    columns: int,
    score_at: Callable[[NDArray[np.intp]], NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]:
    """Trace the contours at score 0, which run between tumour cells and others.

    The rings are those of marching squares (Lorensen and Cline 1987, in two dimensions) with
    tumour cells joined across corners, but found by looking at the cells on the border alone:
    each side of a tumour cell with a neighbour that is none carries one point of a ring.

    Parameters
    ----------
    labels : ndarray of int32, shape (rows * columns,)
        Number of the deposit from 1 in tumour cells, else 0; 0 along the rim.
    cells : ndarray of int, shape (n,)
        Flat indices of the tumour cells, rising.
    columns : int
        Cells in a row.
    score_at : callable
        Gives the scores, as of `tumour_scores`, of cells by flat index; asked for cells on either
        side of the border only.

    Returns
    -------
    points : ndarray of float64, shape (n, 2)
        Fractional ``(row, column)``, sorted by deposit and ring, in order along each ring.
    deposits : ndarray of int, shape (n,)
        Deposit of each point, from 0.
    rings : ndarray of int, shape (n,)
        Ring of each point, from 0; a deposit has an outer ring, and one for each hole.
    """
    ahead = np.array([1, columns, -1, -columns])  # right, down, left, up: turning clockwise
    open_sides = labels[cells[:, None] + ahead] == 0
    which, side = np.nonzero(open_sides)
    cell = cells[which]
    # Sides are numbered by cell, then direction, which is the order in which they were found.
    numbers = cell * 4 + side

    across, along = ahead[side], ahead[(side + 1) % 4]
    beyond_corner = cell + across + along
    turns_in = labels[beyond_corner] > 0
    goes_on = ~turns_in & (labels[cell + along] > 0)
    following = np.where(
        turns_in,
        beyond_corner * 4 + (side + 3) % 4,
        np.where(goes_on, (cell + along) * 4 + side, cell * 4 + (side + 1) % 4),
    )
    rings, place = _in_ring_order(np.searchsorted(numbers, following))

    inside, outside = score_at(cell), score_at(cell + across)
    steps = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]])
    points = np.stack(np.divmod(cell, columns), axis=1).astype(np.float64)
    points += steps[side] * (inside / (inside - outside))[:, None]
    deposits = labels[cell].astype(np.intp) - 1
    order = np.lexsort((place, rings, deposits))
    # Numbered again in the order in which they come now.
    changes = np.diff(rings[order], prepend=rings[order[:1]]) != 0
    return points[order], deposits[order], np.cumsum(changes)


def ring_polygons(
    points: NDArray[np.float64],
    deposits: NDArray[np.intp],
    rings: NDArray[np.intp],
    *,
    with_holes: bool = True,
) -> NDArray[np.object_]:
    """Return the polygon of each deposit from rings as `trace_borders` gives them."""
    _, first_point = np.unique(rings, return_index=True)
    deposit_of_ring = deposits[first_point]
    # The topmost point of a deposit lies on its outer ring.
    tops = np.minimum.reduceat(points[:, 1], first_point)
    order = np.lexsort((tops, deposit_of_ring))
    if not with_holes:
        is_outer = np.diff(deposit_of_ring[order], prepend=-1) != 0
        outer = np.zeros(len(order), dtype=np.bool_)
        outer[order[is_outer]] = True
        chosen = outer[rings]
        return np.asarray(
            shapely.polygons(shapely.linearrings(points[chosen], indices=deposits[chosen]))
        )
    outlines = shapely.linearrings(points, indices=rings)
    polygons: NDArray[np.object_] = shapely.polygons(
        outlines[order], indices=deposit_of_ring[order]
    )
    return polygons


def greatest_diameters(
    shapes_um: NDArray[np.object_], excess: Excess
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the greatest (Feret) diameter of the tissue behind contours.

    Widths of the convex hull are taken in 180 directions and corrected for the excess; the
    greatest is the diameter.

    What the grid's sampling adds was measured on ellipses, rings and crescents of 0.05–5 mm at
    random places and angles (``python tests/staging/test_staging_accuracy.py`` prints it). For
    values that jump at a border the mean error is -0.1 … +0.7 strides, rising with the number of
    strides across, since the greatest of many widths is taken; 95 % of the errors lie within
    ± 1 stride.

    Parameters
    ----------
    shapes_um : ndarray of shapely geometries, shape (n,)
        Contours; those of a lesion that consists of several form one geometry.
    excess : Excess
        By how much contours are too large.

    Returns
    -------
    diameters_um : ndarray of float64, shape (n,)
        Never negative; 0 for what is smaller than the excess.
    ends_um : ndarray of float64, shape (n, 2, 2)
        The two end points ``(x, y)`` of each diameter, that far apart.
    """
    # A width depends on the convex hull alone.
    points_um, owners = shapely.get_coordinates(shapely.convex_hull(shapes_um), return_index=True)
    starts = np.searchsorted(owners, np.arange(len(shapes_um)))
    along = _DIRECTIONS.T @ points_um.T
    widths = np.maximum.reduceat(along, starts, axis=1) - np.minimum.reduceat(along, starts, axis=1)
    widths -= excess.widths_um(_DIRECTIONS)[:, None]
    best = widths.argmax(axis=0)
    diameters = np.maximum(widths[best, np.arange(len(best))], 0.0)

    direction = _DIRECTIONS.T[best]
    place = along[best[owners], np.arange(len(owners))]
    far = _means_where(
        place >= np.maximum.reduceat(place, starts)[owners] - 1e-6, points_um, owners
    )
    near = _means_where(
        place <= np.minimum.reduceat(place, starts)[owners] + 1e-6, points_um, owners
    )
    middle = (far - excess.offsets_um(direction) + near - excess.offsets_um(-direction)) / 2
    half = direction * diameters[:, None] / 2
    return diameters, np.stack([middle - half, middle + half], axis=1)


def diameter_margins_um(heatmap: Heatmap, diameters_um: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the uncertainty (±) of diameters that comes from the grid, in µm.

    One stride (see `greatest_diameters`; at least 95 % of the errors are smaller), and, where what
    a value speaks of does not reach the next cell, the gap between them too, for tissue may lie in
    it unseen. A covered fraction in addition loses what is narrower than the patch: on ellipses it
    came out short by 0.55 p²/d in the mean for a patch of p and a diameter of d, and nothing is
    found from d ≈ p downwards.

    It is the uncertainty of what shows; `unseen_um` is what may not show at all.
    """
    stride_um = sum(heatmap.grid.cell_size_um(heatmap.mpp)) / 2
    patch_um = sum(heatmap.grid.patch_size_um(heatmap.mpp)) / 2
    seen_um = heatmap.centre_um if heatmap.value_meaning == "centre" else None
    seen_um = patch_um if seen_um is None else seen_um
    margin = np.full(len(diameters_um), stride_um + max(0.0, stride_um - seen_um))
    if heatmap.value_meaning == "covered_fraction":
        margin += 0.55 * patch_um**2 / np.maximum(diameters_um, patch_um)
    return margin


def unseen_um(heatmap: Heatmap, diameter_um: float) -> float:
    """Return by how much a deposit may be larger because thin parts of it do not show, in µm.

    Where values are covered fractions, a part thinner than the patch covers less than half of it
    anywhere. Of rings and crescents of walls that thin, as little as a corner is found: they came
    out short by up to 3.7 patches, and nothing above four patches did
    (``python tests/staging/test_staging_accuracy.py``).
    """
    if heatmap.value_meaning != "covered_fraction":
        return 0.0
    patch_um = sum(heatmap.grid.patch_size_um(heatmap.mpp)) / 2
    return 4 * patch_um if diameter_um < 4 * patch_um else 0.0


def _means_where(
    chosen: NDArray[np.bool_], points: NDArray[np.float64], owners: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the mean of the chosen points of each owner; the middle of a flat side."""
    counts = np.bincount(owners[chosen])
    sums = [np.bincount(owners[chosen], weights=points[chosen, axis]) for axis in (0, 1)]
    return np.stack(sums, axis=1) / counts[:, None]


def _in_ring_order(following: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the ring of each point, and its place in it, from the point that follows each.

    Every ring is cut before its first point; then each point looks twice as far ahead in each
    round until it sees the end (pointer jumping), so that no round loops over points.
    """
    count = len(following)
    links = coo_array((np.ones(count, dtype=bool), (np.arange(count), following)), (count, count))
    _, rings = csgraph.connected_components(links, directed=False)
    _, first = np.unique(rings, return_index=True)
    is_first = np.zeros(count, dtype=bool)
    is_first[first] = True
    is_last = is_first[following]
    target = np.where(is_last, np.arange(count), following)
    to_end = np.where(is_last, 0, 1)
    while True:
        further = to_end + to_end[target]
        if np.array_equal(further, to_end):
            return rings, -to_end
        to_end, target = further, target[target]
