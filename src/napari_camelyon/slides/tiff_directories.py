"""The directories of a TIFF file, read without believing what it claims.

A slide may be cut off, damaged, or made to harm. So nothing is allocated before the file was found
large enough for it, no directory is visited twice, and their number is bounded. That is why they
are read here and not by tifffile, which is made for sound files: it follows vendors' exceptions,
raises whatever comes, and allocates what a tag claims.

Layout: Adobe TIFF 6.0 (1992) and the BigTIFF design
(https://libtiff.gitlab.io/libtiff/specification/bigtiff.html); sub-directories: TIFF Technical
Note 1.
"""

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.slides.open_file import OpenFile

__all__ = ["Directory", "DirectoryChain", "read_directories"]

_MOST_DIRECTORIES = 10_000
"""Slides have about ten; a stack of a thousand planes still passes."""
_MOST_FIELDS = 4096
"""Of one directory; the standard knows some hundred tags."""
_MOST_CHILDREN = 64
"""Sub-directories of one directory: levels of one image, each half the one before."""
_MOST_TEXT_BYTES = 1 << 25
"""Of one description: OME-XML of large experiments reaches megabytes."""

_BLOCK_BYTES = 1 << 20
_MOST_BLOCKS = 8
"""Kept at a time, of a mebibyte; the lists of tiles of a large slide take two."""

_SUB_DIRECTORIES = 330

_Order = Literal["<", ">"]

# Field types (TIFF 6.0, section 2; BigTIFF): the letter of the struct module, bytes a value.
_ASCII = 2
_RATIONAL = 5
_TYPES = {
    1: ("B", 1),
    2: ("s", 1),
    3: ("H", 2),
    4: ("I", 4),
    5: ("I", 8),
    6: ("b", 1),
    7: ("s", 1),
    8: ("h", 2),
    9: ("i", 4),
    10: ("i", 8),
    11: ("f", 4),
    12: ("d", 8),
    13: ("I", 4),
    16: ("Q", 8),
    17: ("q", 8),
    18: ("Q", 8),
}
_WHOLE_NUMBERS = frozenset({1, 3, 4, 13, 16, 18})


@dataclass(frozen=True, slots=True)
class _Field:
    """Where the values of a tag lie; they lie within the file."""

    kind: int
    count: int
    place: int


@dataclass(frozen=True, slots=True)
class Directory:
    """One image of a TIFF: its tags, read when asked for.

    Attributes
    ----------
    place : int
        Where it lies in the file, bytes.
    children : tuple of Directory
        Its sub-directories, in the order of the tag that lists them.
    """

    place: int
    _file: "_Ahead"
    _order: _Order
    _fields: Mapping[int, _Field]
    children: tuple["Directory", ...] = ()

    def __contains__(self, code: int) -> bool:
        return code in self._fields

    def count(self, code: int) -> int:
        """Return how many values a tag has; 0 without it."""
        field = self._fields.get(code)
        return 0 if field is None else field.count

    def numbers(
        self, code: int, default: tuple[int, ...] = (), *, most: int = 16
    ) -> tuple[int, ...]:
        """Return the whole numbers of a tag, the first ones of many; the default without it."""
        field = self._fields.get(code)
        if field is None or field.kind not in _WHOLE_NUMBERS or field.count < 1:
            return default
        found = self._array(field, min(field.count, most))
        return default if found is None else tuple(found.tolist())

    def number(self, code: int, default: int) -> int:
        """Return the first whole number of a tag; the default without it."""
        return self.numbers(code, (default,))[0]

    def array(self, code: int, count: int) -> NDArray[np.uint64] | None:
        """Return exactly so many whole numbers of a tag, or None where it has not just these."""
        field = self._fields.get(code)
        if field is None or field.kind not in _WHOLE_NUMBERS or field.count != count:
            return None
        return self._array(field, count)

    def ratio(self, code: int) -> float | None:
        """Return the first value of a tag of fractions or floats, None where it makes no sense."""
        field = self._fields.get(code)
        if field is None or field.count < 1 or field.kind not in {_RATIONAL, 11, 12}:
            return None
        letter, size = _TYPES[field.kind]
        data = self._file.read(field.place, size)
        if len(data) < size:
            return None
        if field.kind == _RATIONAL:
            above, below = struct.unpack(f"{self._order}2I", data)
            return above / below if below else None
        value = struct.unpack(f"{self._order}{letter}", data)[0]
        return value if math.isfinite(value) else None

    def text(self, code: int) -> str | None:
        """Return the text of a tag up to its first NUL, None without it."""
        field = self._fields.get(code)
        if field is None or field.kind != _ASCII or field.count > _MOST_TEXT_BYTES:
            return None
        data = self._file.read(field.place, field.count).split(b"\0", 1)[0]
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return data.decode("latin-1")

    def raw(self, code: int) -> bytes | None:
        """Return the bytes of a tag of bytes, None without it or above 32 MiB."""
        field = self._fields.get(code)
        if field is None or _TYPES[field.kind][1] != 1 or field.count > _MOST_TEXT_BYTES:
            return None
        return self._file.read(field.place, field.count)

    def _array(self, field: _Field, count: int) -> NDArray[np.uint64] | None:
        letter, size = _TYPES[field.kind]
        data = self._file.read(field.place, count * size)
        if len(data) < count * size:
            return None
        return np.frombuffer(data, np.dtype(letter).newbyteorder(self._order)).astype(np.uint64)


@dataclass(frozen=True, slots=True)
class DirectoryChain:
    """The directories of a TIFF's main chain.

    Attributes
    ----------
    file : OpenFile
        Which they were read from.
    directories : tuple of Directory
        As far as they can be followed; none where the first one cannot be read.
    complete : bool
        Whether the chain, and every list of sub-directories, was followed to its end. It is not
        where the file is cut off or damaged.
    """

    file: OpenFile
    directories: tuple[Directory, ...]
    complete: bool


