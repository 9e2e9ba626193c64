"""A TIFF as a slide of its own, where OpenSlide does not know it or sees a part of it only.

These are OME-TIFFs, whose pyramids lie in sub-directories, and small TIFFs in strips. What they
say of themselves is given under OpenSlide's names.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_camelyon import files
from napari_camelyon.errors import SlideError
from napari_camelyon.slides.icc import icc_profile_in_tiff
from napari_camelyon.slides.levels import StoredLevel
from napari_camelyon.slides.ome_xml import OmeImage, OmeXmlError, is_ome_xml, read_ome_xml
from napari_camelyon.slides.open_file import OpenFile, say_if_replaced
from napari_camelyon.slides.tiff_directories import Directory, DirectoryChain
from napari_camelyon.slides.tiff_pixels import TiffPixels
from napari_camelyon.slides.tiff_tiles import (
    LARGEST_STRIPPED_PX,
    TiffPage,
    UnsupportedTiffError,
    tiff_page,
)
from napari_camelyon.slides.tile_cache import TileCache

__all__ = ["TiffImages", "TiffSource", "find_images", "refuse_false_claims"]

_DESCRIPTION = 270
_TEXTS = {
    _DESCRIPTION: "ImageDescription",
    271: "Make",
    272: "Model",
    305: "Software",
    306: "DateTime",
    315: "Artist",
    316: "HostComputer",
    33432: "Copyright",
    269: "DocumentName",
}
_RATIOS = {282: "XResolution", 283: "YResolution", 286: "XPosition", 287: "YPosition"}
_RESOLUTION_UNITS = {1: "none", 2: "inch", 3: "centimeter"}
_UM_A_RESOLUTION_UNIT = {2: 25_400.0, 3: 10_000.0}
_LARGEST_OPENSLIDE_TILE_PX = 1 << 28  # 1 GiB as OpenSlide keeps it
_REDUCED = 1  # the bit of NewSubfileType
_LARGEST_ASPECT_ERROR = 0.05
"""By which the aspect of a level may differ beyond rounding: padding does, a label does more."""


@dataclass(frozen=True)
class TiffImages:
    """What a TIFF holds.

    Attributes
    ----------
    levels : tuple of TiffPage
        Of the slide, finest first.
    associated : mapping of str to TiffPage
        Images beside it.
    properties : mapping of str to str
    is_ome : bool
    """

    levels: tuple[TiffPage, ...]
    associated: Mapping[str, TiffPage]
    properties: Mapping[str, str]
    is_ome: bool


def find_images(chain: DirectoryChain | None) -> TiffImages | None:
    """Find the slide in a TIFF, its levels and what lies beside it.

    Parameters
    ----------
    chain : DirectoryChain or None
        As `read_directories` gives it.

    Returns
    -------
    TiffImages or None
        None: the file is no TIFF.

    Raises
    ------
    UnsupportedTiffError
        It is one, but holds no image that can be read; the message ends a sentence.
    SlideError
        The file cannot be read any more.
    """
    if chain is None:
        return None
    directories = chain.directories
    if not directories:
        raise UnsupportedTiffError("its first directory is damaged or was cut off")
    if not chain.complete:
        # Levels that are listed and not there would be missed in silence.
        raise UnsupportedTiffError(
            "its directories cannot be followed to the end, so it may be damaged or cut off"
        )
    description = directories[0].text(_DESCRIPTION)
    if not is_ome_xml(description):
        levels = _pyramid(directories, 0)
        return TiffImages(levels, {}, _properties(directories[0], levels, None), False)
    try:
        images = read_ome_xml(description or "")
    except OmeXmlError as error:
        raise UnsupportedTiffError(str(error)) from error
    main, levels = _largest(images, directories)
    associated: dict[str, TiffPage] = {}
    for image in images:
        if image is not main:
            _add_associated(associated, image, directories)
    properties = _properties(directories[main.directory], levels, main)
    if main is not images[0] and description is not None:
        properties["tiff.ImageDescription"] = properties["openslide.comment"] = description
    return TiffImages(levels, associated, properties, True)


def refuse_false_claims(chain: DirectoryChain) -> None:
    """Refuse a TIFF that would end the whole program inside OpenSlide.

    OpenSlide (4.0) takes memory for what a tile claims to be, and where there is not enough the
    process is aborted: one wrong bit among the lengths of the tiles of a BigTIFF does. What is no
    TIFF is not looked at.

    Raises
    ------
    SlideError
        A tile claims to be larger than the file, or than any tile.
    """
    file = chain.file
    for directory in chain.directories:
        wide, tall = directory.number(322, 0), directory.number(323, 0)
        if wide * tall > _LARGEST_OPENSLIDE_TILE_PX:
            raise SlideError(
                f"{file.path} is damaged: it claims tiles of {wide} × {tall} px. Compare it with "
                "its original or fetch it again."
            )
        sizes = directory.array(325, directory.count(325))
        if sizes is not None and int(sizes.max(initial=0)) > file.identity.size:
            raise SlideError(
                f"{file.path} is damaged: it claims a tile of {int(sizes.max())} bytes and has "
                f"{file.identity.size}. Compare it with its original or fetch it again; a script "
                'may open it with backend="tiff" to read the other tiles.'
            )


def _largest(
    images: Sequence[OmeImage], directories: Sequence[Directory]
) -> tuple[OmeImage, tuple[TiffPage, ...]]:
    found: list[tuple[OmeImage, tuple[TiffPage, ...]]] = []
    reason = "its OME-XML describes no image"
    for image in images:
        try:
            found.append((image, _levels_of(image, directories)))
        except UnsupportedTiffError as error:
            reason = str(error)
    if not found:
        raise UnsupportedTiffError(reason)
    return max(found, key=lambda pair: pair[1][0].width_px * pair[1][0].height_px)


def _levels_of(image: OmeImage, directories: Sequence[Directory]) -> tuple[TiffPage, ...]:
    if image.elsewhere:
        raise UnsupportedTiffError("its pixels lie in other files of the same OME-TIFF set")
    if image.size_z > 1 or image.size_t > 1:
        raise UnsupportedTiffError(
            f"it is a stack of {image.size_z} planes and {image.size_t} times, not one image"
        )
    if image.directory >= len(directories):
        raise UnsupportedTiffError("its OME-XML names an image that the file does not have")
    levels = _pyramid(directories, image.directory)
    if image.size_c != levels[0].samples:
        raise UnsupportedTiffError(
            f"its {image.size_c} channels are stored one by one, as of fluorescence, not as RGB"
        )
    return levels


def _pyramid(directories: Sequence[Directory], index: int) -> tuple[TiffPage, ...]:
    """Return an image and its smaller copies: its sub-directories, else those that follow it."""
    base = directories[index]
    if base.number(274, 1) != 1:
        raise UnsupportedTiffError("it is stored turned or mirrored (its orientation is not 1)")
    levels = [tiff_page(base)]
    for directory in base.children or _reduced(directories[index + 1 :]):
        try:
            page = tiff_page(directory)
        except UnsupportedTiffError:
            continue  # what is coarser can be averaged
        if _follows(levels[0], levels[-1], page):
            levels.append(page)
    return tuple(levels)


def _reduced(directories: Sequence[Directory]) -> Iterator[Directory]:
    return (one for one in directories if one.number(254, 0) & _REDUCED)


def _follows(base: TiffPage, previous: TiffPage, page: TiffPage) -> bool:
    if not (page.width_px < previous.width_px and page.height_px <= previous.height_px):
        return False
    if page.tiled != base.tiled or page.samples != base.samples:
        return False  # labels and overviews are stored in strips
    across, down = base.width_px / page.width_px, base.height_px / page.height_px
    # Rounding up or down to a whole pixel changes either by less than its part of one pixel.
    slack = _LARGEST_ASPECT_ERROR + 1 / page.width_px + 1 / page.height_px
    return abs(across / down - 1) <= slack


def _add_associated(
    associated: dict[str, TiffPage], image: OmeImage, directories: Sequence[Directory]
) -> None:
    try:
        page = _levels_of(image, directories)[0]
    except UnsupportedTiffError:
        return
    if page.width_px * page.height_px > LARGEST_STRIPPED_PX:
        return  # another slide, not an image beside this one
    known = ("label", "macro", "thumbnail")
    name = next((word for word in known if word in image.name.lower()), image.name) or "image"
    while name in associated:
        name += "'"
    associated[name] = page


def _properties(
    directory: Directory, levels: Sequence[TiffPage], image: OmeImage | None
) -> dict[str, str]:
    found = {
        "openslide.vendor": "tiff" if image is None else "ome-tiff",
        "openslide.level-count": str(len(levels)),
    }
    for code, name in _TEXTS.items():
        text = directory.text(code)
        if text:
            found[f"tiff.{name}"] = text
    if "tiff.ImageDescription" in found:
        found["openslide.comment"] = found["tiff.ImageDescription"]
    for code, name in _RATIOS.items():
        value = directory.ratio(code)
        if value is not None:
            found[f"tiff.{name}"] = repr(value)
    unit = directory.number(296, 2)
    found["tiff.ResolutionUnit"] = _RESOLUTION_UNITS.get(unit, "unknown")
    for axis, value in zip("xy", _mpp(directory, unit, image), strict=True):
        if value is not None:
            found[f"openslide.mpp-{axis}"] = repr(value)
    if image is not None and image.objective_power is not None:
        found["openslide.objective-power"] = f"{image.objective_power:g}"
    for index, (page, level) in enumerate(zip(levels, _stored(levels), strict=True)):
        prefix = f"openslide.level[{index}]"
        found[f"{prefix}.width"] = str(page.width_px)
        found[f"{prefix}.height"] = str(page.height_px)
        found[f"{prefix}.downsample"] = repr(level.downsample)
        if page.tiled:
            found[f"{prefix}.tile-width"] = str(page.tile_width_px)
            found[f"{prefix}.tile-height"] = str(page.tile_height_px)
    return found


def _mpp(
    directory: Directory, unit: int, image: OmeImage | None
) -> tuple[float | None, float | None]:
    """Return µm per pixel: OME-XML's, else the resolution's, which `choose_mpp` may disbelieve."""
    if image is not None and image.mpp is not None:
        return image.mpp
    if unit not in _UM_A_RESOLUTION_UNIT:
        return None, None
    x, y = (directory.ratio(code) for code in (282, 283))
    um = _UM_A_RESOLUTION_UNIT[unit]
    return (um / x if x and x > 0 else None), (um / y if y and y > 0 else None)


def _stored(levels: Sequence[TiffPage]) -> tuple[StoredLevel, ...]:
    base = levels[0]
    return tuple(
        StoredLevel(
            page.width_px,
            page.height_px,
            # As OpenSlide does: the mean of both ratios.
            (base.width_px / page.width_px + base.height_px / page.height_px) / 2,
            page.tile_width_px if page.tiled else 0,
            page.tile_height_px if page.tiled else 0,
        )
        for page in levels
    )


class TiffSource:
    """A TIFF that is read without OpenSlide; any thread may read. See `Source`.

    Parameters
    ----------
    file : OpenFile
    images : TiffImages
        As `find_images` gives them for this file.
    cache : TileCache
    """

    name = "tiff"

    def __init__(self, file: OpenFile, images: TiffImages, cache: TileCache) -> None:
        self.path: Path = file.path
        self.properties = images.properties
        self.levels = _stored(images.levels)
        self.associated_names = tuple(images.associated)
        self.pages = images.levels
        self._identity = file.identity
        self._beside = tuple(images.associated.values())
        # The images beside the slide are read as if they were levels after the last one.
        self._pixels = TiffPixels(
            file,
            images.levels + self._beside,
            (*(level.downsample for level in self.levels), *(1.0 for _ in self._beside)),
            cache,
        )

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
        return self._pixels.read_level(level, column, row, width, height, out)

    def fullest_places(self, level: int, count: int) -> list[tuple[int, int]]:
        """Return the corners, in pixels of a level, of the tiles that take the most bytes."""
        return self._pixels.fullest_places(level, count)

    def empty_places(self, level: int, count: int) -> list[tuple[int, int]]:
        """Return the corners, in pixels of a level, of the first tiles that hold nothing."""
        return self._pixels.empty_places(level, count)

    def associated(self, name: str) -> NDArray[np.uint8]:
        """Read an image beside the slide, shape (height, width, 3). Raises SlideError."""
        index = self.associated_names.index(name)
        page = self._beside[index]
        return self.read_level(len(self.levels) + index, 0, 0, page.width_px, page.height_px)

    def icc_profile(self) -> bytes | None:
        """Return the colour profile of the slide's pixels, or None."""
        return icc_profile_in_tiff(self.path)

    def fingerprint(self) -> str:
        """Return 32 hexadecimal digits that identify the content.

        Raises
        ------
        SlideError
            The file is gone, or another one lies at the path by now.
        """
        say_if_replaced(self.path, self._identity)
        try:
            found = files.fingerprint(self.path)
        except OSError as error:
            raise SlideError(f"{self.path} cannot be read any more ({error.strerror}).") from error
        say_if_replaced(self.path, self._identity)
        return found

    def close(self) -> None:
        """Let go of the file; reads that run at this moment still finish."""
        self._pixels.close()
