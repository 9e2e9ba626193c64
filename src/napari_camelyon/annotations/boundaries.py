"""How far apart the boundaries of two regions run, in micrometres."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from napari_camelyon.geometry import Mpp, slide_to_um

__all__ = [
    "HAUSDORFF_ERROR_UM",
    "STEP_UM",
    "BoundaryDistance",
    "boundary_distance",
    "boundary_distances",
]

STEP_UM = 10.0
"""Greatest distance between two points of a boundary that are looked at first: about a nucleus.

The distance to the other boundary changes by no more than one moves, so that a mean over these
points is off by a quarter of this at the worst."""

HAUSDORFF_ERROR_UM = 0.01
"""By how much a Hausdorff distance may come out too small; it never comes out too large."""

_BLOCK_CORNERS = 20_000
"""Pairs are worked on together until they have so many corners; bounds the memory."""

_Um = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BoundaryDistance:
    """How far apart two boundaries run.

    Attributes
    ----------
    hausdorff_um : float
        The greatest distance from a point on either boundary to the nearest one on the other.
    mean_um : float
        The mean of these distances over the length of both boundaries.
    """

    hausdorff_um: float
    mean_um: float


def boundary_distance(first: Any, second: Any, mpp: Mpp) -> BoundaryDistance:
    """Return the Hausdorff and the mean distance between the boundaries of two regions.

    Edges count as well as corners: a piece of an edge is halved as long as a point on it could be
    farther away than the farthest one known by more than `HAUSDORFF_ERROR_UM`. The mean is the
    average symmetric surface distance (L. Maier-Hein et al., Nature Methods 21:195, 2024), with
    the distance taken every `STEP_UM` or closer, to the edges at the corner that is nearest.

    Parameters
    ----------
    first, second : shapely.Polygon or shapely.MultiPolygon
        Valid and not empty, in slide points (px). The edges of holes are boundaries too.
    mpp : tuple of float
        µm per level-0 pixel ``(x, y)``; pixels need not be square.
    """
    return boundary_distances([(first, second)], mpp)[0]


def boundary_distances(pairs: Sequence[tuple[Any, Any]], mpp: Mpp) -> list[BoundaryDistance]:
    """Return the `boundary_distance` of each of many pairs, about twice as fast as one by one."""
    differing = [k for k, (first, second) in enumerate(pairs) if not _same(first, second)]
    found = [BoundaryDistance(0.0, 0.0)] * len(pairs)
    corners = shapely.get_num_coordinates(np.array([pairs[k] for k in differing], dtype=object))
    block = np.cumsum(corners.reshape(-1, 2).sum(axis=1)) // _BLOCK_CORNERS
    for number in np.unique(block):
        members = [differing[k] for k in np.flatnonzero(block == number)]
        distances = _distances_of_block([pairs[k] for k in members], mpp)
        for k, distance in zip(members, distances, strict=True):
            found[k] = distance
    return found


def _same(first: Any, second: Any) -> bool:
    return bool(shapely.equals_exact(shapely.normalize(first), shapely.normalize(second)))


def _distances_of_block(pairs: list[tuple[Any, Any]], mpp: Mpp) -> list[BoundaryDistance]:
    places_um: list[_Um] = []
    left_um = 0.0
    for pair in pairs:
        # The pairs are laid out in a row, so far apart that what is nearest is always of the same
        # pair: one search tree serves them all.
        x0, y0, x1, y1 = shapely.total_bounds(pair)
        corner_um, size_um = slide_to_um([x0, y0], mpp), slide_to_um([x1 - x0, y1 - y0], mpp)
        places_um.append(np.array([left_um, 0.0]) - corner_um)
        left_um += 3 * float(size_um.sum()) + 1
    sides = [_side([pair[k] for pair in pairs], places_um, mpp) for k in (0, 1)]
    there, back = _one_way(sides[0], sides[1], len(pairs)), _one_way(sides[1], sides[0], len(pairs))
    farthest_um = np.maximum(there.farthest_um, back.farthest_um)
    mean_um = (there.sum_um2 + back.sum_um2) / (there.length_um + back.length_um)
    return list(map(BoundaryDistance, farthest_um.tolist(), mean_um.tolist()))


@dataclass(frozen=True, slots=True)
class _Side:
    """The boundaries of one region of each pair, cut into edges of at most `STEP_UM`.

    `edges` has the shape (n, 2, 2); `owner` is the pair, `previous` and `following` the edges
    before and after along the ring.
    """

    edges: _Um
    owner: NDArray[np.int64]
    previous: NDArray[np.int64]
    following: NDArray[np.int64]


def _side(regions: Sequence[Any], places_um: Sequence[_Um], mpp: Mpp) -> _Side:
    lines, owners = [], []
    for k, (region, place_um) in enumerate(zip(regions, places_um, strict=True)):
        for ring in shapely.get_rings(shapely.get_parts(region)):
            corners = slide_to_um(shapely.get_coordinates(ring), mpp) + place_um
            lines.append(shapely.LineString(corners))
            owners.append(k)
    points, ring_of = shapely.get_coordinates(shapely.segmentize(lines, STEP_UM), return_index=True)
    start = np.flatnonzero(ring_of[1:] == ring_of[:-1])  # a ring ends with its first point
    ring = ring_of[start]
    first, last = np.searchsorted(ring, ring, "left"), np.searchsorted(ring, ring, "right") - 1
    number = np.arange(len(start))
    return _Side(
        edges=np.stack([points[start], points[start + 1]], axis=1),
        owner=np.asarray(owners, dtype=np.int64)[ring],
        previous=np.where(number == first, last, number - 1),
        following=np.where(number == last, first, number + 1),
    )


@dataclass(frozen=True, slots=True)
class _OneWay:
    """For each pair, from one boundary to the other: farthest, integral of distances, length."""

    farthest_um: _Um
    sum_um2: _Um
    length_um: _Um


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Pieces of edges from `start` to `end`, how far their ends are from which other edge."""

    owner: NDArray[np.int64]
    start: _Um
    end: _Um
    start_um: _Um
    end_um: _Um
    start_edge: NDArray[np.int64]
    end_edge: NDArray[np.int64]

    def length_um(self) -> _Um:
        return _norm(self.end - self.start)

    def at_most_um(self, edges: _Um) -> _Um:
        """Return a distance that no point of each piece exceeds."""
        # One moves from both ends towards the middle …
        bound = (self.start_um + self.end_um + self.length_um()) / 2
        # … and along a piece the distance to one edge is greatest at an end, as both are convex.
        by_start = np.maximum(self.start_um, _to_edge_um(self.end, edges[self.start_edge]))
        by_end = np.maximum(self.end_um, _to_edge_um(self.start, edges[self.end_edge]))
        return np.minimum(bound, np.minimum(by_start, by_end))

    def chosen(self, which: NDArray[np.bool_]) -> "_Pieces":
        return _Pieces(*(getattr(self, name)[which] for name in self.__slots__))

    def halved(self, middle: _Um, middle_um: _Um, edge: NDArray[np.int64]) -> "_Pieces":
        return _Pieces(
            np.concatenate([self.owner, self.owner]),
            np.concatenate([self.start, middle]),
            np.concatenate([middle, self.end]),
            np.concatenate([self.start_um, middle_um]),
            np.concatenate([middle_um, self.end_um]),
            np.concatenate([self.start_edge, edge]),
            np.concatenate([edge, self.end_edge]),
        )


