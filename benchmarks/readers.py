"""The readers that are compared: each opens a file and gives RGB regions of level 0 as numpy."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.geometry import Grid
from napari_camelyon.inference.patches import read_block
from napari_camelyon.slides import open_slide
from napari_camelyon.slides.slide import Backend
from napari_camelyon.slides.tile_cache import shared_cache

__all__ = [
    "BARE",
    "OPENSLIDE",
    "OURS",
    "OURS_THROUGH_OPENSLIDE",
    "PEERS",
    "Opened",
    "Reader",
    "installed_version",
]

Read = Callable[[int, int, int, int], NDArray[np.uint8]]
"""``read(x_px, y_px, width_px, height_px)`` gives uint8 (height, width, 3); any thread may."""

ReadBlock = Callable[[Grid, NDArray[np.int64]], object]
"""``read_block(grid, cells)`` reads the square patches of some cells."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An open file: `read` for one region, `read_block` for a block of patches where it differs."""

    read: Read
    read_block: ReadBlock | None = None


@dataclass(frozen=True, slots=True)
class Reader:
    """Something that reads slides.

    Attributes
    ----------
    name : str
        As its distribution is called.
    open_file : callable
        ``open_file(path, cache_bytes)``; the bytes are for decoded tiles.
    requirement : str
        What to install for it.
    """

    name: str
    open_file: Callable[[Path, int], Opened]
    requirement: str = ""


def installed_version(reader: Reader) -> str | None:
    """Return the version of a reader's distribution, None where it is not installed."""
    try:
        return version(reader.name)
    except PackageNotFoundError:
        return None


def _open_ours(path: Path, cache_bytes: int, backend: Backend = "auto") -> Opened:
    shared_cache().most_bytes = cache_bytes
    slide = open_slide(path, backend=backend)

    def read_patches(grid: Grid, cells: NDArray[np.int64]) -> NDArray[np.uint8]:
        return read_block(slide, grid, cells, grid.patch_width_px)

    return Opened(slide.read, read_patches)


def _open_openslide(path: Path, cache_bytes: int) -> Opened:
    import openslide

    slide = openslide.OpenSlide(path)
    slide.set_cache(openslide.OpenSlideCache(cache_bytes))

    def read(x_px: int, y_px: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
        region = slide.read_region((x_px, y_px), 0, (width_px, height_px))
        return np.asarray(region.convert("RGB"))

    return Opened(read)


def _open_tiffslide(path: Path, cache_bytes: int) -> Opened:  # noqa: ARG001 - it has none
    import tiffslide

    slide = tiffslide.TiffSlide(path)

    def read(x_px: int, y_px: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
        pixels = slide.read_region((x_px, y_px), 0, (width_px, height_px), as_array=True)
        return np.asarray(pixels, np.uint8)

    return Opened(read)


def _open_napari_wsi(path: Path, cache_bytes: int) -> Opened:  # noqa: ARG001 - not to be set
    """Open with its OpenSlide backend; what its layers hold are dask arrays over a Zarr store."""
    from napari_wsi.backends.common import WSIReaderBackend
    from napari_wsi.common import open_store

    store = open_store(path, WSIReaderBackend.OPENSLIDE)
    level = store.to_layer_data_tuples()[0][0][0]

    def read(x_px: int, y_px: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
        region = level[y_px : y_px + height_px, x_px : x_px + width_px]
        return np.asarray(region.compute(scheduler="synchronous"))[..., :3]

    return Opened(read)


def _open_bare(path: Path, cache_bytes: int) -> Opened:  # noqa: ARG001 - it has none
    """Read and decode one tile and nothing else: the least that any reader of tiles must do."""
    import tifffile

    with tifffile.TiffFile(path) as tif:
        page = tif.pages.first
        decode = page.decode  # looks into the file
    wide, tall, columns = page.tilewidth, page.tilelength, -(-page.imagewidth // page.tilewidth)
    offsets, sizes = page.dataoffsets, page.databytecounts
    descriptor = os.open(path, os.O_RDONLY)

    def read(x_px: int, y_px: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
        index = y_px // tall * columns + x_px // wide
        data = os.pread(descriptor, sizes[index], offsets[index])
        tile: NDArray[np.uint8] = decode(data, index, jpegtables=page.jpegtables)[0][0]
        return tile[:height_px, :width_px]

    return Opened(read)


OURS = Reader("napari-camelyon", _open_ours)
OURS_THROUGH_OPENSLIDE = Reader(OURS.name, partial(_open_ours, backend="openslide"))
"""As for every format that is no TIFF; OpenSlide's own cache stays as it is, 32 MiB."""
OPENSLIDE = Reader("openslide-python", _open_openslide)
BARE = Reader("bare decoder", _open_bare)
PEERS = (
    OPENSLIDE,
    Reader("tiffslide", _open_tiffslide, "tiffslide>=3.0"),
    Reader("napari-wsi", _open_napari_wsi, "napari-wsi[openslide]>=1.3"),
)
