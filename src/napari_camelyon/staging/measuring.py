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
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_camelyon.heatmaps import Heatmap

__all__ = [
    "Excess",
    "border_points",
    "contour_polygons",
    "diameter_margins_um",
    "excess_of",
    "greatest_diameters",
    "tumour_scores",
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

    def offset_um(self, direction: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the vector from the tumour's border to the contour in a direction, shape (2,)."""
        # A direction along an axis meets the middle of a side of the box, not a corner.
        signs = np.where(np.abs(direction) < 1e-9, 0.0, np.sign(direction))
        half_box = np.array([self.width_um, self.height_um]) / 2
        return signs * half_box + direction * self.radius_um

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


def tumour_scores(
    values: NDArray[np.float32], threshold: float, *, is_fraction: bool
) -> NDArray[np.float32]:
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
    ndarray of float32
        Positive in tumour cells, negative elsewhere, within ±1.
    """
    values = np.nan_to_num(values, nan=0.0)
    limit = np.float32(threshold)
    tumour = values >= limit
    scores: NDArray[np.float32] = values - limit
    if not is_fraction:
        scores /= np.float32(min(threshold, 1 - threshold))
    scores = np.abs(scores, out=scores)
    np.clip(scores, _NEAREST_TO_BORDER, _FARTHEST_FROM_BORDER, out=scores)
    np.negative(scores, where=~tumour, out=scores)
    return scores


def border_points(
    scores: NDArray[np.float32], labels: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return where scores change sign between neighbouring cells.

    Parameters
    ----------
    scores : ndarray of float32, shape (rows, columns)
        From `tumour_scores`, negative along the rim.
    labels : ndarray of int32, shape (rows, columns)
        Number of the deposit from 1, in cells with a positive score; else 0.

    Returns
    -------
    points : ndarray of float64, shape (n, 2)
        Fractional ``(row, column)``, sorted by owner. They are the corners of the contours.
    owners : ndarray of int, shape (n,)
        Deposit of each, from 0.
    """
    points, owners = [], []
    for axis in (0, 1):
        first = [slice(None), slice(None)]
        second = [slice(None), slice(None)]
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        here, there = scores[tuple(first)], scores[tuple(second)]
        cells = np.nonzero((here > 0) != (there > 0))
        before, after = here[cells].astype(np.float64), there[cells].astype(np.float64)
        place = np.stack(cells, axis=1).astype(np.float64)
        place[:, axis] += before / (before - after)
        points.append(place)
        owners.append(np.maximum(labels[tuple(first)][cells], labels[tuple(second)][cells]) - 1)
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return np.concatenate(points)[order], owner[order].astype(np.intp)


def contour_polygons(scores: NDArray[np.float32], labels: NDArray[np.int32]) -> NDArray[np.object_]:
    """Return the contour of each deposit with its holes.

    Parameters
    ----------
    scores, labels
        As in `border_points`; every deposit 1 … n has a cell.

    Returns
    -------
    ndarray of shapely Polygon, shape (n,)
        With fractional ``(row, column)`` as coordinates.
    """
    # Slow to import, and needed only here.
    from skimage.measure import find_contours  # noqa: PLC0415

    # Tumour cells that touch at a corner belong together, as in the labels.
    rings: list[NDArray[np.float64]] = find_contours(  # type: ignore[no-untyped-call]
        scores, 0.0, fully_connected="high"
    )
    starts = np.array([ring[0] for ring in rings])
    lower, upper = np.floor(starts).astype(int), np.ceil(starts).astype(int)
    owners = np.maximum(labels[tuple(lower.T)], labels[tuple(upper.T)]) - 1
    ring_of_point = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    outlines = shapely.linearrings(np.concatenate(rings), indices=ring_of_point)
    # A deposit has one outer ring, which is its largest; the others are holes in it.
    areas = shapely.area(shapely.polygons(outlines))
    order = np.lexsort((-areas, owners))
    polygons: NDArray[np.object_] = shapely.polygons(outlines[order], indices=owners[order])
    return polygons


def greatest_diameters(
    points_um: NDArray[np.float64], owners: NDArray[np.intp], excess: Excess
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the greatest (Feret) diameter of the tissue behind each set of contour points.

    Widths of the convex hull are taken in 180 directions and corrected for the excess; the
    greatest is the diameter.

    What the grid's sampling adds was measured on ellipses of 0.1–3 mm at random places and
    angles (``benchmarks/diameter_bias.py`` prints it): the mean error is within -0.2 … +0.6
    strides, rising with the number of strides across, since the greatest of many widths is
    taken; 95 % of the errors lie within about ± 1 stride.

    Parameters
    ----------
    points_um : ndarray of float64, shape (n, 2)
        Corners of contours, ``(x, y)``.
    owners : ndarray of int, shape (n,)
        Which set each belongs to: sorted, from 0, without a gap.
    excess : Excess
        By how much contours are too large.

    Returns
    -------
    diameters_um : ndarray of float64, shape (sets,)
        Never negative; 0 for what is smaller than the excess.
    ends_um : ndarray of float64, shape (sets, 2, 2)
        The two end points ``(x, y)`` of each diameter, that far apart.
    """
    points_um, owners = _hull_points(points_um, owners)
    starts = np.searchsorted(owners, np.arange(owners[-1] + 1))
    along = points_um @ _DIRECTIONS
    widths = np.maximum.reduceat(along, starts) - np.minimum.reduceat(along, starts)
    widths -= excess.widths_um(_DIRECTIONS)
    best = widths.argmax(axis=1)
    diameters = np.maximum(widths[np.arange(len(best)), best], 0.0)
    ends = np.empty((len(best), 2, 2))
    for index, members in enumerate(np.split(np.arange(len(owners)), starts[1:])):
        direction = _DIRECTIONS[:, best[index]]
        middle = _middle_um(points_um[members], along[members, best[index]], direction, excess)
        half = direction * diameters[index] / 2
        ends[index] = middle - half, middle + half
    return diameters, ends


def diameter_margins_um(heatmap: Heatmap, diameters_um: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the uncertainty (±, about 95 %) of diameters that comes from the grid, in µm.

    One stride (see `greatest_diameters`). A covered fraction in addition loses what is narrower
    than the patch: on the ellipses it came out short by 0.55 p²/d in the mean for a patch of p
    and a diameter of d, and nothing is found from d ≈ p downwards.
    """
    margin = np.full(len(diameters_um), sum(heatmap.grid.cell_size_um(heatmap.mpp)) / 2)
    if heatmap.value_meaning == "covered_fraction":
        patch_um = sum(heatmap.grid.patch_size_um(heatmap.mpp)) / 2
        margin += 0.55 * patch_um**2 / np.maximum(diameters_um, patch_um)
    return margin


def _hull_points(
    points: NDArray[np.float64], owners: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Keep of each set only the corners of its convex hull."""
    hulls = shapely.convex_hull(shapely.multipoints(points, indices=owners))
    corners, owners = shapely.get_coordinates(hulls, return_index=True)
    return corners, owners


def _middle_um(
    points: NDArray[np.float64],
    along: NDArray[np.float64],
    direction: NDArray[np.float64],
    excess: Excess,
) -> NDArray[np.float64]:
    """Return the middle of the diameter in a direction."""
    # The whole of a flat side is farthest; its middle is meant, not whichever corner comes first.
    last = points[along >= along.max() - 1e-6].mean(axis=0)
    first = points[along <= along.min() + 1e-6].mean(axis=0)
    inner: NDArray[np.float64] = (
        last - excess.offset_um(direction) + first - excess.offset_um(-direction)
    ) / 2
    return inner
