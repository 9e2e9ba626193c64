"""Changing an XML file in place: bytes in, bytes out, nothing else moves."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Edit", "apply_edits", "new_tag", "opened_tag", "patched_tag", "space_before", "tag_at"]

_ATTRIBUTE = re.compile(rb"""\s+([^\s=]+)\s*=\s*("[^"]*"|'[^']*')""")
_START_TAG = re.compile(rb"""<[^\s/>]+(?:\s+[^\s=]+\s*=\s*(?:"[^"]*"|'[^']*'))*\s*(/?)>""")
_TAG_END = re.compile(rb"\s*/?>$")
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Edit:
    """Bytes ``[start, end)`` of a file are to become `new`."""

    start: int
    end: int
    new: bytes


def apply_edits(body: bytes, edits: Sequence[Edit]) -> bytes:
    """Return the bytes with all edits done; edits must not overlap."""
    pieces, position = [], 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        pieces += [body[position : edit.start], edit.new]
        position = edit.end
    return b"".join([*pieces, body[position:]])


def space_before(body: bytes, position: int) -> bytes:
    """Return the white space that ends at a position."""
    start = position
    while start > 0 and body[start - 1 : start].isspace():
        start -= 1
    return body[start:position]


def tag_at(body: bytes, position: int) -> "re.Match[bytes]":
    """Return the start tag at a position where a parser found one; group 1 is ``/`` or empty."""
    tag = _START_TAG.match(body, position)
    assert tag is not None, "a parser has read a start tag here"
    return tag


def opened_tag(tag: bytes) -> bytes:
    """Return ``<name …>`` for ``<name … />``."""
    return _TAG_END.sub(b">", tag)


def patched_tag(tag: bytes, values: Mapping[str, str | None], encoding: str) -> bytes:
    """Return a start tag with some attributes changed, added at its end, or removed for None."""
    missing = dict(values)
    edits = []
    for match in _ATTRIBUTE.finditer(tag):
        key = match.group(1).decode(encoding)
        if key not in missing:
            continue
        value = missing.pop(key)
        if value is None:
            edits.append(Edit(match.start(), match.end(), b""))
        else:
            new = _quoted(value, encoding, match.group(2)[:1].decode("ascii"))
            edits.append(Edit(match.start(2), match.end(2), new))
    end = _TAG_END.search(tag)
    assert end is not None, "a tag ends in >"
    added = b"".join(
        b" " + key.encode(encoding) + b"=" + _quoted(value, encoding, '"')
        for key, value in missing.items()
        if value is not None
    )
    return apply_edits(tag, [*edits, Edit(end.start(), end.start(), added)])


def new_tag(name: str, attributes: Mapping[str, str], encoding: str) -> bytes:
    """Return a start tag."""
    return patched_tag(f"<{name}>".encode("ascii"), attributes, encoding)


def _quoted(value: str, encoding: str, quote: str) -> bytes:
    # Characters that XML cannot hold at all become U+FFFD; those that the file's encoding lacks
    # become references. White space other than blanks would be normalised away if left bare.
    escaped = _NOT_XML.sub("\ufffd", value).replace("&", "&amp;").replace("<", "&lt;")
    for character in ("\t", "\n", "\r", quote):
        escaped = escaped.replace(character, f"&#{ord(character)};")
    return f"{quote}{escaped}{quote}".encode(encoding, "xmlcharrefreplace")
