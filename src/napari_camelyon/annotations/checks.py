"""What is wrong with the outlines of a set, in sentences."""

import math
import re
from collections.abc import Iterator

import numpy as np
import shapely

from napari_camelyon.annotations.model import (
    AREA_KINDS,
    FARTHEST_PX,
    Annotation,
    AnnotationSet,
    Points,
    Problem,
)

__all__ = ["check"]


def check(
    annotation_set: AnnotationSet, slide_size_px: tuple[int, int] | None = None
) -> tuple[Problem, ...]:
    """Look for outlines that enclose nothing, cross themselves, lie nowhere or lie twice.

    Parameters
    ----------
    annotation_set : AnnotationSet
        Is not changed; nothing is repaired.
    slide_size_px : tuple of int, optional
        Width and height of the slide at level 0, to find what lies outside it.

    Returns
    -------
    tuple of Problem
        In the order of the annotations.
    """
    problems: list[Problem] = []
    seen: dict[bytes, Annotation] = {}
    for annotation in annotation_set:
        problems += _numbers(annotation)
        problems += _shape(annotation)
        if slide_size_px is not None:
            problems += _outside(annotation, slide_size_px)
        problems += _twice(annotation, seen)
    return tuple(problems)


def _numbers(annotation: Annotation) -> Iterator[Problem]:
    points = annotation.points
    finite = np.isfinite(points).all(axis=1)
    if missing := int((~finite).sum()):
        yield _problem(
            annotation,
            "not-a-number",
            f"has {_count(missing, 'point')} without a number for X or Y; "
            "they are kept in the file and left out of the outline",
            "warning",
        )
    far = finite & (np.abs(points) > FARTHEST_PX).any(axis=1)
    if far.any():
        x, y = points[np.flatnonzero(far)[0]]
        yield _problem(
            annotation,
            "far-away",
            f"has {_count(int(far.sum()), 'point')} far from any slide, the first at "
            f"({x:.6g}, {y:.6g}); it is not shown",
            "error",
        )


def _shape(annotation: Annotation) -> Iterator[Problem]:
    if not len(annotation.points):
        yield _problem(annotation, "empty", "has no points; it is kept in the file", "warning")
        return
    if annotation.kind not in AREA_KINDS:
        return
    points = annotation.points[np.isfinite(annotation.points).all(axis=1)]
    if len(points) < 3:
        yield _problem(
            annotation,
            "too-few-points",
            f"has only {_count(len(points), 'point')} and encloses no region",
            "error",
        )
        return
    polygon = shapely.Polygon(points)
    if polygon.is_valid:
        return
    place = re.search(r"\[(\S+) (\S+)\]", shapely.is_valid_reason(polygon))
    at_xy = (float(place.group(1)), float(place.group(2))) if place else None
    if at_xy is not None and not all(map(math.isfinite, at_xy)):
        at_xy = None
    where = f" at ({at_xy[0]:,.0f}, {at_xy[1]:,.0f})" if at_xy else ""
    yield _problem(
        annotation,
        "self-crossing",
        f"crosses or touches itself{where}; everything it winds around counts as its region",
        "warning",
        at_xy,
    )


def _outside(annotation: Annotation, slide_size_px: tuple[int, int]) -> Iterator[Problem]:
    points = annotation.points[np.isfinite(annotation.points).all(axis=1)]
    outside = ((points < 0) | (points > np.array(slide_size_px))).any(axis=1)
    if outside.any():
        x, y = points[np.flatnonzero(outside)[0]]
        yield _problem(
            annotation,
            "outside-slide",
            f"lies outside the slide with {_count(int(outside.sum()), 'point')}"
            f"{'' if outside.all() else f' of {len(points):,}'}, the first at "
            f"({x:,.0f}, {y:,.0f})",
            "warning",
            (float(x), float(y)),
        )


def _twice(annotation: Annotation, seen: dict[bytes, Annotation]) -> Iterator[Problem]:
    if annotation.kind not in AREA_KINDS or not len(annotation.points):
        return
    first = seen.setdefault(_ring_key(annotation.points), annotation)
    if first is not annotation:
        yield _problem(
            annotation,
            "duplicate",
            f"has the same outline as {first.name or 'an unnamed annotation'}",
            "note",
        )


def _ring_key(points: Points) -> bytes:
    # The same ring may start elsewhere or run the other way round.
    start = int(np.lexsort(points.T)[0])
    forwards = np.roll(points, -start, axis=0)
    backwards = np.roll(forwards[::-1], 1, axis=0)
    return min(forwards.tobytes(), backwards.tobytes())


def _problem(
    annotation: Annotation,
    code: str,
    what: str,
    severity: str,
    at_xy: tuple[float, float] | None = None,
) -> Problem:
    if at_xy is None:
        finite = annotation.points[np.isfinite(annotation.points).all(axis=1)]
        at_xy = (float(finite[0, 0]), float(finite[0, 1])) if len(finite) else None
    group = f' in "{annotation.group}"' if annotation.group else ""
    message = f"{annotation.name or 'An unnamed annotation'}{group} {what}."
    return Problem(code, message, severity, annotation.id, at_xy)  # type: ignore[arg-type]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
