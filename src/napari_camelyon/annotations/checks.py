"""What is wrong with the annotations of a set, in sentences."""

import math
import re
from collections.abc import Iterator, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_camelyon.annotations.model import (
    AREA_KINDS,
    FARTHEST_PX,
    ODD_ORDER,
    ODD_TYPE,
    Annotation,
    AnnotationSet,
    Points,
    Problem,
    Severity,
    bounds_of,
)

__all__ = ["check"]


def check(
    annotation_set: AnnotationSet, slide_size_px: tuple[int, int] | None = None
) -> tuple[Problem, ...]:
    """Look for what a person should know about a set; nothing is changed or repaired.

    Codes: ``unknown-type``, ``bad-order`` (what the file says of a type or of the order of points
    makes no sense), ``not-a-number``, ``far-away``, ``empty``, ``too-few-points``,
    ``self-crossing``, ``outside-slide``, ``duplicate`` (same outline, same group) and
    ``same-outline`` (in another group), ``unknown-group`` and ``duplicate-group``.

    Parameters
    ----------
    annotation_set : AnnotationSet
        Outlines, their holes and all parts of an annotation are looked at.
    slide_size_px : tuple of int, optional
        Width and height of the slide at level 0, to find what lies outside it.

    Returns
    -------
    tuple of Problem
        In the order of the annotations, those of groups at the end; at most one a code and
        annotation.
    """
    rings = [annotation.rings for annotation in annotation_set]
    sound = _are_sound(rings)
    same = _same_outlines(annotation_set.annotations, rings)
    problems: list[Problem] = []
    for number, annotation in enumerate(annotation_set):
        problems += _oddities(annotation)
        if not sound[number]:
            problems += _numbers(annotation, rings[number])
            problems += _shape(annotation, rings[number])
        if slide_size_px is not None:
            problems += _outside(annotation, rings[number], slide_size_px)
        if number in same:
            problems += _twice(annotation, annotation_set.annotations[same[number]])
    return (*problems, *_groups(annotation_set))


def _are_sound(rings: Sequence[Sequence[Points]]) -> NDArray[np.bool_]:
    # All rings at once: one call a ring would take most of the time of reading a large file.
    # Marks are looked at as if they were outlines and then found again one by one.
    owners = np.repeat(np.arange(len(rings)), [len(own) for own in rings])
    every = [ring for own in rings for ring in own]
    sound = np.ones(len(rings), dtype=bool)
    lengths = np.array([len(ring) for ring in every], dtype=int)
    long = np.flatnonzero(lengths >= 3)
    sound[owners[lengths < 3]] = False
    if not len(long):
        return sound
    points = np.concatenate([every[k] for k in long])
    ring_of = np.repeat(np.arange(len(long)), lengths[long])
    with np.errstate(invalid="ignore"):
        usable = (np.abs(points) <= FARTHEST_PX).all(axis=1)
    fine = np.ones(len(long), dtype=bool)
    fine[ring_of[~usable]] = False
    outlines = shapely.linearrings(points[fine[ring_of]], indices=_renumbered(ring_of, fine))
    fine[fine] = shapely.is_valid(shapely.polygons(outlines))
    sound[owners[long[~fine]]] = False
    return sound


def _renumbered(ring_of: NDArray[np.int_], kept: NDArray[np.bool_]) -> NDArray[np.int_]:
    return (np.cumsum(kept) - 1)[ring_of[kept[ring_of]]]


def _oddities(annotation: Annotation) -> Iterator[Problem]:
    for key, code in ((ODD_TYPE, "unknown-type"), (ODD_ORDER, "bad-order")):
        if key in annotation.extra:
            yield _problem(annotation, code, str(annotation.extra[key]), "warning")


def _numbers(annotation: Annotation, rings: Sequence[Points]) -> Iterator[Problem]:
    points = np.concatenate(rings)
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


def _shape(annotation: Annotation, rings: Sequence[Points]) -> Iterator[Problem]:
    if not any(map(len, rings)):
        if "geometry" not in annotation.extra:  # one that could not be read is told as such
            yield _problem(annotation, "empty", "has no points; it is kept in the file", "warning")
        return
    if annotation.kind not in AREA_KINDS:
        return
    finite = [ring[np.isfinite(ring).all(axis=1)] for ring in rings]
    shortest = min(map(len, finite))
    if shortest < 3:
        which = "has only" if len(finite) == 1 else "has a ring with only"
        yield _problem(
            annotation,
            "too-few-points",
            f"{which} {_count(shortest, 'point')} and encloses no region",
            "error",
        )
    crossing = (ring for ring in finite if len(ring) >= 3 and not shapely.Polygon(ring).is_valid)
    for ring in crossing:
        at_xy = _place(shapely.is_valid_reason(shapely.Polygon(ring)))
        where = f" at ({at_xy[0]:,.0f}, {at_xy[1]:,.0f})" if at_xy else ""
        yield _problem(
            annotation,
            "self-crossing",
            f"crosses or touches itself{where}; everything it winds around counts as its region",
            "warning",
            at_xy,
        )
        return


