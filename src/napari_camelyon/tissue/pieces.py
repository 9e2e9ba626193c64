"""Tissue pieces told apart: what lies close together is one, and they are numbered as one reads."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_camelyon.geometry import Mpp
from napari_camelyon.tissue.mask import TissueMask

__all__ = ["Pieces", "TissuePiece", "find_pieces"]

GAP_UM = 300.0
"""Tissue nearer than this is one piece: a node with its fat and its torn edge."""

MIN_PIECE_MM2 = 0.05
"""What is smaller is a fragment, and belongs to the nearest piece."""

_COARSE = 4


@dataclass(frozen=True, slots=True)
class TissuePiece:
    """One piece of tissue.

    Attributes
    ----------
    number : int
        From 1, in reading order: rows from the top, each from the left.
    area_mm2 : float
    bounds_px : tuple of float
        ``(left, top, right, bottom)``, level-0 pixels.
    """

    number: int
    area_mm2: float
    bounds_px: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """The pieces of a slide.

    Attributes
    ----------
    pieces : tuple of TissuePiece
    labels : ndarray of int32, shape (rows, columns)
        Number of the piece of each mask pixel; 0 where there is no tissue.
    """

    pieces: tuple[TissuePiece, ...]
    labels: NDArray[np.int32]


def find_pieces(
    mask: TissueMask,
    mpp: Mpp,
    *,
    gap_um: float = GAP_UM,
    min_area_mm2: float = MIN_PIECE_MM2,
) -> Pieces:
    """Tell the pieces of tissue of a slide apart.

    Parameters
    ----------
    mask : TissueMask
    mpp : tuple of float
        µm per level-0 pixel ``(x, y)``.
    gap_um : float
        Widest gap within a piece.
    min_area_mm2 : float
        Area from which tissue is a piece of its own. Where nothing reaches it the largest is one.

    Returns
    -------
    Pieces
    """
    if not mask.values.any():
        return Pieces((), np.zeros(mask.values.shape, np.int32))
    pixel_mm2 = mask.pixel_px**2 * mpp[0] * mpp[1] / 1e6
    clusters = _clusters(mask, gap_um / math.sqrt(mpp[0] * mpp[1]))
    sizes = np.bincount(clusters.ravel()).astype(np.float64)
    sizes[0] = 0
    large = np.flatnonzero(sizes * pixel_mm2 >= min_area_mm2)
    large = large if len(large) else np.array([sizes.argmax()])
    owned = _with_fragments(clusters, large)
    places = ndimage.find_objects(owned)
    boxes = [_box(places[cluster - 1]) for cluster in large]
    order = _reading_order(boxes)
    number_of = np.zeros(len(sizes), np.int32)
    number_of[large[order]] = np.arange(1, len(order) + 1)
    labels = number_of[owned]
    areas = np.bincount(labels.ravel(), minlength=len(order) + 1)[1:] * pixel_mm2
    side = mask.pixel_px
    pieces = tuple(
        TissuePiece(number, float(area), _scaled(boxes[index], side))
        for number, (index, area) in enumerate(zip(order, areas, strict=True), start=1)
    )
    return Pieces(pieces, labels)


def _clusters(mask: TissueMask, gap_px: float) -> NDArray[np.int32]:
    """Label the mask, joining what a gap parts; the gap is measured four times as coarse."""
    values = mask.values
    rows, columns = (-side % _COARSE for side in values.shape)
    padded = np.pad(values, ((0, rows), (0, columns)))
    blocks = padded.reshape(
        padded.shape[0] // _COARSE, _COARSE, padded.shape[1] // _COARSE, _COARSE
    )
    coarse = blocks.any(axis=(1, 3))
    away = ndimage.distance_transform_edt(~coarse)
    # Two shores that grow by half of the gap meet; blocks are counted from centre to centre.
    near = away * _COARSE * mask.pixel_px <= gap_px / 2
    labels, _ = ndimage.label(near, structure=np.ones((3, 3)))
    whole = labels.repeat(_COARSE, axis=0).repeat(_COARSE, axis=1)
    return np.where(values, whole[: values.shape[0], : values.shape[1]], 0).astype(np.int32)


def _with_fragments(clusters: NDArray[np.int32], large: NDArray[np.intp]) -> NDArray[np.int32]:
    """Give what belongs to no large cluster to the nearest one."""
    is_large = np.zeros(clusters.max() + 1, bool)
    is_large[large] = True
    of_piece = is_large[clusters]
    stray = (clusters > 0) & ~of_piece
    if not stray.any():
        return clusters
    nearest = ndimage.distance_transform_edt(~of_piece, return_distances=False, return_indices=True)
    result = clusters.copy()
    result[stray] = clusters[nearest[0][stray], nearest[1][stray]]
    return result


_Box = tuple[int, int, int, int]


def _box(place: tuple[slice, slice]) -> _Box:
    rows, columns = place
    return columns.start, rows.start, columns.stop, rows.stop


def _scaled(box: _Box, side: float) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return left * side, top * side, right * side, bottom * side


def _reading_order(boxes: list[_Box]) -> list[int]:
    """Return indices in rows: a piece whose middle lies beside the row's first is in its row."""
    waiting = sorted(range(len(boxes)), key=lambda index: boxes[index][1] + boxes[index][3])
    order: list[int] = []
    while waiting:
        _, top, _, bottom = boxes[waiting[0]]
        row = [i for i in waiting if top <= (boxes[i][1] + boxes[i][3]) / 2 < bottom]
        order += sorted(row, key=lambda index: boxes[index][0])
        waiting = [index for index in waiting if index not in row]
    return order
