"""Outlines in Shapes layers that stay readable at every zoom."""

from collections.abc import Collection
from typing import Any
from weakref import ref

from napari.layers import Layer, Shapes
from napari.viewer import Viewer
from superqt.utils import qdebounced

from napari_camelyon.annotations import OUTLINE_SCREEN_PX
from napari_camelyon.widgets.napari_compat import camera

__all__ = ["keep_outlines_readable"]

_OUTLINES = ("annotation", "lesions", "diameters", "comparison")


def keep_outlines_readable(viewer: Viewer) -> None:
    """Give outlines of annotations and lesions one width on the screen, at every zoom from now on.

    Shapes have their width in data units: without this, outlines that suit the whole slide hide
    the cells, and outlines that suit the cells vanish on the whole slide. Calling it again for
    the same viewer does nothing more than once.
    """
    view = camera(viewer)
    _set_edge_widths(viewer.layers, view.zoom)
    if __name__ in view.events.zoom.callback_refs:
        return

    weak_viewer = ref(viewer)

    # While the wheel turns, the picture must follow it; the outlines may follow a moment later.
    @qdebounced(timeout=120)
    def follow_zoom() -> None:
        living = weak_viewer()
        if living is not None:
            _set_edge_widths(living.layers, camera(living).zoom)

    def follow() -> None:
        follow_zoom()

    view.events.zoom.connect(follow, ref=__name__)
    viewer.layers.events.inserted.connect(follow)


def _set_edge_widths(layers: Collection[Layer], zoom: float) -> None:
    for layer in layers:
        if not isinstance(layer, Shapes) or _meta(layer).get("kind") not in _OUTLINES:
            continue
        width = OUTLINE_SCREEN_PX / (zoom * float(layer.scale[-1]))
        # Small steps are not seen, but each costs a rebuild of the mesh.
        present = layer.edge_width
        if not present or not 0.8 < width / present[0] < 1.25 or len(set(present)) > 1:
            layer.current_edge_width = width
            layer.edge_width = width
            layer.refresh(extent=False, thumbnail=False)


def _meta(layer: Layer) -> dict[str, Any]:
    found: dict[str, Any] = layer.metadata.get("napari_camelyon", {})
    return found
