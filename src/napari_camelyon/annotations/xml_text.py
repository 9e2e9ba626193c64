"""The text of an XML file and a parser that nothing in it can harm.

All XML formats share this: bytes that can be cut at tags, a parser that refuses entities before
anything is expanded, and sentences for what is wrong with a file.
"""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from napari_camelyon.errors import AnnotationError

__all__ = ["Text", "decode", "encode", "end_of_tag", "hardened_parser", "parse", "root_of"]

_END_TAG = re.compile(rb"</([^\s>]+)\s*>")


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


def decode(raw: bytes, path: Path) -> Text:
    """Make the bytes of a file cuttable at tags; raises AnnotationError for an empty file."""
    if not raw or raw.isspace():
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


def hardened_parser(text: Text, path: Path) -> expat.XMLParserType:
    """Return a parser that refuses entities before anything is expanded."""

    def refuse(*_: object) -> int:
        raise AnnotationError(
            f"{path} defines XML entities, as attacks do and annotation programs never do; "
            "it was not opened."
        )

    parser = expat.ParserCreate(text.encoding if text.file_encoding else None)
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    parser.EntityDeclHandler = refuse
    parser.UnparsedEntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    return parser


def parse(parser: expat.XMLParserType, body: bytes, path: Path) -> None:
    """Parse a whole document; raises AnnotationError, which names the line, where it is damaged."""
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise _explain(error, body, path) from error
    except AnnotationError:
        raise
    except (ValueError, LookupError) as error:
        raise AnnotationError(
            f"{path} is written in a text encoding that cannot be read ({error}); save it as UTF-8."
        ) from error


def root_of(text: Text, path: Path) -> str:
    """Return the name of the outermost element; raises AnnotationError where there is none."""
    names: list[str] = []
    parser = hardened_parser(text, path)

    def note(name: str, _attributes: dict[str, str]) -> None:
        names.append(name)
        parser.StartElementHandler = None

    parser.StartElementHandler = note
    block, start = 1 << 16, 0
    while not names and start < len(text.body):
        piece = text.body[start : start + block]
        start += len(piece)
        try:
            parser.Parse(piece, start >= len(text.body))
        except expat.ExpatError as error:
            if not names:
                raise _explain(error, text.body, path) from error
        except AnnotationError:
            raise
        except (ValueError, LookupError):
            break
    return names[0] if names else ""


def end_of_tag(body: bytes, index: int, name: bytes) -> int:
    """Return where an element ends, given where the parser was when it reported that.

    expat reports where the end tag starts, but for ``<Empty/>`` the first byte after it, which may
    be the end tag of the parent. So no element may have a parent of its own name.
    """
    if body[index : index + 2] != b"</":
        return index
    end_tag = _END_TAG.match(body, index)
    return end_tag.end() if end_tag and end_tag.group(1) == name else index


def _explain(error: expat.ExpatError, body: bytes, path: Path) -> AnnotationError:
    lines = body.count(b"\n") + (not body.endswith(b"\n"))
    reason = expat.ErrorString(error.code)
    if not body.lstrip().startswith((b"<", codecs.BOM_UTF8)):
        return AnnotationError(
            f"{path} is no XML file: its first line is not the start of one. "
            "Choose an XML that ASAP or ImageScope saved."
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
