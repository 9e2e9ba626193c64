"""The outlines of one difference between two annotators, each file in its colour."""

from typing import Any

from napari.layers import Shapes
from napari.viewer import Viewer

from napari_camelyon.annotations import Adjudication, Difference, closed_paths
from napari_camelyon.geometry import Mpp, world_placement
from napari_camelyon.widgets.annotation_layers import keep_outlines_readable
from napari_camelyon.widgets.result_layers import layer_metadata

__all__ = ["COLOURS", "clear_difference", "draw_difference"]

COLOURS = {"A": "#0072b2", "B": "#e69f00"}
"""Blue and orange of M. Okabe and K. Ito's palette (Color Universal Design, 2008): told apart with
every kind of colour vision, and by their lightness alone."""


def draw_difference(
    viewer: Viewer,
    slide_name: str,
    mpp: Mpp,
    adjudication: Adjudication,
    difference: Difference,
) -> None:
    """Draw what both files have at one place, and nothing else of them, into two layers.

    The layers are made when there are none, else used again.
    """
    for side, annotation_set, regions in (
        ("A", adjudication.first, difference.first),
        ("B", adjudication.second, difference.second),
    ):
        paths = [
            path
            for region in regions
            for path in closed_paths(annotation_set.annotations[region.number])
        ]
        _show(viewer, slide_name, mpp, side, paths)
    keep_outlines_readable(viewer)


def clear_difference(viewer: Viewer, slide_name: str) -> None:
    """Take the outlines of a slide's differences out of its layers."""
    for layer in viewer.layers:
        if _side_of(layer, slide_name) is not None:
            layer.data = []


def _show(viewer: Viewer, slide_name: str, mpp: Mpp, side: str, paths: list[Any]) -> None:
    for layer in viewer.layers:
        if _side_of(layer, slide_name) == side:
            layer.data = []
            layer.add_paths(paths, edge_color=COLOURS[side], face_color="transparent")
            layer.visible = True
            return
    chosen = set(viewer.layers.selection)
    layer = Shapes(
        paths or None,
        ndim=2,
        shape_type="path",
        name=f"difference: {side}",
        edge_color=COLOURS[side],
        face_color="transparent",
        opacity=1.0,
        metadata=layer_metadata(slide_name, "comparison", side=side),
        **world_placement(mpp),
    )
    layer.mode = "pan_zoom"
    layer.editable = False
    viewer.layers.append(layer)
    # A person may be drawing in another layer.
    if chosen:
        viewer.layers.selection = chosen


def _side_of(layer: Any, slide_name: str) -> str | None:
    meta = layer.metadata.get("napari_camelyon", {})
    if meta.get("kind") != "comparison" or meta.get("slide") != slide_name:
        return None
    return str(meta["side"])
