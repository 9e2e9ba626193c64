"""Proof that tiles decoded directly are the pixels of another reader, once for every file.

A file is trusted to nobody: some of its places on every level are read both ways. The other reader
is OpenSlide; what it does not see of a file is compared with tifffile. The verdict is kept under
the file's fingerprint, for as long as the programs that took part stay the same.
"""

import hashlib
import json
import logging
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_camelyon import __version__
from napari_camelyon.errors import DamagedSlideError, FileWriteError, SlideError
from napari_camelyon.files import atomic_file, cache_folder
from napari_camelyon.slides.levels import StoredLevel
from napari_camelyon.slides.openslide_backend import OpenSlideBackend
from napari_camelyon.slides.tiff_pixels import TiffPixels
from napari_camelyon.slides.tiff_source import TiffSource
from napari_camelyon.slides.tiff_tiles import TiffPage

__all__ = ["is_proven_equal", "is_source_proven", "largest_difference"]

_PLACES = 6
_EMPTY_PLACES = 2
_RANDOM_PLACES = 2
_SIDE_PX = 96
_THREADS = 4
MIXING_TOLERANCE = 2
"""Grey levels that OpenSlide's own rounding costs where it places a region between pixels."""
_BLENDING_TOLERANCE = 2
"""Grey levels by which our own blending of what tifffile gives may be rounded otherwise."""

_TIFFFILE_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
"""What tifffile and zarr raise for files that they do not understand; they name none."""

_Read = Callable[[int, int, int, int], NDArray[np.float64]]


class _Direct(Protocol):
    """What is proven: `TiffPixels`, or a `TiffSource` around them."""

    def read_level(
        self, level: int, column: int, row: int, width: int, height: int
    ) -> NDArray[np.uint8]: ...

    def fullest_places(self, level: int, count: int) -> list[tuple[int, int]]: ...

    def empty_places(self, level: int, count: int) -> list[tuple[int, int]]: ...


def is_proven_equal(slow: OpenSlideBackend, fast: TiffPixels, fingerprint: str) -> bool:
    """Tell whether both give the same pixels; compares them unless the verdict is known.

    Never raises: what cannot be read both ways is not proven.
    """
    return _verdict(
        "openslide",
        fingerprint,
        lambda: largest_difference(slow, fast, seed=int(fingerprint[:8], 16)),
    )


def is_source_proven(source: TiffSource, seen: OpenSlideBackend | None) -> bool:
    """Tell whether a TIFF read without OpenSlide gives the pixels of other readers.

    Level 0 is compared with OpenSlide where it sees it, everything else with tifffile.

    Parameters
    ----------
    source : TiffSource
    seen : OpenSlideBackend or None
        The same file as OpenSlide sees it.

    Raises
    ------
    SlideError
        The file was replaced since it was opened.
    """
    fingerprint = source.fingerprint()

    def compare() -> int | None:
        rng = np.random.default_rng(int(fingerprint[:8], 16))
        by_openslide = seen is not None and _size(seen.levels[0]) == _size(source.levels[0])
        found = []
        if seen is not None and by_openslide:
            found.append(_difference_from_openslide(seen, source, 0, rng))
        first = len(found)
        try:
            with _quiet_tifffile(), tifffile.TiffFile(source.path) as tif:
                found.extend(
                    _difference_from_tifffile(tif, page, source, first + number, rng)
                    for number, page in enumerate(source.pages[first:])
                )
        except _TIFFFILE_ERRORS:
            return 255
        return _of_all_levels(found)

    return _verdict("tifffile", fingerprint, compare)


