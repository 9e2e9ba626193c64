"""The outline while a brush is painting on it, and the annotation when it has.

A union with an outline of 45,000 points takes a tenth of a second, too long for every move of the
mouse. While a stroke grows only its own border and the few edges it crosses are computed; the
exact result, by `editing`, is made once at its end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_camelyon.annotations.editing import region_to_edit, union, with_region
from napari_camelyon.annotations.model import Annotation, Points, make_annotation
from napari_camelyon.annotations.regions import PRECISION_PX, cut
from napari_camelyon.annotations.snapping import original_of, parts_like

__all__ = ["StrokePreview", "begin_stroke", "end_stroke", "preview_outline"]

_TOUCH_PX = 2 * PRECISION_PX
"""Lines nearer than this may be one line in the exact result: they are looked at piece by piece."""

_PIECES = 2000
_SHORTEST_PIECE_PX = 10.0
"""A stroke's border is looked at in about so many pieces, none shorter than this."""

_Array = NDArray[np.float64]
_Places = NDArray[np.int64]
_Flags = NDArray[np.bool_]
_Test = Callable[[_Array], _Flags]


@dataclass(frozen=True, slots=True, eq=False)
class StrokePreview:
    """What `preview_outline` needs of an annotation, made once when a stroke begins.

    Attributes
    ----------
    annotation : Annotation or None
        None when a new one is painted.
    adding : bool
        False when the brush erases.
    region : shapely.Polygon or shapely.MultiPolygon
        Of the annotation, prepared.
    rings : tuple of ndarray of float64, shape (n, 2)
        All rings of the region, closed: the last point is the first one.
    places : ndarray of int64, shape (m, 2)
        Number of each edge's ring, and of the edge in it.
    edges : shapely.STRtree
        Of all edges.
    """

    annotation: Annotation | None
    adding: bool
    region: Any
    rings: tuple[Points, ...]
    places: NDArray[np.int64]
    edges: Any


def begin_stroke(annotation: Annotation | None, *, adding: bool) -> StrokePreview:
    """Prepare painting on an annotation, or on nothing.

    Raises
    ------
    AnnotationError
        As `editing.region_to_edit`.
    """
    region = shapely.Polygon() if annotation is None else region_to_edit(annotation)
    rings = _closed_rings(region)
    tree = shapely.STRtree(_edge_lines(rings))
    # Both indices are built when they are first used, which should not be under the brush.
    tree.query(shapely.Point(0, 0))
    shapely.prepare(region)
    shapely.contains_xy(region, 0.0, 0.0)
    return StrokePreview(annotation, adding, region, rings, _numbered(rings), tree)


def preview_outline(preview: StrokePreview, stroke: Any) -> list[Points]:
    """Return the outline as it would be if the stroke ended now.

    Parameters
    ----------
    preview : StrokePreview
        From `begin_stroke`.
    stroke : shapely.Polygon or shapely.MultiPolygon
        What the brush has covered so far, from `stroke_region` or `extend_stroke`.

    Returns
    -------
    list of ndarray of float64, shape (n, 2)
        Lines, open or closed, that together are the border of the result of `end_stroke`, except
        for slivers thinner than 5e-5 px. Their order means nothing. Rings that the stroke does not
        cross are the same read-only arrays in every call.
    """
    painted = _closed_rings(stroke)
    if not preview.rings or not painted:
        return [*preview.rings, *(painted if preview.adding else ())]
    shapely.prepare(stroke)
    own_at, painted_at = _pairs_near(preview, painted)
    own_edges, painted_edges = _edges_at(preview.rings, own_at), _edges_at(painted, painted_at)
    own_cuts, meets = _meetings(own_edges, painted_edges)
    painted_cuts, also_meets = _meetings(painted_edges, own_edges)
    meets |= also_meets

    def in_result(points: _Array) -> _Flags:
        own, covered = _inside(preview.region, points), _inside(stroke, points)
        return own | covered if preview.adding else own & ~covered

    def outside_stroke(points: _Array) -> _Flags:
        return ~_inside(stroke, points)

    def on_the_right_side(points: _Array) -> _Flags:
        own = _inside(preview.region, points)
        return ~own if preview.adding else own

    return [
        *_border_lines(preview.rings, own_at[meets], own_cuts[meets], outside_stroke, in_result),
        *_border_lines(
            painted, painted_at[meets], painted_cuts[meets], on_the_right_side, in_result
        ),
    ]


