"""How good predictions are: kappa of stages, confusion, FROC of detections, AUC of slides.

Every score is that of the challenge whose name it bears, on the same inputs. A score says how
predictions compare with one set of labels; it is no statement on clinical use.
"""

from napari_camelyon.evaluation.agreement import (
    Agreement,
    Confusion,
    compare_labels,
    compare_per_centre,
    quadratic_kappa,
)
from napari_camelyon.evaluation.auc import area_under_roc
from napari_camelyon.evaluation.bootstrap import Interval, bootstrap_interval
from napari_camelyon.evaluation.froc import (
    FALSE_POSITIVE_RATES,
    Detection,
    Fate,
    Froc,
    FrocPoint,
    Lesion,
    SlideHits,
    froc,
    froc_score,
    judge_slide,
)
from napari_camelyon.evaluation.score_file import (
    Case,
    ScoreFile,
    Table,
    cases_at,
    cases_of_cell,
    read_score_file,
)
from napari_camelyon.evaluation.truth import SlideTruth, mask_of_annotations, truth_of_mask

__all__ = [
    "FALSE_POSITIVE_RATES",
    "Agreement",
    "Case",
    "Confusion",
    "Detection",
    "Fate",
    "Froc",
    "FrocPoint",
    "Interval",
    "Lesion",
    "ScoreFile",
    "SlideHits",
    "SlideTruth",
    "Table",
    "area_under_roc",
    "bootstrap_interval",
    "cases_at",
    "cases_of_cell",
    "compare_labels",
    "compare_per_centre",
    "froc",
    "froc_score",
    "judge_slide",
    "mask_of_annotations",
    "quadratic_kappa",
    "read_score_file",
    "truth_of_mask",
]
