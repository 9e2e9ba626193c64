"""GeoJSON as QuPath writes it: class, name, colour, polygons with holes and several parts.

Coordinates are level-0 pixels from the image corner, as in QuPath. What GeoJSON cannot say (that
an outline is a spline, a rectangle or a broken ring) goes into a property of our own, which other
programs ignore.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from napari_camelyon.annotations.checks import check
from napari_camelyon.annotations.curves import spline_outline
from napari_camelyon.annotations.model import (
    AREA_KINDS,
    ASAP_DEFAULT_COLOUR,
    POINT_KINDS,
    Annotation,
    AnnotationSet,
    Group,
    Kind,
    Part,
    Points,
    Problem,
    Source,
    is_unchanged,
)
from napari_camelyon.annotations.regions import outline_rings
from napari_camelyon.annotations.verification import VERDICT_KEYS
from napari_camelyon.errors import AnnotationError

__all__ = [
    "annotation_from_region",
    "from_geojson",
    "geojson_bytes",
    "read_geojson",
    "to_geojson",
]

_OURS = "napari_camelyon"
_KNOWN_PROPERTIES = frozenset({"name", "classification", "color", "colorRGB", _OURS})
_KNOWN_MEMBERS = frozenset({"type", "id", "geometry", "properties"})
_READ_EXTRA = frozenset({"geometry", "members", "properties"})
"""What reading keeps in ``Annotation.extra``; other entries come from other formats."""


def read_geojson(path: Path, raw: bytes) -> AnnotationSet:
    """Read a GeoJSON file.

    Parameters
    ----------
    path : Path
        For messages, and for the set to remember.
    raw : bytes
        The file: a feature, a list or collection of features, or bare geometries.

    Raises
    ------
    AnnotationError
        The file is cut off, no JSON, or JSON of another kind.
    """
    try:
        data = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise AnnotationError(
            f"{path} is no GeoJSON: it is not written in UTF-8. Export it again."
        ) from error
    except json.JSONDecodeError as error:
        if error.pos >= len(error.doc.rstrip()):
            raise AnnotationError(
                f"{path} is cut off in line {error.lineno:,}: it was not copied to the end. "
                "Fetch it again."
            ) from error
        raise AnnotationError(
            f"{path} is no valid JSON in line {error.lineno:,}, column {error.colno:,} "
            f"({error.msg}). Mend that line or export the file again."
        ) from error
    except RecursionError as error:
        raise AnnotationError(
            f"{path} is nested deeper than any GeoJSON is; it was not opened."
        ) from error
    try:
        annotation_set = from_geojson(data)
    except AnnotationError as error:
        raise AnnotationError(f"{path} {error}") from error
    source = Source("geojson", path, raw, annotation_set.annotations, annotation_set.groups)
    return replace(annotation_set, source=source)


def from_geojson(data: object) -> AnnotationSet:
    """Return the annotations in parsed GeoJSON.

    Raises
    ------
    AnnotationError
        It is no GeoJSON.
    """
    annotations: list[Annotation] = []
    groups: dict[str, Group] = {}
    problems: list[Problem] = []
    used: set[str] = set()
    for number, feature in enumerate(_features(data), start=1):
        properties = feature.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        group = _group(properties.get("classification"))
        if group is not None and (group.name not in groups or groups[group.name].colour is None):
            groups[group.name] = group
        wanted = feature.get("id")
        # QuPath before 0.4 gives every object the id of its class.
        annotation_id = wanted if isinstance(wanted, str) and wanted not in used else ""
        annotation_id = annotation_id or str(uuid.uuid4())
        used.add(annotation_id)
        annotation, trouble = _annotation(feature, properties, group, annotation_id)
        annotations.append(annotation)
        if trouble:
            problems.append(
                Problem(
                    "unreadable-geometry" if not len(annotation.points) else "third-coordinate",
                    f"{annotation.name or f'Feature {number:,}'} {trouble}.",
                    "warning",
                    annotation_id,
                )
            )
    found = AnnotationSet(tuple(annotations), tuple(groups.values()))
    return replace(found, problems=(*problems, *check(found)))


def to_geojson(annotation_set: AnnotationSet) -> dict[str, Any]:
    """Return a set as a GeoJSON FeatureCollection that QuPath opens, ready for `json.dump`."""
    groups = {group.name: group for group in annotation_set.groups}
    return {
        "type": "FeatureCollection",
        "features": [_feature(annotation, groups) for annotation in annotation_set],
    }


def geojson_bytes(annotation_set: AnnotationSet) -> bytes:
    """Return the GeoJSON file of a set; one that was read and not changed keeps its bytes."""
    source = annotation_set.source
    if source is not None and source.format == "geojson" and is_unchanged(annotation_set, source):
        return source.raw
    text = json.dumps(to_geojson(annotation_set), ensure_ascii=False, allow_nan=False, indent=1)
    return text.encode("utf-8", "replace") + b"\n"


def annotation_from_region(
    region: Any,
    *,
    name: str = "",
    group: str | None = None,
    colour: str | None = None,
    annotation_id: str | None = None,
) -> Annotation:
    """Return a shapely Polygon or MultiPolygon in slide points as one annotation with its holes."""
    parts = [
        Part(
            np.asarray(polygon.exterior.coords)[:-1, :2],
            tuple(np.asarray(hole.coords)[:-1, :2] for hole in polygon.interiors),
        )
        for polygon in shapely.get_parts(region)
        if polygon.geom_type == "Polygon" and not polygon.is_empty
    ] or [Part(np.empty((0, 2)))]
    return Annotation(
        id=annotation_id or str(uuid.uuid4()),
        kind="polygon",
        points=parts[0].points,
        name=name,
        group=group,
        colour=colour,
        holes=parts[0].holes,
        more_parts=tuple(parts[1:]),
    )


# --- reading -----------------------------------------------------------------------------------


def _features(data: object) -> list[dict[str, Any]]:
    if isinstance(data, list):
        if data and not all(isinstance(item, dict) and "type" in item for item in data):
            raise AnnotationError("is a JSON list of something other than GeoJSON features.")
        return [feature for item in data for feature in _features(item)]
    kind = data.get("type") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(kind, str):
        raise AnnotationError('is JSON, but no GeoJSON: it has no "type".')
    if kind == "FeatureCollection":
        members = data.get("features")
        if not isinstance(members, list) or not all(isinstance(item, dict) for item in members):
            raise AnnotationError('is a GeoJSON FeatureCollection without a list of "features".')
        return members
    if kind == "Feature":
        return [data]
    if kind == "GeometryCollection" and isinstance(data.get("geometries"), list):
        return [{"type": "Feature", "geometry": geometry} for geometry in data["geometries"]]
    if kind in _KIND_OF_GEOMETRY:
        return [{"type": "Feature", "geometry": data}]
    raise AnnotationError(f'is JSON, but no GeoJSON: its type is "{kind}".')


_KIND_OF_GEOMETRY: dict[str, Kind] = {
    "Point": "dot",
    "MultiPoint": "pointset",
    "LineString": "polyline",
    "MultiLineString": "polyline",
    "Polygon": "polygon",
    "MultiPolygon": "polygon",
}


def _annotation(
    feature: Mapping[str, Any],
    properties: Mapping[str, Any],
    group: Group | None,
    annotation_id: str,
) -> tuple[Annotation, str]:
    geometry = feature.get("geometry")
    trouble = ""
    extra: dict[str, object] = {}
    try:
        kind, parts, flat = _geometry(geometry)
        if not flat:
            trouble = "has a third coordinate, which was left out"
    except (TypeError, ValueError, KeyError, IndexError, OverflowError):
        kind, parts = "other", [Part(np.empty((0, 2)))]
        extra["geometry"] = geometry
        if geometry is not None:
            trouble = "has a geometry that cannot be read; it is kept in the file"
    rest = {key: value for key, value in properties.items() if key not in _KNOWN_PROPERTIES}
    members = {key: value for key, value in feature.items() if key not in _KNOWN_MEMBERS}
    extra.update(_lifted_verdict(rest))
    extra.update({"properties": rest} if rest else {})
    extra.update({"members": members} if members else {})
    name = properties.get("name")
    annotation = Annotation(
        id=annotation_id,
        kind=kind,
        points=parts[0].points,
        name=name if isinstance(name, str) else "",
        group=group.name if group is not None else None,
        colour=_colour(properties),
        holes=parts[0].holes,
        more_parts=tuple(parts[1:]),
        extra=extra,
    )
    return _with_own_kind(annotation, properties.get(_OURS)), trouble


def _lifted_verdict(rest: dict[str, Any]) -> dict[str, object]:
    """Take our verdict out of QuPath's free metadata, so that it is where other formats have it."""
    metadata = rest.get("metadata")
    if not isinstance(metadata, dict):
        return {}
    lifted = {key: metadata[key] for key in VERDICT_KEYS if key in metadata}
    others = {key: value for key, value in metadata.items() if key not in lifted}
    if lifted:
        del rest["metadata"]
        rest |= {"metadata": others} if others else {}
    return lifted


