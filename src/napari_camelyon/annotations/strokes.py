"""What a hand draws: what a round brush covers along a path, and a path as a ring."""

from typing import Any

import numpy as np
import shapely
from numpy.typing import ArrayLike

from napari_camelyon.annotations.editing import union
from napari_camelyon.annotations.model import Points, make_annotation
from napari_camelyon.annotations.regions import merge, ring_region
from napari_camelyon.annotations.snapping import original_of, parts_like
from napari_camelyon.geometry import slide_to_um, um_to_slide

__all__ = ["extend_stroke", "freehand_ring", "stroke_region"]

_QUADRANT_CORNERS = 16
_PATH_TOLERANCE = 0.005


def stroke_region(points: ArrayLike, radius_px: float, radius_y_px: float | None = None) -> Any:
    """Return what a brush covers along a path.

    Parameters
    ----------
    points : array_like, shape (n, 2)
        Slide points, at least one; those that are not finite are left out.
    radius_px : float
        Of the brush, level-0 pixels.
    radius_y_px : float, optional
        Along y: a brush that is round on the screen is an ellipse where pixels are not square.

    Returns
    -------
    shapely.Polygon
        The brush is a 64-gon, and the path is simplified by half a percent of the radius: the
        border is within 1 % of the radius of the true one. Empty without a point or a radius.
    """
    path = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    path = path[np.isfinite(path).all(axis=1)]
    radius_y_px = radius_px if radius_y_px is None else radius_y_px
    if not len(path) or not min(radius_px, radius_y_px) > 0:
        return shapely.Polygon()
    if radius_y_px != radius_px:
        size = (1.0, radius_px / radius_y_px)  # of a pixel, where the brush is round
        drawn = stroke_region(slide_to_um(path, size), radius_px)
        return shapely.transform(drawn, lambda points_um: um_to_slide(points_um, size))
    line = shapely.simplify(
        shapely.LineString(np.concatenate([path, path[-1:]])),
        _PATH_TOLERANCE * radius_px,
        preserve_topology=False,
    )
    # Piece by piece: the buffer of a line that turns back on itself loses area in GEOS 3.14.
    ends = shapely.get_coordinates(line)
    ends = ends[np.append(True, (ends[1:] != ends[:-1]).any(axis=1))]
    if len(ends) < 2:
        return shapely.buffer(shapely.Point(path[0]), radius_px, quad_segs=_QUADRANT_CORNERS)
    pieces = shapely.linestrings(np.stack([ends[:-1], ends[1:]], axis=1))
    return merge(shapely.buffer(pieces, radius_px, quad_segs=_QUADRANT_CORNERS))


def extend_stroke(
    stroke: Any, points: ArrayLike, radius_px: float, radius_y_px: float | None = None
) -> Any:
    """Return a stroke with what the brush covers along a further piece of its path.

    Cheaper than `stroke_region` of the whole path after every move of the mouse.

    Parameters
    ----------
    stroke : shapely.Polygon or shapely.MultiPolygon
        The stroke so far.
    points : array_like, shape (n, 2)
        The last point of the path so far and those that came.
    radius_px, radius_y_px
        As in `stroke_region`.
    """
    return union([stroke, stroke_region(points, radius_px, radius_y_px)])


def freehand_ring(points: ArrayLike, tolerance_px: float) -> Points | None:
    """Return a path drawn by hand as a ring.

    Parameters
    ----------
    points : array_like, shape (n, 2)
        Slide points; those that are not finite and repeated ones are left out.
    tolerance_px : float
        Points are left out where the ring stays this near to the path (Douglas and Peucker,
        Cartographica 10(2), 1973).

    Returns
    -------
    ndarray of float64, shape (m, 2), or None
        Some of the points, in their order. Where the path crosses itself, as hands do where they
        close it, the ring is the border of what it winds around, if that is in one piece without
        holes; otherwise it crosses itself too. None if it encloses nothing.
    """
    path = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    path = path[np.isfinite(path).all(axis=1)]
    if len(path):
        path = path[np.append((path[1:] != path[:-1]).any(axis=1), (path[-1] != path[0]).any())]
    region = ring_region(path)
    if region.is_empty:
        return None
    if region.geom_type == "Polygon" and not region.interiors:
        (part,) = parts_like(original_of([make_annotation("polygon", path)]), region)
        simpler = shapely.simplify(shapely.Polygon(part.points), tolerance_px)
        return np.asarray(simpler.exterior.coords)[:-1]
    closed = shapely.LineString(np.concatenate([path, path[:1]]))
    ring: Points = shapely.get_coordinates(
        shapely.simplify(closed, tolerance_px, preserve_topology=False)
    )[:-1]
    return path if ring_region(ring).is_empty else ring
