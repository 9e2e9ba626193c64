"""A slide as an Image layer: placed in µm, with a scale bar, and fitted into the view."""

import threading
from typing import Any

from napari.components.viewer_model import ViewerModel
from napari.layers import Image
from napari.utils.notifications import show_warning

from napari_camelyon.errors import SlideError
from napari_camelyon.geometry import slide_to_layer, world_placement
from napari_camelyon.slides import Slide, dask_levels
from napari_camelyon.widgets.napari_compat import camera, scale_bar

__all__ = ["add_slide_layer", "layer_data_tuple", "show_whole_slide", "slide_layer"]


def layer_data_tuple(slide: Slide) -> tuple[list[Any], dict[str, Any], str]:
    """Return the slide as npe2 readers do: ``(levels, arguments of the layer, "image")``.

    A part of the file that cannot be read is shown in magenta, and a notice says so once.
    """
    arguments = {
        "name": slide.name,
        "multiscale": True,
        "rgb": True,
        # Without limits napari reads the whole level to find them.
        "contrast_limits": (0, 255),
        "metadata": {
            "napari_camelyon": {"slide": slide.name, "kind": "slide", "path": str(slide.path)}
        },
        **world_placement(slide.mpp),
    }
    return dask_levels(slide, on_damage=_DamageNotice(slide.name)), arguments, "image"


def slide_layer(slide: Slide) -> Image:
    """Return the slide as a layer that belongs to no viewer yet.

    Parameters
    ----------
    slide : Slide
        Must stay open while the layer exists.

    Returns
    -------
    napari.layers.Image
        Multiscale; its world coordinates are µm (pixels if the slide's pixel size is unknown).
    """
    levels, arguments, _ = layer_data_tuple(slide)
    return Image(levels, **arguments)


def add_slide_layer(viewer: ViewerModel, slide: Slide) -> Image:
    """Add a slide to a viewer, show the scale bar and fit the slide into the view.

    The layer is what `slide_layer` returns; the slide must stay open while it exists.
    """
    layer = slide_layer(slide)
    viewer.add_layer(layer)
    scale_bar(viewer).visible = True
    show_whole_slide(viewer, slide, layer)
    return layer


def show_whole_slide(viewer: ViewerModel, slide: Slide, layer: Image) -> None:
    """Fit what was scanned into the view, without the empty margin that some formats have."""
    viewer.fit_to_view(layers=[layer])
    x_px, y_px, width_px, height_px = slide.bounds_px
    rows, columns = layer.data[0].shape[:2]
    view = camera(viewer)
    view.center = layer.data_to_world(slide_to_layer((x_px + width_px / 2, y_px + height_px / 2)))
    view.zoom *= min(columns / width_px, rows / height_px)


class _DamageNotice:
    """Tells a person once, from whichever thread reads, that a part of a slide is damaged."""

    def __init__(self, slide_name: str) -> None:
        self._slide_name = slide_name
        self._lock = threading.Lock()
        self._told = False

    def __call__(self, error: SlideError) -> None:
        with self._lock:
            first, self._told = not self._told, True
        if first:
            show_warning(
                f"Part of {self._slide_name} cannot be read and is shown in magenta. {error}"
            )
