"""Running a model over a slide: read, batch, predict, and hand the values out as they come."""

from napari_camelyon.inference.checkpoint import (
    Checkpoint,
    CheckpointInUseError,
    open_checkpoint,
)
from napari_camelyon.inference.control import RunControl
from napari_camelyon.inference.engine import Update, new_heatmap, predict_patches, run
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
    "Checkpoint",
    "CheckpointInUseError",
    "NumericPath",
    "OutOfMemoryError",
    "Pending",
    "Predicted",
    "Predictor",
    "RunControl",
    "Update",
    "choose_numeric_path",
    "new_heatmap",
    "open_checkpoint",
    "predict_patches",
    "prepare",
    "read_patch",
    "run",
]
