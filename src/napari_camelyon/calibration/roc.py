"""The area under the ROC curve."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

__all__ = ["auc"]


def auc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Return how often a positive case scores above a negative one; a tie counts half.

    Mann and Whitney's U over the number of pairs, which is the trapezoidal area under the curve.

    Parameters
    ----------
    scores : ndarray of float, shape (n,)
    positive : ndarray of bool, shape (n,)

    Returns
    -------
    float
        0–1; NaN without cases of both kinds.
    """
    positives = int(positive.sum())
    negatives = positive.size - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    ranks = rankdata(scores)
    above = ranks[positive].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))