def end_stroke(preview: StrokePreview, stroke: Any) -> Annotation | None:
    """Return the annotation with the whole stroke added to it or erased from it.

    Returns
    -------
    Annotation or None
        The annotation itself if the stroke changes nothing; a new polygon, without a name or a
        group, if it was painted on nothing. None if nothing is left.
    """
    own, annotation = preview.region, preview.annotation
    if annotation is None:
        parts = parts_like(original_of([]), union([stroke])) if preview.adding else []
        if not parts:
            return None
        first, *others = parts
        return make_annotation("polygon", first.points, holes=first.holes, more_parts=others)
    if preview.adding:
        if stroke.is_empty or own.covers(stroke):
            return annotation
        return with_region(annotation, union([own, stroke]))
    if not own.is_empty and not own.relate_pattern(stroke, "T********"):
        return annotation
    return with_region(annotation, cut(own, [stroke]))


# --- which lines are border -------------------------------------------------------------------


def _closed_rings(region: Any) -> tuple[Points, ...]:
    rings = []
    for polygon in shapely.get_parts(region):
        for ring in (polygon.exterior, *polygon.interiors):
            points = shapely.get_coordinates(ring)
            if len(points):
                points.setflags(write=False)
                rings.append(points)
    return tuple(rings)


def _edge_lines(rings: tuple[Points, ...]) -> Any:
    edges = [np.stack([ring[:-1], ring[1:]], axis=1) for ring in rings]
    return shapely.linestrings(np.concatenate([np.empty((0, 2, 2)), *edges]))


def _numbered(rings: tuple[Points, ...]) -> _Places:
    counts = [len(ring) - 1 for ring in rings]
    edges = [np.empty(0, np.int64), *map(np.arange, counts)]
    return np.stack([np.repeat(np.arange(len(rings)), counts), np.concatenate(edges)], axis=1)


