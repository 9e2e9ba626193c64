"""What napari has moved or will move, and what it has no public name for, wrapped once.

napari 0.9 moved ``viewer.camera`` to ``viewer.scene.camera`` and ``viewer.scale_bar`` to
``viewer.canvas.overlays.scale_bar``; the old names warn. When it moves on, this module follows.
"""

from collections.abc import Callable
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, Any
from weakref import WeakMethod

import numpy as np
from napari.components.camera import Camera
from napari.components.overlays import ScaleBarOverlay
from napari.components.viewer_model import ViewerModel
from napari.layers import Image, Layer
from napari.layers.utils.layer_utils import compute_multiscale_level_and_corners
from napari.viewer import Viewer
from numpy.typing import NDArray
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QMainWindow
from vispy.scene import Node

if TYPE_CHECKING:
    from napari_camelyon.slides import SlideStream

__all__ = [
    "bare_brush_circle",
    "camera",
    "canvas_size_px",
    "canvas_widget",
    "drawing_node",
    "load_what_layers_need",
    "main_window",
    "scale_bar",
    "show_instead",
    "shows_plain_image",
    "slice_before_drawing",
]


def camera(viewer: ViewerModel) -> Camera:
    """Return the viewer's camera: ``center`` in world units, ``zoom`` in screen px per unit."""
    return viewer.scene.camera


def scale_bar(viewer: ViewerModel) -> ScaleBarOverlay:
    """Return the scale bar; its unit follows from the layers' ``units``."""
    return viewer.canvas.overlays.scale_bar


def canvas_size_px(viewer: ViewerModel) -> tuple[int, int]:
    """Return height and width of the canvas in logical pixels."""
    height, width = viewer.canvas.size
    return height, width


def main_window(viewer: Viewer) -> QMainWindow:
    """Return the window of a viewer."""
    return viewer.window._qt_window


def canvas_widget(viewer: Viewer) -> QOpenGLWidget:
    """Return the widget on which the layers are drawn.

    A custom canvas overlay of napari's own raises TypeError in 0.9.2; a child of this widget lies
    over the layers just as well, and screenshots of the canvas leave it out.
    """
    # Below the central widget: a dock of another plugin may draw with OpenGL too.
    middle = main_window(viewer).centralWidget()
    canvas = None if middle is None else middle.findChild(QOpenGLWidget)
    if canvas is None:
        raise RuntimeError("napari's window has no canvas any more.")
    return canvas


def shows_plain_image(viewer: ViewerModel) -> bool:
    """Tell whether rows run down and columns to the right: no 3-D, grid, turned or swapped axes."""
    dims = viewer.dims
    return (
        dims.ndisplay == 2
        and tuple(dims.displayed) == (dims.ndim - 2, dims.ndim - 1)
        and not viewer.canvas.grid.enabled
        and tuple(str(side) for side in camera(viewer).orientation[1:]) == ("down", "right")
    )


def bare_brush_circle(viewer: Viewer) -> None:
    """Take away the square that napari 0.9 draws in the middle of its brush circle."""
    viewer.canvas.overlays._brush_circle.box = False


def load_what_layers_need() -> None:
    """Make a layer and drop it: with the first one napari loads all units, half a second long.

    pandas, which Shapes need, is loaded meanwhile; that takes as long again. So is what reads the
    numbers of annotation files.
    """
    Thread(target=_import, args=("pandas", "pyarrow.csv"), daemon=True).start()
    Image(np.zeros((2, 2), np.uint8))


def _import(*modules: str) -> None:
    for module in modules:
        import_module(module)


def drawing_node(viewer: Viewer, layer: Layer) -> Node:
    """Return what draws a layer: nodes put under it are drawn with it, in its data coordinates.

    Their coordinates are ``(column, row)``. napari makes a new one each time a layer is added to a
    viewer.
    """
    return viewer.window._qt_viewer.canvas.layer_to_visual[layer].node


def slice_before_drawing(viewer: Viewer) -> None:
    """Let every frame show what is known of the place that it is drawn from.

    napari draws first, and then looks which part of a large image is needed. So after each move
    of the view it draws once with blank strips, and once more without.
    """
    canvas = viewer.window._qt_viewer.canvas
    look_what_is_needed = WeakMethod(canvas.on_draw)

    def look(event: object) -> None:
        found = look_what_is_needed()
        if found is not None:
            found(event)

    canvas._scene_canvas.events.draw.connect(look, position="first")


def show_instead(
    layer: Image,
    shown: "Callable[[], SlideStream]",
    *,
    step_px: int,
    pixel_ratio: Callable[[], float],
) -> None:
    """Let a multiscale layer draw other arrays than its data, which stay what they are.

    Parameters
    ----------
    layer : napari.layers.Image
        2-D, RGB, multiscale.
    shown : callable
        Returns the stream to draw: its levels, of the same shapes as the data's, are read by
        slicing whenever the layer is drawn, and the thumbnail is made from its overview. Call
        ``layer.refresh(extent=False)`` when they would give something else.
    step_px : int
        The window that is asked for begins and ends at multiples of it, in pixels of a level, so
        that a small pan asks for nothing new. napari itself takes whole chunks of the data, which
        are made for computing and far larger than a screen.
    pixel_ratio : callable
        Returns the screen's device pixels per logical pixel: the level is chosen for the former.
    """
    state = layer._slicing_state
    request_class = state._slice_request_class
    choose_as_napari_does = layer._update_level_and_corners

    def request(**arguments: Any) -> Any:
        arguments["data_at_data_level"] = shown().levels[arguments["data_level"]]
        arguments["data_at_thumbnail_level"] = shown().overview()
        return request_class(**arguments)

    def choose_level_and_corners(
        data_bbox_int: NDArray[np.int64], shape_threshold: tuple[float, ...], axes: list[int]
    ) -> None:
        if layer.locked_data_level is not None or len(axes) != 2:
            choose_as_napari_does(data_bbox_int, shape_threshold, axes)
            return
        level, wanted = compute_multiscale_level_and_corners(
            data_bbox_int,
            np.asarray(shape_threshold) * pixel_ratio(),
            layer.downsample_factors[:, axes],
        )
        last = np.asarray(layer.level_shapes[level])[axes] - 1
        wanted = np.clip(wanted, 0, last)
        if (wanted[0] == wanted[1]).any():
            return
        # The last row and column are included.
        wanted[0] = wanted[0] // step_px * step_px
        wanted[1] = np.minimum((wanted[1] // step_px + 1) * step_px - 1, last)
        known = layer.corner_pixels[:, axes]
        if (
            layer.data_level != level
            or (wanted[0] < known[0]).any()
            or (wanted[1] > known[1]).any()
        ):
            corners = np.zeros((2, layer.ndim), int)
            corners[:, axes] = wanted
            layer._data_level, layer.corner_pixels = level, corners
            layer.refresh(extent=False, thumbnail=False)

    state._slice_request_class = request
    layer._update_level_and_corners = choose_level_and_corners
    layer._level_materializer = lambda _level: shown().overview()
