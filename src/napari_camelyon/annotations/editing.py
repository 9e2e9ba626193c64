"""Editing by regions: adding, cutting, uniting, splitting. Undoing is keeping the old annotation.

Every function returns new annotations and keeps id, name, group, colour and what else the file
says. What an operation does not concern keeps its points bit for bit (`snapping`); an outline that
crosses itself counts as the region of `regions.region_of`. Points without a number, which no
region has, go when the outline is computed anew.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import ArrayLike

from napari_camelyon.annotations.model import (
    AREA_KINDS,
    FARTHEST_PX,
    Annotation,
    Part,
    make_annotation,
    with_parts,
)
from napari_camelyon.annotations.regions import PRECISION_PX, cut, merge, region_of
from napari_camelyon.annotations.snapping import Original, original_of, parts_like
from napari_camelyon.errors import AnnotationError

__all__ = [
    "add_region",
    "cut_region",
    "fill_holes",
    "intersect",
    "region_to_edit",
    "split",
    "subtract",
    "union",
    "unite",
    "with_region",
]


def region_to_edit(annotation: Annotation) -> Any:
    """Return the region of an annotation, as `region_of`, if it can be edited as one.

    Raises
    ------
    AnnotationError
        It is no area, or has a point far from any slide, which would be lost.
    """
    name = annotation.name or "An unnamed annotation"
    if annotation.kind not in AREA_KINDS:
        raise AnnotationError(
            f"{name} is a {annotation.kind} and encloses no region. Choose an outline instead."
        )
    for part in annotation.parts:
        for ring in (part.points, *part.holes):
            finite = ring[np.isfinite(ring).all(axis=1)]
            if np.abs(finite).max(initial=0) > FARTHEST_PX:
                raise AnnotationError(
                    f"{name} has points far from any slide, so that its region is not known. "
                    "Delete or move these points first."
                )
    return region_of(annotation)


def union(regions: Sequence[Any]) -> Any:
    """Return the union of polygons of which some may be empty, as `regions.merge`."""
    return merge([region for region in regions if not region.is_empty])


def with_region(annotation: Annotation, region: Any) -> Annotation | None:
    """Return the annotation with another region.

    Parameters
    ----------
    annotation : Annotation
        An area; a spline or a rectangle becomes a polygon.
    region : shapely.Polygon or shapely.MultiPolygon
        Valid, in slide points.

    Returns
    -------
    Annotation or None
        Its largest polygon first. Points within `PRECISION_PX` of one of the drawn outline have
        the same bits as that, and rings that remain start and run as they did. None if the region
        is empty.
    """
    return _polygon_of(annotation, parts_like(original_of([annotation]), region))


def add_region(annotation: Annotation, region: Any) -> Annotation:
    """Return the union of an annotation and a region; itself if it covers the region already.

    Raises
    ------
    AnnotationError
        As `region_to_edit`.
    """
    own = region_to_edit(annotation)
    if region.is_empty or own.covers(region):
        return annotation
    # A union with something is not empty.
    return with_region(annotation, union([own, region])) or annotation


def cut_region(annotation: Annotation, region: Any) -> Annotation | None:
    """Return an annotation without a region; itself if they do not overlap, None if all is cut.

    Raises
    ------
    AnnotationError
        As `region_to_edit`.
    """
    own = region_to_edit(annotation)
    if not own.is_empty and not _overlap(own, region):
        return annotation
    return with_region(annotation, cut(own, [region]))


def unite(annotations: Sequence[Annotation]) -> Annotation:
    """Return one annotation with the regions of all, named and grouped as the first one.

    Raises
    ------
    AnnotationError
        As `region_to_edit`, or nothing is left because no outline encloses anything.
    ValueError
        There is no annotation.
    """
    first = _first(annotations)
    if len(annotations) == 1:
        return first
    region = union([region_to_edit(annotation) for annotation in annotations])
    united = _polygon_of(first, parts_like(original_of(annotations), region))
    if united is None:
        raise AnnotationError("None of these outlines encloses a region; draw them anew.")
    return united


def subtract(annotation: Annotation, others: Sequence[Annotation]) -> Annotation | None:
    """Return an annotation without the regions of others; None if nothing is left.

    It is returned as it is if the others do not overlap it. Along the cut it has their points.

    Raises
    ------
    AnnotationError
        As `region_to_edit`.
    """
    own = region_to_edit(annotation)
    taken = [region for region in map(region_to_edit, others) if _overlap(own, region)]
    if not taken:
        return annotation
    kept = original_of([annotation, *others])
    return _polygon_of(annotation, parts_like(kept, cut(own, taken)))


def intersect(annotations: Sequence[Annotation]) -> Annotation | None:
    """Return what all annotations share, named and grouped as the first one; None if nothing.

    Raises
    ------
    AnnotationError
        As `region_to_edit`.
    ValueError
        There is no annotation.
    """
    first = _first(annotations)
    region, *others = map(region_to_edit, annotations)
    if not others:
        return first
    for other in others:
        region = merge([shapely.intersection(region, other, grid_size=PRECISION_PX)])
    return _polygon_of(first, parts_like(original_of(annotations), region))


def split(annotation: Annotation, line: ArrayLike) -> list[Annotation]:
    """Return the pieces into which an open line cuts an annotation.

    Parameters
    ----------
    annotation : Annotation
    line : array_like, shape (n, 2)
        Slide points. Its ends are not prolonged: one that ends inside cuts nothing off, while one
        that crosses itself inside also cuts out what it runs around.

    Returns
    -------
    list of Annotation
        Largest first. The first one keeps the id and the polygons that the line leaves whole; the
        others are new ones of the same name, group and colour. The annotation itself, alone, if
        the line does not cut through.

    Raises
    ------
    AnnotationError
        As `region_to_edit`.
    """
    own = region_to_edit(annotation)
    path = np.asarray(line, dtype=np.float64).reshape(-1, 2)
    path = path[np.isfinite(path).all(axis=1)]
    if len(path) < 2 or own.is_empty:
        return [annotation]
    knife = shapely.LineString(path)
    whole, pieces = [], []
    for polygon in shapely.get_parts(own):
        faces = _faces(polygon, knife) if polygon.intersects(knife) else [polygon]
        if len(faces) > 1:
            pieces += faces
        else:
            whole.append(polygon)
    if not pieces:
        return [annotation]
    pieces.sort(key=lambda piece: -piece.area)
    kept = original_of([annotation])
    first = _polygon_of(annotation, parts_like(kept, pieces[0])) or annotation
    if whole:
        rest = parts_like(kept, shapely.MultiPolygon(whole))
        first = replace(first, more_parts=(*first.more_parts, *rest))
    return [first, *(_new_piece(annotation, kept, piece) for piece in pieces[1:])]


def fill_holes(annotation: Annotation, at_xy: ArrayLike | None = None) -> Annotation:
    """Return the annotation without holes, or without the one at a place.

    Parameters
    ----------
    annotation : Annotation
        Holes are those of its region: also what an outline that overlaps itself leaves open.
        Islands in a hole, and their holes, become one with what fills it.
    at_xy : array_like, shape (2,), optional
        A slide point; of nested holes the innermost one around it is filled.

    Returns
    -------
    Annotation
        Itself if there is no such hole.

    Raises
    ------
    AnnotationError
        As `region_to_edit`.
    """
    own = region_to_edit(annotation)
    holes = [hole for polygon in shapely.get_parts(own) for hole in polygon.interiors]
    if at_xy is not None:
        place = shapely.Point(at_xy)
        filled = [shapely.Polygon(hole) for hole in holes]
        around = [k for k, hole in enumerate(filled) if hole.covers(place)]
        innermost = min(around, key=lambda k: filled[k].area, default=None)
        holes = [] if innermost is None or own.intersects(place) else [holes[innermost]]
    if not holes:
        return annotation
    # Leaving a ring out moves no point, unlike a union; merging is for the islands in it.
    gone = {hole.wkb for hole in holes}
    polygons = [
        shapely.Polygon(
            polygon.exterior, [hole for hole in polygon.interiors if hole.wkb not in gone]
        )
        for polygon in shapely.get_parts(own)
    ]
    return with_region(annotation, merge(polygons)) or annotation


def _overlap(first: Any, second: Any) -> bool:
    # The interiors meet: sharing a border is no overlap.
    return bool(shapely.relate_pattern(first, second, "T********"))


def _faces(polygon: Any, knife: Any) -> list[Any]:
    lines = shapely.GeometryCollection([polygon.boundary, knife])
    pieces = shapely.unary_union(lines, grid_size=PRECISION_PX)
    faces = shapely.get_parts(shapely.polygonize([pieces]))
    inside = shapely.point_on_surface(faces)
    shapely.prepare(polygon)
    return list(faces[shapely.contains(polygon, inside)])


def _new_piece(annotation: Annotation, kept: Original, piece: Any) -> Annotation:
    (part,) = parts_like(kept, piece)
    return make_annotation(
        "polygon",
        part.points,
        name=annotation.name,
        group=annotation.group,
        colour=annotation.colour,
        holes=part.holes,
    )


def _first(annotations: Sequence[Annotation]) -> Annotation:
    if not annotations:
        raise ValueError("At least one annotation is needed.")
    return annotations[0]


def _polygon_of(annotation: Annotation, parts: Sequence[Part]) -> Annotation | None:
    return with_parts(replace(annotation, kind="polygon"), parts) if parts else None
