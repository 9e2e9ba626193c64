"""What napari has moved or will move, wrapped once.

napari 0.9 moved ``viewer.camera`` to ``viewer.scene.camera`` and ``viewer.scale_bar`` to
``viewer.canvas.overlays.scale_bar``; the old names warn. When it moves on, this module follows.
"""

from napari.components.camera import Camera
from napari.components.overlays import ScaleBarOverlay
from napari.components.viewer_model import ViewerModel

__all__ = ["camera", "canvas_size_px", "scale_bar"]


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
