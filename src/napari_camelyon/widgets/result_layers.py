"""How results look in the viewer: the heatmap, the outlines of lesions, their diameters."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from napari.layers import Image, Shapes
from napari.utils.colormaps import Colormap, ensure_colormap

from napari_camelyon.geometry import Grid, Mpp, slide_to_layer, world_placement
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging import Lesion

__all__ = [
    "HEATMAP_OPACITY",
    "MOST_DIAMETERS",
    "empty_lesion_layers",
    "heat_colour",
    "heatmap_layer",
    "layer_metadata",
    "lesions_in_portions",
    "nothing_yet",
    "show_other_values",
]

HEATMAP_OPACITY = 0.75
MOST_DIAMETERS = 100
"""More lengths could not be read beside each other, and what napari (0.9) needs to place them grows
with the square of their number: 2,000 held the window up for half a second at every zoom."""
_RINGS_A_PORTION = 50
_LESION_COLOUR = "#00e5ff"
_DIAMETER_COLOUR = "#ffffff"
_FIRST_CELL_UM = 32
_PALE_TISSUE = (228, 216, 228)

# Low values are clear, so that the tissue beneath stays readable; NaN is not drawn at all.
_TUMOUR_PROBABILITY = Colormap(
    [
        [1.00, 1.00, 0.75, 0.00],
        [1.00, 0.93, 0.45, 0.25],
        [1.00, 0.70, 0.15, 0.70],
        [0.90, 0.20, 0.10, 0.90],
        [0.50, 0.00, 0.25, 1.00],
    ],
    controls=[0.0, 0.25, 0.5, 0.8, 1.0],
    name="tumour probability",
)


def layer_metadata(slide_name: str | None, kind: str, **more: object) -> dict[str, Any]:
    """Return the metadata by which a layer of ours is known again."""
    return {"napari_camelyon": {"slide": slide_name, "kind": kind, **more}}


def heatmap_layer(heatmap: Heatmap) -> Image:
    """Return a layer that shows a heatmap's own array: refresh it when values were filled in."""
    return Image(
        heatmap.values,
        name="tumour probability",
        colormap=ensure_colormap(_TUMOUR_PROBABILITY),
        contrast_limits=(0.0, 1.0),
        opacity=HEATMAP_OPACITY,
        blending="translucent",
        interpolation2d="nearest",
        metadata=layer_metadata(heatmap.slide_name, "heatmap"),
        **heatmap.grid.layer_placement(heatmap.mpp),
    )


def heat_colour(probability: float) -> tuple[int, int, int]:
    """Return the colour, 0–255, that a heatmap has for a probability over pale tissue."""
    red, green, blue, opacity = np.ravel(_TUMOUR_PROBABILITY.map(probability)).tolist()
    r, g, b = (
        round((1 - opacity) * under + 255 * opacity * over)
        for under, over in zip(_PALE_TISSUE, (red, green, blue), strict=True)
    )
    return r, g, b


def nothing_yet(slide_name: str, mpp: Mpp) -> Heatmap:
    """Return a heatmap of one cell without a value, for layers that are there before a run is."""
    width_px, height_px = (max(1, round(_FIRST_CELL_UM / along)) for along in mpp)
    grid = Grid(1, 1, 0, 0, width_px, height_px, width_px, height_px)
    return Heatmap(grid, np.full((1, 1), np.nan, np.float32), mpp, slide_name=slide_name)


def show_other_values(layer: Image, heatmap: Heatmap) -> None:
    """Let a layer of `heatmap_layer` show another heatmap of the same slide.

    A new layer would lose what a person has set, and keep the window waiting: napari collects all
    garbage after a layer leaves, which takes a third of a second.
    """
    place = heatmap.grid.layer_placement(heatmap.mpp)
    layer.scale, layer.translate = place["scale"], place["translate"]
    layer.data = heatmap.values
    layer.metadata = layer_metadata(heatmap.slide_name, "heatmap")


def empty_lesion_layers(heatmap: Heatmap) -> list[Shapes]:
    """Return the layers of lesion outlines and of their greatest diameters, with nothing in them.

    Outlines are closed paths: nothing has to be triangulated, so none can fail to be drawn.
    """
    placement = world_placement(heatmap.mpp)
    width = _line_width_px(heatmap)
    outline_layer = Shapes(
        ndim=2,
        name="lesions",
        metadata=layer_metadata(heatmap.slide_name, "lesions"),
        **placement,
    )
    diameter_layer = Shapes(
        ndim=2,
        name="greatest diameters",
        features={"diameter": np.empty(0, dtype=object)},
        text={
            "string": "{diameter}",
            "size": 14,
            "color": _DIAMETER_COLOUR,
            "anchor": "center",
            "translation": (-2 * width * heatmap.mpp[1], 0),
        },
        metadata=layer_metadata(heatmap.slide_name, "diameters"),
        **placement,
    )
    for layer in (outline_layer, diameter_layer):
        layer.current_edge_width = width
        layer.mode = "pan_zoom"
    return [outline_layer, diameter_layer]


def lesions_in_portions(layers: Sequence[Shapes], lesions: Sequence[Lesion]) -> Iterator[None]:
    """Let the layers of `empty_lesion_layers` show lesions, largest first; yields between portions.

    What they show goes first. A portion is small enough for a frame to be drawn in time between
    two. Only the first `MOST_DIAMETERS` lesions get their diameter.

    Parameters
    ----------
    layers : sequence of Shapes
        Outlines and diameters.
    lesions : sequence of Lesion
    """
    outline_layer, diameter_layer = layers
    for layer in layers:
        if layer.nshapes:
            layer.selected_data = set(range(layer.nshapes))
            layer.remove_selected()
    rings = [ring for lesion in lesions for ring in _rings(lesion)]
    for start in range(0, len(rings), _RINGS_A_PORTION):
        if start:
            yield
        outline_layer.add_paths(
            [
                slide_to_layer(np.vstack([ring, ring[:1]]))
                for ring in rings[start : start + _RINGS_A_PORTION]
            ],
            edge_color=_LESION_COLOUR,
            edge_width=outline_layer.current_edge_width,  # as the zoom has it
            face_color="transparent",
        )
        outline_layer.selected_data = set()
    measured = lesions[:MOST_DIAMETERS]
    if measured:
        if len(rings) > _RINGS_A_PORTION:
            yield
        diameter_layer.add_lines(
            [slide_to_layer(np.asarray(lesion.diameter_ends_px)) for lesion in measured],
            edge_color=_DIAMETER_COLOUR,
            edge_width=diameter_layer.current_edge_width,
        )
        diameter_layer.features = {
            "diameter": [f"{lesion.diameter_mm:.2f} mm" for lesion in measured]
        }
        diameter_layer.selected_data = set()


def _rings(lesion: Lesion) -> list[np.ndarray]:
    polygons = getattr(lesion.outline, "geoms", [lesion.outline])
    return [
        np.asarray(ring.coords)[:-1]
        for polygon in polygons
        for ring in (polygon.exterior, *polygon.interiors)
    ]


def _line_width_px(heatmap: Heatmap) -> float:
    """Return a first line width in level-0 pixels; the zoom decides from then on."""
    return max(1.0, heatmap.grid.stride_x_px / 12)
