"""Running a model over a slide: read, batch, predict, and hand the values out as they come."""

from napari_camelyon.inference.control import RunControl
from napari_camelyon.inference.engine import Update, new_heatmap, predict_patches, run
from napari_camelyon.inference.patches import read_patch
from napari_camelyon.inference.stain_on_device import transfer_tensor

__all__ = [
    "RunControl",
    "Update",
    "new_heatmap",
    "predict_patches",
    "read_patch",
    "run",
    "transfer_tensor",
]
