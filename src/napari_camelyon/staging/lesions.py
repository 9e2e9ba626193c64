"""Lesions of a heatmap: deposits of tumour cells, joined where they are near, and measured."""

from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array, csgraph
from shapely.geometry import MultiPolygon, Polygon

from napari_camelyon.errors import StagingError
from napari_camelyon.geometry import slide_to_um, um_to_slide
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging.measuring import (
    Excess,
    diameter_margins_um,
    excess_of,
    greatest_diameters,
    is_tumour,
    ring_polygons,
    trace_borders,
    tumour_scores,
)

__all__ = ["JOIN_DILATION_UM", "MIN_PATCHES", "Lesion", "find_lesions"]

Point = tuple[float, float]
"""A slide point."""

JOIN_DILATION_UM = 37.5
"""Deposits that touch when grown by this are one lesion, as in CAMELYON16's evaluation.

Its script dilates by 75 µm / 2 before it labels. It is the default here because a patch of 62 µm
or more cannot see a gap of less anyway: so the same tissue gives the same lesions whatever the
patch size. On the six outlined CAMELYON17 slides with a label at hand it changes no class.
"""

MIN_PATCHES = 2
"""Smaller deposits are ignored; the reference pipeline, too, ignores isolated positive patches."""

_T = TypeVar("_T", bound=np.generic)

_TOUCHING = np.ones((3, 3), dtype=int)


@dataclass(frozen=True, slots=True)
class Lesion:
    """One tumour deposit, or several so near that they count as one.

    Attributes
    ----------
    id : int
        From 1, the largest first.
    diameter_mm : float
        Greatest (Feret) diameter of the tissue, corrected for what a value means.
    margin_mm : float
        Uncertainty (±, about 95 %) of the diameter that comes from the grid.
    diameter_ends_px : tuple of two points
        Slide points between which the diameter is measured.
    area_mm2 : float
        Area of `outline`.
    mean_probability, max_probability : float
        Over the lesion's tumour cells.
    patches : int
        Number of its tumour cells.
    bounds_px : tuple of float
        ``(x_min, y_min, x_max, y_max)`` of `outline`.
    outline : Polygon or MultiPolygon
        Estimated outline of the tissue in slide points, with holes. What is too small for the
        grid to show is drawn as its diameter, one cell wide.
    """

    id: int
    diameter_mm: float
    margin_mm: float
    diameter_ends_px: tuple[Point, Point]
    area_mm2: float
    mean_probability: float
    max_probability: float
    patches: int
    bounds_px: tuple[float, float, float, float]
    outline: Polygon | MultiPolygon


@dataclass(frozen=True, slots=True)
class _Deposits:
    """Connected tumour cells before joining; arrays hold one entry a deposit."""

    patches: NDArray[np.int64]
    probability_sums: NDArray[np.float64]
    probability_peaks: NDArray[np.float64]
    contours_um: NDArray[np.object_]


def find_lesions(
    heatmap: Heatmap,
    *,
    threshold: float | None = None,
    min_patches: int = MIN_PATCHES,
    join_dilation_um: float = JOIN_DILATION_UM,
) -> list[Lesion]:
    """Find the lesions of a heatmap and measure them.

    Tumour cells (value ≥ threshold; NaN is no tumour) that touch, corners included, are a
    deposit. Its contour runs between the cells; extents are corrected for what a value means
    (`napari_camelyon.staging.measuring` says how, and what uncertainty remains).

    Parameters
    ----------
    heatmap : Heatmap
        What to look at.
    threshold : float or None
        Between 0 and 1; None: the heatmap's own.
    min_patches : int
        Deposits of fewer cells are left out, before joining.
    join_dilation_um : float
        Deposits whose tissue grown by this touches are joined into one lesion, and so is what
        lies in a hole of another. Sizes are those before growing. 0: nothing is joined.

    Returns
    -------
    list of Lesion
        The largest diameter first; empty when there is none.

    Raises
    ------
    StagingError
        A parameter is outside its range.
    """
    threshold = heatmap.threshold if threshold is None else threshold
    _check(threshold, min_patches, join_dilation_um)
    excess = excess_of(heatmap, threshold)
    deposits = _find_deposits(heatmap, threshold, min_patches)
    if deposits is None:
        return []
    outlines = _tissue_outlines(deposits.contours_um, excess, heatmap)
    lesion_of = _join(deposits.contours_um, join_dilation_um, excess)
    diameters, ends = greatest_diameters(_gather(deposits.contours_um, lesion_of), excess)
    return _lesions(
        heatmap, deposits, lesion_of, outlines_um=outlines, diameters_um=diameters, ends_um=ends
    )


