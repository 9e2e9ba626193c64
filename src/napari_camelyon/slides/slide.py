"""A whole-slide image: its levels, its pixel size, and its pixels anywhere on any level."""

import functools
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import DamagedSlideError, MissingMppError, SlideError
from napari_camelyon.geometry import Mpp, nearest_level_pixel
from napari_camelyon.slides import alignment
from napari_camelyon.slides.kept_mpp import find_kept_mpp
from napari_camelyon.slides.levels import LONGEST_SIDE_PX, Level, true_levels
from napari_camelyon.slides.mpp import KeptMpp, choose_mpp, mpp_hint
from napari_camelyon.slides.openslide_backend import OpenSlideBackend
from napari_camelyon.slides.proof import is_proven_equal
from napari_camelyon.slides.resample import read_downsampled, read_resampled, resize_box
from napari_camelyon.slides.source import Backend, Source, open_source, slide_name
from napari_camelyon.slides.tiff_pixels import TiffPixels, tiff_pixels
from napari_camelyon.slides.tile_cache import shared_cache

__all__ = ["DAMAGED_RGB", "Backend", "Damage", "Slide", "open_slide"]


DAMAGED_RGB = (255, 0, 255)
"""Colour of what cannot be read: magenta-like tones do not fill 256-pixel squares in tissue."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A part of a slide that cannot be read.

    Attributes
    ----------
    error : DamagedSlideError
        What is wrong there.
    x_px, y_px : float
        Slide point of its top-left corner.
    width_px, height_px : float
        Its size in level-0 pixels: of a damaged tile, as far as it was asked for.
    """

    error: DamagedSlideError
    x_px: float
    y_px: float
    width_px: float
    height_px: float


def open_slide(
    path: Path | str,
    *,
    mpp: float | tuple[float, float] | None = None,
    backend: Backend = "auto",
) -> "Slide":
    """Open a whole-slide image.

    Parameters
    ----------
    path : path-like
        A slide file, a folder with the DICOM files of one slide, or an OME-Zarr folder.
    mpp : float or tuple of float, optional
        Micrometres per level-0 pixel, or ``(x, y)`` of it; wins over what was kept with
        `keep_mpp`, which wins over what the file states.
    backend : str
        What reads the pixels: "openslide"; "tiff", which decodes a TIFF's tiles directly and is
        several times as fast; or "auto": the latter for files where it gives the same pixels,
        which is tried out at the first reading of a file that is not known (`slides.proof`).
        Of an OME-TIFF "openslide" sees the finest level alone.

    Returns
    -------
    Slide
        Close it, or use it as a context manager.

    Raises
    ------
    SlideError
        There is no such file, it is no slide, it is damaged, or `mpp` cannot be right.
    """
    return Slide(Path(path), mpp, backend)


