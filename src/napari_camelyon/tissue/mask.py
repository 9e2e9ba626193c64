"""The tissue mask: one threshold on a low level, then tidying."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_camelyon.geometry import mean_mpp
from napari_camelyon.slides import Damage, Slide, read_downsampled

__all__ = ["TissueMask", "colour_spread", "is_ink", "tissue_mask"]

MASK_MPP = 8.0
"""µm per mask pixel: fine enough for a 62 µm patch, and a slide takes milliseconds."""

MIN_COLOUR_SPREAD = 15
"""Largest minus smallest of R, G and B, in grey levels, from which a pixel is tissue.

Glass and its shadows are grey whatever their brightness, stain is coloured. Measured against an
HSV threshold with a median filter it finds the same tissue at a thousandth of the cost.
"""

INK_GREEN_OVER_RED = 5
"""Grey levels by which green exceeds red in ink.

Haematoxylin and eosin both take away more green than red, so that tissue is never greener than
red; blue, green and black felt pens leave more green than red. Red ink looks like eosin and is not
told apart.
"""

_STRIP_ROWS = 256
_MASK_SIDE_WITHOUT_MPP = 2000


@dataclass(frozen=True, slots=True)
class TissueMask:
    """Tissue of a slide at low resolution.

    Attributes
    ----------
    values : ndarray of bool, shape (rows, columns)
        True on tissue. The mask's corner is the slide's corner.
    pixel_px : float
        Side of a mask pixel in level-0 pixels.
    """

    values: NDArray[np.bool_]
    pixel_px: float

    def fractions(
        self,
        left_px: NDArray[np.float64],
        top_px: NDArray[np.float64],
        width_px: float,
        height_px: float,
    ) -> NDArray[np.float32]:
        """Return the share of tissue in rectangles that stand on every (top, left) pair.

        Parameters
        ----------
        left_px, top_px : ndarray of float, shapes (columns,) and (rows,)
            Slide coordinates of the rectangles' left and top edges.
        width_px, height_px : float
            Size of every rectangle in level-0 pixels.

        Returns
        -------
        ndarray of float32, shape (rows, columns)
            0–1 of the whole rectangle; what lies outside the slide is no tissue.
        """
        # Between its nodes the integral image of a piecewise constant mask is bilinear, so that
        # interpolating it gives the exact area, fractions of mask pixels included.
        integral = np.pad(self.values.cumsum(0, dtype=np.float64).cumsum(1), ((1, 0), (1, 0)))
        rows, columns = self.values.shape

        left = np.clip(left_px / self.pixel_px, 0, columns)
        right = np.clip((left_px + width_px) / self.pixel_px, 0, columns)
        top = np.clip(top_px / self.pixel_px, 0, rows)
        bottom = np.clip((top_px + height_px) / self.pixel_px, 0, rows)
        by_rows = _interpolate(integral, bottom, 0) - _interpolate(integral, top, 0)
        area = _interpolate(by_rows, right, 1) - _interpolate(by_rows, left, 1)
        whole = width_px * height_px / self.pixel_px**2
        return np.asarray(np.clip(area / whole, 0, 1), dtype=np.float32)


def tissue_mask(
    slide: Slide,
    *,
    mask_mpp: float = MASK_MPP,
    min_colour_spread: int = MIN_COLOUR_SPREAD,
    min_area_um2: float = 2500.0,
) -> TissueMask:
    """Find the tissue of a slide.

    What is damaged counts as tissue: so nothing is left out that a finer level may still hold, and
    what cannot be read at all is counted by those who try.

    Parameters
    ----------
    slide : Slide
        Read at its next finer level in strips, so that memory stays bounded.
    mask_mpp : float
        µm per mask pixel; for a slide of unknown mpp the mask has at most 2,000 pixels a side.
    min_colour_spread : int
        Threshold on max(R, G, B) - min(R, G, B) in grey levels.
    min_area_um2 : float
        Specks smaller than this are dust; holes smaller than this are filled.

    Returns
    -------
    TissueMask

    Raises
    ------
    SlideError
        The slide cannot be read any more, or all of it is damaged.
    """
    if slide.mpp is None:
        pixel_px = max(1.0, max(slide.width_px, slide.height_px) / _MASK_SIDE_WITHOUT_MPP)
        pixel_um2 = None
    else:
        pixel_px = max(1.0, mask_mpp / mean_mpp(slide.mpp))
        pixel_um2 = slide.mpp[0] * slide.mpp[1] * pixel_px**2
    columns = math.ceil(slide.width_px / pixel_px)
    rows = math.ceil(slide.height_px / pixel_px)
    found = np.zeros((rows, columns), dtype=bool)
    damages: list[Damage] = []
    for start in range(0, rows, _STRIP_ROWS):
        stop = min(rows, start + _STRIP_ROWS)
        strip = read_downsampled(
            slide,
            0,
            start,
            columns,
            stop - start,
            factor=pixel_px,
            on_damage=damages.append,  # its colour is no ink's, and coloured as tissue is
        )
        coloured = colour_spread(strip) > min_colour_spread
        found[start:stop] = coloured & ~is_ink(strip)
    lost_px = sum(damage.width_px * damage.height_px for damage in damages)
    if lost_px >= slide.width_px * slide.height_px:
        raise damages[0].error
    min_area = 4 if pixel_um2 is None else max(1, round(min_area_um2 / pixel_um2))
    return TissueMask(_tidy(found, min_area), pixel_px)


def colour_spread(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the largest minus the smallest of R, G and B of pixels, shape (..., 3)."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    # Not numpy.ptp: along three values it takes 25 times as long.
    largest = np.maximum(np.maximum(red, green), blue)
    return np.asarray(largest - np.minimum(np.minimum(red, green), blue))


def is_ink(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell which pixels, shape (..., 3), have the colour of a blue, green or black felt pen."""
    over_red = pixels[..., 1].astype(np.int16) - pixels[..., 0]
    return np.asarray(over_red > INK_GREEN_OVER_RED)


def _tidy(found: NDArray[np.bool_], min_area: int) -> NDArray[np.bool_]:
    kept = _without_small(found, min_area)
    return ~_without_small(~kept, min_area)


def _without_small(values: NDArray[np.bool_], min_area: int) -> NDArray[np.bool_]:
    labels, _ = ndimage.label(values)
    large = np.bincount(labels.ravel()) >= min_area
    large[0] = False
    return np.asarray(large[labels])


def _interpolate(
    values: NDArray[np.float64], at: NDArray[np.float64], axis: int
) -> NDArray[np.float64]:
    below = np.minimum(np.floor(at).astype(int), values.shape[axis] - 2)
    share = np.expand_dims(at - below, 1 - axis)
    return np.asarray(values.take(below, axis) * (1 - share) + values.take(below + 1, axis) * share)
