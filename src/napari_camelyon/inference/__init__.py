"""Running a model over a slide: read, batch, predict, and hand the values out as they come.

Importing the room is cheap, so that a window can hold the reins of a run before torch is there:
what needs torch is imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_camelyon.inference.control import RunControl

if TYPE_CHECKING:
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
    "NumericPath",
    "OutOfMemoryError",
    "Pending",
    "Predicted",
    "Predictor",
    "RunControl",
    "Update",
    "choose_numeric_path",
    "new_heatmap",
    "predict_patches",
    "prepare",
    "read_patch",
    "run",
]

_MODULE_OF = {
    "NumericPath": "numeric",
    "OutOfMemoryError": "numeric",
    "Pending": "numeric",
    "Predicted": "numeric",
    "Predictor": "numeric",
    "Update": "engine",
    "choose_numeric_path": "numeric",
    "new_heatmap": "engine",
    "predict_patches": "engine",
    "prepare": "numeric",
    "read_patch": "patches",
    "run": "engine",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = found
    return found
