"""Where everything is in an ASAP XML file, byte by byte.

Reading and saving share this: the reader makes annotations of what is found here, the writer
replaces the bytes of what changed and of nothing else. The parser is hardened: files that define
entities or refer to other files are refused before anything is expanded.
"""

import codecs
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from napari_camelyon.errors import AnnotationError

__all__ = ["Block", "Document", "Element", "Text", "decode", "encode", "scan"]


@dataclass(frozen=True, slots=True)
class Text:
    """The file in an encoding whose ASCII is ASCII, so that bytes can be cut at tags.

    Attributes
    ----------
    body : bytes
        UTF-16 files appear here as UTF-8, all others as they are.
    encoding : str
        Of `body`.
    file_encoding : str or None
        Of the file, where it differs.
    """

    body: bytes
    encoding: str
    file_encoding: str | None = None


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
    orders, xs, ys : list of str
        The attributes of each ``<Coordinate>``; ``""`` where one is missing.
    starts, ends : array of int
        Byte span of each ``<Coordinate>``.
    coordinates : Block or None
        The ``<Coordinates>`` container.
    free_attributes : dict
        What ``<Attributes>`` of a group holds.
    """

    attributes: dict[str, str] = field(default_factory=dict)
    line: int = 0
    orders: list[str] = field(default_factory=list)
    xs: list[str] = field(default_factory=list)
    ys: list[str] = field(default_factory=list)
    starts: "array[int]" = field(default_factory=lambda: array("q"))
    ends: "array[int]" = field(default_factory=lambda: array("q"))
    coordinates: Block | None = None
    free_attributes: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Document:
    """All elements of an ASAP file that mean something, in the order of the file."""

    root: Block | None = None
    annotations_block: Block | None = None
    groups_block: Block | None = None
    annotations: list[Element] = field(default_factory=list)
    groups: list[Element] = field(default_factory=list)


def decode(raw: bytes, path: Path) -> Text:
    """Make the bytes of a file cuttable at tags; raises AnnotationError for an empty file."""
    if not raw.strip():
        raise AnnotationError(f"{path} is empty: fetch or export it again.")
    wide = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}.get(raw[:2])
    if wide is not None:
        try:
            return Text(raw.decode(wide).encode("utf-8"), "utf-8", wide)
        except UnicodeDecodeError as error:
            raise AnnotationError(
                f"{path} is cut off or damaged (invalid UTF-16 text); fetch it again."
            ) from error
    declared = re.match(rb"""(?:\xef\xbb\xbf)?<\?xml[^>]*?encoding\s*=\s*["']([\w.-]+)["']""", raw)
    if declared is None or raw.startswith(codecs.BOM_UTF8):
        return Text(raw, "utf-8")
    try:
        return Text(raw, codecs.lookup(declared.group(1).decode("ascii")).name)
    except LookupError as error:
        raise AnnotationError(
            f"{path} is written in an unknown text encoding ({declared.group(1).decode()}); "
            "save it as UTF-8."
        ) from error


def encode(text: Text) -> bytes:
    """Return the bytes of the file; the inverse of `decode`."""
    if text.file_encoding is None:
        return text.body
    return text.body.decode("utf-8").encode(text.file_encoding)


def scan(text: Text, path: Path) -> Document:
    """Find all annotations and groups of an ASAP file, and where they are.

    Raises
    ------
    AnnotationError
        The file is no well-formed XML (the line is named), no ASAP file, or unsafe to read.
    """
    scanner = _Scanner(text, path)
    try:
        scanner.parser.Parse(text.body, True)
    except expat.ExpatError as error:
        raise _explain(error, text.body, path) from error
    except AnnotationError:
        raise
    except (ValueError, LookupError) as error:
        raise AnnotationError(
            f"{path} is written in a text encoding that cannot be read ({error}); save it as UTF-8."
        ) from error
    return scanner.document


_END_TAG = re.compile(rb"</([^\s>]+)\s*>")


class _Scanner:
    """The state of one parse; expat wants methods to call."""

    def __init__(self, text: Text, path: Path) -> None:
        self.document = Document()
        self.path = path
        self.body = text.body
        self.open: list[tuple[str, Block | None]] = []
        self.element: Element | None = None
        self.parser = parser = expat.ParserCreate(text.encoding if text.file_encoding else None)
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.EntityDeclHandler = self.refuse
        parser.UnparsedEntityDeclHandler = self.refuse
        parser.ExternalEntityRefHandler = self.refuse
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end

    def refuse(self, *_: object) -> int:
        raise AnnotationError(
            f"{self.path} defines XML entities, as attacks do and ASAP never does; "
            "it was not opened."
        )

    def start(self, name: str, attributes: dict[str, str]) -> None:
        # This runs once a point: tens of thousands of times, so the common case comes first.
        element = self.element
        if name == "Coordinate" and element is not None and self.open[-1][0] == "Coordinates":
            element.orders.append(attributes.get("Order", ""))
            element.xs.append(attributes.get("X", ""))
            element.ys.append(attributes.get("Y", ""))
            element.starts.append(self.parser.CurrentByteIndex)
            self.open.append((name, None))
            return
        self.open.append((name, self._block(name, attributes)))

    def end(self, name: str) -> None:
        _, block = self.open.pop()
        element = self.element
        if name == "Coordinate" and element is not None and self.open[-1][0] == "Coordinates":
            element.ends.append(self._end_of_tag(b"Coordinate"))
            return
        if block is None:
            return
        block.end = self._end_of_tag(name.encode("ascii"))
        block.end_tag = min(block.end, self.parser.CurrentByteIndex)
        if block is self.element:
            self.element = None

    def _block(self, name: str, attributes: dict[str, str]) -> Block | None:
        document, start = self.document, self.parser.CurrentByteIndex
        parents = [opened for opened, _ in self.open]
        if not parents:
            self._check_root(name, attributes)
            document.root = Block(start)
            return document.root
        if self.element is not None:
            if (
                name == "Coordinates"
                and parents[-1] == "Annotation"
                and self.element.coordinates is None
            ):
                self.element.coordinates = Block(start)
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
        self.element = Element(start, attributes=attributes, line=self.parser.CurrentLineNumber)
        known.append(self.element)
        return self.element

    def _check_root(self, name: str, attributes: dict[str, str]) -> None:
        if name == "ASAP_Annotations":
            return
        if name == "Annotations" and "MicronsPerPixel" in attributes:
            kind = "Aperio ImageScope XML"
        elif name == "annotations":
            kind = "Hamamatsu NDPA"
        else:
            kind = f"an XML file of another kind (<{name}>)"
        raise AnnotationError(
            f"{self.path} is {kind}, not ASAP XML (<ASAP_Annotations>); "
            "export it from its program as ASAP XML or GeoJSON."
        )

    def _end_of_tag(self, name: bytes) -> int:
        # expat reports where the end tag starts, but for <Empty/> the first byte after it, which
        # may be the end tag of the parent. No element we look at has a parent of its own name.
        index = self.parser.CurrentByteIndex
        if self.body[index : index + 2] != b"</":
            return index
        end_tag = _END_TAG.match(self.body, index)
        return end_tag.end() if end_tag and end_tag.group(1) == name else index


def _explain(error: expat.ExpatError, body: bytes, path: Path) -> AnnotationError:
    lines = body.count(b"\n") + (not body.endswith(b"\n"))
    reason = expat.ErrorString(error.code)
    if not body.lstrip().startswith((b"<", codecs.BOM_UTF8)):
        return AnnotationError(
            f"{path} is no XML file: its first line is not the start of one. "
            "Choose the XML that ASAP saved."
        )
    if error.code in _CUT_OFF and error.lineno >= lines:
        return AnnotationError(
            f"{path} is cut off in line {error.lineno:,} ({reason}): it was not copied to the end. "
            "Fetch it again."
        )
    return AnnotationError(
        f"{path} is damaged in line {error.lineno:,}, column {error.offset + 1:,} ({reason}). "
        "Mend that line in a text editor or fetch the file again."
    )


def _codes(names: Sequence[str]) -> frozenset[int]:
    return frozenset(expat.errors.codes[getattr(expat.errors, name)] for name in names)


_CUT_OFF = _codes(
    [
        "XML_ERROR_NO_ELEMENTS",
        "XML_ERROR_UNCLOSED_TOKEN",
        "XML_ERROR_PARTIAL_CHAR",
        "XML_ERROR_UNCLOSED_CDATA_SECTION",
    ]
)
