"""ASAP's splines: control points in, the outline that ASAP draws out."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_camelyon.annotations.model import FARTHEST_PX, Points

__all__ = ["spline_outline", "spline_pieces"]

_MAX_PIECES = 64


def spline_outline(control_points: ArrayLike, *, tolerance_px: float = 0.5) -> Points:
    """Return the closed outline that ASAP draws through the control points of a spline.

    It is a centripetal Catmull-Rom curve, each piece turned into a cubic Bézier, as in ASAP's
    source (``ASAP/annotation/PolyQtAnnotation.cpp``: ``catmullRomToBezier``, ``getCurrentPath``).
    ASAP takes mirrored neighbours instead of the real ones at the last point, which leaves a
    slight kink there; this does the same, so that both programs show one outline. Where two
    control points coincide ASAP divides by zero; here the repeated one is left out.

    Parameters
    ----------
    control_points : array_like, shape (n, 2)
        Slide points. Those that are not finite are left out.
    tolerance_px : float
        Greatest distance between the curve and its chords.

    Returns
    -------
    ndarray of float64, shape (m, 2)
        A ring through all control points, not repeating its first point. Fewer than three
        distinct points, and points far from any slide, are returned as they are.
    """
    return spline_pieces(control_points, tolerance_px=tolerance_px)[0]


def spline_pieces(
    control_points: ArrayLike, *, tolerance_px: float = 0.5
) -> tuple[Points, NDArray[np.int64]]:
    """Return the outline of a spline, and for each point of it the control point that it follows.

    Parameters
    ----------
    control_points, tolerance_px
        As in `spline_outline`.

    Returns
    -------
    outline : ndarray of float64, shape (m, 2)
        As `spline_outline` returns it.
    control : ndarray of int64, shape (m,)
        Index of the last control point at or before each point of the outline.
    """
    points = np.asarray(control_points, dtype=np.float64).reshape(-1, 2)
    used = np.flatnonzero(np.isfinite(points).all(axis=1))
    if len(used):
        kept = points[used]
        used = used[np.append(True, (kept[1:] != kept[:-1]).any(axis=1))]
        used = used[:-1] if len(used) > 1 and (points[used[-1]] == points[used[0]]).all() else used
    points = points[used]
    if len(points) < 3 or np.abs(points).max() > FARTHEST_PX:
        return points, used

    start, end = points, np.roll(points, -1, axis=0)
    before, after = np.roll(points, 1, axis=0), np.roll(points, -2, axis=0)
    before[-1] = 2 * start[-1] - end[-1]
    after[-2] = 2 * end[-2] - start[-2]
    first_handle = _handle(before, start, end)
    second_handle = _handle(after, end, start)

    bend = np.maximum(
        np.hypot(*(start - 2 * first_handle + second_handle).T),
        np.hypot(*(first_handle - 2 * second_handle + end).T),
    )
    # Wang's bound: a cubic split into n equal steps stays within 6/8 · bend / n² of its chords.
    pieces = np.ceil(np.sqrt(0.75 * bend / tolerance_px)).clip(1, _MAX_PIECES).astype(int)

    first_index = np.concatenate([[0], np.cumsum(pieces)])
    outline = np.empty((first_index[-1], 2))
    for count in np.unique(pieces):
        rows = np.flatnonzero(pieces == count)
        for step in range(count):
            t = step / count
            weights = [math.comb(3, k) * t**k * (1 - t) ** (3 - k) for k in range(4)]
            outline[first_index[rows] + step] = (
                weights[0] * start[rows]
                + weights[1] * first_handle[rows]
                + weights[2] * second_handle[rows]
                + weights[3] * end[rows]
            )
    return outline, np.repeat(used, pieces)


def _handle(before: Points, at: Points, towards: Points) -> Points:
    # The Bézier handle beside `at` of the centripetal Catmull-Rom piece from `at` to `towards`.
    incoming = np.hypot(*(at - before).T)[:, None]
    outgoing = np.hypot(*(towards - at).T)[:, None]
    mixed = np.sqrt(incoming * outgoing)
    handle: Points = (
        incoming * towards - outgoing * before + (2 * incoming + 3 * mixed + outgoing) * at
    ) / (3 * (incoming + mixed))
    return handle
