"""The area under the ROC curve of slides."""

from collections.abc import Mapping

import numpy as np

from napari_camelyon.calibration import auc
from napari_camelyon.errors import EvaluationError

__all__ = ["area_under_roc"]


def area_under_roc(scores: Mapping[str, float], positive: Mapping[str, bool]) -> float:
    """Return the area under the ROC curve, as CAMELYON16 scores slides.

    The share of pairs of a tumour and a normal slide in which the tumour slide has the higher
    score; a tie counts half (Mann and Whitney; the same as the trapezoidal area).

    Parameters
    ----------
    scores : mapping of str to float
        For each slide, the probability of tumour.
    positive : mapping of str to bool
        Whether the slide holds tumour.

    Raises
    ------
    EvaluationError
        Names are on one side only, a score is no number, or only one kind of slide is there.
    """
    lacking = sorted(set(positive) ^ set(scores))
    if lacking:
        side = "score" if lacking[0] in positive else "label"
        raise EvaluationError(f"The slide {lacking[0]} has no {side}.")
    names = sorted(positive)
    values = np.array([scores[name] for name in names], dtype=np.float64)
    if np.isnan(values).any():
        raise EvaluationError(f"The score of {names[int(np.isnan(values).argmax())]} is no number.")
    is_positive = np.array([positive[name] for name in names], dtype=bool)
    count, others = int(is_positive.sum()), int((~is_positive).sum())
    if not count or not others:
        raise EvaluationError(
            "An AUC needs slides with tumour and slides without; there are "
            f"{count} with and {others} without."
        )
    return auc(values, is_positive)
