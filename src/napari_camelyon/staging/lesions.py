"""Lesions of a heatmap: deposits of tumour cells, joined where they are near, and measured."""

from dataclasses import dataclass
from functools import partial

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
    border_points,
    contour_polygons,
    diameter_margins_um,
    excess_of,
    greatest_diameters,
    tumour_scores,
)

__all__ = ["JOIN_DILATION_UM", "MIN_PATCHES", "Lesion", "find_lesions"]

Point = tuple[float, float]
"""A slide point."""

JOIN_DILATION_UM = 37.5
"""Deposits whose outlines grown by this touch are one lesion, as in CAMELYON16's evaluation.

Its script dilates by 75 µm / 2 before it labels. It is the default here because a patch of 62 µm
or more cannot see a gap of less anyway: so the same tissue gives the same lesions whatever the
patch size. On the six outlined CAMELYON17 slides with a label at hand it changes no class.
"""

MIN_PATCHES = 2
"""Smaller deposits are ignored; the reference pipeline, too, ignores isolated positive patches."""

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
    border_um: NDArray[np.float64]  # (n, 2) contour corners of all deposits, sorted by owner
    border_owners: NDArray[np.intp]
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
        Deposits whose outlines grown by this touch are joined into one lesion, and so is what
        lies inside the ring that they form. Sizes are those of the outlines before growing.
        0: nothing is joined.

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
    diameters, ends = greatest_diameters(deposits.border_um, deposits.border_owners, excess)
    outlines = _tissue_outlines(deposits.contours_um, ends, excess, heatmap)
    lesion_of = _join(outlines, join_dilation_um)
    if lesion_of.max() + 1 < len(lesion_of):
        owners = lesion_of[deposits.border_owners]
        order = np.argsort(owners, kind="stable")
        diameters, ends = greatest_diameters(deposits.border_um[order], owners[order], excess)
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
    tumour = heatmap.values >= np.float32(threshold)
    rows, columns = np.nonzero(tumour.any(axis=1))[0], np.nonzero(tumour.any(axis=0))[0]
    if len(rows) == 0:
        return None
    # Only the part with tumour, plus a rim that is not, is looked at.
    top, left = int(rows[0]), int(columns[0])
    window = slice(top, int(rows[-1]) + 1), slice(left, int(columns[-1]) + 1)
    labels = _label(np.pad(tumour[window], 1), min_patches)
    count = int(labels.max())
    if count == 0:
        return None
    # Neighbours of the tumour from outside the window keep their values: contours need them.
    values = np.pad(heatmap.values, 1, constant_values=np.nan)[
        top : window[0].stop + 2, left : window[1].stop + 2
    ]
    scores = tumour_scores(
        values, threshold, is_fraction=heatmap.value_meaning == "covered_fraction"
    )
    scores[(labels == 0) & (scores > 0)] = -1.0  # left out as too small

    cells = np.nonzero(labels)
    owner, probabilities = labels[cells] - 1, values[cells].astype(np.float64)
    peaks = np.zeros(count)
    np.maximum.at(peaks, owner, probabilities)
    border, border_owners = border_points(scores, labels)

    def to_um(rows_columns: NDArray[np.float64]) -> NDArray[np.float64]:
        # Rows and columns count from the rim, one cell outside the window.
        return slide_to_um(
            heatmap.grid.centres(rows_columns + np.array([top - 1, left - 1])), heatmap.mpp
        )

    return _Deposits(
        patches=np.bincount(owner, minlength=count),
        probability_sums=np.bincount(owner, probabilities, count).astype(np.float64),
        probability_peaks=peaks,
        border_um=to_um(border),
        border_owners=border_owners,
        contours_um=shapely.transform(contour_polygons(scores, labels), to_um),
    )


def _label(tumour: NDArray[np.bool_], min_patches: int) -> NDArray[np.int32]:
    labels, count = ndimage.label(tumour, _TOUCHING)
    large = np.bincount(labels.ravel(), minlength=count + 1) >= min_patches
    large[0] = False
    renumbered: NDArray[np.int32] = np.where(large, np.cumsum(large), 0).astype(np.int32)[labels]
    return renumbered


def _tissue_outlines(
    contours_um: NDArray[np.object_],
    ends_um: NDArray[np.float64],
    excess: Excess,
    heatmap: Heatmap,
) -> NDArray[np.object_]:
    """Return the outlines of the tissue behind contours, in µm.

    Taking off the excess averaged over directions is within 0.14 patches of the exact border
    everywhere; the exact way (erosion by a box) takes some thirty times as long.
    """
    outlines = contours_um
    if excess.mean_um != 0:
        outlines = shapely.buffer(contours_um, -excess.mean_um, quad_segs=4)
    gone = shapely.is_empty(outlines)
    if gone.any():
        half_cell = sum(heatmap.grid.cell_size_um(heatmap.mpp)) / 4
        outlines[gone] = shapely.buffer(shapely.linestrings(ends_um[gone]), half_cell)
    return outlines


def _join(outlines_um: NDArray[np.object_], dilation_um: float) -> NDArray[np.intp]:
    """Return the number of the lesion, from 0, that each deposit belongs to."""
    count = len(outlines_um)
    if count == 1 or dilation_um == 0:
        return np.arange(count)
    grown = shapely.get_parts(shapely.union_all(shapely.buffer(outlines_um, dilation_um, 4)))
    filled = shapely.polygons(shapely.get_exterior_ring(grown))
    # What a filled hole swallows is joined with its ring: outlines meet where they overlap.
    inside, around = shapely.STRtree(filled).query(outlines_um, predicate="intersects")
    links = coo_array(
        (np.ones(len(inside)), (inside, count + around)), shape=(count + len(filled),) * 2
    )
    _, labels = csgraph.connected_components(links, directed=False)
    _, lesion_of = np.unique(labels[:count], return_inverse=True)
    return lesion_of.astype(np.intp)


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
    members = np.split(
        outlines_um[np.argsort(lesion_of, kind="stable")],
        np.cumsum(np.bincount(lesion_of))[:-1],
    )
    whole_um = [shapely.union_all(parts) if len(parts) > 1 else parts[0] for parts in members]
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
