"""How the patches that are planned look over the slide: a light picture, one pixel a cell."""

import numpy as np
from napari.layers import Image
from napari.utils.colormaps import Colormap, ensure_colormap
from numpy.typing import NDArray

from napari_camelyon.geometry import Mpp
from napari_camelyon.tissue import PatchGrid
from napari_camelyon.widgets.result_layers import layer_metadata

__all__ = ["planned_layer", "planned_picture"]

# Two greens by turns, as on a chessboard, so that cells can be told apart at any zoom; no stain is
# green.
_PLANNED = Colormap(
    [[0.20, 0.85, 0.40, 0.10], [0.20, 0.85, 0.40, 0.30]],
    controls=[0.0, 1.0],
    name="planned patches",
)


def planned_picture(grid: PatchGrid) -> NDArray[np.float32]:
    """Return 0 and 1 by turns where patches are planned, NaN elsewhere, shape ``grid.shape``."""
    rows, columns = np.indices(grid.selected.shape)
    return np.where(grid.selected, (rows + columns) % 2, np.nan).astype(np.float32)


def planned_layer(slide_name: str, grid: PatchGrid, mpp: Mpp | None, *, visible: bool) -> Image:
    """Return a layer that shows where patches are planned."""
    return Image(
        planned_picture(grid),
        name="planned patches",
        colormap=ensure_colormap(_PLANNED),
        contrast_limits=(0.0, 1.0),
        blending="translucent",
        interpolation2d="nearest",
        visible=visible,
        metadata=layer_metadata(slide_name, "planned"),
        **grid.grid.layer_placement(mpp),
    )
