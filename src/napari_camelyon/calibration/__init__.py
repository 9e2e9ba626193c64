"""How far scores can be believed: temperature, reliability, and sets with a coverage asked for."""

from napari_camelyon.calibration.conformal import conformal_quantile, conformal_sets
from napari_camelyon.calibration.reliability import (
    Reliability,
    brier_score,
    expected_calibration_error,
    reliability,
)
from napari_camelyon.calibration.roc import auc
from napari_camelyon.calibration.temperature import apply_temperature, fit_temperature

__all__ = [
    "Reliability",
    "apply_temperature",
    "auc",
    "brier_score",
    "conformal_quantile",
    "conformal_sets",
    "expected_calibration_error",
    "fit_temperature",
    "reliability",
]