class Slide:
    """An open whole-slide image; any thread may read, and it pickles by its path.

    Attributes
    ----------
    path : Path
        Absolute path of the file, or of the folder with the DICOM files or the OME-Zarr image.
    name : str
        Name without the suffix; identifies the slide in layers and results.
    width_px, height_px : int
        Size of level 0.
    levels : tuple of Level
        Finest first, with true downsamples.
    mpp : tuple of float or None
        Micrometres per level-0 pixel ``(x, y)``; None when unknown.
    mpp_note : str
        Where `mpp` comes from, or why it is unknown.
    objective_power : float or None
        Magnification that the file states.
    vendor : str
        Format, as OpenSlide calls it; "ome-zarr".
    properties : mapping of str to str
        All metadata of the file.
    associated_names : tuple of str
        What `associated` can return.
    bounds_px : tuple of int
        ``(x, y, width, height)`` in level-0 pixels of what was scanned; some formats (MRXS) leave
        a wide empty margin around it. Slide points are measured from the image corner all the same.
    tile_px : int
        Longer side of the file's tiles at level 0; 256 when the file does not say.
    """

    def __init__(
        self,
        path: Path,
        mpp: float | tuple[float, float] | None = None,
        backend: Backend = "auto",
    ) -> None:
        self.path = path.expanduser().absolute()
        self.name = slide_name(self.path)
        self._wanted_backend = backend
        self._source: Source = open_source(self.path, backend)
        self.properties: Mapping[str, str] = self._source.properties
        self.vendor = self.properties.get("openslide.vendor", "unknown")
        self.levels: tuple[Level, ...] = true_levels(self._source.levels)
        self.width_px, self.height_px = self.levels[0].width_px, self.levels[0].height_px
        if max(self.width_px, self.height_px) > LONGEST_SIDE_PX:
            raise SlideError(
                f"{self.path} claims to measure {self.width_px} × {self.height_px} px, which no "
                "slide does: it is damaged. Compare it with its original or fetch it again."
            )
        self.mpp: Mpp | None
        kept = KeptMpp() if mpp is not None else find_kept_mpp(self.path, lambda: self.fingerprint)
        self.mpp, self.mpp_note = choose_mpp(self.properties, mpp, self.path.name, kept)
        # For a process on another machine, which does not find what was kept on this one.
        self._given_mpp = kept.mpp if mpp is None else mpp
        self.objective_power = _number(self.properties.get("openslide.objective-power"))
        self.associated_names = self._source.associated_names
        self.bounds_px = _bounds(self.properties, self.width_px, self.height_px)
        first = self._source.levels[0]
        self.tile_px = max(first.tile_width_px, first.tile_height_px) or 256
        self._choosing = threading.Lock()
        self._pixels_if_chosen: Source | TiffPixels | None = None

    def __repr__(self) -> str:
        return f"<Slide {self.name}: {self.width_px} × {self.height_px} px, {self.vendor}>"

    def __reduce__(self) -> tuple[Callable[..., "Slide"], tuple[Path]]:
        return functools.partial(open_slide, mpp=self._given_mpp, backend=self._wanted_backend), (
            self.path,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file. Reads that run at this moment finish; later ones raise SlideError."""
        self._source.close()
        with self._choosing:
            if self._pixels_if_chosen is None:
                self._pixels_if_chosen = self._source  # which says that it is closed
            elif isinstance(self._pixels_if_chosen, TiffPixels):
                self._pixels_if_chosen.close()

    @property
    def backend(self) -> str:
        """What reads the pixels: "tiff", or the `Source.name` of the slide's format."""
        return self._pixels.name

    @property
    def _pixels(self) -> Source | TiffPixels:
        if self._pixels_if_chosen is None:
            with self._choosing:
                if self._pixels_if_chosen is None:
                    self._pixels_if_chosen = self._choose_pixels()
        return self._pixels_if_chosen

    def _choose_pixels(self) -> Source | TiffPixels:
        if self._wanted_backend == "openslide" or not isinstance(self._source, OpenSlideBackend):
            return self._source
        source = self._source
        chain, source.tiff = source.tiff, None  # which takes megabytes and is not needed again
        direct = None if chain is None else tiff_pixels(chain, source.levels, shared_cache())
        if self._wanted_backend == "tiff":
            if direct is None:
                raise SlideError(
                    f"{self.path.name} is no TIFF whose tiles can be decoded directly: "
                    'open it with backend="openslide".'
                )
            return direct
        if direct is None:
            return self._source
        if is_proven_equal(self._source, direct, self.fingerprint):
            return direct
        direct.close()
        return self._source

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that identify the slide's content, also after a move."""
        try:
            return self._source.fingerprint()
        except SlideError:
            raise
        except OSError as error:
            raise SlideError(
                f"{self.path} cannot be read any more ({error.strerror}): was it moved?"
            ) from error

    @cached_property
    def icc_profile(self) -> bytes | None:
        """The ICC profile of the scanner's colours, or None; see `slides.colour`."""
        return self._source.icc_profile()

    def require_mpp(self) -> Mpp:
        """Return the pixel size, or raise MissingMppError with the advice how to give it."""
        if self.mpp is None:
            power = self.objective_power
            states = "" if power is None else f" The file states a {power:g}× objective."
            raise MissingMppError(
                f"The pixel size of {self.path.name} is unknown: {self.mpp_note}.{states} "
                "Give micrometres per pixel with --mpp, in the dock, or for good with "
                f"napari-camelyon mpp; {mpp_hint(power)[1]}."
            )
        return self.mpp

    def read(
        self,
        x_px: int,
        y_px: int,
        width_px: int,
        height_px: int,
        level: int = 0,
        *,
        mpp: float | None = None,
        out: NDArray[np.uint8] | None = None,
        on_damage: Callable[[Damage], object] | None = None,
    ) -> NDArray[np.uint8]:
        """Read a region, of a level or at a pixel size.

        Parameters
        ----------
        x_px, y_px : int
            Slide point of the region's top-left corner, level-0 pixels. On a coarser level the
            region begins at the pixel edge nearest to it, so that pixels come as they are stored
            and not mixed from neighbours (with OpenSlide's exception, see
            `OpenSlideBackend.read_level`).
        width_px, height_px : int
            Size in pixels **of the level**, or of the result where `mpp` is given.
        level : int
            0 is the finest. Not together with `mpp`.
        mpp : float, optional
            Micrometres per pixel of the result, along both axes, whatever the slide's own pixels
            measure. The region then begins exactly at its slide point. Its pixels are means over
            the areas that they cover on the next finer level; where they are smaller than those of
            level 0 they are interpolated linearly.
        out : ndarray of uint8, shape (height_px, width_px, 3), optional
            To be filled and returned; may be a part of a larger array. After an error its content
            is undefined.
        on_damage : callable, optional
            Called with each damaged tile in the region, which is then filled with `DAMAGED_RGB`
            while everything else is read as usual. Without it, damage is an error.

        Returns
        -------
        ndarray of uint8, shape (height_px, width_px, 3)
            RGB; white outside the slide and where nothing was scanned.

        Raises
        ------
        DamagedSlideError
            The slide is damaged there, and `on_damage` is not given.
        SlideError
            The slide is gone or closed.
        MissingMppError
            `mpp` is given, but the slide does not say how large its pixels are.
        IndexError
            There is no such level.
        ValueError
            A size is negative, `out` does not fit, `mpp` is not above 0, or both a level and `mpp`
            are given.
        """
        if not 0 <= level < len(self.levels):
            raise IndexError(f"{self.name} has levels 0 to {len(self.levels) - 1}, not {level}.")
        if width_px < 0 or height_px < 0:
            raise ValueError(f"A region cannot measure {width_px} × {height_px} pixels.")
        shape = (height_px, width_px, 3)
        if out is not None and (out.shape != shape or out.dtype != np.uint8):
            raise ValueError(
                f"This region needs an array of uint8 of shape {shape} to be read into, not of "
                f"{out.dtype} of shape {out.shape}."
            )
        if mpp is not None:
            found = self._read_at_mpp(x_px, y_px, (width_px, height_px), level, mpp, on_damage)
            if out is None:
                return found
            out[:] = found
            return out
        stored = self.levels[level]
        column, row = nearest_level_pixel(x_px, y_px, (stored.downsample_x, stored.downsample_y))
        left, top = max(column, 0), max(row, 0)
        right = min(column + width_px, stored.width_px)
        bottom = min(row + height_px, stored.height_px)
        if (left, top, right, bottom) == (column, row, column + width_px, row + height_px):
            return self._read_inside(level, column, row, width_px, height_px, out, on_damage)
        pixels = np.empty(shape, dtype=np.uint8) if out is None else out
        pixels[:] = 255
        if left < right and top < bottom:
            inside = pixels[top - row : bottom - row, left - column : right - column]
            self._read_inside(level, left, top, right - left, bottom - top, inside, on_damage)
        return pixels

    def _read_inside(
        self,
        level: int,
        column: int,
        row: int,
        width: int,
        height: int,
        out: NDArray[np.uint8] | None,
        on_damage: Callable[[Damage], object] | None,
    ) -> NDArray[np.uint8]:
        """Read a region that lies within its level."""
        try:
            return self._pixels.read_level(level, column, row, width, height, out)
        except DamagedSlideError:
            if on_damage is None:
                raise
        pixels = np.empty((height, width, 3), dtype=np.uint8) if out is None else out
        # Again, cut along the file's own tiles, so that the damaged ones alone are lost.
        stored, scale = self._source.levels[level], self.levels[level]
        wide, tall = stored.tile_width_px or 256, stored.tile_height_px or 256
        for top, bottom in _cuts(row, row + height, tall):
            for left, right in _cuts(column, column + width, wide):
                part = pixels[top - row : bottom - row, left - column : right - column]
                try:
                    self._pixels.read_level(level, left, top, right - left, bottom - top, part)
                except DamagedSlideError as error:
                    part[:] = DAMAGED_RGB
                    on_damage(
                        Damage(
                            error,
                            left * scale.downsample_x,
                            top * scale.downsample_y,
                            (right - left) * scale.downsample_x,
                            (bottom - top) * scale.downsample_y,
                        )
                    )
        return pixels

    def _read_at_mpp(
        self,
        x_px: int,
        y_px: int,
        size_px: tuple[int, int],
        level: int,
        mpp: float,
        on_damage: Callable[[Damage], object] | None,
    ) -> NDArray[np.uint8]:
        if level != 0:
            raise ValueError("Give a level or a pixel size to read at, not both.")
        if not (math.isfinite(mpp) and mpp > 0):
            raise ValueError(f"Pixels cannot be read at {mpp} µm/px.")
        own_x, own_y = self.require_mpp()
        extent_px = size_px[0] * mpp / own_x, size_px[1] * mpp / own_y
        return read_resampled(self, x_px, y_px, *extent_px, *size_px, on_damage=on_damage)

    def thumbnail(self, max_px: int) -> NDArray[np.uint8]:
        """Return the whole slide, its longer side `max_px` (or less, if the slide is smaller).

        Returns
        -------
        ndarray of uint8, shape (height, width, 3)
        """
        shrink = max(1.0, max(self.width_px, self.height_px) / max_px)
        # The power of two keeps shrinking by averages and in bounded memory; Pillow does the rest.
        factor = 1 << int(math.log2(shrink))
        columns, rows = math.ceil(self.width_px / factor), math.ceil(self.height_px / factor)
        return resize_box(
            read_downsampled(self, 0, 0, columns, rows, factor=factor),
            (0, 0, self.width_px / factor, self.height_px / factor),
            max(1, round(self.width_px / shrink)),
            max(1, round(self.height_px / shrink)),
        )

    def alignment_error(self) -> tuple[alignment.LevelOffset, ...]:
        """Measure how far each coarser level lies from level 0; see `slides.alignment`."""
        return alignment.alignment_error(self)

    def associated(self, name: str) -> NDArray[np.uint8]:
        """Return an image that came with the slide, such as its label.

        A label may show a patient's name: do not export it unasked.

        Parameters
        ----------
        name : str
            One of `associated_names`.

        Returns
        -------
        ndarray of uint8, shape (height, width, 3)

        Raises
        ------
        SlideError
            There is no such image, or it is damaged.
        """
        if name not in self.associated_names:
            known = ", ".join(self.associated_names) or "none"
            raise SlideError(f"{self.path.name} has no image named {name!r} (it has: {known}).")
        return self._source.associated(name)


def _cuts(start: int, stop: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of an interval between whole multiples of a step."""
    edge = start
    while edge < stop:
        following = min(stop, (edge // step + 1) * step)
        yield edge, following
        edge = following


def _bounds(
    properties: Mapping[str, str], width_px: int, height_px: int
) -> tuple[int, int, int, int]:
    values = [
        _number(properties.get(f"openslide.bounds-{key}")) for key in ("x", "y", "width", "height")
    ]
    if any(value is None for value in values):
        return 0, 0, width_px, height_px
    x, y, width, height = (int(value) for value in values if value is not None)
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + width, width_px), min(y + height, height_px)
    if left >= right or top >= bottom:
        return 0, 0, width_px, height_px
    return left, top, right - left, bottom - top


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
