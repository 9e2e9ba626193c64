"""Where everything is in an ASAP XML file, byte by byte.

Reading and saving share this: the reader makes annotations of what is found here, the writer
replaces the bytes of what changed and of nothing else.
"""

import math
import re
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from xml.parsers import expat

from napari_camelyon.annotations.coordinate_blocks import (
    OPENING,
    CoordinateBlock,
    regular_blocks,
)
from napari_camelyon.annotations.xml_text import Text, end_of_tag, hardened_parser, parse
from napari_camelyon.errors import AnnotationError

__all__ = ["Block", "Document", "Element", "scan"]


@dataclass(slots=True)
class Block:
    """The span of one container element; bytes ``[start, end)``, its end tag from `end_tag`."""

    start: int
    end_tag: int = -1
    end: int = -1


@dataclass(slots=True)
class Element(Block):
    """One ``<Annotation>`` or ``<Group>`` with what is inside.

    Attributes
    ----------
    attributes : dict
        As in the file, entities resolved.
    line : int
        Line of its start tag, from 1.
    orders : list of str or None
        The ``Order`` of each ``<Coordinate>``; ``""`` where one is missing. None where they
        count 0, 1, 2, …
    xs, ys : array of float
        ``X`` and ``Y`` of each ``<Coordinate>``; NaN where there is no number.
    starts, ends : array of int
        Byte span of each ``<Coordinate>``; empty where `spans` finds them.
    coordinates : Block or None
        The ``<Coordinates>`` container.
    free_attributes : dict
        What ``<Attributes>`` of a group holds.
    """

    attributes: dict[str, str] = field(default_factory=dict)
    line: int = 0
    orders: list[str] | None = None
    xs: "array[float]" = field(default_factory=lambda: array("d"))
    ys: "array[float]" = field(default_factory=lambda: array("d"))
    starts: "array[int]" = field(default_factory=lambda: array("q"))
    ends: "array[int]" = field(default_factory=lambda: array("q"))
    coordinates: Block | None = None
    free_attributes: dict[str, str] = field(default_factory=dict)

    def spans(self, body: bytes) -> tuple["array[int]", "array[int]"]:
        """Return where each ``<Coordinate>`` starts and ends in the file."""
        if self.starts or not self.xs or self.coordinates is None:
            return self.starts, self.ends
        found = _REGULAR.finditer(body, self.coordinates.start, self.coordinates.end)
        spans = [tag.span() for tag in found]
        return array("q", [start for start, _ in spans]), array("q", [end for _, end in spans])


_REGULAR = re.compile(rb"<Coordinate\s[^>]*/>")


@dataclass(slots=True)
class Document:
    """All elements of an ASAP file that mean something, in the order of the file."""

    root: Block | None = None
    annotations_block: Block | None = None
    groups_block: Block | None = None
    annotations: list[Element] = field(default_factory=list)
    groups: list[Element] = field(default_factory=list)


def scan(text: Text, path: Path) -> Document:
    """Find all annotations and groups of an ASAP file, and where they are.

    Raises
    ------
    AnnotationError
        The file is no well-formed XML (the line is named), no ASAP file, or unsafe to read.
    """
    blocks = regular_blocks(text)
    if blocks:
        # The parser is not shown what is known already: it would call back twice a point, which
        # takes nine tenths of the time. It alone says what anything means; if not every block
        # turns out to be what it looks like, the file is read as if none had been found.
        scanner = _Scanner(text, path, blocks)
        with suppress(expat.ExpatError, ValueError, LookupError):
            scanner.parse_around()
            if not scanner.blocks:
                return scanner.document
    scanner = _Scanner(text, path, ())
    parse(scanner.parser, text.body, path)
    return scanner.document


