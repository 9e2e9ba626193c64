"""Running a model over a slide: read, batch, predict, and hand the values out as they come."""

from napari_camelyon.inference.control import RunControl
from napari_camelyon.inference.engine import Update, new_heatmap, predict_patches, run
from napari_camelyon.inference.guards import (
    Finding,
    Watch,
    check_before,
    check_probe,
    findings,
    look_first,
    new_watch,
    watch_batch,
    watch_picture,
)
from napari_camelyon.inference.numeric import (
    NumericPath,
    OutOfMemoryError,
    Pending,
    Predicted,
    Predictor,
    choose_numeric_path,
    prepare,
)
from napari_camelyon.inference.patches import read_patch

__all__ = [
    "Finding",
    "NumericPath",
    "OutOfMemoryError",
    "Pending",
    "Predicted",
    "Predictor",
    "RunControl",
    "Update",
    "Watch",
    "check_before",
    "check_probe",
    "choose_numeric_path",
    "findings",
    "look_first",
    "new_heatmap",
    "new_watch",
    "predict_patches",
    "prepare",
    "read_patch",
    "run",
    "watch_batch",
    "watch_picture",
]
