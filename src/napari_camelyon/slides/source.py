"""What a slide is read from: a file that OpenSlide knows, or a format with a module of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import SlideError
from napari_camelyon.slides.levels import StoredLevel
from napari_camelyon.slides.ome_zarr import OmeZarrSource
from napari_camelyon.slides.ome_zarr_metadata import is_ome_zarr_slide, is_zarr
from napari_camelyon.slides.open_file import OpenFile
from napari_camelyon.slides.openslide_backend import OpenSlideBackend, detect_vendor
from napari_camelyon.slides.proof import is_source_proven
from napari_camelyon.slides.tiff_directories import DirectoryChain, read_directories
from napari_camelyon.slides.tiff_source import (
    TiffImages,
    TiffSource,
    find_images,
    refuse_false_claims,
)
from napari_camelyon.slides.tiff_tiles import UnsupportedTiffError
from napari_camelyon.slides.tile_cache import shared_cache

__all__ = ["Backend", "Source", "is_slide", "open_source", "slide_name"]

Backend = Literal["auto", "openslide", "tiff"]

_OWN_LAYOUT = ("hamamatsu",)
"""Vendors, by OpenSlide's names, whose TIFFs do not keep to the standard's layout."""
_ANY_TIFF = "generic-tiff"
"""OpenSlide's name of TIFFs of no vendor it knows: only these may hold more than it sees."""


class Source(Protocol):
    """An open slide as its format gives it; any thread may read.

    It knows the stored levels and returns their pixels; where these lie on the slide is the
    business of `Slide`.
    """

    @property
    def name(self) -> str:
        """What reads the pixels, as `Slide.backend` says it: "openslide", "tiff" or "zarr"."""

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
            First pixel, in pixels of the level.
        width, height : int
            Size in pixels of the level; the region must lie within the level.
        out : ndarray of uint8, shape (height, width, 3), optional
            To be filled and returned.

        Returns
        -------
        ndarray of uint8, shape (height, width, 3)
            RGB; what is transparent is white. The caller may write into it.

        Raises
        ------
        DamagedSlideError
            A part of the region is damaged.
        SlideError
            The slide is gone or closed.
        """

    def associated(self, name: str) -> NDArray[np.uint8]:
        """Read an image beside the slide, shape (height, width, 3). Raises `SlideError`."""

    def icc_profile(self) -> bytes | None:
        """Return the colour profile of the slide's pixels, or None. Raises `SlideError`."""

    def fingerprint(self) -> str:
        """Return 32 hexadecimal digits that identify the content. Raises `OSError`."""

    def close(self) -> None:
        """Let go of the file; reads that run at this moment still finish."""


def is_slide(path: Path | str) -> bool:
    """Tell quickly, from the directories of the file, whether a path is a slide.

    A folder is one when it holds DICOM files of a slide, or is an OME-Zarr image of 8-bit colour
    or grey. Of the TIFFs that OpenSlide does not know, those are slides that `open_slide` reads and
    that have tiles or levels: one image in strips opens as well when asked for, but is more often a
    figure or a photograph, which is left to others. Never raises.
    """
    path = Path(path)
    try:
        if is_zarr(path):
            return is_ome_zarr_slide(path)
        file = _file_to_open(path)
        if detect_vendor(file) is not None:
            return True
        images = find_images(read_directories(OpenFile(file)))
    except (SlideError, UnsupportedTiffError, OSError):
        return False
    return images is not None and (images.levels[0].tiled or len(images.levels) > 1)


def open_source(path: Path, backend: Backend = "auto") -> Source:
    """Open what a path holds by the module that reads its format.

    Parameters
    ----------
    path : Path
    backend : str
        As `open_slide` takes it.

    Raises
    ------
    SlideError
        There is no such file, it is no slide, or it is damaged.
    """
    if is_zarr(path):
        if backend != "auto":
            raise SlideError(
                f"{path.name} is an OME-Zarr image and not read by {backend}: open it with "
                'backend="auto".'
            )
        return OmeZarrSource(path, shared_cache())
    file = _file_to_open(path)
    vendor = detect_vendor(file)
    if vendor in _OWN_LAYOUT or (vendor is None and backend == "openslide"):
        return OpenSlideBackend(file)
    chain = read_directories(OpenFile(file))
    if chain is not None and vendor is not None and backend != "tiff":
        refuse_false_claims(chain)
    if backend == "openslide":
        return OpenSlideBackend(file)
    if chain is None or vendor not in {None, _ANY_TIFF}:
        return OpenSlideBackend(file, chain)
    return _open_tiff(chain, None if vendor is None else _try_openslide(chain), backend)


def _try_openslide(chain: DirectoryChain) -> OpenSlideBackend | SlideError:
    try:
        return OpenSlideBackend(chain.file.path, chain)
    except SlideError as error:
        return error


def _open_tiff(
    chain: DirectoryChain, slow: OpenSlideBackend | SlideError | None, backend: Backend
) -> Source:
    """Open a TIFF by itself where it is more than OpenSlide sees, and proven to be read right.

    `slow` is the file as OpenSlide sees it, or why it does not open, or None: it is no slide to it.
    """
    path = chain.file.path
    try:
        images = find_images(chain)
    except UnsupportedTiffError as error:
        if slow is None:
            raise SlideError(f"{path} cannot be read as a slide: {error}.") from error
        images = None
    if isinstance(slow, OpenSlideBackend) and not _sees_more(images, slow):
        return slow
    if images is None:
        if isinstance(slow, SlideError):
            raise slow
        return OpenSlideBackend(path)  # which says that it is no slide
    source = TiffSource(chain.file, images, shared_cache())
    seen = slow if isinstance(slow, OpenSlideBackend) else None
    if backend == "tiff" or is_source_proven(source, seen):
        if seen is not None:
            seen.close()
        return source
    source.close()
    if seen is not None:
        return seen
    raise SlideError(
        f"{path} cannot be read as a slide: two readers get different pixels from it, or none. "
        "It may be damaged; compare it with its original or fetch it again."
    )


def _sees_more(images: TiffImages | None, slow: OpenSlideBackend) -> bool:
    return images is not None and (images.is_ome or len(images.levels) > len(slow.levels))


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
