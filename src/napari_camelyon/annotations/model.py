"""What an annotation is: outlines in float64 slide points, with holes, groups and an origin.

Everything here is frozen. An edit makes a new set that shares what did not change, so that
comparing with what was read tells exactly what a person did, and undoing is keeping the old set.
"""

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "AREA_KINDS",
    "ASAP_DEFAULT_COLOUR",
    "FARTHEST_PX",
    "ODD_ORDER",
    "ODD_TYPE",
    "POINT_KINDS",
    "Annotation",
    "AnnotationSet",
    "Group",
    "Kind",
    "Part",
    "Points",
    "Problem",
    "Severity",
    "Source",
    "add_annotations",
    "bounds_of",
    "group_renamed",
    "is_unchanged",
    "make_annotation",
    "remove_annotations",
    "replace_annotation",
    "same_annotation",
    "with_groups",
    "with_parts",
]

Points = NDArray[np.float64]
"""Slide points, float64, shape (n, 2) as ``(x, y)``; rings do not repeat their first point."""

Kind = Literal["polygon", "spline", "rectangle", "dot", "pointset", "ruler", "polyline", "other"]
Severity = Literal["error", "warning", "note"]

AREA_KINDS: frozenset[Kind] = frozenset({"polygon", "spline", "rectangle"})
"""Kinds that enclose a region; the others are marks and measurements."""

FARTHEST_PX = 1e7
"""A coordinate beyond this is no place on a slide: the largest slides have some 300,000 px."""

ODD_ORDER, ODD_TYPE = "Coordinate/Order", "Annotation/Type"
"""Keys of `Annotation.extra`, which no attribute in a file can have: what is odd in the file, as a
sentence without its subject. Without the key, saving writes it anew instead of keeping it."""

ASAP_DEFAULT_COLOUR = "#F4FA58"
"""What ASAP gives an annotation for which nobody chose a colour (annotation/Annotation.cpp)."""

POINT_KINDS: frozenset[Kind] = frozenset({"dot", "pointset"})


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One outer ring with its holes.

    Attributes
    ----------
    points : ndarray of float64, shape (n, 2)
        Outer ring in slide points, not repeating the first point.
    holes : tuple of ndarray of float64, shape (n, 2)
        Inner rings.
    """

    points: Points
    holes: tuple[Points, ...] = ()

    def __post_init__(self) -> None:
        """Make the arrays float64 and read-only."""
        object.__setattr__(self, "points", _frozen_points(self.points))
        object.__setattr__(self, "holes", tuple(_frozen_points(hole) for hole in self.holes))


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """One outlined region with its holes, or a mark or measurement.

    Attributes
    ----------
    id : str
        Stable within its set and never reused.
    kind : Kind
        What the points mean. The points of a spline are its control points.
    points : ndarray of float64, shape (n, 2)
        Slide points exactly as in the file; NaN where the file has no number.
    name : str
        Free text.
    group : str or None
        Name of the group (its class), which need not be defined in the set.
    colour : str or None
        ``#rrggbb`` as in the file; None when it has none of its own.
    holes : tuple of ndarray of float64, shape (n, 2)
        Holes of the first ring, for formats that have them.
    more_parts : tuple of Part
        Further polygons of the same annotation (a MultiPolygon).
    extra : mapping
        What the file says beyond this, kept for saving.
    """

    id: str
    kind: Kind
    points: Points
    name: str = ""
    group: str | None = None
    colour: str | None = None
    holes: tuple[Points, ...] = ()
    more_parts: tuple[Part, ...] = ()
    extra: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the arrays float64 and read-only."""
        object.__setattr__(self, "points", _frozen_points(self.points))
        object.__setattr__(self, "holes", tuple(_frozen_points(hole) for hole in self.holes))

    @property
    def parts(self) -> tuple[Part, ...]:
        """All polygons of the annotation, the first one included."""
        return (Part(self.points, self.holes), *self.more_parts)

    @property
    def rings(self) -> tuple[Points, ...]:
        """All rings as they are stored, each outer ring before its holes."""
        if not self.holes and not self.more_parts:  # nearly all, and there may be thousands
            return (self.points,)
        return tuple(ring for part in self.parts for ring in (part.points, *part.holes))


@dataclass(frozen=True, slots=True)
class Group:
    """A class of annotations.

    Attributes
    ----------
    name : str
        How annotations refer to it.
    parent : str or None
        Name of the group it belongs to.
    colour : str or None
        ``#rrggbb``.
    attributes : mapping of str to str
        Free attributes that ASAP keeps with a group.
    """

    name: str
    parent: str | None = None
    colour: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a file that a person should know, said in a sentence.

    Attributes
    ----------
    code : str
        What it is, for programs: ``"too-few-points"``, ``"self-crossing"``, …
    message : str
        One sentence for people: what is wrong and what was made of it.
    severity : {"error", "warning", "note"}
        An error leaves the annotation without a region; a warning was got over; a note is harmless.
    annotation_id : str or None
        Where it is; None when it concerns the whole file.
    at_xy : tuple of float or None
        A slide point to jump to.
    """

    code: str
    message: str
    severity: Severity
    annotation_id: str | None = None
    at_xy: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The file a set was read from, kept so that saving changes only what a person changed.

    Attributes
    ----------
    format : str
        ``"asap"``, ``"geojson"``, ``"imagescope"`` or ``"ndpa"``.
    path : Path
        Where it was read.
    raw : bytes
        The file, byte for byte.
    annotations, groups : tuple
        What was understood, in the order of the file.
    """

    format: str
    path: Path
    raw: bytes
    annotations: tuple[Annotation, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True, eq=False)
