"""Reading pixels of a level through OpenSlide: the `Source` of most formats."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import numpy as np
import openslide
from numpy.typing import NDArray

from napari_camelyon import files
from napari_camelyon.errors import DamagedSlideError, SlideError
from napari_camelyon.slides.blend import on_white
from napari_camelyon.slides.icc import icc_profile_in_tiff
from napari_camelyon.slides.levels import StoredLevel
from napari_camelyon.slides.open_file import FileIdentity, identity_of, say_if_replaced
from napari_camelyon.slides.tiff_directories import DirectoryChain

__all__ = ["OpenSlideBackend", "detect_vendor"]

# OpenSlide itself splits larger regions and cuts the fraction off the parts' places, which shifts
# them by up to a level-0 pixel where the downsample it assumes is no whole number.
_LARGEST_READ_PX = 4096

# Formats whose pixels lie in other files than the one that is opened: hashing that file alone
# would give the same fingerprint to different slides, or different ones to the same.
_MULTI_FILE_VENDORS = frozenset({"dicom", "hamamatsu", "mirax"})

_Result = TypeVar("_Result")


def detect_vendor(path: Path) -> str | None:
    """Return OpenSlide's name of a file's format, or None when it is no slide. Fast, no error."""
    try:
        return openslide.OpenSlide.detect_format(path)
    except openslide.OpenSlideError:
        return None


class OpenSlideBackend:
    """One file opened by OpenSlide; any thread may read.

    An OpenSlide handle never recovers from its first error: every later read of any region fails
    the same way. So a dead handle is dropped, and the region is tried once more on a fresh one that
    other threads cannot spoil meanwhile; if that works, it becomes the handle that all share.
    A handle is closed when the last thread lets go of it, never under a running read.

    Attributes
    ----------
    name : str
    path : Path
    properties : mapping of str to str
    levels : tuple of StoredLevel
    associated_names : tuple of str
    identity : FileIdentity
        Of the file that was opened; another one may lie at its path later.
    tiff : DirectoryChain or None
        What the file is made of where it is a TIFF that others than OpenSlide may read.

    Raises
    ------
    SlideError
        The file cannot be opened.
    """

    name = "openslide"

    def __init__(self, path: Path, tiff: DirectoryChain | None = None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._closed = False
        self.identity = _identity(path)
        # Another file may have taken the place of the one that was looked into.
        self.tiff = tiff if tiff is None or tiff.file.identity == self.identity else None
        handle = _open(path)
        self._handle: openslide.OpenSlide | None = handle
        try:
            self.properties: Mapping[str, str] = MappingProxyType(dict(handle.properties))
            self.levels = tuple(
                StoredLevel(
                    width,
                    height,
                    downsample,
                    int(self.properties.get(f"openslide.level[{index}].tile-width", 0)),
                    int(self.properties.get(f"openslide.level[{index}].tile-height", 0)),
                )
                for index, ((width, height), downsample) in enumerate(
                    zip(handle.level_dimensions, handle.level_downsamples, strict=True)
                )
            )
            self.associated_names = tuple(handle.associated_images)
        except openslide.OpenSlideError as error:
            raise SlideError(_cannot_open(path, error)) from error

    def read_level(
        self,
        level: int,
        column: int,
        row: int,
        width: int,
        height: int,
        out: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        """Read pixels of a level.

        Parameters
        ----------
        level : int
        column, row : int
            First pixel, in pixels of the level. Where the downsample that OpenSlide assumes is
            no whole number, OpenSlide places the region between pixels and interpolates: what is
            returned is then off by at most half a level-0 pixel, and slightly smoothed.
        width, height : int
            Size in pixels of the level; the region must lie within the level.
        out : ndarray of uint8, shape (height, width, 3), optional
            To be filled and returned.

        Returns
        -------
        ndarray of uint8, shape (height, width, 3)
            RGB; what is transparent is white.

        Raises
        ------
        DamagedSlideError
            A tile in the region is damaged.
        SlideError
            The file is gone or was replaced, or this is closed.
        """
        pixels = np.empty((height, width, 3), dtype=np.uint8) if out is None else out
        for top in range(0, height, _LARGEST_READ_PX):
            for left in range(0, width, _LARGEST_READ_PX):
                part = pixels[top : top + _LARGEST_READ_PX, left : left + _LARGEST_READ_PX]
                self._read_part(level, column + left, row + top, part)
        return pixels

    def associated(self, name: str) -> NDArray[np.uint8]:
        """Read the label, macro or other image beside the slide, shape (height, width, 3)."""
        return self._recovering(
            lambda handle: on_white(np.asarray(handle.associated_images[name])),
            f"its {name} image",
        )

    def fingerprint(self) -> str:
        """Return 32 hexadecimal digits that identify the content. Raises `OSError`."""
        quickhash = self.properties.get("openslide.quickhash-1")
        if self.properties.get("openslide.vendor") in _MULTI_FILE_VENDORS and quickhash:
            return quickhash[:32]
        found = files.fingerprint(self.path)
        say_if_replaced(self.path, self.identity)
        return found

    def icc_profile(self) -> bytes | None:
        """Return the colour profile of the slide's pixels, or None. Raises `SlideError`."""
        profile = self._recovering(
            # An empty region carries it as every region does, and decodes nothing.
            lambda handle: handle.read_region((0, 0), 0, (0, 0)).info.get("icc_profile"),
            "its colour profile",
        )
        # OpenSlide passes over those in Philips' files.
        return icc_profile_in_tiff(self.path) if profile is None else profile

    def close(self) -> None:
        """Let go of the file; reads that run at this moment still finish."""
        with self._lock:
            self._closed = True
            self._handle = None
        self.tiff = None

    def _read_part(self, level: int, column: int, row: int, into: NDArray[np.uint8]) -> None:
        height, width = into.shape[:2]
        stored = self.levels[level]
        x_px, y_px = round(column * stored.downsample), round(row * stored.downsample)

        def read(handle: openslide.OpenSlide) -> None:
            region = handle.read_region((x_px, y_px), level, (width, height))
            if region.getchannel("A").getextrema() == (255, 255):
                # Fewer bytes to take memory for than by way of an array with alpha.
                into[:] = np.frombuffer(region.tobytes("raw", "RGB"), np.uint8).reshape(into.shape)
                return
            rgba = np.array(region)
            # Placed between pixels, the last ones reach beyond the level's edge by a fraction and
            # come out as partly transparent; their colour is right all the same.
            if column + width == stored.width_px and x_px != column * stored.downsample:
                _make_opaque(rgba[:, -1])
            if row + height == stored.height_px and y_px != row * stored.downsample:
                _make_opaque(rgba[-1])
            into[:] = on_white(rgba)

        self._recovering(read, f"level {level} at x={x_px}, y={y_px} ({width} × {height} px)")

    def _recovering(self, read: Callable[[openslide.OpenSlide], _Result], what: str) -> _Result:
        with self._lock:
            if self._closed:
                raise SlideError(f"{self.path.name} is closed: open it again to read from it.")
            shared = self._handle
        if shared is not None:
            try:
                result = read(shared)
            except openslide.OpenSlideError:
                self._replace(shared, None)
            else:
                # OpenSlide opens the file anew for every read: where another one lies there by
                # now, it has taken that one's bytes for the old one's tiles.
                say_if_replaced(self.path, self.identity)
                return result
        say_if_replaced(self.path, self.identity)
        own = _open(self.path)
        try:
            result = read(own)
        except openslide.OpenSlideError as error:
            raise DamagedSlideError(
                f"{self.path} cannot be read: {what} is damaged ({error}). "
                "Compare the file with its original or fetch it again."
            ) from error
        self._replace(None, own)
        return result

    def _replace(
        self, current: openslide.OpenSlide | None, other: openslide.OpenSlide | None
    ) -> None:
        """Exchange the shared handle unless another thread has already done so."""
        with self._lock:
            if self._handle is current and not self._closed:
                self._handle = other


def _open(path: Path) -> openslide.OpenSlide:
    try:
        return openslide.OpenSlide(path)
    except openslide.OpenSlideUnsupportedFormatError as error:
        raise SlideError(
            f"{path} is not a slide that can be read: expected SVS, NDPI, MRXS, SCN, BIF, DICOM "
            "or a tiled TIFF."
        ) from error
    except openslide.OpenSlideError as error:
        raise SlideError(_cannot_open(path, error)) from error


def _cannot_open(path: Path, error: openslide.OpenSlideError) -> str:
    return (
        f"{path} cannot be opened ({error}). It may be damaged, cut off or of an unsupported kind: "
        "compare it with its original or fetch it again."
    )


def _make_opaque(edge: NDArray[np.uint8]) -> None:
    alpha = edge[..., 3]
    alpha[alpha > 0] = 255


def _identity(path: Path) -> FileIdentity:
    try:
        return identity_of(path)
    except OSError as error:
        raise SlideError(f"{path} cannot be opened ({error.strerror}).") from error
