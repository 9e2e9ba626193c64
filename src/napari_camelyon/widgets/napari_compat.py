"""What napari has moved or will move, wrapped once.

napari 0.9 moved ``viewer.camera`` to ``viewer.scene.camera`` and ``viewer.scale_bar`` to
``viewer.canvas.overlays.scale_bar``; the old names warn. When it moves on, this module follows.
"""

from napari.components.camera import Camera
from napari.components.overlays import ScaleBarOverlay
from napari.components.viewer_model import ViewerModel
from napari.viewer import Viewer
from qtpy.QtWidgets import QLabel

__all__ = ["calm_activity_indicator", "camera", "canvas_size_px", "scale_bar"]


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


def calm_activity_indicator(viewer: Viewer) -> None:
    """Let the turning wheel of napari's activity dock turn slowly.

    Every frame of it draws the whole window anew. Without a graphics card, as on a server that is
    used from afar, that took two thirds of a core while a run wanted it.
    """
    for label in viewer.window._qt_window.statusBar().findChildren(QLabel):
        movie = label.movie()
        if movie is not None:
            movie.setSpeed(15)
