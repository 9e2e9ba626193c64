"""From the result of a computation on regions back to rings, with the original's points in them.

Regions are computed on a grid (`regions.PRECISION_PX`) and GEOS returns rings that start anywhere,
run either way and leave out repeated points. A person who painted at one end of an outline wants
the rest of it as it was, to the last bit, so that saving changes only the lines of what was
painted.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from napari_camelyon.annotations.model import Annotation, Part, Points
from napari_camelyon.annotations.regions import PRECISION_PX, outline_rings

__all__ = ["Original", "invalid_at", "original_of", "parts_like"]

_ROUNDS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Original:
    """The points that results are to keep.

    Attributes
    ----------
    points : ndarray of float64, shape (n, 2)
        Of all rings as drawn, one ring after the other.
    ring, index : ndarray of int64, shape (n,)
        Number of the ring of each point, and its place in that ring.
    sizes : tuple of int
        Number of points of each ring.
    cluster : ndarray of int64, shape (n,)
        Points that follow each other within the pitch of the grid, hence one point to GEOS, share
        a number.
    tree : scipy.spatial.cKDTree or None
        Of the points; None without any.
    """

    points: Points
    ring: NDArray[np.int64]
    index: NDArray[np.int64]
    sizes: tuple[int, ...]
    cluster: NDArray[np.int64]
    members: NDArray[np.int64]
    tree: Any


def original_of(annotations: Iterable[Annotation]) -> Original:
    """Return the points of annotations as drawn, those of the first one first."""
    rings = [
        ring
        for annotation in annotations
        for outer, holes in outline_rings(annotation)
        for ring in (outer, *holes)
    ]
    sizes = tuple(map(len, rings))
    points = np.concatenate([np.empty((0, 2)), *rings])
    number = np.repeat(np.arange(len(rings)), sizes)
    index = np.concatenate([np.empty(0, np.int64), *map(np.arange, sizes)])
    clusters, count = [], 0
    for ring in rings:
        begins = (np.abs(ring - np.roll(ring, 1, axis=0)) > PRECISION_PX).any(axis=1)
        label = np.cumsum(begins)
        # What comes before the first beginning continues the end of the ring.
        label[label == 0] = label.max(initial=0)
        clusters.append(label + count)
        count += len(ring) + 1
    cluster = np.concatenate([np.empty(0, np.int64), *clusters])
    return Original(
        points=points,
        ring=number,
        index=index,
        sizes=sizes,
        cluster=cluster,
        members=np.bincount(cluster),
        tree=cKDTree(points, balanced_tree=False, compact_nodes=False) if len(points) else None,
    )


def parts_like(original: Original, region: Any) -> list[Part]:
    """Return the polygons of a region, largest first, as near to the original as they can be.

    A point within the grid's pitch of an original one takes its bits, and repeated points come
    back. A ring keeps the direction and the first point of the original ring that most of it
    comes from, and holes their order. Where the exact bits would make a ring cross itself, which
    takes an edge within the pitch of a point, points stay on the grid: the polygons are valid if
    the region is.

    Parameters
    ----------
    original : Original
        Whose points to keep.
    region : shapely.Polygon or shapely.MultiPolygon
        Valid.
    """
    polygons = [part for part in shapely.get_parts(region) if not part.is_empty]
    polygons.sort(key=lambda polygon: -polygon.area)
    parts = []
    for polygon in polygons:
        found = [
            np.asarray(ring.coords)[:-1, :2] for ring in (polygon.exterior, *polygon.interiors)
        ]
        outer, *holes = _kept(found, original)
        holes.sort(key=lambda hole: hole[0])
        parts.append(Part(outer[1], tuple(ring for _, ring in holes)))
    return parts


def invalid_at(region: Any) -> tuple[float, float] | None:
    """Return a place where a region is invalid, NaN if GEOS names none; None if it is valid."""
    if region.is_valid:
        return None
    place = re.search(r"\[(\S+) (\S+)\]", shapely.is_valid_reason(region))
    return (float(place.group(1)), float(place.group(2))) if place else (np.nan, np.nan)


def _kept(rings: Sequence[Points], original: Original) -> list[tuple[float, Points]]:
    if original.tree is None:
        return [(np.inf, ring) for ring in rings]
    ends = np.cumsum([0, *map(len, rings)])
    points = np.concatenate(rings)
    distance, match = original.tree.query(points, distance_upper_bound=PRECISION_PX)
    match = np.where(np.isfinite(distance), match, -1)
    snapped = points.copy()
    for _ in range(_ROUNDS):
        snapped[match >= 0] = original.points[match[match >= 0]]
        snapped[match < 0] = points[match < 0]
        outer, *holes = np.split(snapped, ends[1:-1])
        place = invalid_at(shapely.Polygon(outer, holes))
        if place is None:
            break
        # First the points at that place, then the ends of the edges that pass it, then all.
        beside = (match >= 0) & (np.hypot(*(points - place).T) <= 10 * PRECISION_PX)
        if not beside.any():
            beside = (match >= 0) & _on_edges_through(points, ends, place)
        match[beside if beside.any() else slice(None)] = -1
    else:
        match[:] = -1
    return [
        _like_its_original(ring, its_match, original)
        for ring, its_match in zip(rings, np.split(match, ends[1:-1]), strict=True)
    ]


def _like_its_original(
    ring: Points, match: NDArray[np.int64], original: Original
) -> tuple[float, Points]:
    """Return the number of the ring that this one comes from, and this one with its points."""
    known = match >= 0
    if not known.any():
        return np.inf, ring
    home = int(np.bincount(original.ring[match[known]]).argmax())
    size = original.sizes[home]

    at_home = np.flatnonzero(known & (original.ring[match] == home))
    steps = np.diff(original.index[match[at_home]], append=original.index[match[at_home[0]]]) % size
    if np.count_nonzero(2 * steps > size) > np.count_nonzero((steps > 0) & (2 * steps < size)):
        ring, match = ring[::-1], match[::-1]

    points, match = _with_repeated(ring, match, original)
    index = np.where((match >= 0) & (original.ring[match] == home), original.index[match], size)
    start = int(index.argmin())
    if index[start] > 0:
        # The first point is gone. What came instead is put in its place, so that the ring still
        # ends as it did.
        last = np.flatnonzero(np.roll(index, -start) < size)[-1]
        start = (start + last + 1) % len(points)
    return home, np.roll(points, -start, axis=0)


def _with_repeated(
    ring: Points, match: NDArray[np.int64], original: Original
) -> tuple[Points, NDArray[np.int64]]:
    """Return the ring with the original's bits, and with the points that GEOS took for one."""
    cluster = np.where(match >= 0, original.cluster[match], -1)
    members = original.members
    begins = (cluster != np.roll(cluster, 1)) | (match < 0)
    if not begins.any() or not (members[cluster[match >= 0]] > 1).any():
        return _bits(ring, match, original), match
    turn = int(begins.argmax())
    ring, match = np.roll(ring, -turn, axis=0), np.roll(match, -turn)
    cluster, begins = np.roll(cluster, -turn), np.roll(begins, -turn)
    first = np.flatnonzero(begins)
    end = np.append(first[1:], len(ring))
    pieces: list[NDArray[np.int64]] = []
    done = 0
    for run in np.flatnonzero((match[first] >= 0) & (members[cluster[first]] > 1)):
        same = np.flatnonzero(original.cluster == cluster[first[run]])
        if (np.diff(same) > 1).any():  # around the end of the original ring
            same = np.roll(same, -int(np.diff(same).argmax()) - 1)
        pieces += [match[done : first[run]], same]
        done = int(end[run])
    pieces.append(match[done:])
    whole = np.concatenate(pieces)
    points = original.points[whole]
    points[whole < 0] = ring[match < 0]
    return points, whole


def _bits(ring: Points, match: NDArray[np.int64], original: Original) -> Points:
    return np.where((match >= 0)[:, None], original.points[match], ring)


def _on_edges_through(
    points: Points, ends: NDArray[np.int64], place: tuple[float, float]
) -> NDArray[np.bool_]:
    """Return which points are ends of an edge that passes through a place, within two pitches."""
    following = np.arange(1, len(points) + 1)
    following[ends[1:] - 1] = ends[:-1]
    start, step = points, points[following] - points
    lengths = np.maximum((step * step).sum(axis=1), PRECISION_PX**2)
    along = (((place - start) * step).sum(axis=1) / lengths).clip(0, 1)
    near = np.hypot(*(start + along[:, None] * step - place).T) <= 2 * PRECISION_PX
    found: NDArray[np.bool_] = near.copy()
    found[following[near]] = True
    return found