def _one_way(side: _Side, other: _Side, count: int) -> _OneWay:
    corners = cKDTree(other.edges[:, 0])
    tree = shapely.STRtree(shapely.linestrings(other.edges))

    def near(points: _Um) -> tuple[_Um, NDArray[np.int64]]:
        """Return the distance to the nearer one of the edges at the nearest corner, and which."""
        after = corners.query(points)[1].astype(np.int64)
        before = other.previous[after]
        to_after, to_before = (_to_edge_um(points, other.edges[k]) for k in (after, before))
        nearer = to_after <= to_before
        return np.where(nearer, to_after, to_before), np.where(nearer, after, before)

    def nearest(points: _Um) -> tuple[_Um, NDArray[np.int64]]:
        """Return the distance to the nearest edge of all, and which; slower, so for few points."""
        found, distance_um = tree.query_nearest(
            shapely.points(points), return_distance=True, all_matches=False
        )
        return distance_um, found[1]

    owner, points = side.owner, side.edges[:, 0]
    distance_um, edge = near(points)
    # Another edge may be nearer yet, so these are bounds. What is exact must be the farthest only.
    by_distance = np.lexsort((-distance_um, owner))
    farthest = by_distance[np.flatnonzero(np.diff(owner[by_distance], prepend=-1))]
    farthest_um = np.zeros(count)
    for _ in range(2):
        distance_um[farthest], edge[farthest] = nearest(points[farthest])
        np.maximum.at(farthest_um, owner[farthest], distance_um[farthest])
        farthest = np.flatnonzero(distance_um > farthest_um[owner] + HAUSDORFF_ERROR_UM)

    after = side.following
    pieces = _Pieces(
        owner, points, points[after], distance_um, distance_um[after], edge, edge[after]
    )
    length_um = pieces.length_um()
    sum_um2 = length_um * (pieces.start_um + pieces.end_um) / 2
    while True:
        limit_um = farthest_um[pieces.owner] + HAUSDORFF_ERROR_UM
        pieces = pieces.chosen(pieces.at_most_um(other.edges) > limit_um)
        if not len(pieces.start):
            break
        middle = (pieces.start + pieces.end) / 2
        middle_um, edge = nearest(middle)
        np.maximum.at(farthest_um, pieces.owner, middle_um)
        pieces = pieces.halved(middle, middle_um, edge)
    return _OneWay(farthest_um, _sums(owner, sum_um2, count), _sums(owner, length_um, count))


def _sums(owner: NDArray[np.int64], values: _Um, count: int) -> _Um:
    sums = np.zeros(count)
    np.add.at(sums, owner, values)
    return sums


def _to_edge_um(points: _Um, edges: _Um) -> _Um:
    """Return the distance of each point to the edge of its row; edges have the shape (n, 2, 2)."""
    start, along = edges[:, 0], edges[:, 1] - edges[:, 0]
    square = (along**2).sum(axis=1)
    share = ((points - start) * along).sum(axis=1) / np.where(square > 0, square, 1.0)
    foot = start + np.clip(share, 0, 1)[:, None] * along
    return _norm(points - foot)


def _norm(steps: _Um) -> _Um:
    lengths: _Um = np.hypot(steps[:, 0], steps[:, 1])
    return lengths
