"""Is what is said with 80 % right 8 times of 10? Reliability, its error, and the Brier score."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_camelyon.calibration.checks import as_classes, as_probabilities

__all__ = ["Reliability", "brier_score", "expected_calibration_error", "reliability"]


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """A reliability diagram: bins of confidence, and how often they were right.

    Attributes
    ----------
    edges : ndarray of float64, shape (bins + 1,)
    counts : ndarray of int64, shape (bins,)
        Rows in each bin.
    confidence, accuracy : ndarray of float64, shape (bins,)
        Their means; NaN where a bin is empty.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def reliability(probabilities: ArrayLike, labels: ArrayLike, bins: int = 10) -> Reliability:
    """Return how confidence compares with being right, in bins of equal width.

    Of one probability a row (of tumour), confidence is that probability, and right is tumour. Of
    several classes it is the highest, and right that it is the true one. A confidence on an edge
    belongs to the bin below it, 0 to the first.

    Parameters
    ----------
    probabilities : array_like of float, shape (n,) or (n, classes)
    labels : array_like of int, shape (n,)
    bins : int

    Raises
    ------
    CalibrationError
        Probabilities or labels make no sense.
    """
    values = as_probabilities(probabilities)
    classes = as_classes(labels, values)
    if np.ndim(probabilities) == 1:
        confidence, right = values[:, 1], classes == 1
    else:
        confidence, right = values.max(axis=1), values.argmax(axis=1) == classes
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, confidence, bins) / counts
        share = np.bincount(place, right, bins) / counts
    return Reliability(edges, counts, mean, share)


def expected_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = 10
) -> float:
    """Return ``Σ |B| / n · |accuracy - confidence|`` over the bins of `reliability`.

    Naeini et al., AAAI 2015. It depends on the number of bins; 0 does not mean that single scores
    are right.
    """
    found = reliability(probabilities, labels, bins)
    gaps = np.nan_to_num(np.abs(found.accuracy - found.confidence))
    return float((found.counts * gaps).sum() / found.counts.sum())


def brier_score(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean squared error of probabilities (Brier, Mon. Weather Rev. 78, 1950).

    Of one probability a row ``(p - y)²``, 0 to 1; of several classes the sum over classes, 0 to 2.
    """
    values = as_probabilities(probabilities)
    classes = as_classes(labels, values)
    if np.ndim(probabilities) == 1:
        return float(((values[:, 1] - classes) ** 2).mean())
    return float(((values - np.eye(values.shape[1])[classes]) ** 2).sum(axis=1).mean())
