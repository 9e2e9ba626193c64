"""The stain of a slide, from small squares spread over its tissue."""

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import StainError
from napari_camelyon.geometry import mean_mpp
from napari_camelyon.slides import Damage, Slide, read_resampled
from napari_camelyon.stain import ColourFit, StainFit, StainMethod, fit_stain
from napari_camelyon.tissue.mask import MIN_COLOUR_SPREAD, TissueMask, colour_spread, is_ink

__all__ = ["fit_slide_stain", "sample_tissue"]

SAMPLE_MPP = 1.0
"""µm per pixel: fine enough that a nucleus fills pixels, which at 2 µm mix with what is around."""

SAMPLE_PX = 128
SAMPLES = 48
"""Squares: 0.8 million pixels, read and fitted in a fraction of a second from a pyramid."""

_MASK_PIXELS_A_SAMPLE_PIXEL = 8
"""For slides of unknown mpp: the mask is made at 8 µm where that is known."""


def sample_tissue(slide: Slide, mask: TissueMask) -> NDArray[np.uint8]:
    """Read pixels of tissue from squares that are spread evenly over it.

    The same slide and mask give the same pixels. Pixels without colour, pixels whose colour is
    ink's, and squares that touch a damaged part are left out.

    Parameters
    ----------
    slide : Slide
    mask : TissueMask
        Of this slide.

    Returns
    -------
    ndarray of uint8, shape (n, 3)
        RGB; n is 0 where there is no tissue.

    Raises
    ------
    SlideError
        The slide cannot be read any more.
    """
    if slide.mpp is None:
        pixel_px = max(1.0, mask.pixel_px / _MASK_PIXELS_A_SAMPLE_PIXEL)
    else:
        pixel_px = max(1.0, SAMPLE_MPP / mean_mpp(slide.mpp))
    side_px = SAMPLE_PX * pixel_px
    found = [np.empty((0, 3), np.uint8)]
    for left_px, top_px in _squares(mask, side_px):
        damages: list[Damage] = []
        pixels = read_resampled(
            slide,
            left_px,
            top_px,
            side_px,
            side_px,
            SAMPLE_PX,
            SAMPLE_PX,
            on_damage=damages.append,
        )
        if not damages:
            # The mask is coarse: glass between the cells and at the edge is within it.
            coloured = colour_spread(pixels) > MIN_COLOUR_SPREAD
            tissue = _mask_on(mask, left_px, top_px, pixel_px) & coloured & ~is_ink(pixels)
            found.append(pixels[tissue])
    return np.concatenate(found)


def fit_slide_stain(
    slide: Slide, mask: TissueMask, method: StainMethod = "macenko"
) -> StainFit | ColourFit:
    """Find the stain of a slide on its tissue, the same each time.

    Parameters
    ----------
    slide : Slide
    mask : TissueMask
        Of this slide.
    method : {"macenko", "reinhard"}

    Returns
    -------
    StainFit or ColourFit
        As the method gives it.

    Raises
    ------
    StainError
        There is too little tissue, or its colours are not those of two stains.
    SlideError
        The slide cannot be read any more.
    """
    pixels = sample_tissue(slide, mask)
    try:
        return fit_stain(pixels, method)
    except StainError as error:
        raise StainError(f"{slide.name}: {error}") from error


def _squares(mask: TissueMask, side_px: float) -> list[tuple[float, float]]:
    """Return the top-left corners, in level-0 pixels, of at most `SAMPLES` squares with tissue.

    Of a grid of squares those that are at least half tissue are taken, or where there is none the
    fullest, and of them every n-th, counted row by row.
    """
    rows, columns = mask.values.shape
    left_px = np.arange(0, columns * mask.pixel_px, side_px)
    top_px = np.arange(0, rows * mask.pixel_px, side_px)
    fractions = mask.fractions(left_px, top_px, side_px, side_px)
    most = float(fractions.max())
    if most == 0:
        return []
    places = np.argwhere(fractions >= min(0.5, 0.5 * most))
    step = np.linspace(0, len(places) - 1, min(SAMPLES, len(places))).round().astype(int)
    return [(float(left_px[column]), float(top_px[row])) for row, column in places[step]]


def _mask_on(mask: TissueMask, left_px: float, top_px: float, pixel_px: float) -> NDArray[np.bool_]:
    """Return the mask on a square of samples; False outside the slide."""
    rows, columns = mask.values.shape
    middles = (np.arange(SAMPLE_PX) + 0.5) * pixel_px
    row = ((top_px + middles) / mask.pixel_px).astype(int)
    column = ((left_px + middles) / mask.pixel_px).astype(int)
    known = np.ix_(np.minimum(row, rows - 1), np.minimum(column, columns - 1))
    return np.asarray(mask.values[known] & (row < rows)[:, None] & (column < columns))
