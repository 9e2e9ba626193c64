"""Mending what `check` finds, one problem at a time, and saying first what that would do."""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import numpy as np
import shapely
from scipy.spatial import cKDTree

from napari_camelyon.annotations.checks import check
from napari_camelyon.annotations.geojson import annotation_from_region
from napari_camelyon.annotations.model import (
    AREA_KINDS,
    FARTHEST_PX,
    ODD_ORDER,
    ODD_TYPE,
    POINT_KINDS,
    Annotation,
    AnnotationSet,
    Group,
    Kind,
    Part,
    Points,
    Problem,
    remove_annotations,
    replace_annotation,
    with_groups,
    with_parts,
)
from napari_camelyon.annotations.regions import PRECISION_PX, outline_rings, region_of
from napari_camelyon.errors import AnnotationError

__all__ = ["REPAIRS", "repair", "repair_all", "repairs_for"]

REPAIRS = {
    "unknown-type": "Give it the type that fits its points: a dot for one, a ruler for two, a "
    "polygon for more.",
    "bad-order": "Number the points anew, in the order in which they were read.",
    "not-a-number": "Take out the points that have no number.",
    "far-away": "Take out the points that lie far from any slide.",
    "empty": "Remove the annotation, which has no points.",
    "too-few-points": "Turn it into a dot (one point) or a ruler (two), which need no area; take "
    "out a hole or a further polygon that has too few points.",
    "self-crossing": "Draw the same region by outlines that do not cross; points away from the "
    "crossings stay exactly where they are. A spline becomes the polygon that is seen, and what "
    "encloses nothing a line.",
    "outside-slide": "Cut off what lies outside the slide, and remove the annotation if all of it "
    "does. A spline becomes the polygon that is seen; points without a number go.",
    "duplicate": "Remove this annotation and keep the first of the same outline and group.",
    "unknown-group": "Define the group.",
    "duplicate-group": "Keep the first definition of the group and remove the others.",
}
"""What one click would do, by the code of a problem. What needs a person's decision is not here."""


_ROUNDS = 10  # three are the most that any document needed in the tests


def repairs_for(problem: Problem) -> str | None:
    """Return, in a sentence, what `repair` would do about a problem; None if it cannot help."""
    return REPAIRS.get(problem.code)


def repair(
    annotation_set: AnnotationSet,
    problem: Problem,
    slide_size_px: tuple[int, int] | None = None,
) -> AnnotationSet:
    """Return the set with one problem mended and nothing else changed.

    Parameters
    ----------
    annotation_set : AnnotationSet
        In which the problem was found.
    problem : Problem
        Of a code in `REPAIRS`.
    slide_size_px : tuple of int, optional
        Width and height of the slide at level 0; needed for ``outside-slide``, and used to find
        the problems of the new set.

    Returns
    -------
    AnnotationSet
        With its ``problems`` found anew.

    Raises
    ------
    AnnotationError
        There is no repair, the annotation is gone, or the slide's size is needed.
    """
    mended = _mended(annotation_set, problem, slide_size_px)
    return replace(mended, problems=_problems_of(mended, slide_size_px))


def repair_all(
    annotation_set: AnnotationSet,
    codes: Collection[str] | None = None,
    slide_size_px: tuple[int, int] | None = None,
) -> tuple[AnnotationSet, tuple[Problem, ...]]:
    """Mend all problems of some codes.

    Parameters
    ----------
    annotation_set : AnnotationSet
        Is not changed.
    codes : collection of str, optional
        Which problems; by default all that have a repair.
    slide_size_px : tuple of int, optional
        As in `repair`; without it nothing is outside the slide.

    Returns
    -------
    mended : AnnotationSet
        With its ``problems`` found anew.
    done : tuple of Problem
        What was mended, in that order.
    """
    wanted = frozenset(REPAIRS if codes is None else codes)
    mended, done = annotation_set, []
    # Mending one problem may show another: with a point without a number gone, two may be left.
    for _ in range(_ROUNDS):
        found = [p for p in check(mended, slide_size_px) if p.code in wanted and p.code in REPAIRS]
        touched: set[str] = set()
        for problem in found:
            owner = problem.annotation_id
            if owner is not None and owner in touched:
                continue
            touched |= {owner} if owner is not None else set()
            mended = _mended(mended, problem, slide_size_px)
            done.append(problem)
        if not found:
            break
    return replace(mended, problems=_problems_of(mended, slide_size_px)), tuple(done)


