"""Folds: where tissue lies double, in bands."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_camelyon.tissue.pictures import STRIP_ROWS, disc, means, optical_density

__all__ = ["fold_pixels"]

_OVER_AROUND = 1.5
"""A fold lies double: its optical density is this many times that of the tissue around."""
_MAYBE = 1.3
_OVER_SLIDE = 1.25
"""And this many times what all but a tenth of the slide's tissue reaches; follicles do not."""
_AROUND_UM = 300.0
_MIN_UM2 = 4_000.0
_LENGTH_UM = 300.0
_LENGTH_OVER_BREADTH = 3.5
"""Of the ellipse with the same second moments: ducts, vessels and follicles are shorter or rounder.
"""


def fold_pixels(
    picture: NDArray[np.uint8], tissue: NDArray[np.bool_], pixel_um: float
) -> NDArray[np.bool_]:
    """Mark folds: long dark bands, about twice as dense as the tissue on their sides.

    Parameters
    ----------
    picture : ndarray of uint8, shape (rows, columns, 3)
        RGB at some 4 to 10 µm/px.
    tissue : ndarray of bool, shape (rows, columns)
        Where to look.
    pixel_um : float
        Side of the pixels.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
    """
    if not tissue.any():
        return np.zeros_like(tissue)
    density = np.empty(tissue.shape, np.float32)
    for start in range(0, len(picture), STRIP_ROWS):
        rows = slice(start, start + STRIP_ROWS)
        density[rows] = optical_density(picture[rows]).mean(axis=2)
    around = _local_mean(density, tissue, _AROUND_UM / pixel_um)
    dense = float(np.quantile(density[tissue], 0.9))
    sure = tissue & (density > _OVER_AROUND * around) & (density > _OVER_SLIDE * dense)
    maybe = tissue & (density > _MAYBE * around) & (density > dense)
    grown = ndimage.binary_propagation(sure, mask=maybe)
    grown = ndimage.binary_closing(grown, disc(10.0 / pixel_um)) | grown
    labels, _ = ndimage.label(grown, structure=np.ones((3, 3)))
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        part = labels[place] == number
        if not _is_band(part, pixel_um):
            grown[place] &= ~part
    return np.asarray(grown)


def _is_band(part: NDArray[np.bool_], pixel_um: float) -> bool:
    places = np.argwhere(part) * pixel_um
    if len(places) * pixel_um**2 < _MIN_UM2:
        return False
    variances = np.linalg.eigvalsh(np.cov(places.T))
    breadth_um, length_um = 4 * np.sqrt(np.maximum(variances, 0))
    return bool(length_um >= _LENGTH_UM and length_um >= _LENGTH_OVER_BREADTH * breadth_um)


def _local_mean(
    values: NDArray[np.float32], where: NDArray[np.bool_], radius: float
) -> NDArray[np.float32]:
    """Return the mean of marked values around every pixel, computed four times as coarse."""
    rows, columns = (-side % 4 for side in values.shape)
    padded = np.pad(values * where, ((0, rows), (0, columns)))
    weight = np.pad(where.astype(np.float32), ((0, rows), (0, columns)))
    size = max(3, round(2 * radius / 4) | 1)
    total = ndimage.uniform_filter(means(padded, 4), size)
    count = ndimage.uniform_filter(means(weight, 4), size)
    mean = total / np.maximum(count, 1e-6)
    whole = mean.repeat(4, axis=0).repeat(4, axis=1)
    return np.asarray(whole[: values.shape[0], : values.shape[1]])