def _place(reason: str) -> tuple[float, float] | None:
    found = re.search(r"\[(\S+) (\S+)\]", reason)
    at_xy = (float(found.group(1)), float(found.group(2))) if found else None
    return at_xy if at_xy is not None and all(map(math.isfinite, at_xy)) else None


def _outside(
    annotation: Annotation, rings: Sequence[Points], slide_size_px: tuple[int, int]
) -> Iterator[Problem]:
    points = np.concatenate(rings)
    points = points[np.isfinite(points).all(axis=1)]
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


def _same_outlines(
    annotations: Sequence[Annotation], rings: Sequence[Sequence[Points]]
) -> dict[int, int]:
    """Return, for annotations whose outlines came before, the first that had them."""
    regions = [k for k, a in enumerate(annotations) if a.kind in AREA_KINDS and len(a.points)]
    bounds = bounds_of([annotations[k].points for k in regions])
    # What every ring of the same points agrees in, wherever it starts.
    alike: dict[tuple[object, ...], list[int]] = {}
    for number, own in zip(regions, bounds.tolist(), strict=True):
        key = len(rings[number]), len(annotations[number].points), *own
        alike.setdefault(key, []).append(number)
    found = {}
    for numbers in alike.values():
        seen: dict[tuple[object, ...], int] = {}
        for number in numbers if len(numbers) > 1 else ():
            curved = annotations[number].kind == "spline"
            key = (curved, *map(_ring_key, rings[number]))
            first = seen.setdefault(key, number)
            if first != number:
                found[number] = first
    return found


def _ring_key(points: Points) -> bytes:
    # The same ring may start elsewhere or run the other way round.
    if not len(points):
        return b""
    start = int(np.lexsort(points.T)[0])
    forwards = np.roll(points, -start, axis=0)
    backwards = np.roll(forwards[::-1], 1, axis=0)
    return min(forwards.tobytes(), backwards.tobytes())


def _twice(annotation: Annotation, first: Annotation) -> Iterator[Problem]:
    other = first.name or "an unnamed annotation"
    if annotation.group == first.group:
        yield _problem(annotation, "duplicate", f"has the same outline as {other}", "note")
        return
    group = f'in the group "{first.group}"' if first.group else "in no group"
    yield _problem(
        annotation,
        "same-outline",
        f"has the same outline as {other} {group}; which group is meant, only a person can say",
        "warning",
    )


def _groups(annotation_set: AnnotationSet) -> Iterator[Problem]:
    known: set[str] = set()
    for group in annotation_set.groups:
        if group.name in known:
            yield Problem(
                "duplicate-group", f'The group "{group.name}" is defined again.', "warning"
            )
        known.add(group.name)
    for group in annotation_set.groups:
        if group.parent is not None and group.parent not in known:
            yield Problem(
                "unknown-group",
                f'The group "{group.name}" belongs to "{group.parent}", which is not defined; it '
                "was taken as a group of its own.",
                "warning",
            )
    unknown: dict[str, list[Annotation]] = {}
    for annotation in annotation_set:
        if annotation.group is not None and annotation.group not in known:
            unknown.setdefault(annotation.group, []).append(annotation)
    for name, members in unknown.items():
        count = f"{len(members)} annotations name" if len(members) > 1 else "An annotation names"
        yield Problem(
            "unknown-group",
            f'{count} the group "{name}", which is not defined (ASAP itself would open nothing '
            "of such a file); the name was kept.",
            "warning",
            members[0].id,
            _first_finite(members[0].points),
        )


def _problem(
    annotation: Annotation,
    code: str,
    what: str,
    severity: Severity,
    at_xy: tuple[float, float] | None = None,
) -> Problem:
    group = f' in "{annotation.group}"' if annotation.group else ""
    message = f"{annotation.name or 'An unnamed annotation'}{group} {what}."
    place = _first_finite(annotation.points) if at_xy is None else at_xy
    return Problem(code, message, severity, annotation.id, place)


def _first_finite(points: Points) -> tuple[float, float] | None:
    finite = points[np.isfinite(points).all(axis=1)]
    return (float(finite[0, 0]), float(finite[0, 1])) if len(finite) else None


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