def largest_difference(slow: OpenSlideBackend, fast: _Direct, *, seed: int = 0) -> int | None:
    """Return by how many grey levels the two differ at some places of every level.

    Where OpenSlide takes a level's downsample for no whole number it mixes neighbouring pixels;
    there it is compared with the same mixture of the direct pixels, and `MIXING_TOLERANCE` grey
    levels count as none. Places that neither can read do not count; those that one alone can read
    count as 255.

    Returns
    -------
    int or None
        None: nothing could be read of a level.

    Raises
    ------
    SlideError
        One of them cannot read the file any more.
    """
    # Most of the time neither reader holds the interpreter's lock.
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="prove") as threads:
        return _of_all_levels(
            list(
                threads.map(
                    lambda index: _difference_from_openslide(
                        slow, fast, index, np.random.default_rng((seed, index))
                    ),
                    range(len(slow.levels)),
                )
            )
        )


def _difference_from_openslide(
    slow: OpenSlideBackend, fast: _Direct, index: int, rng: np.random.Generator
) -> int | None:
    level = slow.levels[index]
    found = []
    for column, row, width, height in _places(fast, slow.levels, index, rng):
        direct = _or_none(fast.read_level, index, column, row, width, height)
        stored = _or_none(slow.read_level, index, column, row, width, height)
        if direct is None or stored is None:
            found.append(None if direct is stored else 255)
            continue
        across = round(column * level.downsample) / level.downsample - column
        down = round(row * level.downsample) / level.downsample - row
        mixed = _shifted(_shifted(direct, down, 0), across, 1)
        # What a mixture at the border needs lies outside the window.
        rim = 1 if across or down else 0
        inside = np.s_[rim : height - rim, rim : width - rim]
        tolerance = MIXING_TOLERANCE if rim else 0
        found.append(_beyond(stored[inside], mixed[inside], tolerance))
    return _worst(found)


def _difference_from_tifffile(
    tif: tifffile.TiffFile,
    page: TiffPage,
    source: TiffSource,
    index: int,
    rng: np.random.Generator,
) -> int | None:
    read = _tifffile_reader(tif, page)
    found = []
    for column, row, width, height in _places(source, source.levels, index, rng):
        direct = _or_none(source.read_level, index, column, row, width, height)
        if direct is None:
            continue  # tifffile may not survive what was found to be damaged
        expected = read(column, row, width, height)
        found.append(_beyond(expected, direct, _BLENDING_TOLERANCE if page.blended else 0))
    return _worst(found)


@contextmanager
def _quiet_tifffile() -> Iterator[None]:
    """Keep what tifffile logs in this thread from the terminal: the verdict says enough."""
    here = threading.get_ident()

    def is_from_elsewhere(record: logging.LogRecord) -> bool:
        return record.thread != here

    logger = logging.getLogger("tifffile")
    logger.addFilter(is_from_elsewhere)
    try:
        yield
    finally:
        logger.removeFilter(is_from_elsewhere)


def _tifffile_reader(tif: tifffile.TiffFile, page: TiffPage) -> _Read:
    """Return what reads regions of an image by tifffile, as RGB over white."""
    import zarr

    tif.filehandle.seek(page.place)
    image = tifffile.TiffPage(tif, index=0)
    if (image.imagewidth, image.imagelength) != (page.width_px, page.height_px):
        raise ValueError("tifffile finds another size")
    array = zarr.open_array(image.aszarr(), mode="r")

    def read(column: int, row: int, width: int, height: int) -> NDArray[np.float64]:
        window = slice(row, row + height), slice(column, column + width)
        if page.planes > 1:
            stored = np.moveaxis(np.asarray(array[(slice(None), *window)]), 0, -1)
        else:
            stored = np.asarray(array[window])
        return _plain_rgb(stored, image)

    return read


