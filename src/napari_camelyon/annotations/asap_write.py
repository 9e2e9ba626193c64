"""ASAP XML: saving, touching only the bytes of what changed.

A set that was read from an ASAP file is saved by editing that file: an untouched annotation keeps
its bytes, a changed one keeps everything in its element that still holds (unknown attributes,
number formatting, white space, the elements of points that did not move). What is new is written
in the style of the file around it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_camelyon.annotations.asap import TYPE_OF_KIND
from napari_camelyon.annotations.asap_scan import (
    Block,
    Document,
    Element,
    Text,
    decode,
    encode,
    scan,
)
from napari_camelyon.annotations.model import (
    Annotation,
    AnnotationSet,
    Group,
    Points,
    Source,
    same_annotation,
)

__all__ = ["asap_bytes"]

_DEFAULT_COLOUR = "#F4FA58"  # ASAP's own (annotation/Annotation.cpp)
_ATTRIBUTE = re.compile(rb"""\s+([^\s=]+)\s*=\s*("[^"]*"|'[^']*')""")
_START_TAG = re.compile(rb"""<[^\s/>]+(?:\s+[^\s=]+\s*=\s*(?:"[^"]*"|'[^']*'))*\s*(/?)>""")
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
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


@dataclass(frozen=True, slots=True)
class _Edit:
    start: int
    end: int
    new: bytes


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
    wanted, groups = _flattened(annotation_set)
    source = annotation_set.source
    if source is None or source.format != "asap":
        source = Source("asap", Path("new.xml"), _EMPTY_FILE, (), ())
    text = decode(source.raw, source.path)
    document = scan(text, source.path)
    if document.root is not None and _start_tag(text.body, document.root).group(1):
        text = _opened_root(text, document.root)
        document = scan(text, source.path)
    style = _style(document, text)
    edits = [
        *_annotation_edits(document, text, style, source.annotations, wanted),
        *_group_edits(document, text, style, source.groups, groups),
    ]
    if not edits:
        return source.raw
    return encode(replace(text, body=_apply(text.body, edits)))


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
    opened = _START_TAG.sub(
        lambda tag: tag.group()[:-2].rstrip() + b">\n</ASAP_Annotations>",
        text.body[root.start : root.end],
    )
    return replace(text, body=text.body[: root.start] + opened + text.body[root.end :])


def _apply(body: bytes, edits: Sequence[_Edit]) -> bytes:
    pieces, position = [], 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        pieces += [body[position : edit.start], edit.new]
        position = edit.end
    return b"".join([*pieces, body[position:]])


# --- annotations -------------------------------------------------------------------------------


def _annotation_edits(
    document: Document,
    text: Text,
    style: _Style,
    originals: Sequence[Annotation],
    wanted: Sequence[Annotation],
) -> list[_Edit]:
    current = {annotation.id: annotation for annotation in wanted}
    edits = []
    for original, element in zip(originals, document.annotations, strict=True):
        annotation = current.pop(original.id, None)
        if annotation is None:
            edits.append(_removal(text.body, element))
        elif not same_annotation(original, annotation):
            new = _changed_annotation(text, style, element, original, annotation)
            edits.append(_Edit(element.start, element.end, new))
    added = [_new_annotation(annotation, style) for annotation in current.values()]
    if added:
        edits += _insertion(
            document,
            text.body,
            style,
            document.annotations,
            document.annotations_block,
            b"Annotations",
            added,
        )
    return edits


def _changed_annotation(
    text: Text, style: _Style, element: Element, original: Annotation, annotation: Annotation
) -> bytes:
    values = {}
    if annotation.name != original.name:
        values["Name"] = annotation.name
    if annotation.kind != original.kind:
        values["Type"] = TYPE_OF_KIND[annotation.kind]
    if annotation.group != original.group:
        values["PartOfGroup"] = annotation.group or "None"
    if annotation.colour != original.colour:
        values["Color"] = annotation.colour or _DEFAULT_COLOUR
    for key, value in original.extra.items():
        new_value = annotation.extra.get(key, value)
        if new_value != value and isinstance(new_value, str):
            values[key] = new_value

    body = text.body
    tag = _start_tag(body, element)
    new_tag = _patched_tag(tag.group(), values, style.encoding)
    if np.array_equal(original.points, annotation.points, equal_nan=True):
        return new_tag + body[tag.end() : element.end]
    if tag.group(1):  # <Annotation … /> is opened to take coordinates
        block = _coordinates_block(annotation.points, style)
        return re.sub(rb"\s*/>$", b">", new_tag) + block + style.annotation + b"</Annotation>"
    edit = _coordinates_edit(body, style, element, annotation.points, tag.end())
    return new_tag + body[tag.end() : edit.start] + edit.new + body[edit.end : element.end]


