"""The best device there is."""

import torch

from napari_camelyon.errors import ModelError

__all__ = ["available_devices", "choose_device"]


def available_devices() -> list[str]:
    """Return the names of usable devices, best first; the last is always ``cpu``."""
    devices = []
    if torch.cuda.is_available():
        devices += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [*devices, "cpu"]


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of this name, or with ``auto`` the best there is.

    Raises
    ------
    ModelError
        The device is not there; never replaced silently by another.
    """
    devices = available_devices()
    if name == "auto":
        return torch.device(devices[0])
    if name in devices or (name == "cuda" and devices[0].startswith("cuda")):
        return torch.device(name)
    raise ModelError(
        f"The device {name!r} is not available here. Choose one of: auto, {', '.join(devices)}."
    )