class AnnotationSet:
    """The annotations of one slide.

    Attributes
    ----------
    annotations : tuple of Annotation
        In the order of the file, later ones after earlier ones.
    groups : tuple of Group
        The groups that are defined; annotations may name others.
    problems : tuple of Problem
        What reading found; `check` finds it anew after edits.
    source : Source or None
        The file behind the set, for saving without loss; None for a set made here.
    """

    annotations: tuple[Annotation, ...] = ()
    groups: tuple[Group, ...] = ()
    problems: tuple[Problem, ...] = ()
    source: Source | None = None

    def __len__(self) -> int:
        return len(self.annotations)

    def __iter__(self) -> Iterator[Annotation]:
        return iter(self.annotations)

    def __getitem__(self, annotation_id: str) -> Annotation:
        """Return the annotation with this id; raises KeyError."""
        for annotation in self.annotations:
            if annotation.id == annotation_id:
                return annotation
        raise KeyError(annotation_id)


def make_annotation(
    kind: Kind,
    points: ArrayLike,
    *,
    name: str = "",
    group: str | None = None,
    colour: str | None = None,
    holes: Iterable[ArrayLike] = (),
    more_parts: Iterable[Part] = (),
) -> Annotation:
    """Return a new annotation with an id that no other has.

    Parameters
    ----------
    kind : Kind
        What the points mean.
    points : array_like, shape (n, 2)
        Slide points ``(x, y)``.
    name, group, colour, holes, more_parts
        As in `Annotation`.
    """
    return Annotation(
        id=str(uuid.uuid4()),
        kind=kind,
        points=_frozen_points(points),
        name=name,
        group=group,
        colour=colour,
        holes=tuple(_frozen_points(hole) for hole in holes),
        more_parts=tuple(more_parts),
    )


def add_annotations(annotation_set: AnnotationSet, new: Iterable[Annotation]) -> AnnotationSet:
    """Return the set with annotations added at its end; raises ValueError for an id it has."""
    added = tuple(new)
    ids = [annotation.id for annotation in (*annotation_set.annotations, *added)]
    if len(set(ids)) != len(ids):
        raise ValueError("An annotation with the same id is already in the set.")
    return replace(annotation_set, annotations=(*annotation_set.annotations, *added))


def remove_annotations(annotation_set: AnnotationSet, ids: Collection[str]) -> AnnotationSet:
    """Return the set without the annotations of these ids."""
    return replace(
        annotation_set,
        annotations=tuple(kept for kept in annotation_set.annotations if kept.id not in ids),
    )


def replace_annotation(annotation_set: AnnotationSet, changed: Annotation) -> AnnotationSet:
    """Return the set with one annotation in the place of the one of its id; raises KeyError."""
    annotation_set[changed.id]
    return replace(
        annotation_set,
        annotations=tuple(
            changed if old.id == changed.id else old for old in annotation_set.annotations
        ),
    )


def with_parts(annotation: Annotation, parts: Iterable[Part]) -> Annotation:
    """Return the annotation with other polygons, at least one, instead of its own."""
    first, *others = parts
    return replace(annotation, points=first.points, holes=first.holes, more_parts=tuple(others))


def with_groups(annotation_set: AnnotationSet, groups: Iterable[Group]) -> AnnotationSet:
    """Return the set with these groups defined instead of its own."""
    return replace(annotation_set, groups=tuple(groups))


def bounds_of(lines: Sequence[Points]) -> NDArray[np.float64]:
    """Return left, top, right and bottom of each of many lines, shape (n, 4).

    None of them may be empty; one that has NaN among its points has NaN bounds.
    """
    if not lines:
        return np.empty((0, 4))
    points = np.concatenate(lines)
    starts = np.cumsum([0, *map(len, lines[:-1])])
    return np.hstack(
        [np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)],
    )


def group_renamed(annotation_set: AnnotationSet, old: str, new: str) -> AnnotationSet:
    """Return the set with a group under another name, its members and subgroups following."""
    return replace(
        annotation_set,
        annotations=tuple(
            replace(annotation, group=new) if annotation.group == old else annotation
            for annotation in annotation_set
        ),
        groups=tuple(
            replace(
                group,
                name=new if group.name == old else group.name,
                parent=new if group.parent == old else group.parent,
            )
            for group in annotation_set.groups
        ),
    )


def same_annotation(first: Annotation, second: Annotation) -> bool:
    """Whether two annotations agree in everything, NaN being equal to NaN."""
    if first is second:
        return True
    return (
        (first.id, first.kind, first.name, first.group, first.colour, dict(first.extra))
        == (second.id, second.kind, second.name, second.group, second.colour, dict(second.extra))
        and len(first.parts) == len(second.parts)
        and all(map(_same_part, first.parts, second.parts))
    )


def is_unchanged(annotation_set: AnnotationSet, source: Source) -> bool:
    """Whether a set still is what was read from a file."""
    return (
        annotation_set.groups == source.groups
        and len(annotation_set) == len(source.annotations)
        and all(map(same_annotation, annotation_set, source.annotations))
    )


def _same_part(first: Part, second: Part) -> bool:
    rings, others = (first.points, *first.holes), (second.points, *second.holes)
    return len(rings) == len(others) and all(
        np.array_equal(ring, other, equal_nan=True)
        for ring, other in zip(rings, others, strict=True)
    )


def _frozen_points(points: ArrayLike) -> Points:
    if isinstance(points, np.ndarray) and points.dtype == np.float64 and not points.flags.writeable:
        array = points
    else:
        array = np.array(points, dtype=np.float64)
        array.setflags(write=False)
    if array.size == 0:
        array = array.reshape(0, 2)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"Points have the shape (n, 2), not {array.shape}.")
    return array
