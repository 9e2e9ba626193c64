"""ASAP XML: reading what ASAP saves, tolerantly, and saying what is wrong with it.

The format is that of ASAP's own ``annotation/XmlRepository.cpp``: annotations with a name, a
type, a group, a colour and ordered coordinates in level-0 pixels from the image corner; groups
with a name, a parent, a colour and free attributes.
"""

import math
from pathlib import Path

import numpy as np

from napari_camelyon.annotations.asap_scan import Element, decode, scan
from napari_camelyon.annotations.checks import check
from napari_camelyon.annotations.model import (
    Annotation,
    AnnotationSet,
    Group,
    Kind,
    Points,
    Problem,
    Source,
)

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
    groups, problems = _groups(document.groups)
    annotations = []
    for number, element in enumerate(document.annotations):
        annotation, found = _annotation(element, str(number))
        annotations.append(annotation)
        problems += found
    problems += _unknown_groups(annotations, groups)
    source = Source("asap", path, raw, tuple(annotations), groups)
    problems += check(AnnotationSet(tuple(annotations), groups))
    return AnnotationSet(tuple(annotations), groups, tuple(problems), source)


def order_of(orders: list[str]) -> tuple[list[int], str]:
    """Return the sequence in which coordinates are to be taken, and what is wrong with it.

    Parameters
    ----------
    orders : list of str
        The ``Order`` attributes in the order of the file.

    Returns
    -------
    indices : list of int
        ``indices[k]`` is the place in the file of the k-th point: by ``Order`` as ASAP does where
        the numbers allow it, otherwise as the file has them.
    trouble : str
        Empty if ``Order`` counts 0, 1, 2, …
    """
    as_in_file = list(range(len(orders)))
    if orders == list(map(str, as_in_file)):
        return as_in_file, ""
    try:
        numbers = [int(order) for order in orders]
    except ValueError:
        return as_in_file, "has an Order that is no whole number; the order of the file was taken"
    if len(set(numbers)) != len(numbers):
        return as_in_file, "has the same Order twice; the order of the file was taken"
    by_number = sorted(as_in_file, key=numbers.__getitem__)
    if sorted(numbers) != as_in_file:
        return by_number, "has gaps in its Order; points were taken by increasing Order"
    return by_number, ""


def _annotation(element: Element, annotation_id: str) -> tuple[Annotation, list[Problem]]:
    attributes = element.attributes
    indices, trouble = order_of(element.orders)
    points = _points(element, indices)
    type_name = attributes.get("Type", "")
    group = attributes.get("PartOfGroup", "None")
    annotation = Annotation(
        id=annotation_id,
        kind=KIND_OF_TYPE.get(type_name, "ruler" if len(points) == 2 else "other"),
        points=points,
        name=attributes.get("Name", ""),
        group=None if group == "None" else group,
        colour=attributes.get("Color"),
        extra={key: value for key, value in attributes.items() if key not in KNOWN_ATTRIBUTES},
    )
    problems = []

    def tell(code: str, what: str) -> None:
        problems.append(
            Problem(
                code,
                f"{annotation.name or 'An unnamed annotation'} (line {element.line:,}) {what}.",
                "warning",
                annotation_id,
                _first_finite(points),
            )
        )

    if type_name not in KIND_OF_TYPE and type_name != "None":
        tell("unknown-type", f'is of the type "{type_name}", which ASAP does not know')
    if trouble:
        tell("bad-order", trouble)
    return annotation, problems


def _points(element: Element, indices: list[int]) -> Points:
    try:
        values = np.array(
            [list(map(float, element.xs)), list(map(float, element.ys))], dtype=np.float64
        )
    except ValueError:
        values = np.array(
            [list(map(_float_or_nan, element.xs)), list(map(_float_or_nan, element.ys))]
        )
    return np.ascontiguousarray(values.T[indices])


def _float_or_nan(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _groups(elements: list[Element]) -> tuple[tuple[Group, ...], list[Problem]]:
    groups: list[Group] = []
    problems = []
    for element in elements:
        attributes = element.attributes
        parent = attributes.get("PartOfGroup", "None")
        group = Group(
            name=attributes.get("Name", ""),
            parent=None if parent == "None" else parent,
            colour=attributes.get("Color"),
            attributes=element.free_attributes,
        )
        if any(known.name == group.name for known in groups):
            problems.append(
                Problem(
                    "duplicate-group",
                    f'The group "{group.name}" is defined again in line {element.line:,}.',
                    "warning",
                )
            )
        groups.append(group)
    return tuple(groups), problems


def _unknown_groups(annotations: list[Annotation], groups: tuple[Group, ...]) -> list[Problem]:
    known = {group.name for group in groups}
    problems = [
        Problem(
            "unknown-group",
            f'The group "{group.name}" belongs to "{group.parent}", which the file does not '
            "define; it was taken as a group of its own.",
            "warning",
        )
        for group in groups
        if group.parent is not None and group.parent not in known
    ]
    unknown: dict[str, list[Annotation]] = {}
    for annotation in annotations:
        if annotation.group is not None and annotation.group not in known:
            unknown.setdefault(annotation.group, []).append(annotation)
    for name, members in unknown.items():
        count = f"{len(members)} annotations name" if len(members) > 1 else "An annotation names"
        problems.append(
            Problem(
                "unknown-group",
                f'{count} the group "{name}", which the file does not define (ASAP itself would '
                "open nothing of it); the name was kept.",
                "warning",
                members[0].id,
                _first_finite(members[0].points),
            )
        )
    return problems


def _first_finite(points: Points) -> tuple[float, float] | None:
    finite = points[np.isfinite(points).all(axis=1)]
    return (float(finite[0, 0]), float(finite[0, 1])) if len(finite) else None