def _geometry(geometry: Any) -> tuple[Kind, list[Part], bool]:
    """Return kind, parts and whether all points have two coordinates; raises for nonsense."""
    kind = _KIND_OF_GEOMETRY[geometry["type"]]
    coordinates = geometry["coordinates"]
    if geometry["type"] == "Point":
        coordinates = [coordinates]
    if geometry["type"] == "MultiLineString":
        parts = [Part(_points(line)) for line in coordinates]
    elif kind == "polygon":
        polygons = [coordinates] if geometry["type"] == "Polygon" else coordinates
        parts = [
            Part(_ring(rings[0]), tuple(_ring(hole) for hole in rings[1:])) for rings in polygons
        ]
    else:
        parts = [Part(_points(coordinates))]
        if kind == "polyline" and len(parts[0].points) == 2:
            kind = "ruler"
    first = _first_position(coordinates)
    return kind, parts or [Part(np.empty((0, 2)))], len(first) <= 2


def _points(positions: Sequence[Sequence[float]]) -> Points:
    return np.array([(position[0], position[1]) for position in positions], float).reshape(-1, 2)


def _ring(positions: Sequence[Sequence[float]]) -> Points:
    points = _points(positions)
    closed = len(points) > 1 and bool((points[0] == points[-1]).all())
    return points[:-1] if closed else points


