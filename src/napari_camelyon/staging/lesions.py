"""Lesions of a heatmap: deposits of tumour cells, joined where they are near, and measured."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array, csgraph
from shapely.geometry import MultiPolygon, Polygon

from napari_camelyon.geometry import um_to_slide
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging.deposits import Deposits, find_deposits
from napari_camelyon.staging.measuring import (
    Excess,
    diameter_margins_um,
    excess_of,
    greatest_diameters,
)
from napari_camelyon.staging.rules import JOIN_DILATION_UM, MIN_PATCHES, LesionRules

__all__ = ["Lesion", "find_lesions"]

Point = tuple[float, float]
"""A slide point."""


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


def find_lesions(
    heatmap: Heatmap,
    *,
    threshold: float | None = None,
    seed_threshold: float | None = None,
    min_patches: int = MIN_PATCHES,
    min_diameter_mm: float = 0.0,
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
    threshold, seed_threshold, min_patches, min_diameter_mm, join_dilation_um
        As in `LesionRules`; ``find_lesions(heatmap, **asdict(rules))`` takes one.

    Returns
    -------
    list of Lesion
        The largest diameter first; empty when there is none.

    Raises
    ------
    StagingError
        A parameter is outside its range.
    """
    rules = LesionRules(threshold, seed_threshold, min_patches, min_diameter_mm, join_dilation_um)
    threshold = rules.threshold_of(heatmap.threshold)
    deposits = find_deposits(heatmap, threshold, min_patches, seed_threshold)
    if deposits is None:
        return []
    excess = excess_of(heatmap, threshold)
    lesion_of = join_deposits(deposits.contours_um, join_dilation_um, excess)
    return [
        lesion
        for lesion in measured_lesions(heatmap, deposits, lesion_of, excess)
        if lesion.diameter_mm >= min_diameter_mm
    ]


def join_deposits(
    contours_um: NDArray[np.object_], dilation_um: float, excess: Excess
) -> NDArray[np.intp]:
    """Return the number of the lesion, from 0, that each deposit belongs to."""
    count = len(contours_um)
    if count == 1 or dilation_um == 0:
        return np.arange(count)
    # What grows by d on either side touches where 2 d lay between. Between contours it is less
    # than between tissue; what lies in a hole has a distance of 0.
    reach_um = max(0.0, 2 * (dilation_um - excess.mean_um))
    filled = without_holes(contours_um)
    one, other = shapely.STRtree(filled).query(filled, predicate="dwithin", distance=reach_um)
    links = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(count, count))
    lesion_of: NDArray[np.intp] = csgraph.connected_components(links, directed=False)[1]
    return lesion_of.astype(np.intp)


def measured_lesions(
    heatmap: Heatmap, deposits: Deposits, lesion_of: NDArray[np.intp], excess: Excess
) -> list[Lesion]:
    """Return the lesions that deposits make, measured; the largest first, numbered from 1.

    Parameters
    ----------
    heatmap : Heatmap
    deposits : Deposits
    lesion_of : ndarray of int, shape (deposits,)
        From `join_deposits`.
    excess : Excess
        Of the heatmap at its threshold.
    """
    outlines = _tissue_outlines(deposits.contours_um, excess, heatmap)
    diameters, ends = greatest_diameters(gathered(deposits.contours_um, lesion_of), excess)
    return _lesions(
        heatmap, deposits, lesion_of, outlines_um=outlines, diameters_um=diameters, ends_um=ends
    )


def gathered(polygons: NDArray[np.object_], owners: NDArray[np.intp]) -> NDArray[np.object_]:
    """Return the (multi)polygons of each owner as one multipolygon."""
    order = np.argsort(owners, kind="stable")
    parts, index = shapely.get_parts(polygons[order], return_index=True)
    gathered: NDArray[np.object_] = shapely.multipolygons(parts, indices=owners[order][index])
    return gathered


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


def without_holes(polygons: NDArray[np.object_]) -> NDArray[np.object_]:
    filled: NDArray[np.object_] = shapely.polygons(shapely.get_exterior_ring(polygons))
    return filled


def _lesions(
    heatmap: Heatmap,
    deposits: Deposits,
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
    whole_um = gathered(outlines_um, lesion_of)
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
