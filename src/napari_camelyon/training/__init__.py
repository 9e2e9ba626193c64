"""Training the bundled model: generated patches, fitting, choosing, and plain baselines."""

from napari_camelyon.training.baselines import BASELINES, auc, auc_interval, separation
from napari_camelyon.training.choosing import choose_threshold, predict
from napari_camelyon.training.dataset import draw_fields, draw_patients
from napari_camelyon.training.fit import FitSettings, fit_tissue_net

__all__ = [
    "BASELINES",
    "FitSettings",
    "auc",
    "auc_interval",
    "choose_threshold",
    "draw_fields",
    "draw_patients",
    "fit_tissue_net",
    "predict",
    "separation",
]