def _plain_rgb(stored: NDArray[np.uint8], image: tifffile.TiffPage) -> NDArray[np.float64]:
    pixels = stored.astype(np.float64).reshape(*stored.shape[:2], -1)
    if image.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        pixels = 255 - pixels
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3:] / 255
        apart = image.extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,)
        colour = pixels[..., :3] * alpha if apart else pixels[..., :3]
        pixels = np.minimum(colour + 255 * (1 - alpha), 255)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def _places(
    fast: _Direct, levels: tuple[StoredLevel, ...], index: int, rng: np.random.Generator
) -> Iterator[tuple[int, int, int, int]]:
    """Yield windows of a level: column, row, width, height."""
    level = levels[index]
    width, height = min(_SIDE_PX, level.width_px), min(_SIDE_PX, level.height_px)
    right, bottom = level.width_px - width, level.height_px - height
    yield 0, 0, width, height
    yield right, bottom, width, height
    corners = [
        (int(rng.integers(0, right + 1)), int(rng.integers(0, bottom + 1)))
        for _ in range(_RANDOM_PLACES)
    ]
    # Where much is stored there is tissue: white would agree with anything.
    for column, row in fast.fullest_places(index, _PLACES):
        jitter_x, jitter_y = rng.integers(0, _SIDE_PX, 2).tolist()
        corners.append((column + jitter_x, row + jitter_y))
    # OpenSlide takes what is missing on a level of an Aperio file for missing on coarser ones.
    for finer in range(index + 1):
        factor = levels[finer].downsample / level.downsample
        corners.extend(
            (int(column * factor), int(row * factor))
            for column, row in fast.empty_places(finer, _EMPTY_PLACES)
        )
    for column, row in corners:
        yield min(column, right), min(row, bottom), width, height


def _or_none(
    read: Callable[[int, int, int, int, int], NDArray[np.uint8]],
    level: int,
    column: int,
    row: int,
    width: int,
    height: int,
) -> NDArray[np.float64] | None:
    try:
        return read(level, column, row, width, height).astype(np.float64)
    except DamagedSlideError:
        return None


def _beyond(expected: NDArray[np.float64], found: NDArray[np.float64], tolerance: int) -> int:
    difference = np.abs(expected - found).max(initial=0)
    return 0 if difference <= tolerance else int(np.ceil(difference))


def _worst(differences: Sequence[int | None]) -> int | None:
    return max((each for each in differences if each is not None), default=None)


def _of_all_levels(differences: Sequence[int | None]) -> int | None:
    """Return the largest; None as long as one level is unknown."""
    return None if None in differences else _worst(differences)


def _shifted(pixels: NDArray[np.float64], by: float, axis: int) -> NDArray[np.float64]:
    """Return the mixture of neighbours at places `by` (-1 to 1) pixels farther along an axis."""
    neighbour = np.roll(pixels, -1 if by > 0 else 1, axis)
    return (1 - abs(by)) * pixels + abs(by) * neighbour


def _size(level: StoredLevel) -> tuple[int, int]:
    return level.width_px, level.height_px


def _verdict(other: str, fingerprint: str, compare: Callable[[], int | None]) -> bool:
    known = _verdict_file(other, fingerprint)
    verdict = _known_verdict(known)
    if verdict is None:
        try:
            difference = compare()
        except SlideError:
            return False  # perhaps only unreachable now: nothing to remember
        if difference is None:
            return False
        verdict = difference == 0
        _remember(known, verdict)
    return verdict


@cache
def _programs() -> str:
    others = " ".join(version(name) for name in ("openslide-python", "tifffile", "imagecodecs"))
    return f"{__version__} {others}"


def _verdict_file(other: str, fingerprint: str) -> Path | None:
    key = hashlib.sha256(f"{fingerprint} {other} {_programs()}".encode()).hexdigest()[:32]
    try:
        return cache_folder() / "direct-reading" / f"{key}.json"
    except FileWriteError:
        return None


def _known_verdict(path: Path | None) -> bool | None:
    if path is None:
        return None
    try:
        verdict = json.loads(path.read_text(encoding="utf-8"))["equal"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return verdict if isinstance(verdict, bool) else None


def _remember(path: Path | None, verdict: bool) -> None:
    if path is None:
        return
    try:
        path.parent.mkdir(exist_ok=True)
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps({"equal": verdict}), encoding="utf-8")
    except (FileWriteError, OSError):
        return  # a cache that cannot be written only costs the comparison again