def _pairs_near(preview: StrokePreview, painted: tuple[Points, ...]) -> tuple[_Places, _Places]:
    """Return which edges of the annotation may meet which of the stroke, the latter in pieces."""
    places = _numbered(painted)
    start, end = _edges_at(painted, places)
    step = end - start
    length = np.hypot(*step.T)
    # The box around a long slanting edge would find everything beside it.
    shortest = max(_SHORTEST_PIECE_PX, float(length.sum()) / _PIECES)
    pieces = np.ceil(length / shortest).astype(int).clip(1)
    owner = np.repeat(np.arange(len(places)), pieces)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    step = step[owner] / pieces[owner, None]
    first = start[owner] + number[:, None] * step
    low, high = np.minimum(first, first + step) - _TOUCH_PX, np.maximum(first, first + step)
    boxes = shapely.box(*low.T, *(high + _TOUCH_PX).T)
    piece, own = preview.edges.query(boxes)
    pair = np.unique(owner[piece] * len(preview.places) + own)
    return preview.places[pair % len(preview.places)], places[pair // len(preview.places)]


def _edges_at(rings: tuple[Points, ...], places: _Places) -> tuple[_Array, _Array]:
    ring, edge = places.T
    first = np.cumsum([0, *map(len, rings[:-1])])
    used = np.unique(ring)
    if len(used) == 1:
        points = rings[used[0]]
        return points[edge], points[edge + 1]
    points = np.concatenate(rings)
    return points[first[ring] + edge], points[first[ring] + edge + 1]


def _meetings(edges: tuple[_Array, _Array], others: tuple[_Array, _Array]) -> tuple[_Array, _Flags]:
    """Return where each edge meets another one.

    Returns
    -------
    along : ndarray of float64, shape (n, 3)
        How far along the edge, between 0 and 1, it crosses the other one and passes the two ends
        of it; NaN where it does not.
    meets : ndarray of bool, shape (n,)
        Whether it crosses the other one or comes near one of its ends.
    """
    start, step = edges[0], edges[1] - edges[0]
    other_start, other_step = others[0], others[1] - others[0]
    found = np.full((len(start), 3), np.nan)
    turn = _cross(step, other_step)
    crossing = np.abs(turn) > 1e-12 * np.hypot(*step.T) * np.hypot(*other_step.T)
    gap = (other_start - start)[crossing]
    along = _cross(gap, other_step[crossing]) / turn[crossing]
    along_other = _cross(gap, step[crossing]) / turn[crossing]
    met = (along >= 0) & (along <= 1) & (along_other >= 0) & (along_other <= 1)
    found[crossing, 0] = np.where(met, along, np.nan)
    lengths = np.maximum((step * step).sum(axis=1), PRECISION_PX**2)
    for column, point in enumerate(others, start=1):
        along = (((point - start) * step).sum(axis=1) / lengths).clip(0, 1)
        near = np.hypot(*(start + along[:, None] * step - point).T) <= _TOUCH_PX
        found[near, column] = along[near]
    meets = np.isfinite(found).any(axis=1)
    found[(found <= 0) | (found >= 1)] = np.nan
    return found, meets


def _border_lines(
    rings: tuple[Points, ...],
    places: _Places,
    cuts: _Array,
    kept: _Test,
    in_result: _Test,
) -> list[Points]:
    """Return the lines along rings that are border of the result.

    The edges at these places meet the other outline, at the cuts; all others lie on one side of
    it. `kept` tells by a point of such an edge whether it stays.
    """
    lines: list[Points] = []
    met = set(places[:, 0].tolist())
    alone = [points for number, points in enumerate(rings) if number not in met]
    if alone:
        stays = kept(np.array([points[0] for points in alone]))
        lines += [points for points, stay in zip(alone, stays, strict=True) if stay]
    for number in met:
        here = places[:, 0] == number
        lines += _lines_of_ring(rings[number], places[here, 1], cuts[here], kept, in_result)
    return lines


def _lines_of_ring(
    closed: Points, edge: NDArray[np.int64], cuts: _Array, kept: _Test, in_result: _Test
) -> list[Points]:
    met = np.unique(edge)
    begin, end, owner = _cut_up(closed, met, edge, cuts)
    stays = _separates(begin, end, in_result)

    # Behind each of these edges runs a row of others, maybe none, all on the same side.
    count = len(closed) - 1
    low, high = met + 1, np.append(met[1:], met[0] + count)
    filled = low < high
    next_edge = low[filled] % count
    run_stays = np.zeros(len(met), bool)
    if filled.any():
        run_stays[filled] = kept((closed[next_edge] + closed[next_edge + 1]) / 2)

    chain: list[tuple[bool, Points]] = []
    first = np.searchsorted(owner, np.arange(len(met) + 1)).tolist()
    for number in range(len(met)):
        pieces = range(first[number], first[number + 1])
        chain += [(bool(stays[piece]), begin[piece : piece + 1]) for piece in pieces]
        if filled[number]:
            i, j = int(low[number]), int(high[number])
            run = (
                closed[i:j]
                if j <= count
                else np.concatenate([closed[i:count], closed[: j - count]])
            )
            chain.append((bool(run_stays[number]), run))
    return _joined(chain)


def _cut_up(
    closed: Points, met: NDArray[np.int64], edge: NDArray[np.int64], cuts: _Array
) -> tuple[_Array, _Array, NDArray[np.int64]]:
    """Return start and end of the pieces of the edges ``met``, and whose piece each is."""
    row, column = np.nonzero(np.isfinite(cuts))
    owner = np.concatenate([np.arange(len(met)), np.searchsorted(met, edge[row])])
    along = np.concatenate([np.zeros(len(met)), cuts[row, column]])
    order = np.lexsort((along, owner))
    owner, along = owner[order], along[order]
    start, stop = closed[met], closed[met + 1]
    begin = start[owner] + along[:, None] * (stop - start)[owner]
    is_last = np.append(owner[1:] != owner[:-1], True)
    return begin, np.where(is_last[:, None], stop[owner], np.roll(begin, -1, axis=0)), owner


def _separates(begin: _Array, end: _Array, in_result: _Test) -> _Flags:
    """Return which pieces have the result on one side only, whatever else coincides there."""
    middle, step = (begin + end) / 2, end - begin
    length = np.hypot(*step.T)
    normal = step[:, ::-1] * (1, -1) / np.maximum(length, PRECISION_PX)[:, None] * _TOUCH_PX
    stays: _Flags = in_result(middle + normal) != in_result(middle - normal)
    # What is too short to have two sides goes with what is before it.
    clear = np.flatnonzero(length > 4 * _TOUCH_PX)
    if not len(clear):
        return stays
    before = np.searchsorted(clear, np.arange(len(stays)), side="right") - 1
    return stays[clear[before]]


def _joined(chain: list[tuple[bool, Points]]) -> list[Points]:
    """Return the lines along a closed chain of pieces that stay; each lacks its last point."""
    if all(stays for stays, _ in chain):
        return [np.concatenate([*(points for _, points in chain), chain[0][1][:1]])]
    gap = next(place for place, (stays, _) in enumerate(chain) if not stays)
    lines, line = [], []
    for stays, points in chain[gap:] + chain[: gap + 1]:
        if stays:
            line.append(points)
        elif line:
            lines.append(np.concatenate([*line, points[:1]]))
            line = []
    return lines


def _inside(region: Any, points: _Array) -> _Flags:
    inside: _Flags = shapely.contains_xy(region, points)
    return inside


def _cross(first: _Array, second: _Array) -> _Array:
    product: _Array = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    return product
