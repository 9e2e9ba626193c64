"""From an outline to the region that it encloses."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from napari_camelyon.annotations.curves import spline_outline
from napari_camelyon.annotations.model import AREA_KINDS, FARTHEST_PX, Annotation, Points

__all__ = [
    "PRECISION_PX",
    "cut",
    "merge",
    "outline",
    "outline_rings",
    "region_of",
    "ring_region",
    "winding_numbers",
]

PRECISION_PX = 1e-5
"""Regions are computed on a grid of this pitch.

In full floating point GEOS (3.14) loses whole polygons where a sliver thinner than the last digit
arises; on a grid its overlay is exact. A hundred-thousandth of a pixel is 2.5 pm."""


def outline(annotation: Annotation) -> Points:
    """Return the first ring of an annotation as it is drawn: a spline as its curve.

    Points that are not finite numbers are left out.
    """
    if annotation.kind == "spline":
        return spline_outline(annotation.points)
    return _finite(annotation.points)


def outline_rings(annotation: Annotation) -> list[tuple[Points, tuple[Points, ...]]]:
    """Return all rings as drawn: for each part the outer ring and its holes."""
    first, *others = annotation.parts
    return [
        (outline(annotation), tuple(map(_finite, first.holes))),
        *((_finite(part.points), tuple(map(_finite, part.holes))) for part in others),
    ]


def region_of(annotation: Annotation, *, splines_as_drawn: bool = True) -> Any:
    """Return the region of an annotation as a valid shapely (Multi)Polygon, maybe empty.

    Parameters
    ----------
    annotation : Annotation
        Of any kind; marks and measurements have no region.
    splines_as_drawn : bool
        True takes the curve that the annotator saw. False joins the control points by straight
        lines, as ASAP does when it makes masks, hence as the official masks; the areas of the
        official splines differ by up to 2 %.

    Returns
    -------
    shapely.Polygon or shapely.MultiPolygon
        In slide points (px²). See `ring_region` for rings that cross themselves.
    """
    if annotation.kind not in AREA_KINDS:
        return shapely.Polygon()
    if annotation.kind == "spline" and not splines_as_drawn:
        annotation = replace(annotation, kind="polygon")
    parts = [_region_of_part(outer, holes) for outer, holes in outline_rings(annotation)]
    return parts[0] if len(parts) == 1 else merge(parts)


def _region_of_part(outer: Points, holes: Sequence[Points]) -> Any:
    if not holes:
        return ring_region(outer)
    if all(_is_ring(ring) for ring in (outer, *holes)):
        # As drawn, in nearly every file: nothing to compute, even with thousands of holes.
        whole = shapely.Polygon(outer, holes)
        if whole.is_valid:
            return whole
    return cut(ring_region(outer), [ring_region(hole) for hole in holes])


def merge(regions: Sequence[Any]) -> Any:
    """Return the union of polygons as a valid Polygon or MultiPolygon.

    Those that touch no other, the most part of a slide's, are taken over as they are.
    """
    given = np.asarray(regions, dtype=object)
    first, second = shapely.STRtree(given).query(given, predicate="intersects")
    links = coo_array((np.ones(len(first)), (first, second)), shape=(len(given), len(given)))
    count, label = connected_components(links, directed=False)
    clusters = [given[label == number] for number in range(count)]
    united = [
        cluster[0] if len(cluster) == 1 else shapely.union_all(cluster, grid_size=PRECISION_PX)
        for cluster in clusters
    ]
    return _polygons_only(shapely.GeometryCollection(united))


def cut(region: Any, others: Sequence[Any]) -> Any:
    """Return a polygon without others as a valid Polygon or MultiPolygon."""
    if not len(others):
        return region
    return _polygons_only(shapely.difference(region, merge(others), grid_size=PRECISION_PX))


def ring_region(ring: Points) -> Any:
    """Return the region inside a ring, whatever the ring looks like.

    Where a ring crosses itself, everything that it winds around belongs to the region (the
    non-zero winding rule), as in the masks that ASAP writes (``annotation/AnnotationToMask.cpp``:
    ``wn_PnPoly``) and hence in the official masks: a loop drawn twice stays filled. The even-odd
    rule would cut a hole where a line overlaps its own beginning.

    Parameters
    ----------
    ring : ndarray of float64, shape (n, 2)
        Slide points, all finite.

    Returns
    -------
    shapely.Polygon or shapely.MultiPolygon
        Valid; empty for fewer than three points, a ring without area or one far from any slide.
    """
    if not _is_ring(ring):
        return shapely.Polygon()
    polygon = shapely.Polygon(ring)
    if polygon.is_valid:
        return polygon
    # `shapely.make_valid` decides by the even-odd rule, or, with method="structure", nearly by
    # this one: it loses parts of rings that run along themselves. So the ring is cut up at its
    # crossings and every face asked how often the ring winds around it.
    line = shapely.LineString(np.concatenate([ring, ring[:1]]))
    with np.errstate(all="ignore"):  # GEOS divides by numbers near the smallest ones, harmlessly
        pieces = shapely.unary_union(line, grid_size=PRECISION_PX)
    faces = shapely.get_parts(shapely.polygonize([pieces]))
    inside = shapely.get_coordinates(shapely.point_on_surface(faces))
    return merge(faces[winding_numbers(ring, inside) != 0])


def winding_numbers(ring: Points, points: Points) -> NDArray[np.int64]:
    """Return how often a ring winds around points that are not on it (Sunday's algorithm)."""
    (x0, y0), (x1, y1) = ring.T, np.roll(ring, -1, axis=0).T
    numbers = np.empty(len(points), dtype=np.int64)
    block = max(1, 4_000_000 // len(ring))  # bounds the memory, not the result
    for start in range(0, len(points), block):
        x, y = points[start : start + block].T[..., None]
        side = (x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)
        upward = (y0 <= y) & (y < y1) & (side > 0)
        downward = (y1 <= y) & (y < y0) & (side < 0)
        numbers[start : start + block] = upward.sum(axis=1) - downward.sum(axis=1)
    return numbers


def _is_ring(points: Points) -> bool:
    return len(points) >= 3 and bool(np.abs(points).max() <= FARTHEST_PX)


def _polygons_only(geometry: Any) -> Any:
    parts = shapely.get_parts(shapely.get_parts(geometry))
    polygons = [part for part in parts if part.geom_type == "Polygon" and not part.is_empty]
    if len(polygons) == 1:
        return polygons[0]
    return shapely.MultiPolygon(polygons) if polygons else shapely.Polygon()


def _finite(points: Points) -> Points:
    finite = np.isfinite(points).all(axis=1)
    return points if finite.all() else points[finite]
