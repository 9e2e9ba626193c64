"""Which part of a slide a person sees."""

import numpy as np
from napari.components.viewer_model import ViewerModel
from napari.layers import Image
from numpy.typing import NDArray

from napari_camelyon.geometry import layer_to_slide
from napari_camelyon.widgets.napari_compat import camera, canvas_size_px, shows_plain_image

__all__ = ["layer_of_slide", "seen_box"]


def layer_of_slide(viewer: ViewerModel, name: str | None) -> Image | None:
    """Return the layer that shows a slide; None if it is not in view, or not as a plain image."""
    if name is None or not shows_plain_image(viewer):
        return None
    for layer in viewer.layers:
        ours = layer.metadata.get("napari_camelyon", {})
        if ours.get("kind") == "slide" and ours.get("slide") == name:
            return layer
    return None


def seen_box(viewer: ViewerModel, layer: Image) -> NDArray[np.float64]:
    """Return the slide points ``(left, top), (right, bottom)`` of the canvas's corners.

    Parameters
    ----------
    viewer : napari.Viewer
    layer : napari.layers.Image
        Of the slide, as `layer_of_slide` gives it.
    """
    view = camera(viewer)
    half = np.array(canvas_size_px(viewer)) / 2 / view.zoom
    middle = np.array(view.center[-2:])
    corners = layer_to_slide([_to_data(layer, middle - half), _to_data(layer, middle + half)])
    return np.array([corners.min(axis=0), corners.max(axis=0)])


def _to_data(layer: Image, world: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(layer.world_to_data(world))[-2:]
