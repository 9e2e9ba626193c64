"""What of thousands of outlines has to be drawn for one view, and which of them is under a point.

Outlines are simplified for the screen alone: by no more than a given distance, kept in octaves, so
that zooming in and out asks for the same few versions again. The set itself is never simplified.
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_camelyon.annotations.model import (
    AREA_KINDS,
    FARTHEST_PX,
    POINT_KINDS,
    Annotation,
    AnnotationSet,
    Points,
    bounds_of,
)
from napari_camelyon.annotations.regions import outline_rings, winding_numbers
from napari_camelyon.annotations.without_collecting import without_collecting

__all__ = [
    "Bounds",
    "Outlines",
    "drawn_lines",
    "outlines_of",
    "pick",
    "segments",
    "thinned",
    "update_outlines",
    "visible_ids",
]

Bounds = tuple[float, float, float, float]
"""Left, top, right, bottom in slide points."""

_Lines = tuple[Points, ...]


@dataclass(slots=True)
class Outlines:
    """The outlines of a set, ready to be drawn.

    Attributes
    ----------
    annotations : dict of str to Annotation
        By id, in the order of the set.
    lines : dict of str to tuple of ndarray of float64, shape (n, 2)
        What is drawn of each annotation, in slide points; rings repeat their first point. Marks
        without an outline, and outlines far from any slide, have none.
    """

    annotations: dict[str, Annotation] = field(default_factory=dict)
    lines: dict[str, _Lines] = field(default_factory=dict)
    _bounds: dict[str, Bounds] = field(default_factory=dict)
    _simplified: dict[int, dict[str, _Lines]] = field(default_factory=dict)
    _table: tuple[list[str], NDArray[np.float64]] | None = None


def outlines_of(annotation_set: AnnotationSet) -> Outlines:
    """Return what can be drawn of a set."""
    outlines = Outlines()
    with without_collecting():
        update_outlines(outlines, annotation_set)
    return outlines


def update_outlines(outlines: Outlines, annotation_set: AnnotationSet) -> list[str]:
    """Take over what changed in a set; the rest stays prepared.

    Returns
    -------
    list of str
        The annotations that came, went or changed.
    """
    known, now = outlines.annotations, {a.id: a for a in annotation_set}
    gone = [key for key in known if key not in now]
    changed = [key for key, annotation in now.items() if known.get(key) is not annotation]
    for key in (*gone, *changed):
        outlines.lines.pop(key, None)
        outlines._bounds.pop(key, None)
        for version in outlines._simplified.values():
            version.pop(key, None)
    outlines.lines.update({key: drawn_lines(now[key]) for key in changed})
    drawn = [key for key in changed if outlines.lines[key]]
    corners = [
        lines[0] if len(lines) == 1 else np.concatenate(lines)
        for lines in map(outlines.lines.__getitem__, drawn)
    ]
    outlines._bounds.update(zip(drawn, map(tuple, bounds_of(corners).tolist()), strict=True))
    if gone or changed or list(known) != list(now):
        outlines.annotations = now
        outlines._table = None
    return [*gone, *changed]


def visible_ids(outlines: Outlines, view: Bounds) -> list[str]:
    """Return the annotations whose bounds meet a view, in the order of the set."""
    ids, bounds = _bounds_table(outlines)
    left, top, right, bottom = view
    meets = (
        (bounds[:, 0] <= right)
        & (bounds[:, 2] >= left)
        & (bounds[:, 1] <= bottom)
        & (bounds[:, 3] >= top)
    )
    return [ids[k] for k in np.flatnonzero(meets)]


def segments(
    outlines: Outlines, ids: Collection[str], tolerance_px: float
) -> tuple[Points, NDArray[np.int64]]:
    """Return the pieces of line that draw some annotations.

    Parameters
    ----------
    outlines : Outlines
    ids : collection of str
        Which annotations, as from `visible_ids`.
    tolerance_px : float
        By how much a drawn line may be off, in level-0 pixels; about one screen pixel. Used is the
        power of two below it.

    Returns
    -------
    points : ndarray of float64, shape (2 n, 2)
        Slide points; each two in a row are the ends of one piece.
    owner : ndarray of int64, shape (2 n,)
        To which of `ids` each point belongs, by its place.
    """
    octave = math.floor(math.log2(tolerance_px)) if tolerance_px >= 0.5 else None
    if octave is None:
        version = outlines.lines
    else:
        version = outlines._simplified.setdefault(octave, {})
        _simplify(outlines, version, [key for key in ids if key not in version], 2.0**octave)
    lines = [(k, line) for k, key in enumerate(ids) for line in version[key]]
    if not lines:
        return np.empty((0, 2)), np.empty(0, np.int64)
    lengths = np.array([len(line) for _, line in lines])
    points = np.concatenate([line for _, line in lines])
    begins_piece = np.ones(len(points), bool)
    begins_piece[np.cumsum(lengths) - 1] = False
    first = np.flatnonzero(begins_piece)
    pieces = np.stack([points[first], points[first + 1]], axis=1).reshape(-1, 2)
    owner = np.repeat([k for k, _ in lines], 2 * (lengths - 1))
    return pieces, owner


def thinned(line: Points, tolerance_px: float) -> Points:
    """Return a line without points that lie in the same small square as the one before.

    Rougher than the simplification of `segments`, and ten times as fast: for a line that is drawn
    anew with every move of the mouse.

    Parameters
    ----------
    line : ndarray of float64, shape (n, 2)
    tolerance_px : float
        Side of the squares; the line is drawn within their diagonal.
    """
    squares = np.floor(line / tolerance_px)
    kept = np.ones(len(line), bool)
    kept[1:-1] = (squares[1:-1] != squares[:-2]).any(axis=1)
    return line[kept]


def pick(
    outlines: Outlines, at_xy: tuple[float, float], within_px: float, skip: Collection[str] = ()
) -> str | None:
    """Return the annotation that a person means who points at a place.

    The one whose line runs nearest, if it is within reach; else the smallest one around the place,
    so that an island can be picked inside its hole.

    Parameters
    ----------
    outlines : Outlines
    at_xy : tuple of float
        Slide point.
    within_px : float
        Reach, level-0 pixels.
    skip : collection of str
        Annotations that cannot be picked.
    """
    x, y = at_xy
    near = visible_ids(outlines, (x - within_px, y - within_px, x + within_px, y + within_px))
    near = [key for key in near if key not in skip]
    distances = {key: _distance(outlines.lines[key], x, y) for key in near}
    closest = min(distances, key=distances.__getitem__, default=None)
    if closest is not None and distances[closest] <= within_px:
        return closest
    around = [key for key in near if _is_around(outlines, key, x, y)]
    return min(around, key=lambda key: _extent(outlines._bounds[key]), default=None)


def drawn_lines(annotation: Annotation) -> tuple[Points, ...]:
    """Return the lines that draw an annotation, see `Outlines`."""
    if annotation.kind in POINT_KINDS:
        return ()
    points = annotation.points
    is_plain = annotation.kind == "polygon" and len(annotation.rings) == 1 and len(points) > 1
    if is_plain and (np.abs(points) <= FARTHEST_PX).all():  # nearly all; NaN is not near
        return (np.concatenate([points, points[:1]]),)
    closed = annotation.kind in AREA_KINDS
    lines = []
    for outer, holes in outline_rings(annotation):
        for ring in (outer, *holes):
            if len(ring) < 2 or np.abs(ring).max() > FARTHEST_PX:
                continue
            lines.append(np.concatenate([ring, ring[:1]]) if closed else ring)
    return tuple(lines)


def _simplify(
    outlines: Outlines, version: dict[str, _Lines], ids: Iterable[str], tolerance_px: float
) -> None:
    wanted = [(key, line) for key in ids for line in outlines.lines[key]]
    version.update(dict.fromkeys(ids, ()))
    if not wanted:
        return
    lengths = [len(line) for _, line in wanted]
    drawn = shapely.linestrings(
        np.concatenate([line for _, line in wanted]),
        indices=np.repeat(np.arange(len(wanted)), lengths),
    )
    simple = shapely.simplify(drawn, tolerance_px, preserve_topology=False)
    points, owner = shapely.get_coordinates(simple, return_index=True)
    pieces = np.split(points, np.cumsum(np.bincount(owner, minlength=len(wanted)))[:-1])
    for (key, _), piece in zip(wanted, pieces, strict=True):
        version[key] = (*version[key], piece)


def _bounds_table(outlines: Outlines) -> tuple[list[str], NDArray[np.float64]]:
    if outlines._table is None:
        ids = [key for key in outlines.annotations if key in outlines._bounds]
        bounds = np.array([outlines._bounds[key] for key in ids], float).reshape(-1, 4)
        outlines._table = ids, bounds
    return outlines._table


def _distance(lines: _Lines, x: float, y: float) -> float:
    nearest = math.inf
    for line in lines:
        start, step = line[:-1], line[1:] - line[:-1]
        length2 = (step**2).sum(axis=1)
        along = ((x - start[:, 0]) * step[:, 0] + (y - start[:, 1]) * step[:, 1]) / np.where(
            length2 > 0, length2, 1
        )
        offset = start + step * along.clip(0, 1)[:, None] - (x, y)
        nearest = min(nearest, float((offset**2).sum(axis=1).min()))
    return math.sqrt(nearest)


def _is_around(outlines: Outlines, key: str, x: float, y: float) -> bool:
    annotation = outlines.annotations[key]
    if annotation.kind not in AREA_KINDS:
        return False
    place = np.array([[x, y]])

    def winds(ring: Points) -> bool:
        return len(ring) > 2 and bool(winding_numbers(ring, place)[0])

    return any(
        winds(outer) and not any(map(winds, holes)) for outer, holes in outline_rings(annotation)
    )


def _extent(bounds: Bounds) -> float:
    left, top, right, bottom = bounds
    return (right - left) * (bottom - top)
