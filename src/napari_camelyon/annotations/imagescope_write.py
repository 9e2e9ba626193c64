"""Aperio ImageScope XML: saving, touching only the bytes of what changed, as for ASAP."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import shapely

from napari_camelyon.annotations.asap_scan import Block
from napari_camelyon.annotations.imagescope import (
    ARROW,
    ATTRIBUTES,
    ELLIPSE,
    NEGATIVE,
    NO_GROUP,
    Understood,
    colour_of,
    ellipse_outline,
    understand,
)
from napari_camelyon.annotations.imagescope_scan import (
    Layer,
    LayerDocument,
    RegionElement,
    scan_layers,
)
from napari_camelyon.annotations.model import (
    AREA_KINDS,
    ASAP_DEFAULT_COLOUR,
    POINT_KINDS,
    Annotation,
    AnnotationSet,
    Group,
    Points,
    Source,
    is_unchanged,
    same_annotation,
)
from napari_camelyon.annotations.regions import outline_rings, ring_region
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
from napari_camelyon.geometry import Mpp, mean_mpp

__all__ = ["imagescope_bytes"]

_DEFAULT_COLOUR = "#00ff00"  # ImageScope's own: LineColor="65280"

_LAYER = {
    "ReadOnly": "0",
    "NameReadOnly": "0",
    "LineColorReadOnly": "0",
    "Incremental": "0",
    "Type": "4",
    "Visible": "1",
    "Selected": "0",
    "MarkupImagePath": "",
    "MacroName": "",
}
_REGION = {
    "Zoom": "1",
    "Selected": "0",
    "ImageLocation": "",
    "ImageFocus": "-1",
    "Analyze": "1",
}
"""What ImageScope writes for what we have no word for."""

_SPACE = b"\n\t\t\t"
_HEAD = b"\n\t\t\t\t<Attributes/>"

_LayerKey = tuple[str, str]
"""Name and colour: a layer has one of each."""


def imagescope_bytes(annotation_set: AnnotationSet, mpp: Mpp | None = None) -> bytes:
    """Return the ImageScope XML of a set.

    If the set was read from an ImageScope file, that file is returned with only the changes in
    it; nothing changed gives it byte for byte. There is a layer for each group, and a further one
    for each colour in which annotations of a group differ from it. Holes become cut-out regions
    (``NegativeROA="1"``) that name their region, further polygons of one annotation regions.

    Parameters
    ----------
    annotation_set : AnnotationSet
        Coordinates are written in full: reading them back gives the same float64 numbers.
    mpp : tuple of float, optional
        Micrometres per level-0 pixel, for a file that does not say it yet.
    """
    source = annotation_set.source
    if source is None or source.format != "imagescope":
        empty = new_tag("Annotations", _mpp_attribute(mpp), "utf-8")
        raw = b'<?xml version="1.0" encoding="UTF-8"?>\n' + empty + b"\n</Annotations>\n"
        source = Source("imagescope", Path("new.xml"), raw, (), ())
    elif is_unchanged(annotation_set, source):
        return source.raw
    text = decode(source.raw, source.path)
    document = scan_layers(text, source.path)
    if document.root is not None and tag_at(text.body, document.root.start).group(1):
        text = _opened(text, document.root)
        document = scan_layers(text, source.path)
    writer = _Writer(text, document, annotation_set, mpp)
    return encode(replace(text, body=apply_edits(text.body, writer.edits())))


def _mpp_attribute(mpp: Mpp | None) -> dict[str, str]:
    return {} if mpp is None else {"MicronsPerPixel": f"{mean_mpp(mpp):.6g}"}


def _opened(text: Text, block: Block) -> Text:
    tag = tag_at(text.body, block.start)
    opened = Edit(tag.start(), tag.end(), opened_tag(tag.group()) + b"\n</Annotations>")
    return replace(text, body=apply_edits(text.body, [opened]))


@dataclass(slots=True)
class _NewLayer:
    attributes: dict[str, str]
    regions: list[bytes] = field(default_factory=list)


class _Writer:
    """One file being changed: numbers that are free, and what goes where."""

    def __init__(
        self,
        text: Text,
        document: LayerDocument,
        annotation_set: AnnotationSet,
        mpp: Mpp | None,
    ) -> None:
        self.text, self.document, self.wanted = text, document, annotation_set
        self.mpp = _mpp_of(document) or (None if mpp is None else mean_mpp(mpp))
        self.found: Understood = understand(document)
        self.groups = {group.name: group for group in annotation_set.groups}
        self.keys = [self._key_of_layer(number) for number in range(len(document.layers))]
        ids = [region.attributes.get("Id", "") for la in document.layers for region in la.regions]
        self.next_id = max((int(number) for number in ids if number.isdecimal()), default=0) + 1

    def edits(self) -> list[Edit]:
        current = {annotation.id: annotation for annotation in self.wanted}
        edits = self._recoloured()
        left = [len(layer.regions) for layer in self.document.layers]
        added: list[Annotation] = []
        emptied: dict[int, list[Edit]] = {}
        rows = zip(self.found.annotations, self.found.regions, self.found.layer_of, strict=True)
        for original, regions, layer in rows:
            annotation = current.pop(original.id, None)
            if annotation is not None and same_annotation(original, annotation):
                continue
            old = [_removal(self.text.body, region) for region in regions]
            stays = annotation is not None and self._stays(original, annotation, layer)
            if annotation is not None and stays:
                new = _SPACE.join(self._regions(annotation, regions[0]))
                edits.append(Edit(regions[0].start, regions[0].end, new))
                edits += old[1:]
                continue
            left[layer] -= len(regions)
            emptied.setdefault(layer, []).extend(old)
            if annotation is not None:
                added.append(annotation)
        gone = {number for number, count in enumerate(left) if self._is_gone(number, count)}
        edits = [edit for edit in edits if not self._lies_in(edit, gone)]
        for number, removals in emptied.items():
            edits += [] if number in gone else removals
        edits += [_removal(self.text.body, self.document.layers[number]) for number in gone]
        return edits + self._insertions([*added, *current.values()], gone)

    # --- layers --------------------------------------------------------------------------------

    def _key_of_layer(self, number: int) -> _LayerKey:
        layer = self.document.layers[number]
        name = layer.attributes.get("Name") or layer.description or f"Layer {number + 1}"
        colour = colour_of(layer.attributes) or _DEFAULT_COLOUR
        before = next((g.colour for g in self.found.groups if g.name == name), None)
        if name in self.groups and before is not None and colour == before:
            colour = _drawn(self.groups[name].colour) or _DEFAULT_COLOUR
        return name, colour

    def _key_of(self, annotation: Annotation) -> _LayerKey:
        group = self.groups.get(annotation.group or "")
        own = _drawn(annotation.colour) or _drawn(group.colour if group else None)
        return annotation.group or NO_GROUP, own or _DEFAULT_COLOUR

    def _stays(self, original: Annotation, annotation: Annotation, layer: int) -> bool:
        if NEGATIVE in original.extra:  # its group is not that of its layer
            same_look = (original.group, original.colour) == (annotation.group, annotation.colour)
            return same_look and NEGATIVE in annotation.extra
        return self._key_of(annotation) == self.keys[layer]

    def _is_gone(self, number: int, regions_left: int) -> bool:
        name = self.keys[number][0]
        named = any(group.name == name for group in self.found.groups)
        return not regions_left and named and name not in self.groups

    def _lies_in(self, edit: Edit, layers: Iterable[int]) -> bool:
        spans = [self.document.layers[number] for number in layers]
        return any(span.start <= edit.start and edit.end <= span.end for span in spans)

    def _recoloured(self) -> list[Edit]:
        edits = []
        for layer, (_, colour) in zip(self.document.layers, self.keys, strict=True):
            if colour != (colour_of(layer.attributes) or _DEFAULT_COLOUR):
                tag = tag_at(self.text.body, layer.start)
                values = {"LineColor": _bgr(colour)}
                new = patched_tag(tag.group(), values, self.text.encoding)
                edits.append(Edit(tag.start(), tag.end(), new))
        return edits

    def _insertions(self, added: Sequence[Annotation], gone: set[int]) -> list[Edit]:
        layers = {
            key: number for number, key in reversed([*enumerate(self.keys)]) if number not in gone
        }
        into: dict[int, list[bytes]] = {}
        new: dict[_LayerKey, _NewLayer] = {}
        known = {name for name, _ in layers} | {group.name for group in self.found.groups}
        for group in self.wanted.groups:
            if group.name not in known:
                new.setdefault((group.name, _drawn(group.colour) or _DEFAULT_COLOUR), _layer(group))
        for annotation in added:
            key = self._key_of(annotation)
            pieces = self._regions(annotation, None)
            if key in layers:
                into.setdefault(layers[key], []).extend(pieces)
            else:
                new.setdefault(key, _layer(Group(key[0], colour=key[1]))).regions.extend(pieces)
        edits = [
            self._insertion(self.document.layers[number], pieces) for number, pieces in into.items()
        ]
        return edits + self._new_layers([*new.values()])

    def _insertion(self, layer: Layer, pieces: Sequence[bytes]) -> Edit:
        body = self.text.body
        inner = self._joined(pieces)
        if layer.container is None:
            tag = tag_at(body, layer.start)
            regions = b"\n\t\t<Regions>" + inner + b"\n\t\t</Regions>"
            if tag.group(1):
                whole = opened_tag(tag.group()) + regions + b"\n\t</Annotation>"
                return Edit(tag.start(), tag.end(), whole)
            place = layer.end_tag - len(space_before(body, layer.end_tag))
            return Edit(place, place, regions)
        tag = tag_at(body, layer.container.start)
        if tag.group(1):
            whole = opened_tag(tag.group()) + inner + b"\n\t\t</Regions>"
            return Edit(tag.start(), tag.end(), whole)
        place = layer.container.end_tag - len(space_before(body, layer.container.end_tag))
        return Edit(place, place, inner)

    def _new_layers(self, layers: Sequence[_NewLayer]) -> list[Edit]:
        root = self.document.root
        assert root is not None, "scan refuses files without a root"
        pieces = []
        for number, layer in enumerate(layers, start=len(self.document.layers) + 1):
            attributes = {"Id": str(number), **layer.attributes}
            inner = b"\n\t\t<Attributes/>\n\t\t<Regions>" + self._joined(layer.regions)
            pieces.append(
                b"\n\t"
                + new_tag("Annotation", attributes, self.text.encoding)
                + inner
                + b"\n\t\t</Regions>\n\t\t<Plots/>\n\t</Annotation>"
            )
        place = root.end_tag - len(space_before(self.text.body, root.end_tag))
        return [Edit(place, place, b"".join(pieces))] if pieces else []

    # --- regions -------------------------------------------------------------------------------

    def _joined(self, pieces: Sequence[bytes]) -> bytes:
        return b"".join(_SPACE + piece for piece in pieces)

    def _regions(self, annotation: Annotation, first: RegionElement | None) -> list[bytes]:
        """Return the regions of an annotation; the first takes the place of one in the file."""
        first_id = first.attributes.get("Id") if first is not None else None
        head = self._head(first)
        if annotation.kind not in AREA_KINDS:
            points, kind = annotation.points, _mark_type(annotation)
            return [self._region(annotation, points, kind, first_id or self._free_id(), head=head)]
        pieces = []
        for number, (outer, holes) in enumerate(outline_rings(annotation)):
            region_id = first_id if first_id and not number else self._free_id()
            kind, written = _area_type(annotation, outer)
            own_head = _HEAD if number else head
            pieces.append(self._region(annotation, written, kind, region_id, head=own_head))
            pieces += [
                self._region(annotation, hole, "0", self._free_id(), hole_of=region_id)
                for hole in holes
                if len(hole)
            ]
        return pieces

    def _region(
        self,
        annotation: Annotation,
        points: Points,
        kind: str,
        region_id: str,
        *,
        head: bytes = _HEAD,
        hole_of: str = "",
    ) -> bytes:
        kept = annotation.extra.get(ATTRIBUTES)
        kept = {str(k): str(v) for k, v in kept.items()} if isinstance(kept, dict) else {}
        negative = bool(hole_of) or NEGATIVE in annotation.extra
        attributes = (
            {"Id": region_id, "Type": kind}
            | _REGION
            | {"DisplayId": region_id, "InputRegionId": "0"}
            | kept
            | self._measures(points, kind)
            | {
                "Text": "" if hole_of else annotation.name,
                "NegativeROA": str(int(negative)),
            }
        )
        if hole_of:
            attributes["InputRegionId"] = hole_of
        vertices = b"".join(
            f'\n\t\t\t\t\t<Vertex X="{_number(x)}" Y="{_number(y)}" Z="0"/>'.encode("ascii")
            for x, y in points.tolist()
        )
        return (
            new_tag("Region", attributes, self.text.encoding)
            + head
            + b"\n\t\t\t\t<Vertices>"
            + vertices
            + b"\n\t\t\t\t</Vertices>\n\t\t\t</Region>"
        )

    def _head(self, region: RegionElement | None) -> bytes:
        """Return what stands in a region before its vertices, such as attributes of its own."""
        if region is None:
            return _HEAD
        start = tag_at(self.text.body, region.start).end()
        end = self.text.body.find(b"<Vertices", start, region.end)
        return self.text.body[start:end].rstrip() if end >= 0 else _HEAD

    def _measures(self, points: Points, kind: str) -> dict[str, str]:
        # ImageScope shows these numbers as they stand in the file.
        finite = points[np.isfinite(points).all(axis=1)]
        outline = ellipse_outline(finite) if kind == "2" else finite
        if kind in {"0", "1", "2"}:
            region = ring_region(outline)
            length, area = float(region.length), float(region.area)
        else:
            length = shapely.LineString(outline).length if len(outline) > 1 else 0.0
            area = 0.0
        mpp = self.mpp or 0.0
        return {
            "Length": f"{length:.1f}",
            "Area": f"{area:.1f}",
            "LengthMicrons": f"{length * mpp:.1f}",
            "AreaMicrons": f"{area * mpp * mpp:.1f}",
        }

    def _free_id(self) -> str:
        self.next_id += 1
        return str(self.next_id - 1)


def _layer(group: Group) -> _NewLayer:
    colour = _drawn(group.colour) or _DEFAULT_COLOUR
    return _NewLayer({"Name": group.name, **_LAYER, "LineColor": _bgr(colour)})


def _mark_type(annotation: Annotation) -> str:
    if annotation.kind in POINT_KINDS:
        return "5"
    return "3" if ARROW in annotation.extra and len(annotation.points) == 2 else "4"


def _area_type(annotation: Annotation, outer: Points) -> tuple[str, Points]:
    """Return the type of a region and the vertices that stand for it."""
    corners = annotation.extra.get(ELLIPSE)
    if isinstance(corners, tuple):
        ends = np.array(corners, dtype=np.float64)
        if np.array_equal(ellipse_outline(ends), annotation.points):
            return "2", ends
    rectangle = annotation.kind == "rectangle" and len(outer) == 4
    return ("1" if rectangle else "0"), outer


def _drawn(colour: str | None) -> str | None:
    if colour is None or colour.lower() == ASAP_DEFAULT_COLOUR.lower():
        return None
    try:
        number = int(colour.removeprefix("#"), 16)
    except ValueError:
        return None
    return f"#{number:06x}" if len(colour) == 7 else None


def _bgr(colour: str) -> str:
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return str(blue << 16 | green << 8 | red)


def _mpp_of(document: LayerDocument) -> float | None:
    try:
        mpp = float(document.attributes["MicronsPerPixel"])
    except (KeyError, ValueError):
        return None
    return mpp if 0 < mpp < 1000 else None


def _removal(body: bytes, block: Block) -> Edit:
    return Edit(block.start - len(space_before(body, block.start)), block.end, b"")


def _number(value: float) -> str:
    # The shortest text that reads back as the same float64.
    return repr(value).removesuffix(".0")