def _first_position(coordinates: Any) -> Sequence[float]:
    while coordinates and isinstance(coordinates[0], list):
        coordinates = coordinates[0]
    return coordinates  # type: ignore[no-any-return]


def _with_own_kind(annotation: Annotation, ours: object) -> Annotation:
    # A spline or a broken ring comes back as what it was, unless another program moved it.
    if not isinstance(ours, dict) or ours.get("kind") not in {*AREA_KINDS, *POINT_KINDS, "other"}:
        return annotation
    kind: Kind = ours["kind"]
    if kind != "spline":
        return replace(annotation, kind=kind)
    try:
        control_points = _points(ours["control_points"])
    except (TypeError, ValueError, KeyError, IndexError, OverflowError):
        return annotation
    if np.array_equal(spline_outline(control_points), annotation.points):
        return replace(annotation, kind="spline", points=control_points)
    return annotation


def _group(classification: Any) -> Group | None:
    if isinstance(classification, str):
        return Group(classification)
    if not isinstance(classification, dict):
        return None
    name = classification.get("name")
    if not isinstance(name, str):
        names = classification.get("names")
        if not isinstance(names, list) or not names:
            return None
        name = ": ".join(map(str, names))  # QuPath's own way to show derived classes
    return Group(name, colour=_colour(classification))


