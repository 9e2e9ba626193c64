"""A slide as an Image layer: placed in µm, with a scale bar, and fitted into the view."""

from napari.components.viewer_model import ViewerModel
from napari.layers import Image
from napari.utils.notifications import show_warning

from napari_camelyon.geometry import slide_to_layer
from napari_camelyon.slides import Slide, layer_data
from napari_camelyon.widgets.napari_compat import camera, scale_bar

__all__ = ["add_slide_layer", "show_whole_slide", "slide_layer"]


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
    levels, arguments, _ = layer_data(slide, tell=show_warning)
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
