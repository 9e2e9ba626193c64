"""Networks, how they are loaded from the files of this field, and the registry of their names.

Importing the room is cheap: what needs torch is imported when it is first asked for, so that a
window can list models before torch is there.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_camelyon.models.registry import (
    ListedModel,
    add_model,
    list_models,
    model_info,
    remove_model,
)

if TYPE_CHECKING:
    from napari_camelyon.models.dense_resnet import with_method
    from napari_camelyon.models.device import available_devices, choose_device
    from napari_camelyon.models.loading import Model, load_model, load_tissue_net

__all__ = [
    "ListedModel",
    "Model",
    "add_model",
    "available_devices",
    "choose_device",
    "list_models",
    "load_model",
    "load_tissue_net",
    "model_info",
    "remove_model",
    "with_method",
]

_MODULE_OF = {
    "Model": "loading",
    "available_devices": "device",
    "choose_device": "device",
    "load_model": "loading",
    "load_tissue_net": "loading",
    "with_method": "dense_resnet",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