def _colour(holder: Mapping[str, Any]) -> str | None:
    colour = holder.get("color")
    if isinstance(colour, list) and len(colour) >= 3 and all(isinstance(c, int) for c in colour):
        return "#" + "".join(f"{min(max(c, 0), 255):02x}" for c in colour[:3])
    packed = holder.get("colorRGB")  # QuPath before 0.4: a signed 32-bit ARGB number
    return f"#{packed & 0xFFFFFF:06x}" if isinstance(packed, int) else None


# --- writing -----------------------------------------------------------------------------------


def _feature(annotation: Annotation, groups: Mapping[str, Group]) -> dict[str, Any]:
    rest, members = annotation.extra.get("properties"), annotation.extra.get("members")
    properties: dict[str, Any] = {"objectType": "annotation"}
    if isinstance(rest, Mapping):
        properties |= rest
    own = {
        key: str(value)
        for key, value in annotation.extra.items()
        if key not in _READ_EXTRA and "/" not in key
    }
    if own:
        metadata = properties.get("metadata")
        properties["metadata"] = own | (dict(metadata) if isinstance(metadata, Mapping) else {})
    if annotation.name:
        properties["name"] = annotation.name
    if annotation.group is not None:
        colour = groups[annotation.group].colour if annotation.group in groups else None
        properties["classification"] = {"name": annotation.group} | _rgb(colour)
    # QuPath paints an object's own colour over that of its class; ASAP's default means "none".
    if (annotation.colour or "").lower() != ASAP_DEFAULT_COLOUR.lower():
        properties |= _rgb(annotation.colour)
    geometry, implied = _written_geometry(annotation)
    if annotation.kind == "spline":
        properties[_OURS] = {"kind": "spline", "control_points": _positions(annotation.points)}
    elif annotation.kind != implied:
        properties[_OURS] = {"kind": annotation.kind}
    feature = {
        "type": "Feature",
        "id": annotation.id,
        "geometry": geometry,
        "properties": properties,
    }
    return feature | (dict(members) if isinstance(members, Mapping) else {})


def _written_geometry(annotation: Annotation) -> tuple[Any, Kind]:
    if not len(annotation.points):
        return annotation.extra.get("geometry"), "other"
    rings = [(outer, holes) for outer, holes in outline_rings(annotation) if len(outer)]
    if annotation.kind in AREA_KINDS and all(len(outer) >= 3 for outer, _ in rings):
        polygons = [
            [_closed(outer), *(_closed(hole) for hole in holes if len(hole))]
            for outer, holes in rings
        ]
        if len(polygons) == 1:
            return {"type": "Polygon", "coordinates": polygons[0]}, "polygon"
        return {"type": "MultiPolygon", "coordinates": polygons}, "polygon"
    lines = [_positions(outer) for outer, _ in rings]
    if not lines:
        return None, "other"
    if annotation.kind == "pointset":
        return {"type": "MultiPoint", "coordinates": lines[0]}, "pointset"
    if len(lines) > 1:
        return {"type": "MultiLineString", "coordinates": lines}, "polyline"
    if len(lines[0]) == 1:
        return {"type": "Point", "coordinates": lines[0][0]}, "dot"
    kind: Kind = "ruler" if len(lines[0]) == 2 else "polyline"
    return {"type": "LineString", "coordinates": lines[0]}, kind


def _positions(points: Points) -> list[list[float]]:
    # Whole numbers without ".0", as QuPath has them: a third of the file.
    return [
        [int(v) if v.is_integer() and abs(v) < 1e15 else v for v in point]
        for point in points[np.isfinite(points).all(axis=1)].tolist()
    ]


def _closed(ring: Points) -> list[list[float]]:
    positions = _positions(ring)
    return [*positions, positions[0]]


def _rgb(colour: str | None) -> dict[str, list[int]]:
    if colour is None or len(colour) != 7 or not colour.startswith("#"):
        return {}
    try:
        return {"color": [int(colour[k : k + 2], 16) for k in (1, 3, 5)]}
    except ValueError:
        return {}