def _problems_of(
    annotation_set: AnnotationSet, slide_size_px: tuple[int, int] | None
) -> tuple[Problem, ...]:
    # What only reading can find stays told as long as its annotation is there.
    ids = {annotation.id for annotation in annotation_set}
    read = (
        problem
        for problem in annotation_set.problems
        if problem.code in {"third-coordinate", "unreadable-geometry"}
        and problem.annotation_id in ids
    )
    return (*read, *check(annotation_set, slide_size_px))


def _mended(
    annotation_set: AnnotationSet, problem: Problem, slide_size_px: tuple[int, int] | None
) -> AnnotationSet:
    code = problem.code
    if code not in REPAIRS:
        raise AnnotationError(f"This cannot be repaired here: {problem.message}")
    if code == "unknown-group":
        return _with_missing_group(annotation_set, problem)
    if code == "duplicate-group":
        unique: dict[str, Group] = {}
        for group in annotation_set.groups:
            unique.setdefault(group.name, group)
        return with_groups(annotation_set, unique.values())
    try:
        annotation = annotation_set[problem.annotation_id or ""]
    except KeyError as error:
        raise AnnotationError(
            f"The annotation is no longer there, so nothing was repaired: {problem.message}"
        ) from error
    if code == "outside-slide":
        if slide_size_px is None:
            raise AnnotationError("Give the slide: without its size nothing can be cut off at it.")
        changed = _clipped(annotation, slide_size_px)
    else:
        changed = _MENDS[code](annotation)
    if changed is None:
        return remove_annotations(annotation_set, {annotation.id})
    return replace_annotation(annotation_set, changed)


def _with_missing_group(annotation_set: AnnotationSet, problem: Problem) -> AnnotationSet:
    known = {group.name for group in annotation_set.groups}
    if problem.annotation_id is not None:
        members = [a for a in annotation_set if a.id == problem.annotation_id]
        missing = [(a.group, a.colour) for a in members if a.group and a.group not in known]
    else:
        missing = [
            (group.parent, group.colour)
            for group in annotation_set.groups
            if group.parent is not None
            and group.parent not in known
            and f'"{group.name}" belongs to "{group.parent}"' in problem.message
        ]
    if not missing:
        raise AnnotationError(f"The group is defined by now, or gone: {problem.message}")
    name, colour = missing[0]
    return with_groups(annotation_set, [*annotation_set.groups, Group(name, colour=colour)])


# --- one annotation ------------------------------------------------------------------------------


def _without_mark(key: str) -> Callable[[Annotation], Annotation]:
    def mend(annotation: Annotation) -> Annotation:
        extra = {name: value for name, value in annotation.extra.items() if name != key}
        return replace(annotation, extra=extra)

    return mend


def _typed(annotation: Annotation) -> Annotation:
    kinds: dict[int, Kind] = {0: "other", 1: "dot", 2: "ruler"}
    kind = kinds.get(len(annotation.points), "polygon")
    return replace(_without_mark(ODD_TYPE)(annotation), kind=kind)


def _only_numbers(annotation: Annotation) -> Annotation:
    return _kept_points(annotation, lambda points: np.isfinite(points).all(axis=1))


def _only_near(annotation: Annotation) -> Annotation:
    # A point without a number is another problem.
    return _kept_points(annotation, lambda points: ~(np.abs(points) > FARTHEST_PX).any(axis=1))


def _kept_points(annotation: Annotation, keep: Callable[[Points], Any]) -> Annotation:
    parts = [
        Part(part.points[keep(part.points)], tuple(hole[keep(hole)] for hole in part.holes))
        for part in annotation.parts
    ]
    return with_parts(annotation, [part for part in parts if len(part.points)] or parts[:1])


def _long_enough(annotation: Annotation) -> Annotation | None:
    parts = [
        Part(part.points, tuple(hole for hole in part.holes if _count(hole) >= 3))
        for part in annotation.parts
    ]
    whole = [part for part in parts if _count(part.points) >= 3]
    if whole:
        return with_parts(annotation, whole)
    longest = max(parts, key=lambda part: _count(part.points)).points
    finite = longest[np.isfinite(longest).all(axis=1)]
    if not len(finite):
        return None
    kind: Kind = "dot" if len(finite) == 1 else "ruler"
    return replace(annotation, kind=kind, points=finite, holes=(), more_parts=())


