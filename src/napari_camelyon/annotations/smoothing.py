"""Outlines with fewer or calmer points, and how far they then are from what was drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, uniform_filter1d
from scipy.spatial import cKDTree

from napari_camelyon.annotations.editing import region_to_edit, with_region
from napari_camelyon.annotations.model import Annotation, Points
from napari_camelyon.annotations.regions import PRECISION_PX
from napari_camelyon.annotations.snapping import invalid_at

__all__ = ["DEVIATION_ACCURACY_PX", "border_deviation", "simplify", "smooth"]

DEVIATION_ACCURACY_PX = 1e-3
"""Deviations are this exact."""

_HALVINGS = 8
_ROUNDS = 12
_LIKELY = 256
"""So many edges that may hold the farthest point are looked at first."""

_Array = NDArray[np.float64]
_Numbers = NDArray[np.int64]


def simplify(annotation: Annotation, tolerance_px: float) -> tuple[Annotation, float]:
    """Return an annotation with fewer points, and how far its border moved.

    Parameters
    ----------
    annotation : Annotation
        A spline becomes a polygon.
    tolerance_px : float
        A point may go if the border stays this near to it (Douglas and Peucker, Cartographica
        10(2), 1973, as in `shapely.simplify` with the topology preserved). Around the first
        point of a ring GEOS goes a little farther: the deviation says how far. The points that
        stay keep their bits.

    Returns
    -------
    annotation : Annotation
        Valid, with as many parts and holes as its region had: where the tolerance would lose one,
        half of it is taken, and so on. Itself if no point can go.
    deviation_px : float
        As `border_deviation`.

    Raises
    ------
    AnnotationError
        As `editing.region_to_edit`.
    """
    region = region_to_edit(annotation)
    for halving in range(_HALVINGS):
        simpler = shapely.simplify(region, tolerance_px / 2**halving)
        if simpler.is_valid and _ring_counts(simpler) == _ring_counts(region):
            break
    else:
        return annotation, 0.0
    if shapely.get_num_coordinates(simpler) == shapely.get_num_coordinates(region):
        return annotation, 0.0
    return with_region(annotation, simpler) or annotation, border_deviation(region, simpler)


def smooth(annotation: Annotation, spacing_px: float) -> tuple[Annotation, float]:
    """Return an annotation with a calmer border, and how far that moved.

    Each ring is filtered along its length by a Gaussian of half the spacing, twice over so that
    it does not shrink: g(2 − g) in place of g (twicing, Tukey, Exploratory Data Analysis, 1977).
    Waves as long as the spacing keep 1 % of their height, twice as long 50 %, four times 92 %;
    a circle of a radius of twice the spacing becomes smaller by 0.1 %.

    Parameters
    ----------
    annotation : Annotation
        A spline becomes a polygon.
    spacing_px : float
        For rings shorter than eight times this, an eighth of their length.

    Returns
    -------
    annotation : Annotation
        Valid, with as many parts and holes as its region had: where the border would cross itself
        it stays as it was. Itself if there is nothing to smooth.
    deviation_px : float
        As `border_deviation`.

    Raises
    ------
    AnnotationError
        As `editing.region_to_edit`.
    """
    region = region_to_edit(annotation)
    if region.is_empty or not spacing_px > 0:
        return annotation, 0.0
    polygons = [
        [shapely.get_coordinates(ring)[:-1] for ring in (part.exterior, *part.interiors)]
        for part in shapely.get_parts(region)
    ]
    pairs = [_densified_and_calm(ring, spacing_px) for rings in polygons for ring in rings]
    calm = _without_crossings(
        [dense for dense, _ in pairs],
        [target for _, target in pairs],
        list(map(len, polygons)),
    )
    if calm is None:
        return annotation, 0.0
    thinned = shapely.simplify(calm, spacing_px / 200)
    if thinned.is_valid and _ring_counts(thinned) == _ring_counts(calm):
        calm = thinned
    return with_region(annotation, calm) or annotation, border_deviation(region, calm)


def border_deviation(first: Any, second: Any) -> float:
    """Return the Hausdorff distance of the borders of two regions.

    The farthest that any point of either border, not only a vertex, is from the other border.
    `shapely.hausdorff_distance` compares vertex by vertex.

    Parameters
    ----------
    first, second : shapely.Polygon or shapely.MultiPolygon
        Not empty.

    Returns
    -------
    float
        In px; at most `DEVIATION_ACCURACY_PX` less than the true one.
    """
    return max(_farthest(_edges(first), _edges(second)), _farthest(_edges(second), _edges(first)))


# --- deviation ---------------------------------------------------------------------------------


def _edges(region: Any) -> _Array:
    rings = shapely.get_rings(shapely.get_parts(region))
    found = [shapely.get_coordinates(ring) for ring in rings]
    return np.concatenate([np.stack([ring[:-1], ring[1:]], axis=1) for ring in found])


@dataclass(frozen=True, slots=True)
class _Spans:
    """Edges or pieces of edges, and a line that is near to each of their ends.

    Attributes
    ----------
    start, end : ndarray of float64, shape (n, 2)
    start_line, end_line : ndarray of int64, shape (n,)
        Number of the line.
    start_far, end_far : ndarray of float64, shape (n,)
        How far it is from the end.
    """

    start: _Array
    end: _Array
    start_line: _Numbers
    end_line: _Numbers
    start_far: _Array
    end_far: _Array


def _farthest(edges: _Array, others: _Array) -> float:
    """Return how far the farthest point of the edges is from the other edges.

    Halves edges until none can hold a point much farther than the farthest known. The distance to
    one straight line is convex, so that along an edge it is greatest at an end; and it changes by
    no more than the way.
    """
    tree = shapely.STRtree(shapely.linestrings(others))

    def nearest(points: _Array) -> tuple[_Numbers, _Array]:
        (_, index), distance = tree.query_nearest(
            shapely.points(points), return_distance=True, all_matches=False
        )
        return index, distance

    # To find the nearest line takes long, one that is near hardly any time. Mostly that is the
    # nearest one, and tells that an edge cannot hold the farthest point.
    limit = _at_most(_spans(edges, partial(_near, others, len(edges))), others)
    likely = np.argsort(limit)[-_LIKELY:]
    best = float(nearest(edges[likely].reshape(-1, 2))[1].max(initial=0))
    spans = _spans(edges[limit > best + DEVIATION_ACCURACY_PX], nearest)
    while len(spans.start):
        best = max(best, float(np.maximum(spans.start_far, spans.end_far).max()))
        spans = _picked(spans, _at_most(spans, others) > best + DEVIATION_ACCURACY_PX)
        middle = (spans.start + spans.end) / 2
        line, far = nearest(middle)
        spans = _joined(
            replace(spans, end=middle, end_line=line, end_far=far),
            replace(spans, start=middle, start_line=line, start_far=far),
        )
    return best


def _at_most(spans: _Spans, others: _Array) -> _Array:
    """Return how far from the other edges a point of each span is at most."""
    length = np.hypot(*(spans.end - spans.start).T)
    limit: _Array = np.minimum.reduce(
        [
            (spans.start_far + spans.end_far + length) / 2,
            np.maximum(spans.start_far, _distances(spans.end, others[spans.start_line])),
            np.maximum(spans.end_far, _distances(spans.start, others[spans.end_line])),
        ]
    )
    return limit


def _spans(edges: _Array, look: Callable[[_Array], tuple[_Numbers, _Array]]) -> _Spans:
    count = len(edges)
    # Most ends are the start of the next edge.
    alone = np.ones(count, bool)
    alone[:-1] = (edges[:-1, 1] != edges[1:, 0]).any(axis=1)
    line, far = look(np.concatenate([edges[:, 0], edges[alone, 1]]))
    last = np.arange(1, count + 1)
    last[alone] = count + np.arange(np.count_nonzero(alone))
    return _Spans(edges[:, 0], edges[:, 1], line[:count], line[last], far[:count], far[last])


def _near(others: _Array, count: int, points: _Array) -> tuple[_Numbers, _Array]:
    """Return for each point a line near to it, mostly the nearest, and how far that is.

    The one with the nearest of points that are strewn along the lines, about as many as ``count``.
    """
    step = others[:, 1] - others[:, 0]
    length = np.hypot(*step.T)
    pieces = np.ceil(length / max(length.sum() / count, PRECISION_PX)).astype(int).clip(1)
    line = np.repeat(np.arange(len(others)), pieces)
    number = np.arange(len(line)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    strewn = others[line, 0] + ((number + 0.5) / pieces[line])[:, None] * step[line]
    tree = cKDTree(strewn, balanced_tree=False, compact_nodes=False)
    found = line[tree.query(points)[1]]
    return found, _distances(points, others[found])


def _distances(points: _Array, lines: _Array) -> _Array:
    """Return the distance of each point from a line of its own."""
    start, step = lines[:, 0], lines[:, 1] - lines[:, 0]
    lengths = (step * step).sum(axis=1)
    along = ((points - start) * step).sum(axis=1) / np.where(lengths > 0, lengths, 1.0)
    distances: _Array = np.hypot(*(points - start - along.clip(0, 1)[:, None] * step).T)
    return distances


def _picked(spans: _Spans, which: NDArray[np.bool_]) -> _Spans:
    return _Spans(*(getattr(spans, one.name)[which] for one in fields(_Spans)))


def _joined(first: _Spans, second: _Spans) -> _Spans:
    names = [one.name for one in fields(_Spans)]
    return _Spans(*(np.concatenate([getattr(first, n), getattr(second, n)]) for n in names))


def _ring_counts(region: Any) -> list[int]:
    return sorted(len(part.interiors) for part in shapely.get_parts(region) if not part.is_empty)


# --- smoothing ---------------------------------------------------------------------------------


def _densified_and_calm(ring: Points, spacing_px: float) -> tuple[Points, Points]:
    """Return a ring with points at least every quarter of the spacing, and where they are to go."""
    step = np.roll(ring, -1, axis=0) - ring
    length = np.hypot(*step.T)
    spacing = min(spacing_px, float(length.sum()) / 8)
    pieces = np.ceil(length / (spacing / 4)).astype(int).clip(1)
    owner = np.repeat(np.arange(len(ring)), pieces)
    share = (np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) / pieces[owner]
    dense = ring[owner] + share[:, None] * step[owner]

    place = np.concatenate([[0.0], np.cumsum(length)])
    dense_place = place[owner] + share * length[owner]
    count = int(np.ceil(place[-1] / (spacing / 8)))
    even = np.arange(count) * (place[-1] / count)
    closed = np.concatenate([ring, ring[:1]])
    sampled = np.stack([np.interp(even, place, closed[:, axis]) for axis in (0, 1)], axis=1)
    width = spacing / 2 / (place[-1] / count)
    once = gaussian_filter1d(sampled, width, axis=0, mode="wrap")
    twice = 2 * once - gaussian_filter1d(once, width, axis=0, mode="wrap")
    calm = [np.interp(dense_place, even, twice[:, axis], period=place[-1]) for axis in (0, 1)]
    return dense, np.stack(calm, axis=1)


def _without_crossings(
    rings: Sequence[Points], targets: Sequence[Points], ring_counts: Sequence[int]
) -> Any:
    """Return the region of rings moved to their targets as far as they can be; None if nowhere."""
    share = [np.ones(len(ring)) for ring in rings]
    ends = np.cumsum([0, *map(len, rings)])
    for attempt in range(_ROUNDS):
        moved = [
            ring + part[:, None] * (target - ring)
            for ring, target, part in zip(rings, targets, share, strict=True)
        ]
        region = _region_of_rings(moved, ring_counts)
        place = invalid_at(region)
        if place is None:
            return region
        crossing = _crossing_points(moved)
        if not crossing.any():  # a hole was overtaken by the border beside it
            before, after = np.concatenate(rings), np.concatenate(moved)
            reach_px = np.hypot(*(after - before).T).max() * 2.0**attempt
            for points in (before, after):
                crossing |= np.hypot(*(points - place).T) <= reach_px
        for number, ring in enumerate(rings):
            here = crossing[ends[number] : ends[number + 1]]
            # These points stay, and their neighbours give way towards them by and by.
            reach = min(4 * 2**attempt, len(ring) // 2)
            still = maximum_filter1d(here.astype(float), 4 * reach + 1, mode="wrap")
            ramp = 1 - uniform_filter1d(still, 2 * reach + 1, mode="wrap")
            share[number] = np.minimum(share[number], ramp.clip(0, 1))
    return None


def _region_of_rings(rings: Sequence[Points], ring_counts: Sequence[int]) -> Any:
    first = np.cumsum([0, *ring_counts])
    polygons = [
        shapely.Polygon(rings[i], rings[i + 1 : i + count])
        for i, count in zip(first, ring_counts, strict=False)
    ]
    return polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)


def _crossing_points(rings: Sequence[Points]) -> NDArray[np.bool_]:
    """Return which points are ends of an edge that meets another one than its neighbours."""
    starts = np.cumsum([0, *map(len, rings)])
    following = np.concatenate(
        [i + np.roll(np.arange(len(ring)), -1) for i, ring in zip(starts, rings, strict=False)]
    )
    points = np.concatenate(rings)
    lines = shapely.linestrings(np.stack([points, points[following]], axis=1))
    first, second = shapely.STRtree(lines).query(lines, predicate="intersects")
    apart = (first < second) & (following[first] != second) & (following[second] != first)
    found = np.zeros(len(points), bool)
    for edge in (first[apart], second[apart]):
        found[edge] = True
        found[following[edge]] = True
    return found
