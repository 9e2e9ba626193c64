"""Finding and moving single points of an annotation, on the rings as they are stored.

Nothing here asks whether an outline is valid: one that crosses itself or has points without a
number is edited like any other, and every point that is not named keeps its bits.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_camelyon.annotations.curves import spline_pieces
from napari_camelyon.annotations.model import (
    AREA_KINDS,
    POINT_KINDS,
    Annotation,
    Kind,
    Part,
    Points,
    with_parts,
)

__all__ = [
    "Vertex",
    "delete_vertex",
    "insert_vertex",
    "move_annotation",
    "move_vertex",
    "nearest_edge",
    "nearest_vertex",
    "rings",
]


@dataclass(frozen=True, slots=True)
class Vertex:
    """A stored point of an annotation.

    Attributes
    ----------
    part : int
        Index into ``annotation.parts``.
    ring : int
        0 is the outer ring of the part, 1 and on its holes.
    index : int
        Index into the points of that ring.
    """

    part: int
    ring: int
    index: int


def rings(annotation: Annotation) -> list[tuple[int, int, Points]]:
    """Return every stored ring with its place.

    Returns
    -------
    list of (int, int, ndarray of float64 with shape (n, 2))
        Part, ring and slide points as stored: NaN where the file has no number, and the control
        points of a spline.
    """
    return [
        (number, ring, points)
        for number, part in enumerate(annotation.parts)
        for ring, points in enumerate((part.points, *part.holes))
    ]


def nearest_vertex(annotation: Annotation, at_xy: ArrayLike, within_px: float) -> Vertex | None:
    """Return the stored point nearest to a place, None if all are farther than ``within_px``.

    Of points at the same distance the first counts. Points without a number are nowhere.
    """
    best: tuple[float, Vertex] | None = None
    for part, ring, points in rings(annotation):
        distance = _distances(points[:, 0], points[:, 1], at_xy)
        index = _least(distance)
        if index is None or distance[index] > within_px:
            continue
        if best is None or distance[index] < best[0]:
            best = float(distance[index]), Vertex(part, ring, index)
    return None if best is None else best[1]


def nearest_edge(
    annotation: Annotation, at_xy: ArrayLike, within_px: float
) -> tuple[Vertex, tuple[float, float]] | None:
    """Return where the drawn outline is nearest to a place.

    Parameters
    ----------
    annotation : Annotation
        Rings of areas are closed, lines are not; marks of single points have no edges.
    at_xy : array_like, shape (2,)
        Slide point.
    within_px : float
        The farthest that the outline may be.

    Returns
    -------
    (Vertex, (float, float)) or None
        The stored point before the nearest place, to `insert_vertex` after, and that place. For a
        spline the place is on its curve and the point a control point. None if all is farther.
    """
    if annotation.kind in POINT_KINDS:
        return None
    at: NDArray[np.float64] = np.asarray(at_xy, dtype=np.float64)
    best: tuple[float, Vertex, tuple[float, float]] | None = None
    for part, ring, points in rings(annotation):
        if annotation.kind == "spline" and (part, ring) == (0, 0):
            drawn, stored = spline_pieces(points)
        else:
            drawn, stored = points, np.arange(len(points))
            if not np.isfinite(points).all():
                stored = np.flatnonzero(np.isfinite(points).all(axis=1))
                drawn = points[stored]
        if len(drawn) < 2:
            continue
        # Column by column: numpy is several times slower along short rows.
        x, y = drawn.T.copy()
        step_x, step_y = np.roll(x, -1) - x, np.roll(y, -1) - y
        if annotation.kind not in AREA_KINDS:
            x, y, step_x, step_y = x[:-1], y[:-1], step_x[:-1], step_y[:-1]
        lengths = step_x * step_x + step_y * step_y
        along = (at[0] - x) * step_x + (at[1] - y) * step_y
        along = (along / np.where(lengths > 0, lengths, 1.0)).clip(0, 1)
        x, y = x + along * step_x, y + along * step_y
        distance = _distances(x, y, at)
        edge = _least(distance)
        if edge is None or distance[edge] > within_px:
            continue
        if best is None or distance[edge] < best[0]:
            vertex = Vertex(part, ring, int(stored[edge]))
            best = float(distance[edge]), vertex, (float(x[edge]), float(y[edge]))
    return None if best is None else best[1:]


def move_vertex(annotation: Annotation, vertex: Vertex, to_xy: ArrayLike) -> Annotation:
    """Return the annotation with one point elsewhere; a rectangle becomes a polygon.

    Raises
    ------
    IndexError
        The annotation has no such point.
    """
    moved = _ring_at(annotation, vertex).copy()
    moved[vertex.index] = to_xy
    return _with_ring(annotation, vertex, moved)


def insert_vertex(annotation: Annotation, after: Vertex, at_xy: ArrayLike) -> Annotation:
    """Return the annotation with one more point; a rectangle becomes a polygon, a ruler a line.

    Raises
    ------
    IndexError
        The annotation has no point ``after``.
    """
    points = _ring_at(annotation, after)
    longer = np.insert(points, after.index + 1, np.asarray(at_xy, dtype=np.float64), axis=0)
    return _with_ring(annotation, after, longer)


def delete_vertex(annotation: Annotation, vertex: Vertex) -> Annotation | None:
    """Return the annotation without one point.

    A hole of fewer than three points goes; so does a part whose outer ring has fewer, with its
    holes. A line goes with its last but one point, a mark with its last.

    Returns
    -------
    Annotation or None
        None when nothing is left of it.

    Raises
    ------
    IndexError
        The annotation has no such point.
    """
    shorter = np.delete(_ring_at(annotation, vertex), vertex.index, axis=0)
    if len(shorter) >= _fewest(annotation.kind):
        return _with_ring(annotation, vertex, shorter)
    parts = list(annotation.parts)
    if vertex.ring == 0:
        del parts[vertex.part]
    else:
        part = parts[vertex.part]
        holes = (*part.holes[: vertex.ring - 1], *part.holes[vertex.ring :])
        parts[vertex.part] = Part(part.points, holes)
    if not parts:
        return None
    # Only the first outer ring of a spline is a curve: what takes its place never was one.
    first_is_gone = vertex.ring == 0 and vertex.part == 0
    kind: Kind = "polygon" if first_is_gone and annotation.kind == "spline" else annotation.kind
    return with_parts(replace(annotation, kind=kind), parts)


def move_annotation(annotation: Annotation, by_xy: ArrayLike) -> Annotation:
    """Return the annotation with all its points moved by ``(x, y)``, px."""
    step = np.asarray(by_xy, dtype=np.float64)
    if not step.any():
        return annotation
    return with_parts(
        annotation,
        [
            Part(part.points + step, tuple(hole + step for hole in part.holes))
            for part in annotation.parts
        ],
    )


def _fewest(kind: Kind) -> int:
    if kind in AREA_KINDS:
        return 3
    return 1 if kind in POINT_KINDS or kind == "other" else 2


def _distances(
    x: NDArray[np.float64], y: NDArray[np.float64], at_xy: ArrayLike
) -> NDArray[np.float64]:
    at: NDArray[np.float64] = np.asarray(at_xy, dtype=np.float64)
    distances: NDArray[np.float64] = np.hypot(x - at[0], y - at[1])
    return distances


def _least(distances: NDArray[np.float64]) -> int | None:
    if not len(distances):
        return None
    index = int(np.argmin(np.where(np.isnan(distances), np.inf, distances)))
    return index if np.isfinite(distances[index]) else None


def _ring_at(annotation: Annotation, vertex: Vertex) -> Points:
    for part, ring, points in rings(annotation):
        if (part, ring) == (vertex.part, vertex.ring) and 0 <= vertex.index < len(points):
            return points
    raise IndexError(f"{annotation.name or 'The annotation'} has no point {vertex}.")


def _with_ring(annotation: Annotation, vertex: Vertex, points: Points) -> Annotation:
    points.setflags(write=False)  # ours alone: the model need not copy it
    parts = list(annotation.parts)
    part = parts[vertex.part]
    if vertex.ring == 0:
        parts[vertex.part] = Part(points, part.holes)
    else:
        before, after = part.holes[: vertex.ring - 1], part.holes[vertex.ring :]
        parts[vertex.part] = Part(part.points, (*before, points, *after))
    kind = annotation.kind
    if kind == "rectangle":
        kind = "polygon"
    elif kind == "ruler" and len(points) > 2:
        kind = "polyline"
    elif kind == "dot" and len(points) > 1:
        kind = "pointset"
    return with_parts(replace(annotation, kind=kind), parts)
