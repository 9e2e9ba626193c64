"""What a slide is read from: a file that OpenSlide knows, or a format with a module of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import SlideError
from napari_camelyon.slides.levels import StoredLevel
from napari_camelyon.slides.ome_zarr import OmeZarrSource
from napari_camelyon.slides.ome_zarr_metadata import is_ome_zarr_slide, is_zarr
from napari_camelyon.slides.openslide_backend import OpenSlideBackend, detect_vendor
from napari_camelyon.slides.tile_cache import shared_cache

__all__ = ["Source", "is_slide", "open_source", "slide_name"]


class Source(Protocol):
    """An open slide as its format gives it; any thread may read.

    It knows the stored levels and returns their pixels; where these lie on the slide is the
    business of `Slide`.
    """

    @property
    def name(self) -> str:
        """What reads the pixels, as `Slide.backend` says it: "openslide" or "zarr"."""

    @property
    def path(self) -> Path:
        """File, or folder, that was opened."""

    @property
    def properties(self) -> Mapping[str, str]:
        """All metadata. What `Slide` uses goes by OpenSlide's names, whatever the format.

        These are ``openslide.vendor``, ``openslide.mpp-x`` and ``-y`` (µm per level-0 pixel),
        ``openslide.objective-power`` and ``openslide.bounds-x``, ``-y``, ``-width``, ``-height``.
        """

    @property
    def levels(self) -> tuple[StoredLevel, ...]:
        """Stored levels, finest first."""

    @property
    def associated_names(self) -> tuple[str, ...]:
        """What `associated` can return."""

    def read_level(
        self, level: int, column: int, row: int, width: int, height: int
    ) -> NDArray[np.uint8]:
        """Read pixels of a level.

        Parameters
        ----------
        level : int
        column, row : int
            First pixel, in pixels of the level.
        width, height : int
            Size in pixels of the level; the region must lie within the level.

        Returns
        -------
        ndarray of uint8, shape (height, width, 3)
            RGB; what is transparent is white. The caller may write into it.

        Raises
        ------
        SlideError
            A part of the region is damaged, or the slide is gone or closed.
        """

    def associated(self, name: str) -> NDArray[np.uint8]:
        """Read an image beside the slide, shape (height, width, 3). Raises `SlideError`."""

    def fingerprint(self) -> str:
        """Return 32 hexadecimal digits that identify the content. Raises `OSError`."""

    def close(self) -> None:
        """Let go of the file; reads that run at this moment still finish."""


def is_slide(path: Path | str) -> bool:
    """Tell quickly, from the first bytes of the file, whether a path is a slide.

    A folder is one when it holds DICOM files of a slide, or is an OME-Zarr image of 8-bit colour
    or grey. Never raises.
    """
    path = Path(path)
    try:
        if is_zarr(path):
            return is_ome_zarr_slide(path)
        return detect_vendor(_file_to_open(path)) is not None
    except (SlideError, OSError):
        return False


def open_source(path: Path) -> Source:
    """Open what a path holds by the module that reads its format.

    Raises
    ------
    SlideError
        There is no such file, it is no slide, or it is damaged.
    """
    if is_zarr(path):
        return OmeZarrSource(path, shared_cache())
    return OpenSlideBackend(_file_to_open(path))


def slide_name(path: Path) -> str:
    """Return the name of a slide: that of its file or Zarr folder without the suffix.

    Other folders keep what follows a dot. The path need not exist.
    """
    return path.name if path.is_dir() and path.suffix.lower() != ".zarr" else path.stem


def _file_to_open(path: Path) -> Path:
    if path.is_dir():
        first = next((file for file in sorted(path.glob("*.dcm")) if detect_vendor(file)), None)
        if first is None:
            raise SlideError(
                f"{path} is a folder without the DICOM files or the OME-Zarr image of a slide: "
                "choose a slide file."
            )
        return first
    try:
        with path.open("rb"):
            return path
    except FileNotFoundError as error:
        raise SlideError(f"There is no slide {path}: check the name.") from error
    except OSError as error:
        raise SlideError(f"{path} cannot be opened ({error.strerror}).") from error
