"""OME-Zarr images as slides: chunks read by the zarr package, kept like the tiles of a TIFF.

A chunk that is not there holds the array's fill value, as the Zarr specifications say, whatever
that looks like: black where it is 0, white where it is 255. Programs leave out chunks that are
equal to the fill value, so that taking absent ones for white glass would brighten black ones.
"""

import hashlib
import json
import lzma
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_camelyon import files
from napari_camelyon.errors import DamagedSlideError, SlideError
from napari_camelyon.slides.blend import on_white
from napari_camelyon.slides.levels import StoredLevel
from napari_camelyon.slides.ome_zarr_metadata import (
    OmeZarrImage,
    OmeZarrLevel,
    one_line,
    read_ome_zarr,
)
from napari_camelyon.slides.tile_cache import TileCache

if TYPE_CHECKING:
    import zarr

__all__ = ["OmeZarrSource"]

_LARGEST_CHUNK_BYTES = 1 << 27
"""A chunk is decoded as a whole; 128 MiB are 6,688² pixels in colour."""

_MOST_CHUNKS_A_SHARD = 1 << 20
"""A shard begins or ends with a table of 16 bytes a chunk, read with each of them."""

_LARGEST_TILE_PX = 4096  # a larger "tile" is a level stored in few pieces

_SAMPLED_FILES = 16

# What the decoders of zarr and numcodecs raise for damaged bytes, found by damaging some.
_DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    RuntimeError,
    ArithmeticError,
    EOFError,
    MemoryError,
    SystemError,
    AttributeError,
    zlib.error,
    lzma.LZMAError,
)


