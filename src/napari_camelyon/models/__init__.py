"""Networks and how they are loaded from the files of this field."""

from napari_camelyon.models.device import available_devices, choose_device
from napari_camelyon.models.loading import Model, load_model, load_tissue_net

__all__ = ["Model", "available_devices", "choose_device", "load_model", "load_tissue_net"]
