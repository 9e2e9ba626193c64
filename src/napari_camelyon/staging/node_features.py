"""Features of a heatmap for a learned call of its node."""

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging.lesions import find_lesions

__all__ = ["FEATURE_NAMES", "node_features"]

_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
_OF_A_THRESHOLD = (
    "diameter_mm",
    "area_mm2",
    "extent",
    "mean_probability",
    "max_probability",
    "lesions",
    "positive_share",
)

FEATURE_NAMES: tuple[str, ...] = tuple(
    f"{name}_{threshold}" for threshold in _THRESHOLDS for name in _OF_A_THRESHOLD
)
"""Of the largest lesion at each threshold, but the number of lesions and the share of positives.

Features of this kind won CAMELYON17 and were used by most of its teams (Bandi et al., IEEE TMI
38(2), 2019). ``extent`` is the lesion's area over that of its box.
"""


def node_features(heatmap: Heatmap) -> NDArray[np.float64]:
    """Return the features of a heatmap, in the order of `FEATURE_NAMES`; 0 where nothing is.

    Returns
    -------
    ndarray of float64, shape (35,)
    """
    found: list[float] = []
    computed = max(1, heatmap.computed_cells)
    for threshold in _THRESHOLDS:
        lesions = find_lesions(heatmap, threshold=threshold)
        positive = np.count_nonzero(heatmap.values >= np.float32(threshold)) / computed
        if not lesions:
            found += [0.0] * (len(_OF_A_THRESHOLD) - 1) + [positive]
            continue
        largest = lesions[0]
        left, top, right, bottom = largest.bounds_px
        box_mm2 = (right - left) * (bottom - top) * heatmap.mpp[0] * heatmap.mpp[1] * 1e-6
        found += [
            largest.diameter_mm,
            largest.area_mm2,
            largest.area_mm2 / box_mm2,
            largest.mean_probability,
            largest.max_probability,
            float(len(lesions)),
            positive,
        ]
    return np.array(found)