def _check(threshold: float, min_patches: int, join_dilation_um: float) -> None:
    if not 0 < threshold < 1:
        raise StagingError(
            f"The threshold {threshold} is no probability between 0 and 1 (both excluded)."
        )
    if min_patches < 1:
        raise StagingError(f"A lesion has at least 1 patch; {min_patches} was asked for.")
    if not 0 <= join_dilation_um < np.inf:
        raise StagingError(
            f"Deposits cannot be joined over {join_dilation_um} µm; give 0 or a positive length."
        )


def _find_deposits(heatmap: Heatmap, threshold: float, min_patches: int) -> _Deposits | None:
    tumour = is_tumour(heatmap.values, threshold)
    rows, columns = np.flatnonzero(tumour.any(axis=1)), np.flatnonzero(tumour.any(axis=0))
    if len(rows) == 0:
        return None
    # Only the part with tumour, plus a rim around it, is looked at.
    top, bottom = int(rows[0]) - 1, int(rows[-1]) + 2
    left, right = int(columns[0]) - 1, int(columns[-1]) + 2
    tumour = _cut(tumour, top, bottom, left, right, outside=False)
    values = _cut(heatmap.values, top, bottom, left, right, outside=np.nan)
    labels, cells = _label(tumour, min_patches)
    if len(cells) == 0:
        return None

    owner = labels.ravel()[cells] - 1
    probabilities = values.ravel()[cells].astype(np.float64)
    peaks = np.zeros(int(owner.max()) + 1)
    np.maximum.at(peaks, owner, probabilities)
    is_fraction = heatmap.value_meaning == "covered_fraction"
    score = partial(tumour_scores, threshold=threshold, is_fraction=is_fraction)
    border, border_of, rings = trace_borders(labels, values, score)
    border_um = slide_to_um(heatmap.grid.centres(border + np.array([top, left])), heatmap.mpp)
    return _Deposits(
        patches=np.bincount(owner),
        probability_sums=np.bincount(owner, probabilities).astype(np.float64),
        probability_peaks=peaks,
        contours_um=ring_polygons(border_um, border_of, rings),
    )


def _cut(
    array: NDArray[_T], top: int, bottom: int, left: int, right: int, *, outside: _T | float
) -> NDArray[_T]:
    """Return a window of an array that may reach one cell beyond its edge."""
    rows, columns = array.shape
    window = np.full((bottom - top, right - left), outside, dtype=array.dtype)
    inner = array[max(top, 0) : min(bottom, rows), max(left, 0) : min(right, columns)]
    first_row, first_column = max(-top, 0), max(-left, 0)
    window[first_row : first_row + inner.shape[0], first_column : first_column + inner.shape[1]] = (
        inner
    )
    return window


