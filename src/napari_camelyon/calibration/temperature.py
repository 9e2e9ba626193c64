"""One number that makes scores less sure, or surer, without changing which is highest."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from napari_camelyon.calibration.checks import as_classes, as_probabilities

__all__ = ["apply_temperature", "fit_temperature"]

_SMALLEST = 1e-12
_WIDEST = 5.0
"""Temperatures from e^-5 to e^5 are tried: beyond, scores are all equal, or all sure."""


def fit_temperature(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return the temperature with the least negative log-likelihood.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. The logits are those that
    give the probabilities, so it may be fitted on what a model hands out.

    Parameters
    ----------
    probabilities : array_like of float, shape (n,) or (n, classes)
        Of tumour, or of each class.
    labels : array_like of int, shape (n,)
        True class of each row.

    Returns
    -------
    float
        Above 1: the scores are too sure of themselves.

    Raises
    ------
    CalibrationError
        Probabilities or labels make no sense.
    """
    values = as_probabilities(probabilities)
    classes = as_classes(labels, values)
    logits = np.log(np.maximum(values, _SMALLEST))
    rows = np.arange(len(values))

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-scaled[rows, classes].mean())

    best = minimize_scalar(loss, bounds=(-_WIDEST, _WIDEST), method="bounded")
    return float(np.exp(best.x))


def apply_temperature(probabilities: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Return probabilities at a temperature, of the same shape. Raises `CalibrationError`."""
    values = as_probabilities(probabilities)
    scaled = softmax(np.log(np.maximum(values, _SMALLEST)) / temperature, axis=1)
    single = np.ndim(probabilities) == 1
    return np.asarray(scaled[:, 1] if single else scaled)
