"""How the tiles of one image of a TIFF become RGB.

Tags and their values: Adobe TIFF 6.0; JPEG: TIFF Technical Note 2; JPEG 2000: Aperio's numbers
33003 and 33005 (https://openslide.org/formats/aperio/), and 34712 as in GDAL and tifffile.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from napari_camelyon.slides.levels import LONGEST_SIDE_PX
from napari_camelyon.slides.lzw import decode_lzw
from napari_camelyon.slides.tiff_directories import Directory

__all__ = ["LARGEST_STRIPPED_PX", "TiffPage", "UnsupportedTiffError", "tiff_page"]

Pixels = NDArray[np.uint8]

_LARGEST_TILE_PX = 4096
"""Side of a tile; a larger "tile" is a level stored in one piece."""
LARGEST_STRIPPED_PX = 1 << 26
"""Pixels of an image without tiles, 8192 × 8192: 192 MiB as RGB, and its strips may be as large."""

_NONE, _LZW, _JPEG, _DEFLATE, _OLD_DEFLATE = 1, 5, 7, 8, 32946
_APERIO_YCBCR, _APERIO_RGB, _JPEG_2000 = 33003, 33005, 34712
_JPEG_2000_KINDS = frozenset({_APERIO_YCBCR, _APERIO_RGB, _JPEG_2000})
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _YCBCR = 0, 1, 2, 6
_HORIZONTAL_PREDICTOR = 2
_UNASSOCIATED_ALPHA = 2

_MOST_JPEG_SCANS = 64
"""A progressive JPEG has about ten; each costs a pass over the tile, however few its bytes."""
_SEQUENTIAL = frozenset({0xC0, 0xC1})
_START_OF_SCAN = 0xDA
_TABLES_AND_REMARKS = frozenset({0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})
_MOST_JPEG_2000_PARTS = 1024
"""Parts ("tiles") and layers of one JPEG 2000 tile: memory is taken for all of them beforehand."""

_DECOMPRESS: dict[int, Callable[..., bytes | bytearray]] = {
    _DEFLATE: imagecodecs.deflate_decode,
    _OLD_DEFLATE: imagecodecs.deflate_decode,
}


class UnsupportedTiffError(ValueError):
    """An image that is not decoded here; the message says why, as the end of a sentence."""


@dataclass(frozen=True)
class TiffPage:
    """One image of a TIFF: where its tiles lie and how they are decoded.

    An image in strips has tiles as wide as itself.

    Attributes
    ----------
    place : int
        Of its directory in the file, bytes.
    width_px, height_px : int
    tile_width_px, tile_height_px : int
    tiled : bool
    planes : int
        How many tiles make up one place: 1, or one a colour where colours are stored apart.
    offsets, sizes : ndarray of uint64, shape (planes, tiles)
        Place and length of each tile's data in the file, bytes. Neither need lie in the file.
    samples : int
        Stored in each pixel.
    decode : callable
        ``decode(data of each plane, rows) -> uint8 (rows, tile_width_px, 3)``. Raises ValueError,
        RuntimeError or struct.error for damaged data, and takes no more memory than a tile does.
    """

    place: int
    width_px: int
    height_px: int
    tile_width_px: int
    tile_height_px: int
    tiled: bool
    planes: int
    offsets: NDArray[np.uint64]
    sizes: NDArray[np.uint64]
    samples: int
    decode: Callable[[Sequence[bytes], int], Pixels]

    @property
    def blended(self) -> bool:
        """Whether pixels are partly transparent, and given over white."""
        return self.samples == 4

    @property
    def columns(self) -> int:
        """Number of tiles in a row."""
        return -(-self.width_px // self.tile_width_px)

    def rows_of(self, index: int) -> int:
        """Rows of pixels in a tile: fewer in the last strip, while tiles are always whole."""
        if self.tiled:
            return self.tile_height_px
        return min(self.tile_height_px, self.height_px - index * self.tile_height_px)

    @property
    def largest_data_bytes(self) -> int:
        """More than any coder makes of a tile; what claims to be longer is damaged."""
        return 2 * self.tile_width_px * self.tile_height_px * self.samples + (1 << 16)


def tiff_page(directory: Directory) -> TiffPage:
    """Describe one image of a TIFF, or say why it is not read here.

    Raises
    ------
    UnsupportedTiffError
    """
    width, height = directory.number(256, 0), directory.number(257, 0)
    if not (0 < width <= LONGEST_SIDE_PX and 0 < height <= LONGEST_SIDE_PX):
        raise UnsupportedTiffError(f"it states a size of {width} × {height} px")
    if directory.number(32997, 1) != 1:
        raise UnsupportedTiffError("it is a volume, not an image")
    tiled = 322 in directory or 324 in directory
    if tiled:
        tile_width, tile_height = directory.number(322, 0), directory.number(323, 0)
        if not (0 < tile_width <= _LARGEST_TILE_PX and 0 < tile_height <= _LARGEST_TILE_PX):
            raise UnsupportedTiffError(
                f"its tiles measure {tile_width} × {tile_height} px, more than "
                f"{_LARGEST_TILE_PX} px a side or nothing"
            )
    else:
        if width * height > LARGEST_STRIPPED_PX:
            raise UnsupportedTiffError(
                f"it is stored in strips instead of tiles, which is read up to 67 million pixels "
                f"(8192 × 8192), and measures {width} × {height} px. Convert it to a tiled, "
                "pyramidal TIFF, for instance with vips tiffsave --tile --pyramid"
            )
        tile_width, tile_height = width, min(directory.number(278, height) or height, height)
    samples = directory.number(277, 1)
    decode = _decoder(directory, samples, tile_width)
    planes = samples if directory.number(284, 1) == 2 and samples > 1 else 1
    count = planes * -(-width // tile_width) * -(-height // tile_height)
    offsets = directory.array(324 if tiled else 273, count)
    sizes = directory.array(325 if tiled else 279, count)
    if offsets is None or sizes is None:
        raise UnsupportedTiffError(
            f"it should list {count} {'tiles' if tiled else 'strips'} and does not, so it may be "
            "damaged or cut off"
        )
    return TiffPage(
        directory.place,
        width,
        height,
        tile_width,
        tile_height,
        tiled,
        planes,
        offsets.reshape(planes, -1),
        sizes.reshape(planes, -1),
        samples,
        decode,
    )


def _decoder(
    directory: Directory, samples: int, tile_width: int
) -> Callable[[Sequence[bytes], int], Pixels]:
    compression, photometric = directory.number(259, _NONE), directory.number(262, -1)
    separate = directory.number(284, 1) == 2 and samples > 1
    _check_samples(directory, samples, photometric)
    stored = 1 if separate else samples
    unpack: Callable[[bytes, int], Pixels]
    if compression == _JPEG:
        if samples == 4 or (separate and photometric != _RGB):
            raise UnsupportedTiffError("its JPEG tiles have an unusual layout of colours")
        spaces = {_RGB: "RGB", _YCBCR: "YCBCR"}
        coded = "GRAYSCALE" if stored == 1 else spaces[photometric]
        unpack = partial(
            _unpack_jpeg,
            coded=coded,
            wanted="GRAYSCALE" if stored == 1 else "RGB",
            tables=directory.raw(347),
            shape=(tile_width, stored),
        )
    elif compression in _JPEG_2000_KINDS:
        if separate or stored != 3:
            raise UnsupportedTiffError("its JPEG 2000 tiles are no RGB")
        unpack = partial(
            _unpack_jpeg_2000, ycbcr=compression == _APERIO_YCBCR, shape=(tile_width, stored)
        )
    elif compression in {_NONE, _LZW, *_DECOMPRESS}:
        if photometric == _YCBCR:
            raise UnsupportedTiffError("it stores YCbCr colours without JPEG")
        predictor = directory.number(317, 1)
        if directory.number(266, 1) != 1 or predictor not in {1, _HORIZONTAL_PREDICTOR}:
            raise UnsupportedTiffError("it stores its numbers in an unusual way")
        unpack = partial(
            _unpack_lzw if compression == _LZW else _unpack_plain,
            predicted=predictor == _HORIZONTAL_PREDICTOR,
            shape=(tile_width, stored),
        )
        if compression in _DECOMPRESS:
            unpack = partial(unpack, decompress=_DECOMPRESS[compression])
    else:
        raise UnsupportedTiffError(f"its compression ({compression}) is not known")
    return partial(
        _to_rgb,
        unpack=unpack,
        inverted=photometric == _WHITE_IS_ZERO,
        # As libtiff does, which takes an unspecified fourth sample for this alpha.
        premultiplied=directory.number(338, 0) != _UNASSOCIATED_ALPHA,
    )


def _check_samples(directory: Directory, samples: int, photometric: int) -> None:
    if set(directory.numbers(258, (1,))) != {8} or set(directory.numbers(339, (1,))) != {1}:
        raise UnsupportedTiffError("its pixels are no 8-bit numbers")
    allowed = {_WHITE_IS_ZERO: {1}, _BLACK_IS_ZERO: {1}, _RGB: {3, 4}, _YCBCR: {3}}
    if samples not in allowed.get(photometric, set()):
        raise UnsupportedTiffError(
            f"its pixels are neither RGB nor grey ({samples} samples, photometric {photometric})"
        )


def _to_rgb(
    data: Sequence[bytes],
    rows: int,
    *,
    unpack: Callable[[bytes, int], Pixels],
    inverted: bool,
    premultiplied: bool,
) -> Pixels:
    planes = [unpack(plane, rows) for plane in data]
    pixels = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)
    if pixels.shape[2] == 1:
        grey = 255 - pixels if inverted else pixels
        return np.repeat(grey, 3, axis=2)
    if pixels.shape[2] == 4:
        return _over_white(pixels, premultiplied=premultiplied)
    return pixels


def _over_white(pixels: Pixels, *, premultiplied: bool) -> Pixels:
    """Lay pixels over white, rounded as on the way through libtiff and OpenSlide's binding.

    libtiff multiplies, the binding divides, and `OpenSlideBackend` blends.
    """
    alpha = pixels[..., 3:].astype(np.uint16)
    colour = pixels[..., :3].astype(np.uint16)
    if not premultiplied:
        colour = (colour * alpha + 127) // 255
    colour = np.minimum(255 * colour // np.maximum(alpha, 1), 255)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _unpack_plain(
    data: bytes,
    rows: int,
    *,
    predicted: bool,
    shape: tuple[int, int],
    decompress: Callable[..., bytes | bytearray] | None = None,
) -> Pixels:
    size = rows * shape[0] * shape[1]
    plain = data if decompress is None else decompress(data, out=size)
    if len(plain) < size:
        raise ValueError(f"it holds {len(plain)} of {size} bytes")
    pixels = np.frombuffer(plain, np.uint8, size).reshape(rows, *shape)
    if predicted:
        pixels = imagecodecs.delta_decode(pixels, axis=1)
    return pixels


def _unpack_lzw(data: bytes, rows: int, *, predicted: bool, shape: tuple[int, int]) -> Pixels:
    return decode_lzw(data, (rows, *shape), predicted=predicted)


def _unpack_jpeg(
    data: bytes,
    rows: int,
    *,
    coded: str,
    wanted: str,
    tables: bytes | None,
    shape: tuple[int, int],
) -> Pixels:
    if not _has_one_scan(data) and _scans(data) > _MOST_JPEG_SCANS:
        raise ValueError("it has too many scans for a JPEG image")
    width, samples = shape
    # A given array makes the decoder refuse another size before it allocates anything.
    pixels = np.empty((rows, width) if samples == 1 else (rows, width, samples), np.uint8)
    imagecodecs.jpeg8_decode(
        data, tables=tables, colorspace=coded, outcolorspace=wanted, out=pixels
    )
    return pixels.reshape(rows, width, samples)


def _has_one_scan(data: bytes) -> bool:
    """Tell from the header whether a decoder stops after the first scan, whatever follows it.

    So it is where the first scan of a sequential image has all its colours (ITU-T T.81, annex B).
    False also where the header is not as simple as usual.
    """
    colours = None
    place = 2
    while data[place : place + 1] == b"\xff" and place + 10 < len(data):
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker in _SEQUENTIAL:
            colours = data[place + 9]
        elif marker == _START_OF_SCAN:
            return data[place + 4] == colours
        elif marker not in _TABLES_AND_REMARKS:
            return False
        place += 2 + length
    return False


def _scans(data: bytes) -> int:
    """Count the markers that begin a scan; three times as fast as ``bytes.count``."""
    marks = np.frombuffer(data, np.uint8)
    return int(np.count_nonzero((marks[:-1] == 0xFF) & (marks[1:] == _START_OF_SCAN)))


def _unpack_jpeg_2000(data: bytes, rows: int, *, ycbcr: bool, shape: tuple[int, int]) -> Pixels:
    _check_jpeg_2000(data, rows, *shape)
    pixels: Pixels = imagecodecs.jpeg2k_decode(data)
    if pixels.shape != (rows, *shape) or pixels.dtype != np.uint8:
        raise ValueError(f"it holds {pixels.dtype} of shape {pixels.shape}")
    return _ycbcr_to_rgb(pixels) if ycbcr else pixels


def _check_jpeg_2000(data: bytes, rows: int, width: int, samples: int) -> None:
    """Refuse a codestream of another size before the decoder allocates what it claims.

    ITU-T T.800, annex A: SIZ follows SOC; COD states the layers and the precincts.
    """
    start = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start < 0:
        raise ValueError("it holds no JPEG 2000 image")
    right, bottom, left, top, wide, tall = struct.unpack_from(">6I", data, start + 8)
    count = struct.unpack_from(">H", data, start + 40)[0]
    if (right - left, bottom - top, count) != (width, rows, samples) or min(wide, tall) < 1:
        raise ValueError("its JPEG 2000 image has another size than its tile")
    if -(-width // wide) * -(-rows // tall) > _MOST_JPEG_2000_PARTS:
        raise ValueError("its JPEG 2000 image has too many parts")
    if any(data[start + 42 + 3 * index] != 7 for index in range(count)):
        raise ValueError("its JPEG 2000 image does not have 8 bits")
    coding = data.find(b"\xff\x52", start)
    if coding >= 0 and struct.unpack_from(">H", data, coding + 6)[0] > _MOST_JPEG_2000_PARTS:
        raise ValueError("its JPEG 2000 image has too many layers")


_CHROMA = np.arange(256) - 128.0
# BT.601 as JFIF 1.02 gives it, green in fixed point, each rounded as OpenSlide does: the pixels
# have to be its very own.
_RED = np.copysign(np.floor(np.abs(1.402 * _CHROMA) + 0.5), _CHROMA).astype(np.int32)
_BLUE = np.copysign(np.floor(np.abs(1.772 * _CHROMA) + 0.5), _CHROMA).astype(np.int32)
_GREEN_OF_BLUE = np.rint(65536 * (0.5 - 0.34414 * _CHROMA)).astype(np.int32)
_GREEN_OF_RED = np.rint(65536 * -0.71414 * _CHROMA).astype(np.int32)


def _ycbcr_to_rgb(pixels: Pixels) -> Pixels:
    luma = pixels[..., 0].astype(np.int32)
    blue, red = pixels[..., 1], pixels[..., 2]
    rgb = np.empty(pixels.shape, np.int32)
    rgb[..., 0] = luma + _RED[red]
    rgb[..., 1] = luma + ((_GREEN_OF_BLUE[blue] + _GREEN_OF_RED[red]) >> 16)
    rgb[..., 2] = luma + _BLUE[blue]
    return np.clip(rgb, 0, 255).astype(np.uint8)
