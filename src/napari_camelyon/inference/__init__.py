"""Running a model over a slide: read, batch, predict, and hand the values out as they come.

Importing the room is cheap, so that a window can hold the reins of a run before torch is there:
what needs torch is imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_camelyon.inference.control import RunControl

if TYPE_CHECKING:
    from napari_camelyon.inference.engine import Update, new_heatmap, predict_patches, run
    from napari_camelyon.inference.patches import read_patch

__all__ = ["RunControl", "Update", "new_heatmap", "predict_patches", "read_patch", "run"]

_MODULES = {
    "Update": "engine",
    "new_heatmap": "engine",
    "predict_patches": "engine",
    "read_patch": "patches",
    "run": "engine",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found