def read_directories(file: OpenFile) -> DirectoryChain | None:
    """Return the directories of a TIFF, or None for a file of another kind.

    Raises
    ------
    SlideError
        The file cannot be read at all.
    """
    ahead = _Ahead(file)
    layout = _layout(ahead.read(0, 16))
    if layout is None:
        return None
    reader = _Reader(ahead, layout)
    directories = tuple(reader.chain(layout.first))
    return DirectoryChain(file, directories, reader.complete)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the numbers of classic and of big TIFFs are stored."""

    order: _Order
    big: bool
    first: int

    @property
    def entry_bytes(self) -> int:
        return 20 if self.big else 12


def _layout(head: bytes) -> _Layout | None:
    orders: dict[bytes, _Order] = {b"II": "<", b"MM": ">"}
    order = orders.get(head[:2])
    if order is None or len(head) < 8:
        return None
    version = struct.unpack_from(f"{order}H", head, 2)[0]
    if version == 42:
        return _Layout(order, False, struct.unpack_from(f"{order}I", head, 4)[0])
    if version != 43 or len(head) < 16 or struct.unpack_from(f"{order}2H", head, 4) != (8, 0):
        return None
    return _Layout(order, True, struct.unpack_from(f"{order}Q", head, 8)[0])


class _Ahead:
    """A file that is read in blocks, which are kept.

    Directories and lists of tiles are many small reads, some of them more than once, and on a
    network or a slow disk each costs as much as one of a block does.
    """

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self._blocks: dict[int, bytes] = {}
        self.identity = file.identity

    def read(self, offset: int, size: int) -> bytes:
        """Return the bytes at a place as `OpenFile.read` does."""
        first, last = offset // _BLOCK_BYTES, (offset + size - 1) // _BLOCK_BYTES
        if offset < 0 or size <= 0 or last - first >= _MOST_BLOCKS:
            return self._file.read(offset, size)
        missing = [index for index in range(first, last + 1) if index not in self._blocks]
        if missing:
            if len(self._blocks) + len(missing) > _MOST_BLOCKS:
                self._blocks, missing = {}, list(range(first, last + 1))
            begin, count = missing[0], missing[-1] - missing[0] + 1
            data = self._file.read(begin * _BLOCK_BYTES, count * _BLOCK_BYTES)
            for number in range(count):
                start = number * _BLOCK_BYTES
                self._blocks[begin + number] = data[start : start + _BLOCK_BYTES]
        data = b"".join(self._blocks[index] for index in range(first, last + 1))
        start = offset - first * _BLOCK_BYTES
        return data[start : start + size]


class _Reader:
    """The state of one walk: what was visited, and how much more may be."""

    def __init__(self, file: _Ahead, layout: _Layout) -> None:
        self._file = file
        self._layout = layout
        self.complete = True
        self._visited: set[int] = set()
        # Entries do not overlap in sound files: no more fit into it.
        self._fields_left = file.identity.size // layout.entry_bytes

    def chain(self, place: int) -> Iterator[Directory]:
        while place:
            found = self._directory(place)
            if found is None:
                return
            fields, following = found
            bare = Directory(place, self._file, self._layout.order, fields)
            children = []
            for child_place in bare.numbers(_SUB_DIRECTORIES, most=_MOST_CHILDREN):
                child = self._directory(child_place)
                if child is not None:
                    children.append(
                        Directory(child_place, self._file, self._layout.order, child[0])
                    )
            yield replace(bare, children=tuple(children))
            place = following

    def _directory(self, place: int) -> tuple[dict[int, _Field], int] | None:
        """Read a directory; return its fields and the place of the next."""
        found = self._read_directory(place)
        self.complete = self.complete and found is not None
        return found

    def _read_directory(self, place: int) -> tuple[dict[int, _Field], int] | None:
        if place in self._visited or len(self._visited) >= _MOST_DIRECTORIES:
            return None
        self._visited.add(place)
        order, big = self._layout.order, self._layout.big
        head, entry_bytes = (8, 20) if big else (2, 12)
        link = 8 if big else 4
        first = self._file.read(place, head)
        if len(first) < head:
            return None
        count = struct.unpack(f"{order}{'Q' if big else 'H'}", first)[0]
        if not 0 < count <= min(_MOST_FIELDS, self._fields_left):
            return None
        self._fields_left -= count
        data = self._file.read(place + head, count * entry_bytes + link)
        if len(data) < count * entry_bytes:
            return None
        fields: dict[int, _Field] = {}
        for start in range(0, count * entry_bytes, entry_bytes):
            self._add_field(fields, data[start : start + entry_bytes], place + head + start)
        rest = data[count * entry_bytes :]
        if len(rest) < link:
            self.complete = False
            return fields, 0
        return fields, struct.unpack(f"{order}{'Q' if big else 'I'}", rest)[0]

    def _add_field(self, fields: dict[int, _Field], entry: bytes, place: int) -> None:
        order, inline = self._layout.order, 8 if self._layout.big else 4
        code, kind = struct.unpack_from(f"{order}2H", entry)
        count = struct.unpack_from(f"{order}{'Q' if self._layout.big else 'I'}", entry, 4)[0]
        if code in fields or kind not in _TYPES:
            return
        size = count * _TYPES[kind][1]
        if size <= inline:
            where = place + len(entry) - inline
        else:
            where = struct.unpack_from(
                f"{order}{'Q' if self._layout.big else 'I'}", entry, len(entry) - inline
            )[0]
            if where + size > self._file.identity.size:
                return  # a tag whose values the file does not have is as good as absent
        fields[code] = _Field(kind, count, where)
