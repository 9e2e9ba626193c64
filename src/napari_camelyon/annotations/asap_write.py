"""ASAP XML: saving, touching only the bytes of what changed.

A set that was read from an ASAP file is saved by editing that file: an untouched annotation keeps
its bytes, a changed one keeps everything in its element that still holds (unknown attributes,
number formatting, white space, the elements of points that did not move). What is new is written
in the style of the file around it.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_camelyon.annotations.asap import KNOWN_ATTRIBUTES, TYPE_OF_KIND
from napari_camelyon.annotations.asap_scan import (
    Block,
    Document,
    Element,
    scan,
)
from napari_camelyon.annotations.model import (
    ASAP_DEFAULT_COLOUR,
    ODD_ORDER,
    ODD_TYPE,
    Annotation,
    AnnotationSet,
    Group,
    Points,
    Source,
    is_unchanged,
    same_annotation,
)
from napari_camelyon.annotations.xml_edit import (
    Edit,
    apply_edits,
    new_tag,
    opened_tag,
    patched_tag,
    space_before,
    tag_at,
)
from napari_camelyon.annotations.xml_text import Text, decode, encode

__all__ = ["asap_bytes"]

_XML_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_EMPTY_FILE = (
    b'<?xml version="1.0"?>\n<ASAP_Annotations>\n\t<Annotations>\n\t</Annotations>\n'
    b"\t<AnnotationGroups>\n\t</AnnotationGroups>\n</ASAP_Annotations>\n"
)


@dataclass(frozen=True, slots=True)
class _Style:
    """The white space of a file and its encoding, for what is written anew."""

    annotation: bytes = b"\n\t\t"
    coordinates: bytes = b"\n\t\t\t"
    coordinate: bytes = b"\n\t\t\t\t"
    block: bytes = b"\n\t"
    encoding: str = "utf-8"


def asap_bytes(annotation_set: AnnotationSet) -> bytes:
    """Return the ASAP XML of a set.

    If the set was read from an ASAP file, that file is returned with only the changes in it;
    nothing changed gives it byte for byte. Holes, which ASAP does not know, become annotations of
    their own in a cut-out group, and further polygons of one annotation become several.

    Parameters
    ----------
    annotation_set : AnnotationSet
        Coordinates are written in full: reading them back gives the same float64 numbers.
    """
    source = annotation_set.source
    if source is None or source.format != "asap":
        source = Source("asap", Path("new.xml"), _EMPTY_FILE, (), ())
    elif is_unchanged(annotation_set, source):
        return source.raw
    wanted, groups = _flattened(annotation_set)
    text = decode(source.raw, source.path)
    document = scan(text, source.path)
    if document.root is not None and tag_at(text.body, document.root.start).group(1):
        text = _opened_root(text, document.root)
        document = scan(text, source.path)
    style = _style(document, text)
    edits = [
        *_annotation_edits(document, text, style, source.annotations, wanted),
        *_group_edits(document, text, style, source.groups, groups),
    ]
    if not edits:
        return source.raw
    return encode(replace(text, body=apply_edits(text.body, edits)))


def _flattened(annotation_set: AnnotationSet) -> tuple[list[Annotation], list[Group]]:
    # One ring an annotation, and every group that is named defined: ASAP opens nothing otherwise.
    groups = list(annotation_set.groups)
    names = {group.name for group in groups}
    cut_out = next((name for name in ("Exclusion", "normal", "_2") if name in names), "Exclusion")
    rings: list[Annotation] = []
    for annotation in annotation_set:
        if not annotation.holes and not annotation.more_parts:
            rings.append(annotation)
            continue
        for number, part in enumerate(annotation.parts):
            part_id = annotation.id if number == 0 else f"{annotation.id}/{number}"
            rings.append(
                replace(annotation, id=part_id, points=part.points, holes=(), more_parts=())
            )
            rings += [
                Annotation(
                    id=f"{part_id}/hole-{k}",
                    kind="polygon",
                    points=hole,
                    name=f"{annotation.name} hole".strip(),
                    group=cut_out,
                    colour=annotation.colour,
                )
                for k, hole in enumerate(part.holes)
            ]
    for ring in rings:
        if ring.group is None or ring.group in names or _was_undefined(ring, annotation_set.source):
            continue
        names.add(ring.group)
        groups.append(Group(ring.group, colour=ring.colour))
    return rings, groups


def _was_undefined(ring: Annotation, source: Source | None) -> bool:
    # A file that names a group without defining it is not mended on the quiet.
    if source is None or source.format != "asap":
        return False
    return all(group.name != ring.group for group in source.groups) and any(
        original.id == ring.id and original.group == ring.group for original in source.annotations
    )


def _opened_root(text: Text, root: Block) -> Text:
    tag = tag_at(text.body, root.start)
    opened = Edit(tag.start(), tag.end(), opened_tag(tag.group()) + b"\n</ASAP_Annotations>")
    return replace(text, body=apply_edits(text.body, [opened]))


# --- annotations -------------------------------------------------------------------------------


def _annotation_edits(
    document: Document,
    text: Text,
    style: _Style,
    originals: Sequence[Annotation],
    wanted: Sequence[Annotation],
) -> list[Edit]:
    current = {annotation.id: annotation for annotation in wanted}
    edits = []
    for original, element in zip(originals, document.annotations, strict=True):
        annotation = current.pop(original.id, None)
        if annotation is None:
            edits.append(_removal(text.body, element))
        elif not same_annotation(original, annotation):
            new = _changed_annotation(text, style, element, original, annotation)
            edits.append(Edit(element.start, element.end, new))
    added = [_new_annotation(annotation, style) for annotation in current.values()]
    if added:
        edits.append(_insertion(document, text, style, "Annotations", added))
    return edits


def _changed_annotation(
    text: Text, style: _Style, element: Element, original: Annotation, annotation: Annotation
) -> bytes:
    values: dict[str, str | None] = {}
    if annotation.name != original.name:
        values["Name"] = annotation.name
    if annotation.kind != original.kind or _was_mended(ODD_TYPE, original, annotation):
        values["Type"] = TYPE_OF_KIND[annotation.kind]
    if annotation.group != original.group:
        values["PartOfGroup"] = annotation.group or "None"
    if annotation.colour != original.colour:
        values["Color"] = annotation.colour or ASAP_DEFAULT_COLOUR
    had, has = _extra_attributes(original), _extra_attributes(annotation)
    values |= {key: has.get(key) for key in {**had, **has} if had.get(key) != has.get(key)}

    body = text.body
    tag = tag_at(body, element.start)
    own_tag = patched_tag(tag.group(), values, style.encoding)
    renumbered = _was_mended(ODD_ORDER, original, annotation)
    if not renumbered and np.array_equal(original.points, annotation.points, equal_nan=True):
        return own_tag + body[tag.end() : element.end]
    if tag.group(1):  # <Annotation … /> is opened to take coordinates
        block = _coordinates_block(annotation.points, style)
        return opened_tag(own_tag) + block + style.annotation + b"</Annotation>"
    edit = _coordinates_edit(body, style, element, annotation.points, tag.end())
    return own_tag + body[tag.end() : edit.start] + edit.new + body[edit.end : element.end]


def _extra_attributes(annotation: Annotation) -> dict[str, str]:
    # What other formats keep beside an annotation may be no attribute, and has no place here.
    return {
        key: value
        for key, value in annotation.extra.items()
        if isinstance(value, str) and _XML_NAME.fullmatch(key) and key not in KNOWN_ATTRIBUTES
    }


def _was_mended(oddity: str, original: Annotation, annotation: Annotation) -> bool:
    return oddity in original.extra and oddity not in annotation.extra


def _coordinates_edit(
    body: bytes, style: _Style, element: Element, points: Points, inner_start: int
) -> Edit:
    starts, ends = element.spans(body)
    if not starts or not len(points):
        block = _coordinates_block(points, style)
        if element.coordinates is None:
            return Edit(inner_start, inner_start, block)
        return Edit(element.coordinates.start, element.coordinates.end, block.lstrip())
    start, end = starts[0], ends[-1]
    if element.orders is not None:
        lines = [_coordinate(k, x, y) for k, (x, y) in enumerate(points)]
        return Edit(start, end, style.coordinate.join(lines))

    old = list(zip(element.xs, element.ys, strict=True))
    new = [(float(x), float(y)) for x, y in points]
    first = _common_prefix(old, new)
    last = _common_prefix(old[first:][::-1], new[first:][::-1])
    stay = min(len(old), len(new)) - last
    pieces: list[bytes] = []
    for k, (x, y) in enumerate(new):
        place = k if k < stay else k - len(new) + len(old) if k >= len(new) - last else None
        if place is None:
            pieces += [style.coordinate if k else b"", _coordinate(k, x, y)]
            continue
        values = {} if place == k else {"Order": str(k)}
        if not _equal(old[place][0], x):
            values["X"] = _number(x)
        if not _equal(old[place][1], y):
            values["Y"] = _number(y)
        span = slice(starts[place], ends[place])
        line = body[span]
        if values:
            tag = tag_at(line, 0)
            line = patched_tag(tag.group(), values, style.encoding) + line[tag.end() :]
        space = body[ends[place - 1] : starts[place]] if place else style.coordinate
        pieces += [space if k else b"", line]
    return Edit(start, end, b"".join(pieces))


def _new_annotation(annotation: Annotation, style: _Style) -> bytes:
    attributes = {
        "Name": annotation.name,
        "Type": TYPE_OF_KIND[annotation.kind],
        "PartOfGroup": annotation.group or "None",
        "Color": annotation.colour or ASAP_DEFAULT_COLOUR,
        **_extra_attributes(annotation),
    }
    return (
        new_tag("Annotation", attributes, style.encoding)
        + _coordinates_block(annotation.points, style)
        + style.annotation
        + b"</Annotation>"
    )


def _coordinates_block(points: Points, style: _Style) -> bytes:
    if not len(points):
        return style.coordinates + b"<Coordinates />"
    lines = [style.coordinate + _coordinate(k, x, y) for k, (x, y) in enumerate(points)]
    return (
        style.coordinates
        + b"<Coordinates>"
        + b"".join(lines)
        + style.coordinates
        + b"</Coordinates>"
    )


def _coordinate(order: int, x: float, y: float) -> bytes:
    line = f'<Coordinate Order="{order}" X="{_number(float(x))}" Y="{_number(float(y))}" />'
    return line.encode("ascii")


def _number(value: float) -> str:
    # The shortest text that reads back as the same float64; ASAP writes whole numbers without ".0".
    return repr(value).removesuffix(".0")


# --- groups ------------------------------------------------------------------------------------


def _group_edits(
    document: Document,
    text: Text,
    style: _Style,
    originals: Sequence[Group],
    wanted: Sequence[Group],
) -> list[Edit]:
    if tuple(originals) == tuple(wanted):
        return []
    partner = _paired(originals, wanted)
    edits = []
    for place, (original, element) in enumerate(zip(originals, document.groups, strict=True)):
        index = partner.get(place)
        if index is None:
            edits.append(_removal(text.body, element))
        elif wanted[index].attributes != original.attributes:
            edits.append(Edit(element.start, element.end, _new_group(wanted[index], style)))
        elif wanted[index] != original:
            tag = tag_at(text.body, element.start)
            values = _group_attributes(original, wanted[index])
            new = patched_tag(tag.group(), values, style.encoding)
            edits.append(Edit(tag.start(), tag.end(), new))
    taken = set(partner.values())
    added = [_new_group(group, style) for index, group in enumerate(wanted) if index not in taken]
    if added:
        edits.append(_insertion(document, text, style, "AnnotationGroups", added))
    return edits


def _paired(originals: Sequence[Group], wanted: Sequence[Group]) -> dict[int, int]:
    # By name and, for a group that was renamed, by place.
    places: dict[str, list[int]] = {}
    for index, group in enumerate(wanted):
        places.setdefault(group.name, []).append(index)
    partner = {}
    for place, group in enumerate(originals):
        if places.get(group.name):
            partner[place] = places[group.name].pop(0)
    free = {index for indices in places.values() for index in indices}
    for place in range(len(originals)):
        if place not in partner and place in free:
            partner[place] = place
    return partner


def _group_attributes(original: Group, group: Group) -> dict[str, str]:
    values = {}
    if group.name != original.name:
        values["Name"] = group.name
    if group.parent != original.parent:
        values["PartOfGroup"] = group.parent or "None"
    if group.colour != original.colour:
        values["Color"] = group.colour or ASAP_DEFAULT_COLOUR
    return values


def _new_group(group: Group, style: _Style) -> bytes:
    attributes = {
        "Name": group.name,
        "PartOfGroup": group.parent or "None",
        "Color": group.colour or ASAP_DEFAULT_COLOUR,
    }
    inner = style.coordinates + b"<Attributes />"
    if group.attributes:
        lines = [
            style.coordinate + new_tag("Attribute", {key: value}, style.encoding)[:-1] + b" />"
            for key, value in group.attributes.items()
        ]
        inner = (
            style.coordinates
            + b"<Attributes>"
            + b"".join(lines)
            + style.coordinates
            + b"</Attributes>"
        )
    return new_tag("Group", attributes, style.encoding) + inner + style.annotation + b"</Group>"


# --- bytes -------------------------------------------------------------------------------------


def _style(document: Document, text: Text) -> _Style:
    body, found = text.body, _Style(encoding=text.encoding)
    if b"\r\n" in body:
        found = _Style(b"\r\n\t\t", b"\r\n\t\t\t", b"\r\n\t\t\t\t", b"\r\n\t", text.encoding)
    if document.annotations_block is not None:
        found = replace(found, block=space_before(body, document.annotations_block.start))
    for element in document.annotations or document.groups:
        found = replace(found, annotation=space_before(body, element.start))
        if element.coordinates is None or len(element.xs) < 2:
            continue
        return replace(
            found,
            coordinates=space_before(body, element.coordinates.start),
            coordinate=space_before(body, element.spans(body)[0][1]),
        )
    return found


def _removal(body: bytes, element: Element) -> Edit:
    return Edit(element.start - len(space_before(body, element.start)), element.end, b"")


def _insertion(
    document: Document, text: Text, style: _Style, name: str, added: Sequence[bytes]
) -> Edit:
    """Put new elements after the last of their kind, in a container made if need be."""
    elements, block = {
        "Annotations": (document.annotations, document.annotations_block),
        "AnnotationGroups": (document.groups, document.groups_block),
    }[name]
    body, root = text.body, document.root
    inner = b"".join(style.annotation + element for element in added)
    end_tag = style.block + f"</{name}>".encode("ascii")
    if elements:
        return Edit(elements[-1].end, elements[-1].end, inner)
    if block is not None:
        tag = tag_at(body, block.start)
        if not tag.group(1):
            return Edit(tag.end(), tag.end(), inner)
        return Edit(block.start, block.end, opened_tag(tag.group()) + inner + end_tag)
    assert root is not None, "scan refuses files without a root"
    place = tag_at(body, root.start).end()
    if name == "AnnotationGroups":
        place = root.end_tag - len(space_before(body, root.end_tag))
    return Edit(place, place, style.block + f"<{name}>".encode("ascii") + inner + end_tag)


# --- points ------------------------------------------------------------------------------------


def _equal(first: float, second: float) -> bool:
    # A point without a number is NaN; it has not moved as long as it stays NaN.
    if math.isnan(first):
        return math.isnan(second)
    return first == second


def _common_prefix(old: Sequence[tuple[float, float]], new: Sequence[tuple[float, float]]) -> int:
    count = 0
    for (old_x, old_y), (x, y) in zip(old, new, strict=False):
        if not (_equal(old_x, x) and _equal(old_y, y)):
            break
        count += 1
    return count
