"""Aperio ImageScope XML: layers of regions, some of them cut out of others.

The format has no published description; what is said here is what files of ImageScope and the
programs that exchange them agree in. A layer (``<Annotation>``) is a class with a colour
(``LineColor``, the bytes blue, green, red of one number); coordinates are level-0 pixels from the
image corner. ``NegativeROA="1"`` marks a region that is cut out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from napari_camelyon.annotations.checks import check
from napari_camelyon.annotations.imagescope_scan import LayerDocument, RegionElement, scan_layers
from napari_camelyon.annotations.model import (
    AREA_KINDS,
    ODD_TYPE,
    Annotation,
    AnnotationSet,
    Group,
    Kind,
    Points,
    Source,
)
from napari_camelyon.annotations.regions import region_of, ring_region
from napari_camelyon.annotations.xml_text import decode

__all__ = [
    "ARROW",
    "ATTRIBUTES",
    "CUT_OUT_GROUP",
    "ELLIPSE",
    "NEGATIVE",
    "NO_GROUP",
    "Understood",
    "colour_of",
    "ellipse_outline",
    "read_imagescope",
    "understand",
]

CUT_OUT_GROUP = "Exclusion"
"""Group of cut-out regions that lie in no other; that of CAMELYON16 for the same purpose."""

NO_GROUP = "None"
"""Layer of annotations without a group, as ASAP calls it."""

ARROW, ATTRIBUTES, ELLIPSE, NEGATIVE = (
    "Region/arrow",
    "Region/attributes",
    "Region/ellipse",
    "Region/negative",
)
"""Keys of `Annotation.extra`: what only ImageScope says of a region, for writing it back."""

_KINDS: dict[str, Kind] = {
    "0": "polygon",
    "1": "rectangle",
    "2": "polygon",  # an ellipse, by two corners of the box around it
    "3": "polyline",  # an arrow, from its head to its tail
    "4": "polyline",  # a line or ruler
    "5": "pointset",  # counted points
}
_READ_ATTRIBUTES = frozenset({"Id", "Type", "Text", "NegativeROA"})


@dataclass(frozen=True, slots=True)
class Understood:
    """What a file says: annotations, each with the regions it is made of, and groups."""

    annotations: tuple[Annotation, ...]
    regions: tuple[tuple[RegionElement, ...], ...]
    groups: tuple[Group, ...]
    layer_of: tuple[int, ...]


def read_imagescope(path: Path, raw: bytes) -> AnnotationSet:
    """Read an ImageScope XML file.

    A layer becomes a group of its name; without one, of its description; without both, it is
    called ``Layer 1`` after its number. A region that is cut out becomes a hole of the smallest
    region of its layer that it lies in (of the one that ``InputRegionId`` names, where that is
    one of them); where it lies in none, an outline of the group ``Exclusion``. Ellipses become
    polygons, and remain ellipses in the file until they are changed.

    Parameters
    ----------
    path : Path
        For messages, and for the set to remember.
    raw : bytes
        The file.

    Raises
    ------
    AnnotationError
        The file is cut off, damaged or unsafe.
    """
    found = understand(scan_layers(decode(raw, path), path))
    source = Source("imagescope", path, raw, found.annotations, found.groups)
    problems = check(AnnotationSet(found.annotations, found.groups))
    return AnnotationSet(found.annotations, found.groups, problems, source)


def understand(document: LayerDocument) -> Understood:
    """Return what a scanned file says; the same for the same file."""
    groups: dict[str, Group] = {}
    annotations: list[Annotation] = []
    regions: list[tuple[RegionElement, ...]] = []
    layer_of: list[int] = []
    for number, layer in enumerate(document.layers):
        name = layer.attributes.get("Name") or layer.description or f"Layer {number + 1}"
        group, layer_colour = (None if name == NO_GROUP else name), colour_of(layer.attributes)
        colour = layer_colour
        if group is not None:
            groups.setdefault(group, Group(group, colour=colour))
            colour = None if groups[group].colour == colour else colour
        positive: list[Annotation] = []
        own: list[list[RegionElement]] = []
        negative: list[tuple[Annotation, RegionElement]] = []
        for k, region in enumerate(layer.regions):
            annotation = _annotation(region, f"{number + 1}.{k + 1}", group, colour)
            if region.attributes.get("NegativeROA") == "1" and annotation.kind in AREA_KINDS:
                negative.append((annotation, region))
            else:
                positive.append(annotation)
                own.append([region])
        outers = [_outer(annotation) for annotation in positive] if negative else []
        for annotation, region in negative:
            place = _surrounding(annotation, region, outers, own)
            if place is None:
                outside = {**annotation.extra, NEGATIVE: True}
                annotations.append(
                    replace(annotation, group=CUT_OUT_GROUP, colour=layer_colour, extra=outside)
                )
                regions.append((region,))
                layer_of.append(number)
                groups.setdefault(CUT_OUT_GROUP, Group(CUT_OUT_GROUP))
            else:
                holes = (*positive[place].holes, annotation.points)
                positive[place] = replace(positive[place], holes=holes)
                own[place].append(region)
        annotations += positive
        regions += map(tuple, own)
        layer_of += [number] * len(positive)
    return Understood(tuple(annotations), tuple(regions), tuple(groups.values()), tuple(layer_of))


def colour_of(attributes: dict[str, str]) -> str | None:
    """Return ``#rrggbb`` of a ``LineColor``: 255 is red, 65280 green, 16711680 blue."""
    try:
        number = int(attributes["LineColor"])
    except (KeyError, ValueError):
        return None
    return f"#{number & 0xFF:02x}{number >> 8 & 0xFF:02x}{number >> 16 & 0xFF:02x}"


