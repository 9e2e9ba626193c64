"""Deposits: tumour cells that touch, before those near each other are joined to lesions.

A slide has millions of cells and few of them are tumour, so everything here goes over the tumour
cells alone. A cell is named by its flat index in the heatmap with a rim of one cell around it,
which has four neighbours everywhere and never wraps around.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csgraph

from napari_camelyon.geometry import slide_to_um
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging.measuring import (
    ring_polygons,
    trace_borders,
    tumour_scores,
)

__all__ = ["Deposits", "find_deposits", "label_cells"]


@dataclass(frozen=True, slots=True)
class Deposits:
    """Deposits of a heatmap; arrays hold one entry a deposit.

    Attributes
    ----------
    patches : ndarray of int64, shape (n,)
        Number of cells.
    probability_sums, probability_peaks : ndarray of float64, shape (n,)
        Over the cells.
    contours_um : ndarray of Polygon, shape (n,)
        Contours around the cells, with holes.
    """

    patches: NDArray[np.int64]
    probability_sums: NDArray[np.float64]
    probability_peaks: NDArray[np.float64]
    contours_um: NDArray[np.object_]


def find_deposits(
    heatmap: Heatmap,
    threshold: float,
    min_patches: int,
    seed_threshold: float | None = None,
    *,
    with_holes: bool = True,
) -> Deposits | None:
    """Find the deposits of a heatmap; None when there is none.

    Parameters
    ----------
    heatmap : Heatmap
    threshold : float
        From which a cell is tumour. In single precision, so that a cell that holds the threshold
        itself counts.
    min_patches : int
        Deposits of fewer cells are left out.
    seed_threshold : float or None
        Deposits without a cell of at least this are left out.
    with_holes : bool
        Whether the contours have their holes.
    """
    columns = heatmap.grid.shape[1]
    tumour = np.flatnonzero(heatmap.values >= np.float32(threshold))
    if not len(tumour):
        return None
    values = heatmap.values.ravel()[tumour].astype(np.float64)
    wide = columns + 2
    cells = tumour + 2 * (tumour // columns) + wide + 1
    owner = label_cells(cells, wide)
    count = int(owner.max()) + 1
    peaks = np.zeros(count)
    np.maximum.at(peaks, owner, values)
    kept = np.bincount(owner, minlength=count) >= min_patches
    if seed_threshold is not None:
        kept &= peaks >= np.float32(seed_threshold)
    if not kept.all():
        if not kept.any():
            return None
        peaks = peaks[kept]
        of_kept = kept[owner]
        cells, values = cells[of_kept], values[of_kept]
        owner = (np.cumsum(kept) - 1)[owner[of_kept]]

    is_fraction = heatmap.value_meaning == "covered_fraction"
    score = partial(tumour_scores, threshold=threshold, is_fraction=is_fraction)
    labels = np.zeros((heatmap.grid.shape[0] + 2) * wide, dtype=np.int32)
    labels[cells] = owner + 1
    border, border_of, rings = trace_borders(
        labels, cells, wide, lambda asked: score(_values_at(heatmap.values, asked, wide))
    )
    border_um = slide_to_um(heatmap.grid.centres(border - 1), heatmap.mpp)
    return Deposits(
        patches=np.bincount(owner),
        probability_sums=np.bincount(owner, values).astype(np.float64),
        probability_peaks=peaks,
        contours_um=ring_polygons(border_um, border_of, rings, with_holes=with_holes),
    )


def label_cells(cells: NDArray[np.intp], wide: int) -> NDArray[np.intp]:
    """Return the number of the deposit of each cell, from 0 in the order of their first cells.

    Cells that touch, corners included, are one deposit. Runs of cells within a row are joined
    with those of the row below that they touch, as in run-based labelling of images (He, Chao,
    Suzuki, IEEE Trans. Image Process. 17(5), 2008).

    Parameters
    ----------
    cells : ndarray of int, shape (n,)
        Flat indices, rising; at least one.
    wide : int
        Cells in a row, the rim included; no cell lies in the rim.
    """
    begins = np.flatnonzero(np.diff(cells, prepend=-2) != 1)
    first = cells[begins]
    last = cells[np.append(begins[1:], len(cells)) - 1]
    # Runs below that reach from one left of the first to one right of the last cell.
    low = np.searchsorted(last, first + wide - 1)
    high = np.searchsorted(first, last + wide + 1, side="right")
    touching = np.maximum(high - low, 0)
    above = np.repeat(np.arange(len(first)), touching)
    within = np.arange(len(above)) - np.repeat(np.cumsum(touching) - touching, touching)
    below = np.repeat(low, touching) + within
    links = coo_array((np.ones(len(above), dtype=bool), (above, below)), (len(first), len(first)))
    _, of_run = csgraph.connected_components(links, directed=False)
    # In the order of their first cells, whatever order the library has.
    _, first_run, of_run = np.unique(of_run, return_index=True, return_inverse=True)
    rank = np.empty(len(first_run), dtype=np.intp)
    rank[np.argsort(first_run)] = np.arange(len(first_run))
    return np.repeat(rank[of_run], np.diff(np.append(begins, len(cells))))


def _values_at(
    values: NDArray[np.float32], cells: NDArray[np.intp], wide: int
) -> NDArray[np.float32]:
    """Return the values of cells by their index with the rim; NaN in the rim."""
    rows, columns = np.divmod(cells, wide)
    inside = (rows > 0) & (rows <= values.shape[0]) & (columns > 0) & (columns < wide - 1)
    found = np.full(len(cells), np.nan, dtype=np.float32)
    found[inside] = values[rows[inside] - 1, columns[inside] - 1]
    return found
