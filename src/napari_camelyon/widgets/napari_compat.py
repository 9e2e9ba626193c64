"""What napari has moved or will move, wrapped once.

napari 0.9 moved ``viewer.camera`` to ``viewer.scene.camera`` and ``viewer.scale_bar`` to
``viewer.canvas.overlays.scale_bar``; the old names warn. When it moves on, this module follows.
"""

from napari.components.camera import Camera
from napari.components.overlays import ScaleBarOverlay
from napari.components.viewer_model import ViewerModel
from napari.viewer import Viewer
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QLabel, QMainWindow

__all__ = [
    "calm_activity_indicator",
    "camera",
    "canvas_size_px",
    "canvas_widget",
    "main_window",
    "scale_bar",
    "shows_plain_image",
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


def calm_activity_indicator(viewer: Viewer) -> None:
    """Let the turning wheel of napari's activity dock turn slowly.

    Every frame of it draws the whole window anew. Without a graphics card, as on a server that is
    used from afar, that took two thirds of a core while a run wanted it.
    """
    for label in viewer.window._qt_window.statusBar().findChildren(QLabel):
        movie = label.movie()
        if movie is not None:
            movie.setSpeed(15)
