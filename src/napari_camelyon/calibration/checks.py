"""Probabilities and labels in one shape, or a sentence on what is wrong with them."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_camelyon.errors import CalibrationError

__all__ = ["as_classes", "as_probabilities"]


def as_probabilities(probabilities: ArrayLike) -> NDArray[np.float64]:
    """Return probabilities as (n, classes); of one class alone, the other is added before it.

    Raises
    ------
    CalibrationError
        There is none, one is no number from 0 to 1, or a row does not sum to 1 within 0.001.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if values.ndim == 1:
        values = np.stack([1 - values, values], axis=1)
    if values.ndim != 2 or values.size == 0:
        raise CalibrationError("Probabilities are needed: one of tumour, or a row of all classes.")
    if not ((values >= 0) & (values <= 1)).all():  # also where one is NaN
        row = int(np.flatnonzero(~((values >= 0) & (values <= 1)).all(axis=1))[0])
        raise CalibrationError(f"Row {row + 1} holds a probability that is none from 0 to 1.")
    sums = values.sum(axis=1)
    if (np.abs(sums - 1) > 1e-3).any():
        row = int(np.flatnonzero(np.abs(sums - 1) > 1e-3)[0])
        raise CalibrationError(f"The probabilities of row {row + 1} sum to {sums[row]:g}, not 1.")
    normalised: NDArray[np.float64] = values / sums[:, None]
    return normalised


def as_classes(labels: ArrayLike, values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return labels as numbers of classes. Raises `CalibrationError`."""
    numbers = np.asarray(labels).astype(np.intp)
    if numbers.shape != (len(values),):
        raise CalibrationError(
            f"There are {len(values)} rows of probabilities and {numbers.size} labels."
        )
    if not ((numbers >= 0) & (numbers < values.shape[1])).all():
        raise CalibrationError(f"A label is none of the {values.shape[1]} classes.")
    return numbers
