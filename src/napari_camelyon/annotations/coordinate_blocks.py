"""Finding the coordinates of an ASAP file where they look as ASAP writes them.

ASAP writes every point in the same way. Such blocks are taken apart by string operations in C, and
their numbers are read by Arrow, all at once and exactly; a file of a million points is read in a
small part of the time that a call back a point takes.
"""

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.annotations.xml_text import Text

__all__ = ["OPENING", "CoordinateBlock", "regular_blocks"]

OPENING = b"<Coordinates>"
_CLOSING = b"</Coordinates>"
_ENCODINGS = frozenset({"utf-8", "ascii", "iso8859-1"})  # in which each of our bytes is itself

_NUMBERS = b"0123456789.+-"
_POINT_WITHOUT_NUMBERS = re.compile(rb'\s*<Coordinate\s+Order=""\s+X=""\s+Y=""\s*/>')
# What is left without the rest of a point is ``"0""1.5""2"`` and the end of a line.
_REST_OF_POINT = b"<CoordinateOrderXY=/ \t\r\n"
_ENDS_LINE = bytes.maketrans(b">", b"\n")
_COLUMNS = ("before", "order", "between", "x", "between_again", "y", "after")


@dataclass(frozen=True, slots=True)
class CoordinateBlock:
    """The inside of a ``<Coordinates>`` element: bytes ``[start, end)`` and its numbers."""

    start: int
    end: int
    xs: "array[float]"
    ys: "array[float]"


def regular_blocks(text: Text) -> list[CoordinateBlock]:
    """Return the blocks that hold nothing but points, counted 0, 1, 2, …, all with numbers.

    They may lie in a comment; what they mean only a parser can say.
    """
    if text.encoding not in _ENCODINGS:
        return []
    spans, lines, counts = [], [], []
    for start, end in _blocks(text.body):
        content = text.body[start:end]
        count = _count_of_points(content)
        if count:
            spans.append((start, end))
            counts.append(count)
            lines.append(content.translate(_ENDS_LINE, _REST_OF_POINT))
    return _with_numbers(spans, b"".join(lines), counts) if spans else []


def _blocks(body: bytes) -> Iterator[tuple[int, int]]:
    end = 0
    while (opening := body.find(OPENING, end)) >= 0:
        start = opening + len(OPENING)
        end = body.find(_CLOSING, start)
        if end < 0:
            return
        yield start, end


def _count_of_points(content: bytes) -> int:
    # 0: not all points are written like the first one. Characters of numbers that stand elsewhere
    # than between quotes are found later, when the columns between the numbers are not empty.
    without_numbers = content.translate(None, _NUMBERS)
    first = _POINT_WITHOUT_NUMBERS.match(without_numbers)
    if first is None or b'=""' in content:
        return 0
    points = without_numbers.rstrip()
    count, rest = divmod(len(points), first.end())
    return count if not rest and points == first.group() * count else 0


def _with_numbers(
    spans: list[tuple[int, int]], lines: bytes, counts: list[int]
) -> list[CoordinateBlock]:
    columns = _columns(lines)
    if columns is None:
        return []
    orders, order_lengths, xs, ys = columns
    counted = [b"%d" % number for number in range(max(counts))]
    counted_lengths = np.array([len(number) for number in counted])
    counted_ends = [0, *np.cumsum(counted_lengths).tolist()]
    order_ends = [0, *np.cumsum(order_lengths).tolist()]
    all_counted = b"".join(counted)
    blocks, first = [], 0
    for (start, end), count in zip(spans, counts, strict=True):
        last = first + count
        numbers = orders[order_ends[first] : order_ends[last]]
        if (
            numbers == all_counted[: counted_ends[count]]
            and (order_lengths[first:last] == counted_lengths[:count]).all()
        ):
            own_xs, own_ys = (array("d", values[first:last].tobytes()) for values in (xs, ys))
            blocks.append(CoordinateBlock(start, end, own_xs, own_ys))
        first = last
    return blocks


def _columns(
    lines: bytes,
) -> tuple[bytes, NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]] | None:
    # Orders in a row and the length of each, X and Y. None where some number is none, or where
    # there is one between the quotes of two attributes.
    import pyarrow
    from pyarrow import csv

    types = {"order": pyarrow.string(), "x": pyarrow.float64(), "y": pyarrow.float64()}
    try:
        table = csv.read_csv(
            pyarrow.py_buffer(lines),
            csv.ReadOptions(column_names=_COLUMNS),
            csv.ParseOptions(delimiter='"', quote_char=False, double_quote=False),
            csv.ConvertOptions(
                column_types={name: types.get(name, pyarrow.null()) for name in _COLUMNS}
            ),
        ).combine_chunks()
    except pyarrow.ArrowInvalid:
        return None
    # Not to_numpy, which imports pandas.
    xs, ys = (np.asarray(np.from_dlpack(table[name].chunk(0)), float) for name in ("x", "y"))
    _, ends, orders = table["order"].chunk(0).buffers()
    lengths = np.diff(np.frombuffer(ends, np.int32, table.num_rows + 1))
    return orders.to_pybytes(), lengths.astype(np.int32), xs, ys