def _count(ring: Points) -> int:
    return int(np.isfinite(ring).all(axis=1).sum())


def _uncrossed(annotation: Annotation) -> Annotation | None:
    region = region_of(annotation)
    if region.is_empty:  # a line drawn to and fro
        return replace(annotation, kind="polyline", holes=(), more_parts=())
    return _of_region(annotation, region, _drawn_points(annotation))


def _clipped(annotation: Annotation, slide_size_px: tuple[int, int]) -> Annotation | None:
    slide = shapely.box(0, 0, *slide_size_px)

    def within(points: Points) -> Any:
        # A point without a number is another problem.
        return ~((points < 0) | (points > np.array(slide_size_px))).any(axis=1)

    if annotation.kind in AREA_KINDS:
        annotation = _only_near(annotation)
        region = region_of(annotation)
        if region.is_empty:
            inside = _kept_points(annotation, within)
            return inside if len(inside.points) else None
        points = _drawn_points(annotation)
        clipped = shapely.intersection(region, slide, grid_size=PRECISION_PX)
        return _of_region(annotation, clipped, points[within(points)])
    finite = [ring[np.isfinite(ring).all(axis=1)] for ring in annotation.rings]
    drawn = [shapely.LineString(ring) for ring in finite if len(ring) > 1]
    if annotation.kind in POINT_KINDS or not drawn:
        points = annotation.points[within(annotation.points)]
        return replace(annotation, points=points) if len(points) else None
    lines = [shapely.intersection(line, slide) for line in drawn]
    pieces = [piece for line in lines for piece in shapely.get_parts(line)]
    # Where a line meets the edge is computed, and may lie beside it by the last digit.
    parts = [
        Part(shapely.get_coordinates(piece).clip((0, 0), slide_size_px))
        for piece in pieces
        if piece.geom_type == "LineString"
    ]
    return with_parts(annotation, parts) if parts else None


_MENDS: dict[str, Callable[[Annotation], Annotation | None]] = {
    "unknown-type": _typed,
    "bad-order": _without_mark(ODD_ORDER),
    "not-a-number": _only_numbers,
    "far-away": _only_near,
    "empty": lambda _annotation: None,
    "too-few-points": _long_enough,
    "self-crossing": _uncrossed,
    "duplicate": lambda _annotation: None,
}


def _drawn_points(annotation: Annotation) -> Points:
    rings = [ring for outer, holes in outline_rings(annotation) for ring in (outer, *holes)]
    return np.concatenate(rings)


def _of_region(annotation: Annotation, region: Any, originals: Points) -> Annotation | None:
    """Return an annotation with another region, whose points that were there before are exact."""
    polygons = [part for part in shapely.get_parts(region) if part.geom_type == "Polygon"]
    polygons = [polygon for polygon in polygons if not polygon.is_empty]
    if not polygons:
        return None
    made = annotation_from_region(shapely.MultiPolygon(polygons))
    parts = [
        Part(_exact(part.points, originals), tuple(_exact(hole, originals) for hole in part.holes))
        for part in made.parts
    ]
    is_box = len(parts) == 1 and polygons[0].equals(shapely.envelope(polygons[0]))
    keeps_kind = annotation.kind == "rectangle" and is_box and len(parts[0].points) == 4
    kind: Kind = "rectangle" if keeps_kind else "polygon"
    return replace(with_parts(annotation, parts), kind=kind)


def _exact(ring: Points, originals: Points) -> Points:
    # Regions are computed on a grid. Where a point of the ring is one that was drawn, its own
    # numbers are put back; only if the ring crossed itself then does the grid's point stay, first
    # near points that are new, then everywhere.
    if not len(originals):
        return ring
    distance, index = cKDTree(originals).query(ring)
    old = distance <= 2 * PRECISION_PX
    if old.all():
        near_new = np.zeros(len(ring), dtype=bool)
    else:
        near_new = cKDTree(ring[~old]).query(ring)[0] <= 1
    for put_back in (old, old & ~near_new):
        exact: Points = np.where(put_back[:, None], originals[index], ring)
        exact = exact[(exact != np.roll(exact, 1, axis=0)).any(axis=1)]
        if len(exact) >= 3 and shapely.Polygon(exact).is_valid:
            return exact
    return ring
