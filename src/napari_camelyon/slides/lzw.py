"""LZW, undone by libtiff, which is twice as fast here as the decoder that imagecodecs has itself.

libtiff knows no tile without a file, so a tile's data become a file of one strip in memory.
"""

import struct

import imagecodecs
import numpy as np
from numpy.typing import NDArray

__all__ = ["decode_lzw"]

_SHORT, _LONG = 3, 4
_LZW, _BLACK_IS_ZERO = 5, 1


def decode_lzw(
    data: bytes, shape: tuple[int, int, int], *, predicted: bool = False
) -> NDArray[np.uint8]:
    """Decode one tile or strip of a TIFF.

    Parameters
    ----------
    data : bytes
    shape : tuple of int
        Rows, columns and samples. No more memory is taken than for so many.
    predicted : bool
        Whether differences between neighbours in a row are stored (predictor 2).

    Returns
    -------
    ndarray of uint8
        Of that shape.

    Raises
    ------
    RuntimeError
        The data are damaged or too few.
    """
    decoded: NDArray[np.uint8] = imagecodecs.tiff_decode(
        _one_strip(*shape, len(data), 2 if predicted else 1) + data
    )
    return decoded.reshape(shape)


def _one_strip(rows: int, columns: int, samples: int, data_bytes: int, predictor: int) -> bytes:
    """Return what a TIFF needs before its only strip (Adobe TIFF 6.0, sections 2, 8 and 14)."""
    count = 10
    bits = 8 + 2 + 12 * count + 4
    strip = bits + 2 * samples
    # One or two values stand in their entry, of three or four the place does.
    bits_value = bits if samples > 2 else 8
    entries = (
        (256, _LONG, 1, columns),
        (257, _LONG, 1, rows),
        (258, _SHORT, samples, bits_value),
        (259, _SHORT, 1, _LZW),
        (262, _SHORT, 1, _BLACK_IS_ZERO),
        (273, _LONG, 1, strip),
        (277, _SHORT, 1, samples),
        (278, _LONG, 1, rows),
        (279, _LONG, 1, data_bytes),
        (317, _SHORT, 1, predictor),
    )
    # Little-endian: a short value at the start of its four bytes is the same number as a long one.
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = struct.pack("<2sHIH", b"II", 42, 8, count) + directory + struct.pack("<I", 0)
    return head + struct.pack(f"<{samples}H", *[8] * samples)
