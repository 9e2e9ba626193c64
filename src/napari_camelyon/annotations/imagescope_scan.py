"""Where everything is in an Aperio ImageScope XML file, byte by byte, as `asap_scan` for ASAP."""

import math
from array import array
from dataclasses import dataclass, field
from pathlib import Path

from napari_camelyon.annotations.asap_scan import Block
from napari_camelyon.annotations.xml_text import Text, end_of_tag, hardened_parser, parse

__all__ = ["Layer", "LayerDocument", "RegionElement", "scan_layers"]


@dataclass(slots=True)
class RegionElement(Block):
    """One ``<Region>``: its attributes, and the numbers of its vertices (NaN for none)."""

    attributes: dict[str, str] = field(default_factory=dict)
    line: int = 0
    xs: "array[float]" = field(default_factory=lambda: array("d"))
    ys: "array[float]" = field(default_factory=lambda: array("d"))


@dataclass(slots=True)
class Layer(Block):
    """One ``<Annotation>``, which ImageScope calls a layer, with its regions."""

    attributes: dict[str, str] = field(default_factory=dict)
    description: str = ""
    container: Block | None = None
    regions: list[RegionElement] = field(default_factory=list)


@dataclass(slots=True)
class LayerDocument:
    """All layers of a file in its order."""

    root: Block | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)


def scan_layers(text: Text, path: Path) -> LayerDocument:
    """Find all layers and regions; raises AnnotationError as `asap_scan.scan` does."""
    scanner = _Scanner(text, path)
    parse(scanner.parser, text.body, path)
    return scanner.document


class _Scanner:
    """The state of one parse; expat wants methods to call."""

    def __init__(self, text: Text, path: Path) -> None:
        self.document = LayerDocument()
        self.body = text.body
        self.open: list[tuple[str, Block | None]] = []
        self.region: RegionElement | None = None
        self.parser = hardened_parser(text, path)
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end

    def start(self, name: str, attributes: dict[str, str]) -> None:
        block = None
        if name == "Vertex" and self.region is not None:
            self.region.xs.append(_float_or_nan(attributes.get("X", "")))
            self.region.ys.append(_float_or_nan(attributes.get("Y", "")))
        else:
            block = self._block([opened for opened, _ in self.open], name, attributes)
        self.open.append((name, block))

    def end(self, name: str) -> None:
        _, block = self.open.pop()
        if block is None:
            return
        index = self.parser.CurrentByteIndex
        block.end = end_of_tag(self.body, index, name.encode("ascii"))
        block.end_tag = min(block.end, index)
        if block is self.region:
            self.region = None

    def _block(self, parents: list[str], name: str, attributes: dict[str, str]) -> Block | None:
        document, start = self.document, self.parser.CurrentByteIndex
        if not parents:
            document.root, document.attributes = Block(start), attributes
            return document.root
        if name == "Annotation" and len(parents) == 1:
            document.layers.append(Layer(start, attributes=attributes))
            return document.layers[-1]
        if parents[:2] != ["Annotations", "Annotation"]:
            return None
        layer, inside = document.layers[-1], parents[2:]
        if name == "Regions" and not inside and layer.container is None:
            layer.container = Block(start)
            return layer.container
        if name == "Region" and inside == ["Regions"]:
            line = self.parser.CurrentLineNumber
            self.region = RegionElement(start, attributes=attributes, line=line)
            layer.regions.append(self.region)
            return self.region
        is_description = attributes.get("Name") == "Description" and inside == ["Attributes"]
        if name == "Attribute" and is_description:
            layer.description = attributes.get("Value", "")
        return None


def _float_or_nan(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