class _Scanner:
    """The state of one parse; expat wants methods to call."""

    def __init__(self, text: Text, path: Path, blocks: Sequence[CoordinateBlock]) -> None:
        self.document = Document()
        self.path = path
        self.body = text.body
        self.open: list[tuple[str, Block | None]] = []
        self.element: Element | None = None
        self.blocks = {block.start: block for block in blocks}
        # Where the parser is without the blocks, and how many bytes of them lie before that.
        lengths = [block.end - block.start for block in blocks]
        self.skipped = [0, *accumulate(lengths)]
        self.resumed = [0, *(b.start - s for b, s in zip(blocks, self.skipped, strict=False))]
        self.line, self.line_at = 1, 0
        self.parser = hardened_parser(text, path)
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end

    def parse_around(self) -> None:
        """Parse the file without the insides of the known blocks."""
        position = 0
        for block in list(self.blocks.values()):
            self.parser.Parse(self.body[position : block.start], False)
            position = block.end
        self.parser.Parse(self.body[position:], True)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        # This may run once a point, so the common case comes first.
        element = self.element
        if name == "Coordinate" and element is not None and self.open[-1][0] == "Coordinates":
            if element.orders is None:
                element.orders = []
            element.orders.append(attributes.get("Order", ""))
            element.xs.append(_float_or_nan(attributes.get("X", "")))
            element.ys.append(_float_or_nan(attributes.get("Y", "")))
            element.starts.append(self._index())
            self.open.append((name, None))
            return
        self.open.append((name, self._block(name, attributes)))

    def end(self, name: str) -> None:
        _, block = self.open.pop()
        element = self.element
        if name == "Coordinate" and element is not None and self.open[-1][0] == "Coordinates":
            element.ends.append(end_of_tag(self.body, self._index(), b"Coordinate"))
            return
        if block is None:
            return
        index = self._index()
        block.end = end_of_tag(self.body, index, name.encode("ascii"))
        block.end_tag = min(block.end, index)
        if element is not None and block is element:
            if element.orders and element.orders == list(map(str, range(len(element.xs)))):
                element.orders = None
            self.element = None

    def _index(self) -> int:
        index = self.parser.CurrentByteIndex
        return index + self.skipped[bisect_right(self.resumed, index) - 1]

    def _block(self, name: str, attributes: dict[str, str]) -> Block | None:
        document, start = self.document, self._index()
        parents = [opened for opened, _ in self.open]
        if not parents:
            self._check_root(name)
            document.root = Block(start)
            return document.root
        if self.element is not None:
            if (
                name == "Coordinates"
                and parents[-1] == "Annotation"
                and self.element.coordinates is None
            ):
                self.element.coordinates = Block(start)
                known_block = self.blocks.pop(start + len(OPENING), None)
                if known_block is not None:
                    self.element.xs, self.element.ys = known_block.xs, known_block.ys
                return self.element.coordinates
            if name == "Attribute" and parents[-1] == "Attributes":
                self.element.free_attributes.update(attributes)
            return None
        if len(parents) == 1 and name == "Annotations":
            block = Block(start)
            document.annotations_block = document.annotations_block or block
            return block
        if len(parents) == 1 and name == "AnnotationGroups":
            block = Block(start)
            document.groups_block = document.groups_block or block
            return block
        known = {
            ("Annotation", "Annotations"): document.annotations,
            ("Group", "AnnotationGroups"): document.groups,
        }.get((name, parents[-1]))
        if known is None or len(parents) != 2:
            return None
        self.line += self.body.count(b"\n", self.line_at, start)
        self.line_at = start
        self.element = Element(start, attributes=attributes, line=self.line)
        known.append(self.element)
        return self.element

    def _check_root(self, name: str) -> None:
        if name != "ASAP_Annotations":
            raise AnnotationError(
                f"{self.path} is an XML file of another kind (<{name}>), no annotations of ASAP "
                "(<ASAP_Annotations>), ImageScope (<Annotations>) or NDP.view (<annotations>); "
                "export it from its program as GeoJSON or as one of these."
            )


def _float_or_nan(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