def _label(
    tumour: NDArray[np.bool_], min_patches: int
) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Return the cells' deposits, from 1 where large enough, and those cells' flat indices."""
    labels, count = ndimage.label(tumour, _TOUCHING)
    flat = labels.ravel()
    cells = np.flatnonzero(tumour)
    large = np.bincount(flat[cells], minlength=count + 1) >= min_patches
    flat[cells] = np.where(large, np.cumsum(large), 0)[flat[cells]]
    return labels, cells[flat[cells] > 0]


def _tissue_outlines(
    contours_um: NDArray[np.object_], excess: Excess, heatmap: Heatmap
) -> NDArray[np.object_]:
    """Return the outlines of the tissue behind the contours, in µm.

    Taking off the excess averaged over directions is within 0.14 patches of the exact border
    everywhere; the exact way (erosion by a box) takes some thirty times as long.
    """
    if excess.mean_um == 0:
        return contours_um
    outlines = _shrink(contours_um, excess.mean_um)
    gone = np.flatnonzero(shapely.is_empty(outlines))
    if len(gone):
        _, ends = greatest_diameters(contours_um[gone], excess)
        half_cell = sum(heatmap.grid.cell_size_um(heatmap.mpp)) / 4
        outlines[gone] = shapely.buffer(shapely.linestrings(ends), half_cell, quad_segs=4)
    return outlines


def _shrink(polygons: NDArray[np.object_], distance: float) -> NDArray[np.object_]:
    """Return polygons without all that is nearer to their border than a distance.

    A negative distance grows them.
    """
    shrunk: NDArray[np.object_] = shapely.buffer(polygons, -distance, quad_segs=4)
    if distance < 0:
        return shrunk
    # GEOS (3.14 at least) can leave a speck where nothing should be left.
    parts, owners = shapely.get_parts(shrunk, return_index=True)
    small = np.flatnonzero(shapely.area(parts) < distance**2)
    depth = shapely.distance(parts[small], shapely.boundary(polygons[owners[small]]))
    specks = small[depth < 0.9 * distance]
    for speck in specks:
        shrunk[owners[speck]] = shapely.difference(shrunk[owners[speck]], parts[speck])
    return shrunk


def _join(contours_um: NDArray[np.object_], dilation_um: float, excess: Excess) -> NDArray[np.intp]:
    """Return the number of the lesion, from 0, that each deposit belongs to."""
    count = len(contours_um)
    if count == 1 or dilation_um == 0:
        return np.arange(count)
    # What grows by d on either side touches where 2 d lay between. Between contours it is less
    # than between tissue; what lies in a hole has a distance of 0.
    reach_um = max(0.0, 2 * (dilation_um - excess.mean_um))
    filled = _without_holes(contours_um)
    one, other = shapely.STRtree(filled).query(filled, predicate="dwithin", distance=reach_um)
    links = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(count, count))
    lesion_of: NDArray[np.intp] = csgraph.connected_components(links, directed=False)[1]
    return lesion_of.astype(np.intp)


def _without_holes(polygons: NDArray[np.object_]) -> NDArray[np.object_]:
    filled: NDArray[np.object_] = shapely.polygons(shapely.get_exterior_ring(polygons))
    return filled


def _gather(polygons: NDArray[np.object_], owners: NDArray[np.intp]) -> NDArray[np.object_]:
    """Return the (multi)polygons of each owner as one multipolygon."""
    order = np.argsort(owners, kind="stable")
    parts, index = shapely.get_parts(polygons[order], return_index=True)
    gathered: NDArray[np.object_] = shapely.multipolygons(parts, indices=owners[order][index])
    return gathered


def _lesions(
    heatmap: Heatmap,
    deposits: _Deposits,
    lesion_of: NDArray[np.intp],
    *,
    outlines_um: NDArray[np.object_],
    diameters_um: NDArray[np.float64],
    ends_um: NDArray[np.float64],
) -> list[Lesion]:
    patches = np.bincount(lesion_of, weights=deposits.patches).astype(int)
    sums = np.bincount(lesion_of, weights=deposits.probability_sums)
    peaks = np.zeros(len(patches))
    np.maximum.at(peaks, lesion_of, deposits.probability_peaks)
    margins_um = diameter_margins_um(heatmap, diameters_um)
    ends = um_to_slide(ends_um, heatmap.mpp)
    whole_um = _gather(outlines_um, lesion_of)
    # Only what was grown can overlap.
    overlapping = np.flatnonzero(~shapely.is_valid(whole_um))
    whole_um[overlapping] = shapely.union_all(whole_um[overlapping, None], axis=1)
    single = shapely.get_num_geometries(whole_um) == 1
    whole_um[single] = shapely.get_geometry(whole_um[single], 0)
    areas_mm2 = shapely.area(whole_um) * 1e-6
    outlines = shapely.transform(whole_um, partial(um_to_slide, mpp=heatmap.mpp))
    boxes = shapely.bounds(outlines)
    order = np.lexsort((boxes[:, 0], boxes[:, 1], -areas_mm2, -diameters_um))
    return [
        Lesion(
            id=number,
            diameter_mm=float(diameters_um[index]) / 1000,
            margin_mm=float(margins_um[index]) / 1000,
            diameter_ends_px=(_point(ends[index, 0]), _point(ends[index, 1])),
            area_mm2=float(areas_mm2[index]),
            mean_probability=float(sums[index] / patches[index]),
            max_probability=float(peaks[index]),
            patches=int(patches[index]),
            bounds_px=tuple(boxes[index].tolist()),
            outline=outlines[index],
        )
        for number, index in enumerate(order, start=1)
    ]


def _point(xy: NDArray[np.float64]) -> Point:
    return float(xy[0]), float(xy[1])
