"""How far apart the boundaries of two regions run, in micrometres."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

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

The distance to the other boundary changes by no more than one moves, so that the mean over these
points is off by a quarter of this at the worst."""

HAUSDORFF_ERROR_UM = 0.01
"""By how much a Hausdorff distance may come out too small; it never comes out too large."""

_BLOCK_CORNERS, _NODE_CAPACITY = 2000, 3
"""Corners of pairs that are worked on together, and branches of a search tree. Larger trees are
slower to search than smaller ones are to make (300 pairs of 100 corners each: 0.8 s with these,
2.8 s in one tree of shapely's own 10 branches)."""

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
    the distance taken every `STEP_UM` or closer.

    Parameters
    ----------
    first, second : shapely.Polygon or shapely.MultiPolygon
        Valid and not empty, in slide points (px). The edges of holes are boundaries too.
    mpp : tuple of float
        µm per level-0 pixel ``(x, y)``; pixels need not be square.
    """
    return boundary_distances([(first, second)], mpp)[0]


def boundary_distances(pairs: Sequence[tuple[Any, Any]], mpp: Mpp) -> list[BoundaryDistance]:
    """Return the `boundary_distance` of each of many pairs, several times as fast."""
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
    sides = _Side([], []), _Side([], [])
    left_um = 0.0
    for k, pair in enumerate(pairs):
        # The pairs are laid out in a row, so far apart that the nearest edge is always one of the
        # same pair: one search tree serves them all.
        x0, y0, x1, y1 = shapely.total_bounds(pair)
        corner_um, size_um = slide_to_um([x0, y0], mpp), slide_to_um([x1 - x0, y1 - y0], mpp)
        place_um = np.array([left_um, 0.0]) - corner_um
        for side, region in zip(sides, pair, strict=True):
            for ring in shapely.get_rings(shapely.get_parts(region)):
                side.lines.append(slide_to_um(shapely.get_coordinates(ring), mpp) + place_um)
                side.owners.append(k)
        left_um += 3 * float(size_um.sum()) + 1
    there, back = (_one_way(*way, len(pairs)) for way in (sides, sides[::-1]))
    farthest_um = np.maximum(there.farthest_um, back.farthest_um)
    mean_um = (there.sum_um2 + back.sum_um2) / (there.length_um + back.length_um)
    return list(map(BoundaryDistance, farthest_um.tolist(), mean_um.tolist()))


@dataclass(frozen=True, slots=True)
class _Side:
    """Closed lines, shape (n, 2) in µm, and to which pair each belongs."""

    lines: list[_Um]
    owners: list[int]


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
    edges = np.concatenate([np.stack([line[:-1], line[1:]], axis=1) for line in other.lines])
    tree = shapely.STRtree(shapely.linestrings(edges), _NODE_CAPACITY)

    def nearest(points: _Um) -> tuple[_Um, NDArray[np.int64]]:
        found, distance_um = tree.query_nearest(
            shapely.points(points), return_distance=True, all_matches=False
        )
        return distance_um, found[1]

    fine = shapely.segmentize([shapely.LineString(line) for line in side.lines], STEP_UM)
    points, line_of = shapely.get_coordinates(fine, return_index=True)
    distance_um, edge = nearest(points)
    k = np.flatnonzero(line_of[1:] == line_of[:-1])
    owner: NDArray[np.int64] = np.asarray(side.owners, dtype=np.int64)[line_of[k]]
    pieces = _Pieces(
        owner, points[k], points[k + 1], distance_um[k], distance_um[k + 1], edge[k], edge[k + 1]
    )
    length_um = pieces.length_um()
    sum_um2 = length_um * (pieces.start_um + pieces.end_um) / 2

    farthest_um = np.zeros(count)
    np.maximum.at(farthest_um, owner, pieces.start_um)  # a closed line's last point is its first
    while True:
        limit_um = farthest_um[pieces.owner] + HAUSDORFF_ERROR_UM
        pieces = pieces.chosen(pieces.at_most_um(edges) > limit_um)
        if not len(pieces.start):
            break
        middle = (pieces.start + pieces.end) / 2
        distance_um, edge = nearest(middle)
        np.maximum.at(farthest_um, pieces.owner, distance_um)
        pieces = pieces.halved(middle, distance_um, edge)
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
