"""The ink of felt pens on the cover glass, told from the stain of tissue by its colour."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_camelyon.tissue.pictures import STRIP_ROWS, disc, optical_density, without_small

__all__ = ["ink_pixels"]

_COOL_SURE, _COOL_MAYBE = 15, 5
"""Grey levels by which green exceeds red in blue and green ink: in its middle, at its soft rim.

Haematoxylin and eosin both take away more green than red (`mask.INK_GREEN_OVER_RED`)."""

_COOL_RED_OVER_GREEN = (1.15, 1.05)
_COOL_DARK = (0.5, 0.3)
"""The same over dark tissue, where few grey levels are left: its optical density in red over that
in green, from this density in red on."""

_BLACK_SURE, _BLACK_MAYBE = 0.9, 0.45
"""Mean optical density of black ink; its channels differ by less than this share of it:"""
_BLACK_SPREAD = 0.3

_RED_SURE, _RED_MAYBE = 0.9, 0.25
"""Optical density of red ink in green, in its middle and at its rim."""
_RED_BLUE_OVER_GREEN = 0.78
_RED_BLUE_ABOVE_TISSUE = 0.2
"""Red ink takes away blue as well as green (0.85–1.07 of it on a real slide); eosin takes far less
blue (0.3–0.7, with the scanner). So red ink must lie above both figures: the second is counted from
the slide's own tissue."""
_RED_RED_OVER_GREEN = 0.27
"""It takes away hardly any red; haematoxylin takes nearly as much red as green."""

_MIN_UM2 = 20_000.0
_RIM_UM = 24.0
"""Ink fades towards its rim, where it still changes the colours of the tissue."""


def ink_pixels(picture: NDArray[np.uint8], pixel_um: float) -> NDArray[np.bool_]:
    """Mark the ink of felt pens: blue, green, black, and red where it is strong.

    Parameters
    ----------
    picture : ndarray of uint8, shape (rows, columns, 3)
        RGB at some 2 to 20 µm/px.
    pixel_um : float
        Side of its pixels.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
    """
    red_limit = max(_RED_BLUE_OVER_GREEN, _blue_over_green(picture) + _RED_BLUE_ABOVE_TISSUE)
    found = np.zeros(picture.shape[:2], bool)
    for sure, maybe in _inks(picture, red_limit):
        core = ndimage.binary_opening(sure, disc(12.0 / pixel_um))
        core = without_small(core, _MIN_UM2 / pixel_um**2)
        if core.any():
            found |= ndimage.binary_propagation(core, mask=maybe | core)
    if not found.any():
        return found
    found = ndimage.binary_closing(found, disc(_RIM_UM / pixel_um)) | found
    found = ndimage.binary_dilation(found, disc(_RIM_UM / pixel_um))
    return ~without_small(~found, _MIN_UM2 / pixel_um**2)


def _inks(
    picture: NDArray[np.uint8], red_limit: float
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Yield for each ink where it surely is, and where it may be beside that."""
    pairs = np.zeros((3, 2, *picture.shape[:2]), bool)
    for start in range(0, len(picture), STRIP_ROWS):
        strip = picture[start : start + STRIP_ROWS]
        rows = slice(start, start + len(strip))
        density = optical_density(strip)
        red, green, blue = density[..., 0], density[..., 1], density[..., 2]
        cool = strip[..., 1].astype(np.int16) - strip[..., 0]
        for part, level in enumerate((_COOL_SURE, _COOL_MAYBE)):
            dark = red > _COOL_DARK[part]
            over_tissue = dark & (red > _COOL_RED_OVER_GREEN[part] * green)
            pairs[0, part, rows] = (cool > level) | over_tissue
        mean = density.mean(axis=2)
        grey = np.ptp(density, axis=2) < _BLACK_SPREAD * mean
        pairs[1, :, rows] = grey & (mean > _BLACK_SURE), grey & (mean > _BLACK_MAYBE)
        reddish = (blue > red_limit * green) & (red < _RED_RED_OVER_GREEN * green)
        pairs[2, :, rows] = reddish & (green > _RED_SURE), reddish & (green > _RED_MAYBE)
    yield from pairs


def _blue_over_green(picture: NDArray[np.uint8]) -> float:
    """Return what share of green's optical density the stained tissue of a slide has in blue."""
    step = max(1, math.isqrt(picture.shape[0] * picture.shape[1] // 250_000))
    sample = optical_density(picture[::step, ::step].reshape(1, -1, 3))[0]
    warm = (sample[:, 1] > 0.3) & (sample[:, 1] > sample[:, 0]) & (sample[:, 1] < 1.2)
    if not warm.any():
        return 0.0
    # Ink covers less than the half of what is stained; the lower quartile is tissue.
    return float(np.quantile(sample[warm, 2] / sample[warm, 1], 0.25))
