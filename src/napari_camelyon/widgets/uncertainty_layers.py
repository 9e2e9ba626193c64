"""How uncertainty looks in the viewer: three maps in place of the heatmap's cells."""

import math

from napari.layers import Image
from napari.utils.colormaps import Colormap, ensure_colormap

from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.widgets.result_layers import HEATMAP_OPACITY, layer_metadata

__all__ = ["UNCERTAINTY_LAYERS", "uncertainty_layers"]

UNCERTAINTY_LAYERS = {
    "uncertainty_total": "uncertainty: total",
    "uncertainty_aleatoric": "uncertainty: aleatoric",
    "uncertainty_epistemic": "uncertainty: epistemic",
}
"""The maps of a heatmap that are shown, and the names of their layers."""

_MOST = math.log(2)  # nats: that of two classes, each as likely

# Mint to blue-black: no colour of the stain nor of the heatmap. Its lightness falls evenly (CIELAB
# 95, 75, 55, 35, 15), so that equal steps look equal; low values are clear.
_UNCERTAINTY = Colormap(
    [
        [0.83, 0.98, 0.90, 0.00],
        [0.40, 0.79, 0.71, 0.40],
        [0.10, 0.57, 0.60, 0.75],
        [0.09, 0.35, 0.46, 0.90],
        [0.06, 0.15, 0.25, 1.00],
    ],
    controls=[0.0, 0.25, 0.5, 0.75, 1.0],
    name="uncertainty",
)


def uncertainty_layers(heatmap: Heatmap) -> list[Image]:
    """Return a hidden layer for each uncertainty that the heatmap holds: total, its two parts.

    They show the heatmap's own arrays: refresh them when values were filled in. The contrast goes
    from 0 to ln 2 nats, the most that two classes can have, on all three alike.
    """
    return [
        Image(
            heatmap.maps[name],
            name=title,
            colormap=ensure_colormap(_UNCERTAINTY),
            contrast_limits=(0.0, _MOST),
            opacity=HEATMAP_OPACITY,
            blending="translucent",
            interpolation2d="nearest",
            visible=False,
            metadata=layer_metadata(heatmap.slide_name, "uncertainty", map=name),
            **heatmap.grid.layer_placement(heatmap.mpp),
        )
        for name, title in UNCERTAINTY_LAYERS.items()
        if name in heatmap.maps
    ]