def _coordinates_edit(
    body: bytes, style: _Style, element: Element, points: Points, inner_start: int
) -> _Edit:
    if not element.starts or not len(points):
        block = _coordinates_block(points, style)
        if element.coordinates is None:
            return _Edit(inner_start, inner_start, block)
        return _Edit(element.coordinates.start, element.coordinates.end, block.lstrip())
    start, end = element.starts[0], element.ends[-1]
    if element.orders != list(map(str, range(len(element.orders)))):
        lines = [_coordinate(k, x, y) for k, (x, y) in enumerate(points)]
        return _Edit(start, end, style.coordinate.join(lines))

    old_x, old_y = list(map(_number_or_none, element.xs)), list(map(_number_or_none, element.ys))
    old = list(zip(old_x, old_y, strict=True))
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
        if not _equal(old_x[place], x):
            values["X"] = _number(x)
        if not _equal(old_y[place], y):
            values["Y"] = _number(y)
        span = slice(element.starts[place], element.ends[place])
        line = body[span]
        if values:
            tag = _tag_at(line, 0)
            line = _patched_tag(tag.group(), values, style.encoding) + line[tag.end() :]
        space = body[element.ends[place - 1] : element.starts[place]] if place else style.coordinate
        pieces += [space if k else b"", line]
    return _Edit(start, end, b"".join(pieces))


def _new_annotation(annotation: Annotation, style: _Style) -> bytes:
    attributes = {
        "Name": annotation.name,
        "Type": TYPE_OF_KIND[annotation.kind],
        "PartOfGroup": annotation.group or "None",
        "Color": annotation.colour or _DEFAULT_COLOUR,
    }
    return (
        _tag("Annotation", attributes, style.encoding)
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
) -> list[_Edit]:
    if tuple(originals) == tuple(wanted):
        return []
    partner = _paired(originals, wanted)
    edits = []
    for place, (original, element) in enumerate(zip(originals, document.groups, strict=True)):
        index = partner.get(place)
        if index is None:
            edits.append(_removal(text.body, element))
        elif wanted[index].attributes != original.attributes:
            edits.append(_Edit(element.start, element.end, _new_group(wanted[index], style)))
        elif wanted[index] != original:
            tag = _start_tag(text.body, element)
            values = _group_attributes(original, wanted[index])
            new = _patched_tag(tag.group(), values, style.encoding)
            edits.append(_Edit(tag.start(), tag.end(), new))
    taken = set(partner.values())
    added = [_new_group(group, style) for index, group in enumerate(wanted) if index not in taken]
    if added:
        edits += _insertion(
            document,
            text.body,
            style,
            document.groups,
            document.groups_block,
            b"AnnotationGroups",
            added,
        )
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
        values["Color"] = group.colour or _DEFAULT_COLOUR
    return values


def _new_group(group: Group, style: _Style) -> bytes:
    attributes = {
        "Name": group.name,
        "PartOfGroup": group.parent or "None",
        "Color": group.colour or _DEFAULT_COLOUR,
    }
    inner = style.coordinates + b"<Attributes />"
    if group.attributes:
        lines = [
            style.coordinate + _tag("Attribute", {key: value}, style.encoding)[:-1] + b" />"
            for key, value in group.attributes.items()
        ]
        inner = (
            style.coordinates
            + b"<Attributes>"
            + b"".join(lines)
            + style.coordinates
            + b"</Attributes>"
        )
    return _tag("Group", attributes, style.encoding) + inner + style.annotation + b"</Group>"


# --- bytes -------------------------------------------------------------------------------------


