"""Annotations as layers and back: the set is the truth in float64, layers are a view of it.

One Shapes layer a group shows outlines, one Points layer a group shows dots. napari stores
vertices as float32 (0.008 px off near x = 200,000), so that going back only what a person moved
is taken from a layer; every other point stays what it was, to the last bit.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.annotations.meaning import group_colour
from napari_camelyon.annotations.model import (
    AREA_KINDS,
    ASAP_DEFAULT_COLOUR,
    FARTHEST_PX,
    POINT_KINDS,
    Annotation,
    AnnotationSet,
    Kind,
    Part,
    add_annotations,
    make_annotation,
    same_annotation,
)
from napari_camelyon.annotations.regions import outline_rings
from napari_camelyon.annotations.triangulation import can_be_filled
from napari_camelyon.geometry import Mpp, layer_to_slide, slide_to_layer, world_placement

__all__ = [
    "OUTLINE_SCREEN_PX",
    "ShownLayer",
    "annotations_from_layers",
    "closed_paths",
    "layer_data",
]

LayerData = tuple[Any, dict[str, Any], str]

OUTLINE_SCREEN_PX = 2.5
"""Width of outlines on the screen, at every zoom."""

_ELLIPSE_CORNERS = 72
_Coordinates = NDArray[np.float32]

_DRAWN_KIND: dict[str, Kind] = {"line": "ruler", "path": "polyline", "point": "dot"}


class ShownLayer(Protocol):
    """What is read of a layer: napari's Shapes and Points layers are such.

    A layer with ``shape_type`` holds shapes, one without holds points.
    """

    @property
    def data(self) -> Any: ...  # noqa: D102
    @property
    def features(self) -> Any: ...  # noqa: D102
    @property
    def metadata(self) -> dict[str, Any]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class _Outline:
    """One ring, line or point of an annotation as a layer shows it.

    Attributes
    ----------
    annotation : Annotation
    ring : int
        Counts the rings of the annotation, holes after their outer ring; or points of a point set.
    points : ndarray of float64, shape (n, 2)
        Slide points.
    kept : ndarray of int, shape (k,)
        Which of them are shown: no two in a row are equal in float32.
    shown : ndarray of float32, shape (k, 2)
        Layer data, without a repeated first point.
    """

    annotation: Annotation
    ring: int
    points: NDArray[np.float64]
    kept: NDArray[np.int64]
    shown: _Coordinates


def layer_data(
    annotation_set: AnnotationSet, slide_id: str | None = None, mpp: Mpp | None = None
) -> list[LayerData]:
    """Return the layers of a set as napari's readers do: data, attributes and type of each.

    Every layer's metadata hold ``{"napari_camelyon": {"kind": "annotation", "slide": slide_id,
    "group": name or None, "annotation_set": the set, "rings": what is in the layer}}``.
    """
    layers: list[LayerData] = []
    for group in _group_names(annotation_set):
        members = [a for a in annotation_set if a.group == group]
        outlines = [outline for a in members for outline in _outlines(a)]
        shapes = [outline for outline in outlines if len(outline.shown) > 1]
        points = [outline for outline in outlines if len(outline.shown) == 1]
        drawings = [_drawing(outline) for outline in shapes]
        colour = group_colour(group, annotation_set.groups) or ASAP_DEFAULT_COLOUR
        title = "annotations" if group is None else group
        title = title if slide_id is None else f"{slide_id} {title}"
        if shapes or not points:
            layers.append(
                (
                    [data for data, _ in drawings],
                    {
                        "name": title,
                        "shape_type": [shape_type for _, shape_type in drawings] or "polygon",
                        "edge_color": colour,
                        "face_color": "transparent",
                        "opacity": 1.0,
                        "edge_width": _first_edge_width(shapes),
                        **_common(annotation_set, group, slide_id, mpp, shapes),
                    },
                    "shapes",
                )
            )
        if points:
            layers.append(
                (
                    np.concatenate([outline.shown for outline in points]),
                    {
                        "name": f"{title} (points)",
                        "face_color": colour,
                        "border_color": "black",
                        "size": 40.0,
                        "canvas_size_limits": (8, 16),
                        **_common(annotation_set, group, slide_id, mpp, points),
                    },
                    "points",
                )
            )
    return layers


def closed_paths(annotation: Annotation) -> list[_Coordinates]:
    """Return the outlines of a region as layer data of paths, each ending where it begins.

    Paths are not filled, so that none of them can fail to be drawn.

    Returns
    -------
    list of ndarray of float32, shape (n, 2)
        ``(row, column)``; one for each ring.
    """
    if annotation.kind not in AREA_KINDS:
        return []
    return [
        np.concatenate([outline.shown, outline.shown[:1]])
        for outline in _outlines(annotation)
        if len(outline.shown) > 1
    ]


def annotations_from_layers(
    annotation_set: AnnotationSet, layers: Collection[ShownLayer]
) -> AnnotationSet:
    """Return the set with what a person did in its layers, and nothing else changed.

    Parameters
    ----------
    annotation_set : AnnotationSet
        The set that was shown.
    layers : collection of layers
        Made from `layer_data`; others are passed over. What is in layers that are not given
        stays as it is.

    Returns
    -------
    AnnotationSet
        Annotations that were not touched are the same objects as before. A moved vertex takes its
        place from the layer, the others of its ring stay exact. An edited spline becomes the
        polygon that was drawn. Shapes drawn by hand become annotations of the layer's group. Its
        problems are those of before; `check` finds them anew.
    """
    ours = [layer for layer in layers if _meta(layer).get("kind") == "annotation"]
    home = {ring: k for k, layer in enumerate(ours) for ring in _meta(layer).get("rings", ())}
    rows = [row for k, layer in enumerate(ours) for row in _rows(layer, k)]
    # A shape that was copied carries the id of its original: the first in its own layer keeps it.
    rows.sort(key=lambda row: home.get(row.key) != row.place[0])
    claimed: dict[tuple[str, int], _Row] = {}
    drawn: list[_Row] = []
    for row in rows:
        if row.key in claimed or row.key not in home:
            drawn.append(row)
        else:
            claimed[row.key] = row

    given = {annotation_id for annotation_id, _ in home}
    kept: list[Annotation] = []
    for annotation in annotation_set:
        if annotation.id not in given:
            kept.append(annotation)
            continue
        edited = _edited(annotation, home, claimed)
        if edited is not None:
            kept.append(annotation if same_annotation(annotation, edited) else edited)
    drawn.sort(key=lambda row: row.place)
    return add_annotations(replace(annotation_set, annotations=tuple(kept)), map(_drawn, drawn))


# --- to the viewer -----------------------------------------------------------------------------


def _group_names(annotation_set: AnnotationSet) -> list[str | None]:
    # Groups without annotations get a layer too: there one may draw the first.
    defined: list[str | None] = [group.name for group in annotation_set.groups]
    used = [annotation.group for annotation in annotation_set]
    return list(dict.fromkeys([*defined, *used])) or [None]


def _outlines(annotation: Annotation) -> Iterator[_Outline]:
    if annotation.kind in POINT_KINDS:
        for number, point in enumerate(annotation.points):
            if np.isfinite(point).all() and np.abs(point).max() <= FARTHEST_PX:
                yield _outline(annotation, number, point[None])
        return
    rings = [ring for outer, holes in outline_rings(annotation) for ring in (outer, *holes)]
    for number, ring in enumerate(rings):
        if len(ring) and np.abs(ring).max() <= FARTHEST_PX:
            yield _outline(annotation, number, ring)


def _outline(annotation: Annotation, number: int, points: NDArray[np.float64]) -> _Outline:
    data = slide_to_layer(points).astype(np.float32)
    # Equal neighbours would give the mesh vertices that are no numbers, and the line gaps.
    kept = np.flatnonzero(np.append(True, (data[1:] != data[:-1]).any(axis=1)))
    if annotation.kind in AREA_KINDS and len(kept) > 1 and (data[0] == data[kept[-1]]).all():
        points, kept = points[: kept[-1]], kept[:-1]
    return _Outline(annotation, number, points, kept, data[kept])


def _drawing(outline: _Outline) -> tuple[_Coordinates, str]:
    """Return data and type of the shape: a ring that cannot be filled becomes a closed path."""
    shown = outline.shown
    if outline.annotation.kind not in AREA_KINDS or len(shown) < 3:
        return shown, "path"
    if can_be_filled(shown):
        return shown, "polygon"
    return np.concatenate([shown, shown[:1]]), "path"


def _common(
    annotation_set: AnnotationSet,
    group: str | None,
    slide_id: str | None,
    mpp: Mpp | None,
    outlines: Sequence[_Outline],
) -> dict[str, Any]:
    ids = [outline.annotation.id for outline in outlines]
    return {
        "features": {
            "id": np.array(ids, dtype=object),
            "name": np.array([outline.annotation.name for outline in outlines], dtype=object),
            "group": np.array([group or ""] * len(ids), dtype=object),
            "ring": np.array([outline.ring for outline in outlines], dtype=np.int64),
        },
        # What is drawn by hand must not inherit the id of an annotation.
        "feature_defaults": {"id": "", "name": "", "group": group or "", "ring": 0},
        "metadata": {
            "napari_camelyon": {
                "kind": "annotation",
                "slide": slide_id,
                "group": group,
                "annotation_set": annotation_set,
                "rings": tuple((outline.annotation.id, outline.ring) for outline in outlines),
            }
        },
        **world_placement(mpp),
    }


def _first_edge_width(outlines: Sequence[_Outline]) -> float:
    # Until the zoom is known: right for a view of everything on some thousand screen pixels.
    if not outlines:
        return 1.0
    corners = np.array([(o.shown.min(axis=0), o.shown.max(axis=0)) for o in outlines])
    extent = corners[:, 1].max(axis=0) - corners[:, 0].min(axis=0)
    return max(1.0, float(extent.max()) / 1000 * OUTLINE_SCREEN_PX)


# --- and back ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    """One shape or point in a layer as it is now; `key` says whose ring it was made of."""

    key: tuple[str, int]
    place: tuple[int, int]
    name: str
    group: str | None
    data: _Coordinates
    shape_type: str


def _rows(layer: ShownLayer, layer_number: int) -> Iterator[_Row]:
    count, features = len(layer.data), layer.features
    blank: dict[str, Any] = {"id": "", "ring": 0, "name": ""}  # a layer of others has none of these
    ids, rings, names = (
        list(features[column]) if column in features else [value] * count
        for column, value in blank.items()
    )
    types = getattr(layer, "shape_type", ["point"] * count)
    for number, (data, shape_type) in enumerate(zip(layer.data, types, strict=True)):
        yield _Row(
            key=(str(ids[number]), int(rings[number])),
            place=(layer_number, number),
            name=str(names[number]),
            group=_meta(layer)["group"],
            data=np.asarray(data, dtype=np.float32).reshape(-1, 2),
            shape_type=shape_type,
        )


def _edited(
    annotation: Annotation,
    home: Collection[tuple[str, int]],
    rows: Mapping[tuple[str, int], _Row],
) -> Annotation | None:
    """Return an annotation as its layers have it now; None if it was deleted there."""
    outlines = {outline.ring: outline for outline in _outlines(annotation)}
    own = {ring: rows[annotation.id, ring] for ring in outlines if (annotation.id, ring) in rows}
    unseen = {ring for ring in outlines if (annotation.id, ring) not in home}
    if not own and not unseen:
        return None

    def now(ring: int, original: NDArray[np.float64]) -> NDArray[np.float64] | None:
        # What was never shown, or in a layer that is not given, stays; what is gone is deleted.
        if ring not in outlines or ring in unseen:
            return original
        return _ring_now(original, outlines[ring], own[ring]) if ring in own else None

    first = own[min(own)] if own else None
    named = annotation if first is None else replace(annotation, name=first.name, group=first.group)
    if annotation.kind in POINT_KINDS:
        places = [now(number, point[None]) for number, point in enumerate(annotation.points)]
        return replace(named, points=np.concatenate([at for at in places if at is not None]))

    parts, number = [], 0
    for part in annotation.parts:
        outer, *holes = (now(number + k, ring) for k, ring in enumerate((part.points, *part.holes)))
        number += 1 + len(part.holes)
        if outer is not None:
            parts.append(Part(outer, tuple(hole for hole in holes if hole is not None)))
    if not parts:
        return None
    kind = annotation.kind
    if parts[0].points is not annotation.points:
        # What is seen: the curve of a spline, a rectangle that may be one no more.
        kind = "polygon" if kind in AREA_KINDS else kind
        kind = "polyline" if kind == "ruler" and len(parts[0].points) > 2 else kind
    return replace(
        named,
        kind=kind,
        points=parts[0].points,
        holes=parts[0].holes,
        more_parts=tuple(parts[1:]),
    )


def _ring_now(original: NDArray[np.float64], outline: _Outline, row: _Row) -> NDArray[np.float64]:
    """Return the original ring if it was not touched, otherwise the edited one."""
    shown, current = outline.shown, row.data
    if outline.annotation.kind in AREA_KINDS and row.shape_type == "path":
        current = _opened(current, shown)
    if np.array_equal(shown, current):
        return original
    first = _common_rows(shown, current)
    last = _common_rows(shown[first:][::-1], current[first:][::-1])
    before = outline.kept[first] if first < len(shown) else len(outline.points)
    after = outline.kept[len(shown) - last] if last else len(outline.points)
    moved = layer_to_slide(current[first : len(current) - last])
    return np.concatenate([outline.points[:before], moved, outline.points[after:]])


def _opened(path: _Coordinates, shown: _Coordinates) -> _Coordinates:
    """Return a closed path as a ring; if its ends were pulled apart, the one that moved counts."""
    if len(shown) < 3 or len(path) < 2:
        return path
    if (path[0] == path[-1]).all():
        return path[:-1]
    if len(path) != len(shown) + 1:
        return path
    if (path[0] == shown[0]).all():
        return np.concatenate([path[-1:], path[1:-1]])
    return path[:-1]


def _common_rows(first: _Coordinates, second: _Coordinates) -> int:
    count = min(len(first), len(second))
    differs = (first[:count] != second[:count]).any(axis=1)
    return int(differs.argmax()) if differs.any() else count


def _drawn(row: _Row) -> Annotation:
    """Return a new annotation for what was drawn, copied or pasted."""
    data = row.data
    kind: Kind = _DRAWN_KIND.get(row.shape_type, "polygon")
    if row.shape_type == "ellipse":
        data = _ellipse(data)
    elif kind == "polyline" and len(data) > 3 and (data[0] == data[-1]).all():
        kind, data = "polygon", data[:-1]
    return make_annotation(kind, layer_to_slide(data), name=row.name, group=row.group)


def _ellipse(corners: _Coordinates) -> NDArray[Any]:
    centre = corners.mean(axis=0)
    first, second = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angle = np.linspace(0, 2 * np.pi, _ELLIPSE_CORNERS, endpoint=False)[:, None]
    corner: NDArray[Any] = centre + np.cos(angle) * first + np.sin(angle) * second
    return corner


def _meta(layer: ShownLayer) -> dict[str, Any]:
    found: dict[str, Any] = layer.metadata.get("napari_camelyon", {})
    return found
