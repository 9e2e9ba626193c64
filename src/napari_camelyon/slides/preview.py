"""A slide at a glance: a small picture and the facts that stand beside it in a list."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import SlideError
from napari_camelyon.geometry import Mpp
from napari_camelyon.slides.resample import resize_box
from napari_camelyon.slides.slide import Slide, open_slide

__all__ = ["Preview", "overview", "read_preview"]

_LARGEST_WHOLE_PX = 4096
"""Longest side of the picture of a whole slide of which only the scanned part is kept."""


@dataclass(frozen=True, eq=False, slots=True)
class Preview:
    """What a list shows of a slide.

    Attributes
    ----------
    path : Path
    picture : ndarray of uint8, shape (height, width, 3), or None
        What was scanned; None when it cannot be read.
    width_px, height_px : int
        Size of level 0; 0 when the slide cannot be opened.
    mpp : tuple of float or None
        µm per level-0 pixel ``(x, y)``.
    problem : str
        Why there is no picture, in a sentence; else empty.
    """

    path: Path
    picture: NDArray[np.uint8] | None
    width_px: int = 0
    height_px: int = 0
    mpp: Mpp | None = None
    problem: str = ""


def read_preview(path: Path | str, max_px: int) -> Preview:
    """Open a slide, take its preview and close it again. Never raises `SlideError`.

    Parameters
    ----------
    path : path-like
        The slide.
    max_px : int
        Longer side of the picture.
    """
    path = Path(path)
    try:
        with open_slide(path) as slide:
            try:
                picture, problem = overview(slide, max_px), ""
            except SlideError as error:
                picture, problem = None, str(error)
            return Preview(path, picture, slide.width_px, slide.height_px, slide.mpp, problem)
    except SlideError as error:
        return Preview(path, None, problem=str(error))


def overview(slide: Slide, max_px: int) -> NDArray[np.uint8]:
    """Return a picture of what was scanned: `Slide.bounds_px`, without the empty margin.

    Parameters
    ----------
    slide : Slide
    max_px : int
        Longer side of the picture (less, if the scanned part is smaller).

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)

    Raises
    ------
    SlideError
        The slide cannot be read.
    """
    x_px, y_px, width_px, height_px = slide.bounds_px
    if (width_px, height_px) == (slide.width_px, slide.height_px):
        return slide.thumbnail(max_px)
    enlarged = max(slide.width_px, slide.height_px) / max(width_px, height_px)
    whole = slide.thumbnail(min(round(max_px * enlarged), _LARGEST_WHOLE_PX))
    rows, columns = whole.shape[:2]
    zoom_x, zoom_y = columns / slide.width_px, rows / slide.height_px
    right, bottom = (x_px + width_px) * zoom_x, (y_px + height_px) * zoom_y
    # At the far edge the product may be a hair too large.
    box = (x_px * zoom_x, y_px * zoom_y, min(right, columns), min(bottom, rows))
    shrink = max(1.0, max(width_px, height_px) / max_px)
    return resize_box(
        whole, box, max(1, round(width_px / shrink)), max(1, round(height_px / shrink))
    )