def _style(document: Document, text: Text) -> _Style:
    body, found = text.body, _Style(encoding=text.encoding)
    if b"\r\n" in body:
        found = _Style(b"\r\n\t\t", b"\r\n\t\t\t", b"\r\n\t\t\t\t", b"\r\n\t", text.encoding)
    if document.annotations_block is not None:
        found = replace(found, block=_space_before(body, document.annotations_block.start))
    for element in document.annotations or document.groups:
        found = replace(found, annotation=_space_before(body, element.start))
        if element.coordinates is None or len(element.starts) < 2:
            continue
        return replace(
            found,
            coordinates=_space_before(body, element.coordinates.start),
            coordinate=_space_before(body, element.starts[1]),
        )
    return found


def _space_before(body: bytes, position: int) -> bytes:
    start = position
    while start > 0 and body[start - 1 : start].isspace():
        start -= 1
    return body[start:position]


def _removal(body: bytes, element: Element) -> _Edit:
    return _Edit(element.start - len(_space_before(body, element.start)), element.end, b"")


def _insertion(
    document: Document,
    body: bytes,
    style: _Style,
    elements: Sequence[Element],
    block: Block | None,
    name: bytes,
    added: Sequence[bytes],
) -> list[_Edit]:
    inner = b"".join(style.annotation + element for element in added)
    if elements:
        end = elements[-1].end
        return [_Edit(end, end, inner)]
    if block is not None:
        tag = _start_tag(body, block)
        if not tag.group(1):
            return [_Edit(tag.end(), tag.end(), inner)]
        opened = re.sub(rb"\s*/>$", b">", tag.group())
        return [_Edit(block.start, block.end, opened + inner + style.block + b"</" + name + b">")]
    root = document.root
    assert root is not None, "scan refuses files without a root"
    fresh = style.block + b"<" + name + b">" + inner + style.block + b"</" + name + b">"
    if name == b"Annotations":
        place = _start_tag(body, root).end()
    else:
        place = root.end_tag - len(_space_before(body, root.end_tag))
    return [_Edit(place, place, fresh)]


def _start_tag(body: bytes, block: Block) -> "re.Match[bytes]":
    return _tag_at(body, block.start)


def _tag_at(body: bytes, position: int) -> "re.Match[bytes]":
    tag = _START_TAG.match(body, position)
    assert tag is not None, "expat has read a start tag here"
    return tag


def _patched_tag(tag: bytes, values: Mapping[str, str], encoding: str) -> bytes:
    """Return a start tag with some attributes changed, or added at its end."""
    missing = dict(values)
    edits = []
    for match in _ATTRIBUTE.finditer(tag):
        key = match.group(1).decode(encoding)
        if key in missing:
            quote = match.group(2)[:1].decode("ascii")
            new = _quoted(missing.pop(key), encoding, quote)
            edits.append(_Edit(match.start(2), match.end(2), new))
    end = len(tag) - len(re.search(rb"\s*/?>$", tag).group())  # type: ignore[union-attr]
    added = b"".join(
        b" " + key.encode(encoding) + b"=" + _quoted(value, encoding)
        for key, value in missing.items()
    )
    return _apply(tag, [*edits, _Edit(end, end, added)])


def _tag(name: str, attributes: Mapping[str, str], encoding: str) -> bytes:
    return _patched_tag(f"<{name}>".encode("ascii"), attributes, encoding)


def _quoted(value: str, encoding: str, quote: str = '"') -> bytes:
    # Characters that XML cannot hold at all become U+FFFD; those that the file's encoding lacks
    # become references. White space other than blanks would be normalised away if left bare.
    escaped = _NOT_XML.sub("\ufffd", value).replace("&", "&amp;").replace("<", "&lt;")
    for character in ("\t", "\n", "\r", quote):
        escaped = escaped.replace(character, f"&#{ord(character)};")
    return f"{quote}{escaped}{quote}".encode(encoding, "xmlcharrefreplace")


# --- points ------------------------------------------------------------------------------------


def _number_or_none(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _equal(first: float | None, second: float) -> bool:
    # A point without a number is NaN in the model; it has not moved as long as it stays NaN.
    if first is None or first != first:
        return second != second
    return first == second


def _common_prefix(
    old: Sequence[tuple[float | None, float | None]], new: Sequence[tuple[float, float]]
) -> int:
    count = 0
    for (old_x, old_y), (x, y) in zip(old, new, strict=False):
        if not (_equal(old_x, x) and _equal(old_y, y)):
            break
        count += 1
    return count
