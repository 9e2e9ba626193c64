"""Split-conformal sets: of several answers, those that together hold the truth often enough.

Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World", 2005; in the form of Angelopoulos
and Bates, arXiv:2107.07511. If cases are exchangeable with those of the calibration, a set holds
the truth with at least the coverage asked for, on average over cases: not for each kind of case.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_camelyon.calibration.checks import as_probabilities
from napari_camelyon.errors import CalibrationError

__all__ = ["conformal_quantile", "conformal_sets"]


def conformal_quantile(scores: ArrayLike, coverage: float) -> float:
    """Return the ⌈(n + 1) · coverage⌉-th smallest score; infinite where there are too few.

    Parameters
    ----------
    scores : array_like of float, shape (n,)
        One minus the probability of the true answer, for each case of the calibration.
    coverage : float
        Between 0 and 1.

    Raises
    ------
    CalibrationError
        There is no score, one is no number, or the coverage is out of range.
    """
    values = np.sort(np.asarray(scores, dtype=np.float64))
    if values.ndim != 1 or not len(values) or np.isnan(values).any():
        raise CalibrationError("A quantile needs scores, all of them numbers.")
    if not 0 < coverage < 1:
        raise CalibrationError(f"A coverage lies between 0 and 1, unlike {coverage}.")
    # Rounding must not push a whole number of cases up by one.
    place = math.ceil((len(values) + 1) * coverage - 1e-9)
    return float(values[place - 1]) if place <= len(values) else math.inf


def conformal_sets(probabilities: ArrayLike, quantile: float) -> NDArray[np.bool_]:
    """Return which answers belong to the set of each row: ``1 - p ≤ quantile``.

    The most probable answer always does: a set that is empty tells nobody anything, and one more
    answer never lowers the coverage.

    Parameters
    ----------
    probabilities : array_like of float, shape (n, answers)
    quantile : float

    Returns
    -------
    ndarray of bool, shape (n, answers)
    """
    values = as_probabilities(probabilities)
    # The score of a case of the calibration itself, computed again, must not miss by a rounding.
    chosen: NDArray[np.bool_] = 1 - values <= quantile + 1e-12
    chosen[np.arange(len(values)), values.argmax(axis=1)] = True
    return chosen