def ellipse_outline(corners: Points, *, tolerance_px: float = 0.5) -> Points:
    """Return the polygon of an ellipse given by two opposite corners of the box around it.

    Parameters
    ----------
    corners : ndarray of float64, shape (2, 2)
        Slide points.
    tolerance_px : float
        Greatest distance between the ellipse and its chords.

    Returns
    -------
    ndarray of float64, shape (n, 2)
        A ring of 16 to 512 points on the ellipse.
    """
    centre, half = corners.mean(axis=0), np.abs(corners[1] - corners[0]) / 2
    radius = float(half.max())
    # The height of the arc over a chord that spans an angle of 2π/n is r (1 - cos(π/n)).
    step = math.acos(max(0.0, 1 - tolerance_px / radius)) if radius > tolerance_px else math.pi
    count = min(max(16, math.ceil(math.pi / step)), 512)
    angles = np.arange(count) * (2 * math.pi / count)
    outline: Points = centre + half * np.column_stack([np.cos(angles), np.sin(angles)])
    return outline


def _annotation(
    region: RegionElement, annotation_id: str, group: str | None, colour: str | None
) -> Annotation:
    points = np.column_stack([region.xs, region.ys]).reshape(-1, 2)
    type_name = region.attributes.get("Type", "0")
    kind = _KINDS.get(type_name, "other")
    extra: dict[str, object] = {}
    rest = {k: v for k, v in region.attributes.items() if k not in _READ_ATTRIBUTES}
    if rest:
        extra[ATTRIBUTES] = rest
    if type_name not in _KINDS:
        extra[ODD_TYPE] = f'is of the type "{type_name}", which is not known (line {region.line:,})'
    elif type_name == "2" and len(points) == 2 and np.isfinite(points).all():
        extra[ELLIPSE] = tuple(map(tuple, points.tolist()))
        points = ellipse_outline(points)
    elif type_name == "1" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    elif type_name == "3":
        extra[ARROW] = True
    elif type_name == "4" and len(points) == 2:
        kind = "ruler"
    elif type_name == "5" and len(points) == 1:
        kind = "dot"
    if kind in AREA_KINDS and len(points) > 1 and (points[0] == points[-1]).all():
        points = points[:-1]
    name = region.attributes.get("Text", "")
    return Annotation(annotation_id, kind, points, name, group, colour, extra=extra)


def _surrounding(
    annotation: Annotation,
    region: RegionElement,
    outers: Sequence[Any],
    own: Sequence[Sequence[RegionElement]],
) -> int | None:
    hole = region_of(annotation)
    if hole.is_empty or not len(outers):
        return None
    around = np.flatnonzero(shapely.covers(outers, hole)).tolist()
    named = region.attributes.get("InputRegionId", "0")
    for place in around:
        if named != "0" and own[place][0].attributes.get("Id") == named:
            return int(place)
    return min(around, key=lambda place: float(outers[place].area), default=None)


def _outer(annotation: Annotation) -> Any:
    # Without holes: an island in a hole is told from the region around by being smaller.
    if annotation.kind not in AREA_KINDS:
        return shapely.Polygon()
    return ring_region(annotation.points[np.isfinite(annotation.points).all(axis=1)])