class OmeZarrSource:
    """An OME-Zarr folder as a slide; any thread may read.

    Nothing is held open between two reads.

    Parameters
    ----------
    path : Path
        The folder of an image, or a collection that bioformats2raw wrote.
    cache : TileCache
        Where decoded chunks are kept.

    Attributes
    ----------
    name : str
    path : Path
    properties : mapping of str to str
    levels : tuple of StoredLevel
        With the downsamples that the metadata state.
    associated_names : tuple of str
        None: the format keeps a slide's label as an image of its own.

    Raises
    ------
    SlideError
        The folder holds no image that can be shown as a slide, or its metadata are damaged.
    """

    name = "zarr"
    associated_names: tuple[str, ...] = ()

    def __init__(self, path: Path, cache: TileCache) -> None:
        self.path = path
        self._image = read_ome_zarr(path)
        self._cache = cache
        self._closed = False
        self._arrays = tuple(
            _open_array(path, level, self._image.zarr_format) for level in self._image.levels
        )
        x, y = self._image.axes.index("x"), self._image.axes.index("y")
        self._chunks = tuple((array.chunks[x], array.chunks[y]) for array in self._arrays)
        self.levels = tuple(
            _stored_level(level, *chunk)
            for level, chunk in zip(self._image.levels, self._chunks, strict=True)
        )
        self.properties: Mapping[str, str] = MappingProxyType(_properties(self._image))
        # The same path may hold another image later, while the cache still has chunks of this one.
        stats = [_stat(level.document) for level in self._image.levels]
        self._identity = (str(path), *((stat.st_ino, stat.st_mtime_ns) for stat in stats))

    def close(self) -> None:
        """Say so at later reads; those that run at this moment still finish."""
        self._closed = True

    def read_level(
        self,
        level: int,
        column: int,
        row: int,
        width: int,
        height: int,
        out: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        """Read pixels of a level; see `Source.read_level`."""
        if self._closed:
            raise SlideError(f"{self.path.name} is closed: open it again to read from it.")
        pixels = np.empty((height, width, 3), np.uint8) if out is None else out
        wide, tall = self._chunks[level]
        for chunk_row in range(row // tall, (row + height - 1) // tall + 1):
            for chunk_column in range(column // wide, (column + width - 1) // wide + 1):
                left, top = chunk_column * wide - column, chunk_row * tall - row
                into = pixels[max(top, 0) : top + tall, max(left, 0) : left + wide]
                first_row, first_column = max(-top, 0), max(-left, 0)
                into[:] = self._tile(level, chunk_column, chunk_row)[
                    first_row : first_row + into.shape[0],
                    first_column : first_column + into.shape[1],
                ]
        return pixels

    def associated(self, name: str) -> NDArray[np.uint8]:
        """Raise `SlideError`: there are no images beside the slide."""
        raise SlideError(f"{self.path.name} has no image named {name!r}.")

    def icc_profile(self) -> None:
        """Return None: the format has no place for a colour profile."""

    def fingerprint(self) -> str:
        """Identify the content, also after a move: 32 hexadecimal digits.

        SHA-256 over the image's entry of ``multiscales``, the documents of its arrays, name and
        size of all their chunks, and the content of 16 of level 0's files, evenly spread over
        their names (of each its size and its first, middle and last MiB). Labels that are added
        to the folder do not change it. Raises `OSError`.
        """
        digest = hashlib.sha256(json.dumps(self._image.entries, sort_keys=True).encode())
        for index, level in enumerate(self._image.levels):
            digest.update(level.document.read_bytes())
            folder = level.document.parent
            found = sorted(_files(str(folder)))
            digest.update("".join(f"{name} {size}\n" for name, size in found).encode())
            if index == 0 and found:
                for place in np.linspace(0, len(found) - 1, _SAMPLED_FILES).astype(int).tolist():
                    digest.update(files.fingerprint(folder / found[place][0]).encode())
        return digest.hexdigest()[:32]

    def _tile(self, level: int, column: int, row: int) -> NDArray[np.uint8]:
        key = (self._identity, level, column, row)
        return self._cache.get_or_make(key, lambda: self._decoded(level, column, row))

    def _decoded(self, index: int, column: int, row: int) -> NDArray[np.uint8]:
        level = self._image.levels[index]
        wide, tall = self._chunks[index]
        axes = self._image.axes
        slices = {
            "x": slice(column * wide, min((column + 1) * wide, level.width_px)),
            "y": slice(row * tall, min((row + 1) * tall, level.height_px)),
            "c": slice(None),
        }
        try:
            found = self._arrays[index][tuple(slices.get(axis, 0) for axis in axes)]
        except _DAMAGE as error:
            x_px = round(column * wide * level.downsample_x)
            y_px = round(row * tall * level.downsample_y)
            raise DamagedSlideError(
                f"{self.path} cannot be read: level {index} at x={x_px}, y={y_px} ({wide} × {tall} "
                f"px) is damaged ({one_line(error)}). Compare the folder with its original or "
                "fetch it again."
            ) from error
        # Every chunk of a folder that has gone would be taken for one that was left out.
        if not level.document.is_file():
            raise SlideError(f"{self.path} cannot be read any more: was it moved?")
        return _rgb(np.asarray(found, np.uint8), [axis for axis in axes if axis in slices])


def _open_array(folder: Path, level: OmeZarrLevel, zarr_format: int) -> "zarr.Array[Any]":
    # Imported here: telling that a folder is no slide should not take half a second.
    import zarr

    from napari_camelyon.slides.zarr_folder import CheckedFolder

    store = CheckedFolder(folder, read_only=True)
    try:
        array = zarr.open_array(
            store, path=level.path, mode="r", zarr_format=3 if zarr_format == 3 else 2
        )
        # The last of a Zarr v3 array's compressors is what a file holds; shards hold many chunks.
        last = type(array.compressors[-1]).__name__ if array.compressors else ""
        store.whole_files_are_blosc = array.shards is None and last.startswith("Blosc")
        chunk = array.chunks
        shard = array.shards or chunk
    except _DAMAGE as error:
        raise SlideError(
            f"{level.document} cannot be understood ({one_line(error)}): it is damaged, or needs "
            "a codec that is not installed."
        ) from error
    if not 0 < math.prod(chunk) <= _LARGEST_CHUNK_BYTES:
        raise SlideError(
            f"{level.document} claims chunks of {' × '.join(map(str, chunk))} values, which cannot "
            f"be read piece by piece: it is damaged, or has to be stored again in chunks of at "
            f"most {_LARGEST_CHUNK_BYTES >> 20} MiB."
        )
    if not 0 < math.prod(shard) // math.prod(chunk) <= _MOST_CHUNKS_A_SHARD:
        raise SlideError(
            f"{level.document} claims shards of {' × '.join(map(str, shard))} values, which is "
            "more than can be read: it is damaged, or has to be stored again in smaller shards."
        )
    return array


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise SlideError(f"{path} cannot be read any more ({error.strerror}).") from error


def _stored_level(level: OmeZarrLevel, chunk_width: int, chunk_height: int) -> StoredLevel:
    known = max(chunk_width, chunk_height) <= _LARGEST_TILE_PX
    downsamples = (level.downsample_x, level.downsample_y)
    return StoredLevel(
        level.width_px,
        level.height_px,
        sum(downsamples) / 2,
        chunk_width if known else 0,
        chunk_height if known else 0,
        stated_downsamples=downsamples,
    )


def _properties(image: OmeZarrImage) -> dict[str, str]:
    properties = {
        "openslide.vendor": "ome-zarr",
        "ome-zarr.version": image.version,
        "ome-zarr.multiscales": json.dumps(image.entries, ensure_ascii=False),
    }
    if image.left_out:
        properties["ome-zarr.levels-left-out"] = ", ".join(image.left_out)
    if image.mpp is not None:
        properties["openslide.mpp-x"], properties["openslide.mpp-y"] = map(repr, image.mpp)
    return properties


def _rgb(values: NDArray[np.uint8], axes: list[str]) -> NDArray[np.uint8]:
    """Return values of the axes x, y and perhaps c, in any order, as rows of RGB pixels."""
    if "c" not in axes:
        values, axes = values[np.newaxis], ["c", *axes]
    planes = list(values.transpose([axes.index(axis) for axis in "cyx"]))
    # Stacking planes takes a fifth of the time of copying their transposed view.
    pixels = np.stack(planes * 3 if len(planes) == 1 else planes, axis=-1)
    return np.ascontiguousarray(on_white(pixels)) if len(planes) == 4 else pixels


def _files(folder: str, above: str = "") -> Iterator[tuple[str, int]]:
    """Yield name and size of the files below a folder that may be chunks. Raises `OSError`.

    Texts, as there are hundreds of thousands of them and a Path each doubles the time.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "zarr.json":
                continue
            if entry.is_dir():
                yield from _files(entry.path, f"{above}{entry.name}/")
            else:
                yield f"{above}{entry.name}", entry.stat().st_size
