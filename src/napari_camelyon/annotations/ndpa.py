"""Hamamatsu NDPA, the annotations of NDP.view: reading only.

The format has no published description; what is said here is what files of NDP.view and the
programs that read them agree in. Coordinates are nanometres from the centre of the glass slide,
so that they say nothing without the slide.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from napari_camelyon.annotations.checks import check
from napari_camelyon.annotations.imagescope import ellipse_outline
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
from napari_camelyon.annotations.xml_text import decode, hardened_parser, parse
from napari_camelyon.errors import AnnotationError
from napari_camelyon.geometry import GlassFrame, nm_from_glass_centre_to_slide

__all__ = ["read_ndpa"]


def read_ndpa(path: Path, raw: bytes, frame: GlassFrame | None) -> AnnotationSet:
    """Read an NDPA file.

    The title of an annotation becomes its name and its group, for NDP.view has no classes; its
    details are kept. Circles become polygons.

    Parameters
    ----------
    path : Path
        For messages, and for the set to remember.
    raw : bytes
        The file.
    frame : GlassFrame or None
        Where the image lies on its glass.

    Raises
    ------
    AnnotationError
        The file is cut off, damaged or unsafe, has another unit than nanometres, or there is no
        `frame`.
    """
    if frame is None:
        raise AnnotationError(
            f"{path} is a Hamamatsu NDPA file, whose coordinates are nanometres from the centre "
            "of the glass slide: give the slide too (--slide SLIDE.ndpi; from Python "
            "annotations.read(path, frame=slides.glass_frame(slide)))."
        )
    views = _views(path, raw)
    for view in views:
        unit = view.texts.get("coordformat", "nanometers")
        if unit != "nanometers":
            raise AnnotationError(
                f'{path} has coordinates in "{unit}" (line {view.line:,}), not in nanometres. '
                "Save it again from NDP.view."
            )
    annotations = tuple(_annotation(view, frame) for view in views)
    groups: dict[str, Group] = {}
    for annotation in annotations:
        if annotation.group is not None:
            groups.setdefault(annotation.group, Group(annotation.group, colour=annotation.colour))
    found = AnnotationSet(annotations, tuple(groups.values()))
    source = Source("ndpa", path, raw, annotations, found.groups)
    return AnnotationSet(annotations, found.groups, check(found), source)


@dataclass(slots=True)
class _View:
    """One ``<ndpviewstate>``: the texts in it, in its ``<annotation>``, and the points of that."""

    number: str
    line: int
    texts: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    shape: dict[str, str] = field(default_factory=dict)
    points: list[dict[str, str]] = field(default_factory=list)


def _views(path: Path, raw: bytes) -> list[_View]:
    views: list[_View] = []
    parents: list[str] = []
    pieces: list[str] = []
    text = decode(raw, path)
    parser = hardened_parser(text, path)

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "ndpviewstate" and len(parents) == 1:
            number = attributes.get("id", str(len(views) + 1))
            views.append(_View(number, parser.CurrentLineNumber))
        elif name == "annotation" and parents[1:] == ["ndpviewstate"]:
            views[-1].attributes = attributes
        elif name == "point" and parents[-1] == "pointlist":
            views[-1].points.append({})
        parents.append(name)
        pieces.clear()

    def end(name: str) -> None:
        parents.pop()
        place = {
            ("ndpviewstate",): lambda: views[-1].texts,
            ("ndpviewstate", "annotation"): lambda: views[-1].shape,
            ("ndpviewstate", "annotation", "pointlist", "point"): lambda: views[-1].points[-1],
        }.get(tuple(parents[1:]))
        if place is not None:
            place()[name] = "".join(pieces).strip()
        pieces.clear()

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = pieces.append
    parse(parser, text.body, path)
    return views


def _annotation(view: _View, frame: GlassFrame) -> Annotation:
    shape, type_name = view.shape, view.attributes.get("type", "")
    points_nm = [(point.get("x"), point.get("y")) for point in view.points]
    kind: Kind = "polygon"
    extra: dict[str, object] = {}
    if view.texts.get("details"):
        extra["details"] = view.texts["details"]
    if type_name == "freehand":
        drawn_open = view.attributes.get("displayname") == "AnnotateFreehandLine"
        if shape.get("closed", "0" if drawn_open else "1") == "0":
            kind = "ruler" if len(points_nm) == 2 else "polyline"
        elif shape.get("specialtype") == "rectangle" and len(points_nm) == 4:
            kind = "rectangle"
    elif type_name in {"linearmeasure", "pointer"}:
        points_nm = [(shape.get("x1"), shape.get("y1")), (shape.get("x2"), shape.get("y2"))]
        kind = "ruler" if type_name == "linearmeasure" else "polyline"
    elif type_name == "circle":
        points_nm = [(shape.get("x"), shape.get("y"))]
    elif type_name == "pin":
        points_nm, kind = [(shape.get("x"), shape.get("y"))], "dot"
    else:
        kind = "other"
        extra[ODD_TYPE] = f'is of the type "{type_name}", which is not known (line {view.line:,})'
    nanometres = np.array([[_float_or_nan(x), _float_or_nan(y)] for x, y in points_nm])
    nanometres = nanometres.reshape(-1, 2)
    if type_name == "circle":
        nanometres = nanometres + np.array([[-1], [1]]) * _float_or_nan(shape.get("radius"))
    points = nm_from_glass_centre_to_slide(nanometres, frame)
    if type_name == "circle":
        points = ellipse_outline(points) if np.isfinite(points).all() else points[:0]
    title = view.texts.get("title", "")
    colour = view.attributes.get("color")
    return Annotation(
        view.number, kind, _open(points, kind), title, title or None, colour, extra=extra
    )


def _open(points: Points, kind: Kind) -> Points:
    closed = kind in AREA_KINDS and len(points) > 1 and bool((points[0] == points[-1]).all())
    return points[:-1] if closed else points


def _float_or_nan(text: str | None) -> float:
    try:
        return float(text) if text is not None else float("nan")
    except ValueError:
        return float("nan")
