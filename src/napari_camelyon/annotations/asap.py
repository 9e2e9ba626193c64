"""ASAP XML: reading what ASAP saves, tolerantly, and saying what is wrong with it.

The format is that of ASAP's own ``annotation/XmlRepository.cpp``: annotations with a name, a
type, a group, a colour and ordered coordinates in level-0 pixels from the image corner; groups
with a name, a parent, a colour and free attributes.
"""

from pathlib import Path

import numpy as np

from napari_camelyon.annotations.asap_scan import Element, scan
from napari_camelyon.annotations.checks import check
from napari_camelyon.annotations.model import (
    ODD_ORDER,
    ODD_TYPE,
    Annotation,
    AnnotationSet,
    Group,
    Kind,
    Source,
)
from napari_camelyon.annotations.xml_text import decode

__all__ = ["KIND_OF_TYPE", "KNOWN_ATTRIBUTES", "TYPE_OF_KIND", "order_of", "read_asap"]

KIND_OF_TYPE: dict[str, Kind] = {
    "Polygon": "polygon",
    "Spline": "spline",
    "Rectangle": "rectangle",
    "Dot": "dot",
    "PointSet": "pointset",
    "Measurement": "ruler",
}
"""ASAP's type strings (``annotation/Annotation.cpp``). Older versions save rulers as "None"."""

TYPE_OF_KIND: dict[Kind, str] = {
    **{kind: type_name for type_name, kind in KIND_OF_TYPE.items()},
    "polyline": "None",
    "other": "None",
}

KNOWN_ATTRIBUTES = frozenset({"Name", "Type", "PartOfGroup", "Color"})


def read_asap(path: Path, raw: bytes) -> AnnotationSet:
    """Read an ASAP XML file.

    Nothing in a well-formed file makes this fail and nothing is dropped: what is odd is kept as
    it is and told in ``problems``.

    Parameters
    ----------
    path : Path
        For messages, and for the set to remember.
    raw : bytes
        The file.

    Raises
    ------
    AnnotationError
        The file is cut off, damaged, unsafe, or no ASAP XML.
    """
    document = scan(decode(raw, path), path)
    groups = tuple(map(_group, document.groups))
    annotations = tuple(
        _annotation(element, str(number)) for number, element in enumerate(document.annotations)
    )
    source = Source("asap", path, raw, annotations, groups)
    problems = check(AnnotationSet(annotations, groups))
    return AnnotationSet(annotations, groups, problems, source)


def order_of(orders: list[str] | None) -> tuple[list[int] | None, str]:
    """Return the sequence in which coordinates are to be taken, and what is wrong with it.

    Parameters
    ----------
    orders : list of str or None
        The ``Order`` attributes in the order of the file; None where they count 0, 1, 2, …

    Returns
    -------
    indices : list of int or None
        ``indices[k]`` is the place in the file of the k-th point: by ``Order`` as ASAP does where
        the numbers allow it. None: as the file has them.
    trouble : str
        Empty if ``Order`` counts 0, 1, 2, … in some sequence.
    """
    if orders is None:
        return None, ""
    try:
        numbers = [int(order) for order in orders]
    except ValueError:
        return None, "has an Order that is no whole number; the order of the file was taken"
    if len(set(numbers)) != len(numbers):
        return None, "has the same Order twice; the order of the file was taken"
    as_in_file = list(range(len(orders)))
    by_number = sorted(as_in_file, key=numbers.__getitem__)
    if sorted(numbers) != as_in_file:
        return by_number, "has gaps in its Order; points were taken by increasing Order"
    return by_number, ""


def _annotation(element: Element, annotation_id: str) -> Annotation:
    attributes = element.attributes
    indices, trouble = order_of(element.orders)
    points = np.array([element.xs, element.ys]).T
    points = np.ascontiguousarray(points if indices is None else points[indices])
    points.setflags(write=False)
    type_name = attributes.get("Type", "")
    group = attributes.get("PartOfGroup", "None")
    extra: dict[str, object] = {
        key: value for key, value in attributes.items() if key not in KNOWN_ATTRIBUTES
    }
    if trouble:
        extra[ODD_ORDER] = f"{trouble} (line {element.line:,})"
    if type_name not in KIND_OF_TYPE and type_name != "None":
        extra[ODD_TYPE] = (
            f'is of the type "{type_name}", which ASAP does not know (line {element.line:,})'
        )
    return Annotation(
        id=annotation_id,
        kind=KIND_OF_TYPE.get(type_name, "ruler" if len(points) == 2 else "other"),
        points=points,
        name=attributes.get("Name", ""),
        group=None if group == "None" else group,
        colour=attributes.get("Color"),
        extra=extra,
    )


def _group(element: Element) -> Group:
    attributes = element.attributes
    parent = attributes.get("PartOfGroup", "None")
    return Group(
        name=attributes.get("Name", ""),
        parent=None if parent == "None" else parent,
        colour=attributes.get("Color"),
        attributes=element.free_attributes,
    )
