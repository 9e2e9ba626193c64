"""Small operations on pictures and masks that the rules for spoilt areas share."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_camelyon.tissue.mask import TissueMask

__all__ = [
    "STRIP_ROWS",
    "coherent",
    "disc",
    "means",
    "optical_density",
    "resampled",
    "without_small",
]

STRIP_ROWS = 256
"""Rows turned to floats in one piece."""

_WHITE = 245.0
"""Grey level of bare glass, from which optical densities are measured."""

_DENSITY_OF = np.maximum(-np.log((np.arange(256, dtype=np.float32) + 1) / (_WHITE + 1)), 0)


def optical_density(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the optical density of each value of a picture: -ln of what light comes through."""
    return np.asarray(_DENSITY_OF[pixels])


def means(values: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Return the means of areas of factor × factor values; what is left over is dropped."""
    rows, columns = values.shape[0] // factor, values.shape[1] // factor
    whole = values[: rows * factor, : columns * factor]
    parts = whole.reshape(rows, factor, columns, factor)
    return np.asarray(parts.mean(axis=(1, 3), dtype=np.float32))


def disc(radius: float) -> NDArray[np.bool_]:
    """Return a disc to be used as a structuring element; its radius is at least one pixel."""
    reach = max(1, round(radius))
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray(x * x + y * y <= (reach + 0.3) ** 2)


def without_small(values: NDArray[np.bool_], min_pixels: float) -> NDArray[np.bool_]:
    """Return a mask without its parts of fewer pixels."""
    labels, _ = ndimage.label(values)
    large = np.bincount(labels.ravel()) >= min_pixels
    large[0] = False
    return np.asarray(large[labels])


def coherent(values: NDArray[np.bool_], min_pixels: float) -> NDArray[np.bool_]:
    """Return a mask without small parts and with small holes filled."""
    kept = without_small(values, min_pixels)
    return ~without_small(~kept, min_pixels)


def resampled(mask: TissueMask, shape: tuple[int, ...], pixel_px: float) -> NDArray[np.bool_]:
    """Return a mask in pixels of another size, each as the one under its centre."""
    rows = np.minimum((np.arange(shape[0]) + 0.5) * pixel_px // mask.pixel_px, len(mask.values) - 1)
    columns = np.minimum(
        (np.arange(shape[1]) + 0.5) * pixel_px // mask.pixel_px, mask.values.shape[1] - 1
    )
    return mask.values[np.ix_(rows.astype(int), columns.astype(int))]
